// Package status is what a node tells those who look at it: plain structs with stable names in JSON. It is spoken between
// nodes and commands of different versions: fields are added, never renamed.
package status
