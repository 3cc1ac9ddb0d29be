// Package command is the command line of node, for any set of topologies: troupe.Main is a call of it. Commands take
// their streams and environment from App, so that tests run them inside their own process.
package command
