// Package builder makes a program of a Go package that exports a topology: node --topology ./shop.
//
// The program is the package, a main function of three lines that calls troupe.Main, and the versions of everything that the go.mod of the
// current directory's module asks for. It is built with the user's own go command and kept in the user's cache directory; nothing is
// written into the user's tree: the main function is laid over it, and go.mod and go.sum are copies.
package builder
