package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/kafka"
)

const (
	// maxEarly is how many bytes wait to be sent at once, at most: what comes beyond them comes with its commit alone.
	maxEarly = 16 << 20
	// earlyTimeout bounds one write of them: later than that they are of no use.
	earlyTimeout = 10 * time.Second
)

// errEarlyFull: the node has more to send at once than it keeps for that.
var errEarlyFull = errors.New("too much is to be sent at once")

// early sends what does not wait for a commit: answers of eager agents, which their commits bring again, and what partitions send at-least-once. One
// write is under way at a time, in the order in which it came, on a goroutine that ends when there is nothing more. Any goroutine may use it.
type early struct {
	ground Ground
	admin  kafka.Admin
	names  []string        // of topics, by their ids
	ctx    context.Context //nolint:containedctx // ends when the node must stop at once
	log    *slog.Logger

	mu    sync.Mutex
	queue *wave
	ended chan struct{} // closed when what is under way is; nil: nothing is
	lost  bool          // the last write has failed
}

// wave is what is written together.
type wave struct {
	outs   kafka.Outputs
	askers []asker
}

// asker is to be told how the write of some of a wave's records has ended.
type asker struct {
	from, to int
	tell     func(error)
}

// send sends outputs at once, and keeps them. If tell is not nil it is called when they have been written, or when that has failed, from another
// goroutine or before send returns: it must not block. After an error some may have been written, or still be.
func (e *early) send(tell func(error), outs ...outputs) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queue == nil {
		e.queue = new(wave)
	}
	w, size := e.queue, 0
	for _, o := range outs {
		size += len(o.Arena)
	}
	if len(w.outs.Arena)+size > maxEarly {
		if tell != nil {
			tell(errEarlyFull)
		}
		return
	}
	from := w.outs.Len()
	for _, o := range outs {
		w.outs.AppendAll(o)
	}
	if tell != nil {
		w.askers = append(w.askers, asker{from, w.outs.Len(), tell})
	}
	if e.ended != nil {
		return
	}
	ended := make(chan struct{})
	e.ended = ended
	e.ground.Go(func() {
		defer close(ended)
		for w := e.next(); w != nil; w = e.next() {
			e.write(w)
		}
	})
}

// next is what is to be written; nil, and nothing is under way any more, if there is none.
func (e *early) next() *wave {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.queue
	if e.queue = nil; w == nil || w.outs.Len() == 0 || e.ctx.Err() != nil { // then nobody is there to be told
		e.ended = nil
		return nil
	}
	return w
}

func (e *early) write(w *wave) {
	ctx, cancel := e.ground.WithTimeout(e.ctx, earlyTimeout)
	defer cancel()
	offsets, err := e.admin.Produce(ctx, e.names, &w.outs)
	crashpoint.Hit("send.written")
	if err != nil && !e.lost && e.ctx.Err() == nil {
		e.log.Warn("not sent before its commit: it comes with it", "records", w.outs.Len(), "error", err)
	}
	e.lost = err != nil
	for _, a := range w.askers {
		a.tell(a.failed(offsets, err))
	}
}

// failed is why some of the asker's records were not written; nil: all were. offsets are those of the first records of the wave, those of records that
// were not written negative.
func (a asker) failed(offsets []int64, err error) error {
	if err == nil {
		return nil
	}
	if a.to > len(offsets) {
		return err
	}
	for _, at := range offsets[a.from:a.to] {
		if at < 0 {
			return err
		}
	}
	return nil
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
