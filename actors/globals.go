package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

const (
	// globalsPoll is how long one poll may hold the mailbox up.
	globalsPoll = 50 * time.Millisecond
	// globalsAgain is how long to wait after a failure to read.
	globalsAgain = time.Second
)

// What the actor of the global tables receives.
type (
	// locatedGlobals says where the topics begin and end.
	locatedGlobals struct {
		starts, ends map[kafka.TopicPartition]int64
		err          error
	}
	pollGlobals   struct{}
	locateGlobals struct{}
)

// globals is the actor that keeps the node's copies of topics, the global tables: it alone writes them, and agents read them where they
// are. The node joins its group once all are read that was there at the start.
type globals struct {
	ground Ground
	reader kafka.Reader
	admin  kafka.Admin
	state  *globalsState
	loaded chan<- struct{} // closed once all is read
	values bool            // the log may hold keys and values of records
	log    *slog.Logger

	began   time.Time
	told    bool
	reading bool
	skipped int64
	why     string // it cannot read just now
}

// Receive implements actor.Actor.
func (a *globals) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.began = a.ground.Now()
		a.locate(c)
	case locateGlobals:
		a.locate(c)
	case locatedGlobals:
		a.onLocated(c, m)
	case pollGlobals:
		a.poll(c)
	case partitionQuery: // the root asks all at once; the answer is []status.Global
		c.Respond(a.inspect())
	}
}

// locate asks where the topics begin and end.
func (a *globals) locate(c actor.Context) {
	g, self, tps := a.ground, c.Self(), a.state.order
	g.Go(func() {
		ctx, cancel := g.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		starts, ends, err := bounds(ctx, a.admin, kafka.ReadUncommitted, tps...)
		g.Send(self, locatedGlobals{starts, ends, err})
	})
}

func (a *globals) onLocated(c actor.Context, m locatedGlobals) {
	if m.err != nil {
		a.retry(c, m.err)
		return
	}
	from, err := a.state.locate(m.starts, m.ends)
	if err != nil {
		a.fail(c, fmt.Errorf("global tables: %w", err))
		return
	}
	if err := readFrom(a.reader, from); err != nil {
		a.retry(c, err)
		return
	}
	a.reading, a.why = true, ""
	a.tell()
	c.Send(c.Self(), pollGlobals{})
}

// readFrom has a reader read from these positions on, wherever it was.
func readFrom(r kafka.Reader, from []kafka.Position) error {
	for _, p := range from {
		if err := errors.Join(r.Remove(p.TopicPartition), r.Assign(p.TopicPartition, p.Offset)); err != nil {
			return err
		}
	}
	return nil
}

// retry reads again after a while: the brokers are away, or librdkafka has met something that it cannot get over.
func (a *globals) retry(c actor.Context, err error) {
	if errors.Is(err, kafka.ErrDenied) {
		a.fail(c, fmt.Errorf("read global tables: %w", err))
		return
	}
	a.log.Warn("global tables are not kept up to date; tried again", "error", err, "again_after", globalsAgain)
	a.reading, a.why = false, err.Error()
	g, self := a.ground, c.Self()
	g.After(globalsAgain, func() { g.Send(self, locateGlobals{}) })
}

// fail ends the node: what it would go on with is wrong.
func (a *globals) fail(c actor.Context, err error) {
	a.reading, a.why = false, err.Error()
	c.Send(c.Parent(), nodeFailed{err})
}

// poll reads on, and keeps doing so.
func (a *globals) poll(c actor.Context) {
	if !a.reading {
		return
	}
	for range 64 { // then other messages get their turn
		b, err := a.reader.Poll(globalsPoll)
		if err != nil {
			a.retry(c, err)
			return
		}
		if b == nil {
			break
		}
		if err := a.state.read(b); err != nil {
			a.undecodable(c, err)
			return
		}
	}
	a.tell()
	c.Send(c.Self(), pollGlobals{})
}

func (a *globals) undecodable(c actor.Context, err error) {
	const mend = "the node would go on with an old value: it ends; delete the record, or pass over such records with topology.SkipUndecodable"
	a.fail(c, withoutValues(fmt.Errorf("%w; %s", err, mend), a.values))
}

// tell says once that all is read, and each time that records were passed over.
func (a *globals) tell() {
	var now tables.ReplicaStats
	for _, x := range a.state.copies {
		s := x.Stats()
		now.Entries, now.Bytes, now.Skipped = now.Entries+s.Entries, now.Bytes+s.Bytes, now.Skipped+s.Skipped
	}
	if now.Skipped > a.skipped {
		a.log.Warn("records of global tables do not decode: they are passed over", "records", now.Skipped-a.skipped)
	}
	a.skipped = now.Skipped
	if a.state.ready && !a.told {
		a.told = true
		close(a.loaded)
		a.log.Info("global tables read", "entries", now.Entries, "bytes", now.Bytes, "took", a.ground.Now().Sub(a.began).Round(time.Millisecond))
	}
}

// inspect says what there is.
func (a *globals) inspect() []status.Global {
	var all []status.Global
	for i, g := range a.state.plan.Globals {
		x := a.state.copies[i].Stats()
		st := status.Global{Table: g.Name, Topic: g.Topic.Name, State: status.Running, Why: a.why, Progress: 1, Entries: x.Entries, Bytes: x.Bytes, Skipped: x.Skipped}
		if !a.state.ready {
			st.State, st.Progress = status.Restoring, 0
			if done, total := a.state.progress(); total > 0 {
				st.Progress = float64(done) / float64(total)
			}
		}
		all = append(all, st)
	}
	return all
}
