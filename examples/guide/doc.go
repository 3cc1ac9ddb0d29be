// Package guide has no code of its own: its tests are the Go code of docs/guide, compiled and run.
package guide
