package world

import (
	"errors"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
)

// errNotYet says that the node's copy of a topic has not got to where it must come.
var errNotYet = errors.New("the copy is not as far yet")

// globals has a global table that an agent and others write through its topic. Each node's copy has, before the first record, all that was committed when its
// process started; it never shows what is not committed, and comes to what is.
func globals() *Case {
	rates := []int32{1, 2, 3}
	return &Case{
		Name: "globals",
		Prepare: func(w *World) {
			w.watched = "rates"
			w.createTopic("rates", rates[w.s.Rand().IntN(len(rates))])
		},
		Disturb: func(w *World) {
			if w.s.Chance("rates: written by others", 150) {
				w.rate(word(w.s.Rand(), 8))
			}
		},
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("globals")
			in, mid, out, rates := topicOf(t, "in"), topicOf(t, "mid"), topicOf(t, "out"), topicOf(t, "rates")
			global := topology.NewGlobalTable(t, "rates", rates)
			topology.Each(t, "raise", in, func(ctx *topology.Context, e event) error {
				rates.Send(ctx, e.Key, e.Value)
				mid.Send(ctx, e.Key, e.Value)
				return h.Turn(ctx, "raise", e.Value)
			}, topology.Sends(rates, mid))
			topology.Each(t, "see", mid, func(ctx *topology.Context, e event) error {
				v, ok, err := global.Get(ctx, e.Key)
				if err == nil {
					err = h.copied(e, v, ok)
				}
				out.Send(ctx, e.Key, e.Value)
				return errors.Join(err, h.Turn(ctx, "see", e.Value))
			}, topology.Reads(global), topology.Sends(out), topology.OnFailure(topology.Policy{
				Backoff: topology.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond},
				Decide: func(f topology.Failure) topology.Decision {
					if errors.Is(f.Err, errNotYet) {
						return topology.Retry
					}
					return topology.ByPolicy
				},
			}))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error { return o.inOrder("out", o.good(), nil) },
	}
}

// rate writes a value, or a tombstone, as a program of others does.
func (w *World) rate(key string) {
	w.rated++
	r := broker.Record{Key: []byte(key), Value: fmt.Appendf(nil, "other%d", w.rated)}
	if w.s.Rand().IntN(3) == 0 {
		r.Value = nil
	}
	st, _ := w.b.Describe(w.watched)
	tp := kafka.TopicPartition{Topic: w.watched, Partition: kafka.Murmur2().Hash(r.Key, st.Partitions)}
	if _, err := w.b.Produce(tp, []broker.Record{r}); err != nil {
		w.s.Fail(err)
	}
}

// copied looks at what a copy of the topic of rates has for the key of a record, which was committed with a value of its own there.
func (h *Hooks) copied(e event, v string, ok bool) error {
	all, before := history(h.o.Committed("rates"), e.Key), history(h.o.AtStart(), e.Key)
	seen, own := -1, -1
	for i, r := range all {
		if r.Tombstone == !ok && r.Value == v {
			seen = i
		}
		if r.Value == e.Value {
			own = i
		}
	}
	switch {
	case seen < 0 && (ok || len(before) > 0):
		h.s.Fail(fmt.Errorf("a copy has %q (%v) for %s, and committed is %v; when its process started, %v", v, ok, e.Key, all, before))
	case seen < len(before)-1:
		h.s.Fail(fmt.Errorf("a copy has %q (%v) for %s, which was over when its process started: %v", v, ok, e.Key, before))
	case own < 0 || seen < own: // a marker is on its way, or a batch
		return errNotYet
	}
	if len(before) > 0 {
		h.o.Saw(sawCopy)
	}
	return nil
}

// history is what a topic has of a key, in order.
func history(all []Record, key string) (of []Record) {
	for _, r := range all {
		if r.Key == key {
			of = append(of, r)
		}
	}
	return of
}
