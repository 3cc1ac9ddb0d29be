// Package host gives nodes what they need around them: a data directory with one owner, an identity that outlives the
// process, and a broker — the user's, or an embedded one where none is named. Package troupe and the command line are
// built on it.
package host
