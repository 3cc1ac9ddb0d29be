package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
)

// buffer takes what a process says, for others to wait for.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed at the next write
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// wait returns when the process has said something, and fails the test when ctx ends before.
func (b *buffer) wait(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	for {
		b.mu.Lock()
		said := strings.Contains(b.b.String(), text)
		if b.grown == nil {
			b.grown = make(chan struct{})
		}
		grown := b.grown
		b.mu.Unlock()
		if said {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			t.Fatalf("it has not said %q, but: %s", text, b.String())
		}
	}
}
