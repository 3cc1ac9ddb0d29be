package actors

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// maxEarly is how many bytes wait to be sent at once, at most: what comes beyond them comes with its commit alone.
	maxEarly = 16 << 20
	// earlyTimeout bounds one write of them: later than that they are of no use.
	earlyTimeout = 10 * time.Second
)

// early sends what does not wait for a commit: answers of eager agents, which their commits bring again. One write is under way at a time, on a goroutine
// that ends when there is nothing more. Any goroutine may use it.
type early struct {
	ground Ground
	admin  kafka.Admin
	names  []string        // of topics, by their ids
	ctx    context.Context //nolint:containedctx // ends when the node must stop at once
	log    *slog.Logger

	mu    sync.Mutex
	queue *kafka.Outputs
	ended chan struct{} // closed when what is under way is; nil: nothing is
	lost  bool          // the last write has failed
}

// send sends outputs at once, and keeps them.
func (e *early) send(o outputs) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queue == nil {
		e.queue = new(kafka.Outputs)
	}
	if len(e.queue.Arena)+len(o.Arena) > maxEarly {
		return
	}
	e.queue.AppendAll(o)
	if e.ended != nil {
		return
	}
	ended := make(chan struct{})
	e.ended = ended
	e.ground.Go(func() {
		defer close(ended)
		for o := e.next(); o != nil; o = e.next() {
			e.write(o)
		}
	})
}

// next is what is to be written; nil, and nothing is under way any more, if there is none.
func (e *early) next() outputs {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.queue
	if e.queue = nil; o == nil || o.Len() == 0 || e.ctx.Err() != nil {
		e.ended = nil
		return nil
	}
	return o
}

func (e *early) write(o outputs) {
	ctx, cancel := e.ground.WithTimeout(e.ctx, earlyTimeout)
	defer cancel()
	_, err := e.admin.Produce(ctx, e.names, o)
	if err != nil && !e.lost && e.ctx.Err() == nil {
		e.log.Warn("answers of eager agents not sent before their commit: they come with it", "error", err)
	}
	e.lost = err != nil
}

// wait waits for what is under way.
func (e *early) wait() {
	e.mu.Lock()
	ended := e.ended
	e.mu.Unlock()
	if ended != nil {
		_ = e.ground.Await(context.Background(), ended)
	}
}
