package main

import "io"

func writeReport(io.Writer, []string) error { return nil }
