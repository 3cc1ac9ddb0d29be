package world

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

type (
	strings2 = topology.Topic[string, string]
	event    = topology.Event[string, string]
)

func topicOf(t *topology.Topology, name string) *strings2 {
	return topology.NewTopic(t, name, codec.String, codec.String)
}

// stateless copies records.
func stateless() *Case {
	return &Case{
		Name: "stateless",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("stateless")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			topology.Each(t, "copy", in, func(ctx *topology.Context, e event) error {
				out.Send(ctx, e.Key, e.Value) // what a failing record has sent must vanish
				return h.Turn(ctx, "copy", e.Value)
			}, topology.Sends(out))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error { return o.inOrder("out", o.good(), nil) },
	}
}

// count counts records by key, in the shard.
func count() *Case {
	return &Case{
		Name: "count",
		Define: func(h *Hooks, version int) *topology.Topology {
			t := topology.New("count")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.EachRow(t, "count", in, counts, func(ctx *topology.Context, e event, row *topology.Row[int64]) error {
				n, _ := row.Get()
				row.Set(n + 1)
				out.Send(ctx, e.Key, fmt.Sprintf("%d %s", n+1, e.Value))
				return h.Fate("count", e.Value)
			}, topology.Sends(out))
			if version > 0 { // an upgrade brings another stage
				again := topicOf(t, "again")
				topology.Each(t, "again", out, func(ctx *topology.Context, e event) error {
					again.Send(ctx, e.Key, e.Value)
					return nil
				}, topology.Sends(again))
			}
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), numbered); err != nil {
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// numbered is the value of the i-th record of a key, counted from 1.
func numbered(i int, value string) string { return fmt.Sprintf("%d %s", i, value) }

func counted(in []Record) map[string]string {
	n := map[string]int64{}
	for _, r := range in {
		n[r.Key]++
	}
	return encoded(n)
}

// encoded is what a table of int64 holds, as bytes of its changelog.
func encoded(n map[string]int64) map[string]string {
	want := map[string]string{}
	for k, v := range n {
		b, err := codec.Int64.Append(nil, v)
		if err != nil {
			panic(err) // numbers can be encoded
		}
		want[k] = string(b)
	}
	return want
}

// repartition splits lines into words and counts those: two stages.
func repartition() *Case {
	return &Case{
		Name: "repartition",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("repartition")
			in, words, out := topicOf(t, "in"), topicOf(t, "words"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "split", in, func(ctx *topology.Context, e event) error {
				for i, w := range strings.Fields(e.Value)[1:] {
					words.Send(ctx, w, fmt.Sprintf("%s.%d", strings.Fields(e.Value)[0], i))
				}
				return h.Turn(ctx, "split", e.Value)
			}, topology.Sends(words))
			topology.EachRow(t, "count", words, counts, func(ctx *topology.Context, e event, row *topology.Row[int64]) error {
				n, _ := row.Get()
				row.Set(n + 1)
				out.Send(ctx, e.Key, numbered(int(n+1), e.Value))
				return h.Fate("count", e.Value)
			}, topology.Sends(out))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, id := someInput(r, i)
			return key, fmt.Sprintf("%s %s %s", id, word(r, 10), word(r, 10))
		},
		Check: func(o *Oracle) error {
			var want []Record
			for _, r := range o.good() {
				for i, w := range strings.Fields(r.Value)[1:] {
					want = append(want, Record{Key: w, Value: fmt.Sprintf("%s.%d", strings.Fields(r.Value)[0], i)})
				}
			}
			if err := o.same("words", want); err != nil {
				return err
			}
			if err := o.inOrder("out", o.Committed("words"), numbered); err != nil {
				return err
			}
			return o.table("counts", counted(want))
		},
	}
}

// twoTables reads and writes two tables in one handler.
func twoTables() *Case {
	return &Case{
		Name: "two-tables",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("two-tables")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			sums := topology.NewTable(t, "sums", codec.String, codec.Int64)
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "add", in, func(ctx *topology.Context, e event) error {
				n, _, err := sums.Get(ctx, e.Key)
				if err != nil {
					return err
				}
				sums.Set(ctx, e.Key, n+int64(len(e.Value)))
				sums.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old, h.Fate("look", e.Value) })
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", e.Value) })
				out.Send(ctx, e.Key, fmt.Sprintf("%d %s", n+int64(len(e.Value)), e.Value))
				return h.Turn(ctx, "add", e.Value)
			}, topology.Writes(sums, counts), topology.Sends(out))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			sums := map[string]int64{}
			var want []Record
			for _, r := range o.good() {
				sums[r.Key] += int64(len(r.Value))
				want = append(want, Record{Key: r.Key, Value: fmt.Sprintf("%d %s", sums[r.Key], r.Value)})
			}
			if err := o.inOrder("out", want, nil); err != nil {
				return err
			}
			if err := o.table("sums", encoded(sums)); err != nil {
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// ledger turns transfers into two postings each, which are visible together or not at all.
func ledger() *Case {
	return &Case{
		Name: "ledger",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("ledger")
			in, postings := topicOf(t, "in"), topicOf(t, "postings")
			balances := topology.NewTable(t, "balances", codec.String, codec.Int64, topology.Local())
			topology.Each(t, "post", in, func(ctx *topology.Context, e event) error {
				f := strings.Fields(e.Value) // id, to, amount
				postings.Send(ctx, e.Key, "-"+f[2]+" "+f[0], topology.ToPartition(ctx.Partition()))
				if err := h.Turn(ctx, "post", e.Value); err != nil {
					return err
				}
				postings.Send(ctx, f[1], f[2]+" "+f[0], topology.ToPartition(ctx.Partition()))
				return nil
			}, topology.Sends(postings))
			topology.Each(t, "apply", postings, func(ctx *topology.Context, e event) error {
				n, err := strconv.ParseInt(strings.Fields(e.Value)[0], 10, 64)
				if err != nil {
					return err
				}
				balances.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + n, h.Fate("update", e.Value) })
				return h.Turn(ctx, "apply", e.Value)
			}, topology.Writes(balances))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, id := someInput(r, i)
			return key, fmt.Sprintf("%s %s %d", id, word(r, 8), 1+r.IntN(100))
		},
		Watch: func(o *Oracle) error { return o.zero("postings") },
		Check: func(o *Oracle) error {
			var want []Record
			balances := map[string]int64{}
			for _, r := range o.good() {
				f := strings.Fields(r.Value)
				n, _ := strconv.ParseInt(f[2], 10, 64)
				want = append(want, Record{Key: r.Key, Value: "-" + f[2] + " " + f[0]}, Record{Key: f[1], Value: f[2] + " " + f[0]})
				balances[r.Key] -= n
				balances[f[1]] += n
			}
			if err := o.same("postings", want); err != nil {
				return err
			}
			return o.sums("balances", balances)
		},
	}
}

// doneSet has agents of different speed on one topic.
func doneSet() *Case {
	return &Case{
		Name: "done-set", Agents: 2,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("done-set")
			in, fast, slow := topicOf(t, "in"), topicOf(t, "fast"), topicOf(t, "slow")
			topology.Each(t, "fast", in, func(ctx *topology.Context, e event) error {
				fast.Send(ctx, e.Key, e.Value)
				return h.Turn(ctx, "fast", e.Value)
			}, topology.Sends(fast))
			topology.Each(t, "slow", in, func(ctx *topology.Context, e event) error {
				slow.Send(ctx, e.Key, e.Value)
				h.s.Sleep(ctx, time.Duration(h.s.Rand().Int64N(int64(80*time.Millisecond))))
				return h.Turn(ctx, "slow", e.Value)
			}, topology.Sends(slow))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			if err := o.inOrder("fast", o.good(), nil); err != nil {
				return err
			}
			return o.inOrder("slow", o.good(), nil)
		},
	}
}

// batches takes records by the batch.
func batches() *Case {
	return &Case{
		Name: "batches",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("batches")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Agent(t, "gather", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
				for batch := range s.Batches(4, 40*time.Millisecond) {
					for _, e := range batch {
						out.Send(ctx, e.Key, e.Value)
						counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, nil })
						if err := h.Turn(ctx, "gather", e.Value); err != nil {
							return err
						}
					}
				}
				return nil
			}, topology.Sends(out), topology.Writes(counts))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) { return word(r, 8), fmt.Sprintf("r%d", i) },
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), nil); err != nil {
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// timers counts, and reports at intervals: each partition, and the topology as a whole.
// tocks are the intervals of timers that seldom fire, longer than the partition takes after a failure: one that has forgotten a firing
// fires again for the same moment.
var tocks = []time.Duration{
	2300 * time.Millisecond, 2900 * time.Millisecond, 3100 * time.Millisecond, 3700 * time.Millisecond,
	4100 * time.Millisecond, 4300 * time.Millisecond, 4700 * time.Millisecond, 5300 * time.Millisecond,
}

func timers() *Case {
	return &Case{
		Name: "timers", Busy: 3,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("timers")
			in, ticks, beats, minutes := topicOf(t, "in"), topicOf(t, "ticks"), topicOf(t, "beats"), topicOf(t, "minutes")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				for _, place := range []string{"first", "second", "third"} { // rollbacks are to be common here
					counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old, h.Fate(place, e.Value) })
				}
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, nil })
				return nil
			}, topology.Writes(counts), topology.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1}))
			topology.Every(t, "tick", 100*time.Millisecond, func(ctx *topology.TaskContext) error {
				sum := int64(0)
				for _, n := range counts.All(ctx) {
					sum += n
				}
				h.Seen(ctx.Partition(), sum)
				ticks.Send(ctx, fmt.Sprint(ctx.Partition()), fmt.Sprintf("%d %d", ctx.Due.UnixMilli(), sum), topology.ToPartition(ctx.Partition()))
				return nil
			}, topology.Reads(counts), topology.Sends(ticks))
			for _, every := range tocks {
				out := topicOf(t, "tocks-"+every.String())
				topology.Every(t, "tock-"+every.String(), every, func(ctx *topology.TaskContext) error {
					out.Send(ctx, fmt.Sprint(ctx.Partition()), strconv.FormatInt(ctx.Due.UnixMilli(), 10), topology.ToPartition(ctx.Partition()))
					return nil
				}, topology.Reads(counts), topology.Sends(out))
			}
			topology.Every(t, "beat", 200*time.Millisecond, func(ctx *topology.TaskContext) error {
				beats.Send(ctx, "beat", strconv.FormatInt(ctx.Due.UnixMilli(), 10), topology.ToPartition(0))
				return nil
			}, topology.Sends(beats))
			topology.Cron(t, "minute", "* * * * *", func(ctx *topology.TaskContext) error {
				if ctx.Due.Second() != 0 {
					h.s.Fail(fmt.Errorf("a crontab line of full minutes was due at %v", ctx.Due))
				}
				minutes.Send(ctx, "minute", fmt.Sprintf("%d %d", ctx.Due.UnixMilli(), ctx.Missed), topology.ToPartition(0))
				return nil
			}, topology.Sends(minutes), topology.OnLeader())
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			if err := o.minutes("minutes"); err != nil {
				return err
			}
			if err := o.firings("minutes", "minute"); err != nil {
				return err
			}
			if err := o.firings("ticks", "tick"); err != nil {
				return err
			}
			for _, every := range tocks {
				if err := o.firings("tocks-"+every.String(), "tock-"+every.String()); err != nil {
					return err
				}
			}
			if err := o.firings("beats", "beat"); err != nil {
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}

// counting copies each record and counts it by its key, with bad luck in the handler and in the table.
func counting(name string, h *Hooks) *topology.Topology {
	t := topology.New(name)
	in, out := topicOf(t, "in"), topicOf(t, "out")
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
		out.Send(ctx, e.Key, e.Value)
		counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", e.Value) })
		return h.Often("count", e.Value)
	}, topology.Sends(out), topology.Writes(counts))
	return t
}

// countedInOrder checks what counting does.
func countedInOrder(o *Oracle) error {
	if err := o.inOrder("out", o.good(), nil); err != nil {
		return err
	}
	return o.table("counts", counted(o.good()))
}

// keyOrder retries records while others of their partition go on.
func keyOrder() *Case {
	return &Case{
		Name: "key-order",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := counting("key-order", h)
			// A record may fail by bad luck in the handler and in the table, and be blamed for another's of its batch.
			t.OnFailure(topology.Policy{KeyOrder: true, Attempts: 3*maxBadLuck + 1, Backoff: topology.Backoff{Min: 50 * time.Millisecond, Max: 200 * time.Millisecond}})
			return t
		},
		Input: someInput,
		Check: countedInOrder,
	}
}

// deletes counts to three, and begins again: rows come and go.
func deletes() *Case {
	return &Case{
		Name: "deletes", Compaction: 400,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("deletes")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.EachRow(t, "count", in, counts, func(ctx *topology.Context, e event, row *topology.Row[int64]) error {
				n, _ := row.Get()
				out.Send(ctx, e.Key, fmt.Sprintf("%d %s", n+1, e.Value))
				if row.Set(n + 1); n == 2 {
					row.Delete()
				}
				return h.Fate("count", e.Value)
			}, topology.Sends(out))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), func(i int, value string) string { return numbered((i-1)%3+1, value) }); err != nil {
				return err
			}
			n := map[string]int64{}
			for _, r := range o.good() {
				if n[r.Key]++; n[r.Key] == 3 {
					delete(n, r.Key)
				}
			}
			return o.table("counts", encoded(n))
		},
	}
}
