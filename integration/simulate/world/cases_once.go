package world

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// atLeastOnce sends outside of transactions: what is sent may be sent again, and nothing of it is lost. Tables have each record
// once, since their changelogs and the offsets are in transactions all the same.
func atLeastOnce() *Case {
	return &Case{
		Name: "at-least-once", AtLeastOnce: true, Letters: true,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("at-least-once")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				out.Send(ctx, e.Key, e.Value)
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", e.Value) })
				return h.Turn(ctx, "count", e.Value)
			}, topology.Sends(out), topology.Writes(counts))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			seen := map[string]int{}
			for _, r := range o.Committed("out") {
				if seen[r.Value]++; seen[r.Value] == 2 {
					o.Saw(sawTwice)
				}
			}
			letters := map[string]bool{}
			for _, r := range o.Committed(o.topology + "-dead-letters") {
				if !isBad(r.Value) {
					return fmt.Errorf("%s is a dead letter", r.Value)
				}
				letters[r.Value] = true
			}
			for _, r := range o.sent {
				switch {
				case isBad(r.Value) && !letters[r.Value]:
					return fmt.Errorf("%s is poison, and no dead letter", r.Value)
				case isBad(r.Value) && seen[r.Value] > 0:
					return fmt.Errorf("%s is poison, and in the topic out", r.Value)
				case !isBad(r.Value) && seen[r.Value] == 0:
					return fmt.Errorf("%s is lost", r.Value)
				}
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// refusals has topics that refuse what is written: records that are too large always, and all for a while that somebody has taken
// the right to write away, or has deleted the topic. What could not be written is a dead letter, with nothing of it done; everything else is done, once.
func refusals() *Case {
	return &Case{
		Name: "refusals", Letters: true,
		Prepare: func(w *World) {
			if err := w.b.Create("out", 4, map[string]string{"max.message.bytes": "1000"}); err != nil {
				w.s.Fail(err)
			}
		},
		Disturb: func(w *World) {
			for _, name := range []string{"out", "aside", w.c.Name + "-counts-changelog"} {
				switch {
				case w.deniedUntil[name] > 0 && w.s.Steps() >= w.deniedUntil[name]:
					w.allow(name)
				case w.deniedUntil[name] == 0 && w.s.Chance("topic denied", 8):
					w.s.Logf("topic %s is denied", name)
					w.b.Deny(name, broker.TopicAuthorization)
					w.deniedUntil[name] = w.s.Steps() + 20 + w.s.Rand().IntN(1000)
				case w.deniedUntil[name] == 0 && w.s.Chance("topic gone", 8):
					w.s.Logf("topic %s is gone", name)
					w.b.Deny(name, broker.UnknownTopicOrPartition)
					w.deniedUntil[name] = w.s.Steps() + 20 + w.s.Rand().IntN(1000)
				}
			}
		},
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("refusals")
			in, out, aside := topicOf(t, "in"), topicOf(t, "out"), topicOf(t, "aside")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", e.Value) })
				aside.Send(ctx, e.Key, e.Value)
				if strings.Contains(e.Value, giant) {
					out.Send(ctx, e.Key, e.Value+string(make([]byte, 1000)))
				} else {
					out.Send(ctx, e.Key, e.Value)
				}
				return h.Turn(ctx, "count", e.Value)
			}, topology.Sends(out, aside), topology.Writes(counts))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			if key, value = someInput(r, i); r.IntN(40) == 0 {
				value += giant
			}
			return key, value
		},
		Check: func(o *Oracle) error {
			letters := map[string]int{}
			for _, r := range o.Committed(o.topology + "-dead-letters") {
				letters[r.Value]++
			}
			var kept []Record
			for _, r := range o.sent {
				switch n := letters[r.Value]; {
				case n > 1:
					return fmt.Errorf("%s is a dead letter %d times", r.Value, n)
				case n == 0 && isBad(r.Value):
					return fmt.Errorf("%s cannot be done, and is no dead letter", r.Value)
				case n == 0:
					kept = append(kept, r)
				}
				switch {
				case letters[r.Value] == 0 || strings.Contains(r.Value, poison):
				case strings.Contains(r.Value, giant):
					o.Saw(sawGiant)
				default:
					o.Saw(sawDenied)
				}
				delete(letters, r.Value)
			}
			if len(letters) > 0 {
				return fmt.Errorf("dead letters of nothing that was sent: %v", letters)
			}
			if err := o.inOrder("out", kept, nil); err != nil {
				return err
			}
			if err := o.inOrder("aside", kept, nil); err != nil {
				return err
			}
			return o.table("counts", counted(kept))
		},
	}
}

// allow lets a topic that was denied be written again.
func (w *World) allow(name string) {
	w.s.Logf("topic %s is allowed", name)
	w.b.Deny(name, broker.None)
	w.deniedUntil[name] = 0
}
