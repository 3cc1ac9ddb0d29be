package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// patterns reads all topics that match: further ones appear while nodes run, with numbers of partitions of their own, and get more of those. One agent copies,
// a flow counts behind a topic of the topology's, and an agent starts at the end of what is there at first, and at the beginning of what comes later.
func patterns() *Case {
	where := func(topic string, partition int32, key string) string {
		return fmt.Sprintf("%s/%d %s", topic, partition, key)
	}
	placed := func(in []Record) (out []Record) {
		for _, r := range in {
			out = append(out, Record{Key: where(r.Topic, r.Partition, r.Key), Value: r.Value})
		}
		return out
	}
	return &Case{
		Name: "patterns", Agents: 2,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("patterns")
			in := topology.NewTopicPattern(t, "in", `in(-\d+)?`, codec.String, codec.String)
			out, late := topicOf(t, "out"), topicOf(t, "late")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "copy", in, func(ctx *topology.Context, e event) error {
				out.Send(ctx, where(e.Topic(), e.Partition(), e.Key), e.Value)
				return h.Turn(ctx, "copy", e.Value)
			}, topology.Sends(out))
			topology.Each(t, "late", in, func(ctx *topology.Context, e event) error {
				late.Send(ctx, where(e.Topic(), e.Partition(), e.Key), e.Value)
				return h.Fate("late", strings.TrimSuffix(e.Value, poison))
			}, topology.Sends(late), topology.StartAt(topology.Latest))
			flow := topology.Peek(topology.From(in), func(e event) {
				if err := h.Fate("flow", e.Value); err != nil {
					panic(err)
				}
			})
			topology.Count(topology.GroupByKey(topology.Repartition(flow, "wide", 2)), counts)
			return t
		},
		Input: someInput,
		Topic: func(r *rand.Rand, i int) string {
			if n := i / 20; n > 0 && r.IntN(3) > 0 {
				return fmt.Sprintf("in-%d", r.IntN(min(n, 3)))
			}
			return "in"
		},
		Disturb: func(w *World) {
			for _, name := range w.b.Topics() {
				if st, ok := w.b.Describe(name); ok && strings.HasPrefix(name, "in-") && st.Partitions < 3 && w.s.Chance("topic grows", 4) {
					w.s.Logf("topic %s grows", name)
					if err := w.b.Grow(name, st.Partitions+1); err != nil {
						w.s.Fail(err)
					}
				}
			}
		},
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", placed(o.good()), nil); err != nil {
				return err
			}
			if err := o.table("counts", counted(o.good())); err != nil {
				return err
			}
			return lateOnes(o, placed(o.sent))
		},
	}
}

// lateOnes checks what an agent that starts at the end has done: all of what the slot map says to have been found later, and of the rest the end of each
// partition, from its first record on.
func lateOnes(o *Oracle, sent []Record) error {
	later := map[string]bool{}
	for _, r := range o.Committed("patterns-slots") {
		if e, err := kafka.ParseSlotEntry([]byte(r.Value)); err == nil && r.Partition == 0 && e.Later {
			later[where(e.Stage, e.Partition)] = true
		}
	}
	want, got := map[string][]string{}, map[string][]string{}
	for _, r := range sent {
		want[r.Key] = append(want[r.Key], r.Value)
	}
	for _, r := range o.Committed("late") {
		got[r.Key] = append(got[r.Key], r.Value)
	}
	for key, all := range want {
		part, _, _ := strings.Cut(key, " ")
		have := got[key]
		if len(have) > len(all) || !slices.Equal(have, all[len(all)-len(have):]) || later[part] && len(have) < len(all) {
			return fmt.Errorf("topic late: %s has %v, and %v was sent; found later: %v", key, have, all, later[part])
		}
	}
	return nil
}

// where names a partition of a topic.
func where(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }
