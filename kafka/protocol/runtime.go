package protocol

import (
	"context"
	"time"
)

// Runtime is how the protocol waits and does things beside each other: goroutines and real time in a node, one thread and
// a scheduler in a simulation. Nothing in this package starts a goroutine, reads the clock or blocks on a channel by itself.
type Runtime interface {
	Now() time.Time
	// Go runs f beside the caller.
	Go(f func())
	// WithTimeout is context.WithTimeout.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// Sleep waits; false if ctx ended first.
	Sleep(ctx context.Context, d time.Duration) bool
	// Await waits until done is closed, or ctx ends: then it returns the cause.
	Await(ctx context.Context, done <-chan struct{}) error
}

// Real is the Runtime of a process.
type Real struct{}

var _ Runtime = Real{}

// Now implements Runtime.
func (Real) Now() time.Time { return time.Now() }

// Go implements Runtime.
func (Real) Go(f func()) { go f() }

// WithTimeout implements Runtime.
func (Real) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// Sleep implements Runtime.
func (Real) Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Await implements Runtime.
func (Real) Await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
