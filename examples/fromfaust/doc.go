// Package fromfaust has no code of its own: its tests are the Go code of docs/from-faust.md, compiled and run.
package fromfaust
