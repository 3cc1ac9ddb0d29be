package world

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// atLeastOnce commits without transactions: no record is lost, and what is done twice is counted twice. What a process
// that has lost a slot writes late is passed over by a restore; only compaction might have taken newer rows away for it before.
func atLeastOnce() *Case {
	return &Case{
		Name: "at-least-once", AtLeastOnce: true, Letters: true, Compaction: -1,
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
			want := map[string]int64{}
			for _, r := range o.sent {
				switch {
				case isBad(r.Value) && !letters[r.Value]:
					return fmt.Errorf("%s is poison, and no dead letter", r.Value)
				case isBad(r.Value) && seen[r.Value] > 0:
					return fmt.Errorf("%s is poison, and in the topic out", r.Value)
				case isBad(r.Value):
				case seen[r.Value] == 0:
					return fmt.Errorf("%s is lost", r.Value)
				default:
					want[r.Key]++
				}
			}
			if o.Seen(sawTwin) { // a static member that is back has its old generation: a restore cannot tell older rows from newer ones
				return nil
			}
			for _, rows := range o.image("counts") {
				for k, v := range rows {
					n, err := codec.Int64.Decode([]byte(v))
					if err != nil {
						return err
					}
					if n < want[k] {
						return fmt.Errorf("table counts: key %s should be at least %d and is %d", k, want[k], n)
					}
					delete(want, k)
				}
			}
			if len(want) > 0 {
				return fmt.Errorf("table counts: keys are missing: %v", want)
			}
			return nil
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

// take is when a slot was marked as taken in a generation, at-least-once: how long the changelog was by then.
type take struct {
	slot       int32
	generation uint64 // as it stands in the changelog
	end        int64
}

// noteTake notes that a slot is marked. The slots of the case at-least-once are the leader's, and then one for each partition of its table.
func (w *World) noteTake(slot, generation int32) {
	if slot == 0 {
		return
	}
	end, err := w.b.End(kafka.TopicPartition{Topic: w.c.Name + "-counts-changelog", Partition: slot - 1}, kafka.ReadUncommitted)
	if err != nil { // not made yet
		end = 0
	}
	w.takes = append(w.takes, take{slot, uint64(generation) + 1, end}) //nolint:gosec // a member's is not negative
}

// late returns the keys of which a changelog has at last what a process has written that had lost the slot by then, to the owner of a generation. Who has it
// now may have read the changelog before, and a restore from its checkpoint does without; one from the beginning cannot tell, until that owner
// has written something. Nothing of it was committed.
func (w *World) late(tp kafka.TopicPartition, generation uint64) map[string]bool {
	late := map[string]bool{}
	if generation == 0 {
		return late
	}
	end := int64(math.MaxInt64)
	for _, t := range w.takes {
		if t.slot == tp.Partition+1 && t.generation == generation {
			end = min(end, t.end)
		}
	}
	for _, r := range w.o.Committed(tp.Topic) {
		if r.Partition != tp.Partition {
			continue
		}
		delete(late, r.Key)
		if r.Offset >= end && generationOf(r) < generation {
			late[r.Key] = true
		}
	}
	return late
}

// generationOf is that of the owner that wrote a record of a changelog.
func generationOf(r Record) (g uint64) {
	b := new(kafka.Batch)
	b.Append(r.Offset, 0, nil, nil, r.headers)
	for h := range b.Headers(0) {
		if h.Key == "g" {
			g, _ = binary.Uvarint(h.Value)
		}
	}
	return g
}
