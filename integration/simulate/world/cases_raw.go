package world

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// raw has an agent that is an actor of the user's own, which is through with its records in an order of its own.
func raw() *Case {
	return &Case{
		Name: "raw",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("raw")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			props := h.props(func() actor.Actor { return &juggler{h: h, out: out, counts: counts} })
			topology.Props(t, "juggle", in, props, topology.Sends(out), topology.Writes(counts))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			value = fmt.Sprintf("r%d", i)
			if r.IntN(60) == 0 {
				value += poison
			}
			return word(r, 8), value
		},
		Check: func(o *Oracle) error {
			if err := o.same("out", o.good()); err != nil { // as a multiset: the agent keeps no order
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// juggler is an actor that has several records in hand at a time.
type juggler struct {
	h      *Hooks
	out    *strings2
	counts *topology.Table[string, int64]
}

// through is the message that a record is done with.
type through struct {
	batch *topology.Batch[string, string]
	i     int
	ctx   *topology.Context
}

// Receive implements actor.Actor.
func (a *juggler) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *topology.Batch[string, string]:
		order := a.h.s.Rand().Perm(m.Len())
		if a.h.s.Chance("raw: backwards", 5000) {
			for i := range order {
				order[i] = m.Len() - 1 - i
			}
		}
		for _, i := range order {
			ctx, err := m.Begin(i)
			if err != nil {
				return // of an older incarnation
			}
			if a.h.s.Chance("raw: done in a later message", 5000) {
				c.Send(c.Self(), through{m, i, ctx})
				continue
			}
			a.finish(through{m, i, ctx})
		}
	case through:
		a.finish(m)
	}
}

func (a *juggler) finish(m through) {
	e, err := m.batch.At(m.i)
	if err == nil {
		a.out.Send(m.ctx, e.Key, e.Value)
		a.counts.Update(m.ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, nil })
		if a.h.s.Chance("raw: slow", 200) {
			a.h.s.Sleep(m.ctx, time.Duration(a.h.s.Rand().Int64N(int64(200*time.Millisecond))))
		}
		err = a.h.Fate("juggle", e.Value) // it may panic
	}
	if err != nil {
		_ = m.batch.Fail(m.i, err) // it fails where the batch is of an older incarnation
		return
	}
	_ = m.batch.Done(m.i) // else the record comes again
}
