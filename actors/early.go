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
	// answerTimeout bounds one write of answers: later than that they are of no use.
	answerTimeout = 10 * time.Second
	// slowWrite is when it is said that a write without a bound takes long; earlyWarnings that one has failed, how often at most.
	slowWrite     = 10 * time.Second
	earlyWarnings = time.Minute
)

// errEarlyFull: the node has more to send at once than it keeps for that.
var errEarlyFull = errors.New("too much is to be sent at once")

// early sends what does not wait for a commit: one the answers of eager agents, which their commits bring again, another what partitions send
// at-least-once. One write is under way at a time, in the order in which they came, on a goroutine that ends when there is nothing more. Any goroutine
// may use it.
type early struct {
	ground  Ground
	admin   kafka.Admin
	names   []string        // of topics, by their ids
	timeout time.Duration   // of a write; 0: it lasts until the client gives up, or the node stops. Then nothing of it is still on its way
	ctx     context.Context //nolint:containedctx // ends when the node must stop at once
	log     *slog.Logger

	mu     sync.Mutex
	queue  *wave
	ended  chan struct{} // closed when what is under way is; nil: nothing is
	warned time.Time     // when it was said last that a write has failed
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

// send sends outputs at once, and keeps a copy. If tell is not nil it is called when they and all before them have been written, or that has failed,
// from another goroutine or before send returns: it must not block. After an error some may have been written. It is not called any more when the node
// has to stop at once.
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
	if e.queue = nil; w == nil || e.ctx.Err() != nil { // then nobody is there to be told
		e.ended = nil
		return nil
	}
	return w
}

func (e *early) write(w *wave) {
	offsets, err := e.produce(&w.outs)
	crashpoint.Hit("send.written")
	if now := e.ground.Now(); err != nil && e.ctx.Err() == nil && now.Sub(e.warned) >= earlyWarnings {
		e.warned = now
		e.log.Warn("records were not sent before their commit: they are sent with it", "records", w.outs.Len(), "error", err)
	}
	for _, a := range w.askers {
		a.tell(a.failed(offsets, err))
	}
}

func (e *early) produce(o *kafka.Outputs) ([]int64, error) {
	if o.Len() == 0 {
		return nil, nil
	}
	if e.timeout > 0 {
		ctx, cancel := e.ground.WithTimeout(e.ctx, e.timeout)
		defer cancel()
		return e.admin.Produce(ctx, e.names, o)
	}
	stop := e.ground.After(slowWrite, func() {
		e.log.Warn("what agents have sent is not written yet: nothing is committed before it is", "records", o.Len(), "took", slowWrite)
	})
	defer stop()
	return e.admin.Produce(e.ctx, e.names, o)
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
