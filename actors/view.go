package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// viewLook is how often a view looks whether its topic has more partitions.
const viewLook = 10 * time.Second

// Follower keeps a copy of a topic up to date, in a program that need not run a node. It reads what is committed, belongs to no group and
// commits nothing.
type Follower struct {
	runtime protocol.Runtime
	admin   kafka.Admin
	reader  kafka.Reader
	topic   string
	copy    tables.Replica

	ready  chan struct{} // closed once all is read that was there when it began
	end    context.CancelFunc
	ended  chan struct{}
	mu     sync.Mutex // of err
	err    error      // why it has ended, or cannot read just now
	broken bool       // it has ended by err
}

// Follow begins to copy a topic. It blocks until the topic has been looked at, or ctx ends. admin belongs to the caller, and must stay
// open until Close.
func Follow(ctx context.Context, runtime protocol.Runtime, d kafka.Driver, admin kafka.Admin, topic string, copy tables.Replica) (*Follower, error) {
	n, err := partitionsNow(ctx, admin, topic)
	if err != nil {
		return nil, err
	}
	reader, err := d.OpenReader()
	if err != nil {
		return nil, err
	}
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	f := &Follower{runtime: runtime, admin: admin, reader: reader, topic: topic, copy: copy, ready: make(chan struct{}), end: end, ended: make(chan struct{})}
	t := &plan.Topic{Name: topic, Global: true}
	state := newGlobalsState(&plan.Plan{Topics: []*plan.Topic{t}, Globals: []*plan.Global{{Topic: t}}}, &plan.Env{Partitions: []int32{n}, Globals: []tables.Replica{copy}})
	runtime.Go(func() { f.run(running, state, n) })
	return f, nil
}

func partitionsNow(ctx context.Context, admin kafka.Admin, topic string) (int32, error) {
	have, err := admin.Topics(ctx, topic)
	if err != nil {
		return 0, err
	}
	if have[topic].Partitions == 0 {
		return 0, fmt.Errorf("topic %s does not exist: has its topology ever run?", topic)
	}
	return have[topic].Partitions, nil
}

// run reads until the follower is closed, or something is wrong for good.
func (f *Follower) run(ctx context.Context, state *globalsState, partitions int32) {
	defer close(f.ended)
	for ctx.Err() == nil {
		err := f.read(ctx, state, partitions)
		var broken brokenError
		if f.note(err, errors.As(err, &broken)); errors.As(err, &broken) {
			return
		}
		f.runtime.Sleep(ctx, globalsAgain)
	}
}

// brokenError is one after which a copy cannot be gone on with.
type brokenError struct{ error }

func (b brokenError) Unwrap() error { return b.error }

func (f *Follower) note(err error, broken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.broken = err, f.broken || broken
}

// read reads until ctx ends, or an error.
func (f *Follower) read(ctx context.Context, state *globalsState, partitions int32) error {
	ask, cancel := f.runtime.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	starts, ends, err := bounds(ask, f.admin, kafka.ReadUncommitted, state.order...)
	if err != nil {
		return err
	}
	from, err := state.locate(starts, ends)
	if err != nil {
		return brokenError{err}
	}
	if err := readFrom(f.reader, from); err != nil {
		return err
	}
	f.note(nil, false)
	for looked := f.runtime.Now(); ctx.Err() == nil; {
		f.tell(state)
		b, err := f.reader.Poll(globalsPoll)
		if err != nil {
			return err
		}
		if b != nil {
			if err := state.read(b); err != nil {
				return brokenError{err}
			}
		}
		if now := f.runtime.Now(); now.Sub(looked) > viewLook {
			looked = now
			if n, err := partitionsNow(ctx, f.admin, f.topic); err == nil && n != partitions {
				return brokenError{fmt.Errorf("topic %s has %d partitions now and had %d: open the view anew", f.topic, n, partitions)}
			}
		}
	}
	return ctx.Err()
}

// tell says once that all is read.
func (f *Follower) tell(state *globalsState) {
	select {
	case <-f.ready:
	default:
		if state.ready {
			close(f.ready)
		}
	}
}

// Wait blocks until all is read that was committed when the follower began, ctx ends, or it cannot go on: the error says why.
func (f *Follower) Wait(ctx context.Context) error {
	select {
	case <-f.ready:
		return nil
	case <-f.ended:
		return f.Err()
	case <-ctx.Done():
		if err := f.Err(); err != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return context.Cause(ctx)
	}
}

// Err says why the copy is not kept up to date: for now, or for good once Ended is closed; nil if it is.
func (f *Follower) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Ended is closed when the copy is no longer kept up to date: after Close, and when something is wrong for good.
func (f *Follower) Ended() <-chan struct{} { return f.ended }

// Close ends the follower and waits for that. Twice is no harm.
func (f *Follower) Close() error {
	f.end()
	<-f.ended
	f.mu.Lock()
	if !f.broken {
		f.err = errClosed
	}
	f.mu.Unlock()
	return f.reader.Close()
}

var errClosed = errors.New("it is closed")
