package topology_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

type (
	ctxOf  = *topology.Context
	event  = topology.Event[string, string]
	stream = topology.Stream[string, string]
)

// loop runs a loop agent that copies to "out" whatever fn sends.
func loop(t *testing.T, fn func(out *topology.Topic[string, string], ctx ctxOf, in stream) error, records ...record) (n *node, done int, err error) {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Agent(topo, "loop", in, func(ctx ctxOf, s stream) error { return fn(out, ctx, s) }, topology.Sends(out))
	n = newNode(t, topo, 1, 0)
	done, err = n.run("loop", records...)
	return n, done, err
}

var abc = []record{{key: "a"}, {key: "b"}, {key: "c"}}

func TestLoopNextTurnIsDone(t *testing.T) {
	t.Parallel()
	calls := 0
	n, done, err := loop(t, func(out *topology.Topic[string, string], ctx ctxOf, in stream) error {
		calls++
		for ev := range in.All() {
			out.Send(ctx, ev.Key, "")
		}
		return nil
	}, abc...)
	require.NoError(t, err)
	require.Equal(t, 3, done)
	require.Equal(t, 1, calls)
	require.Equal(t, []string{"a=@0", "b=@0", "c=@0"}, n.sent("out"))
}

func TestLoopBreakAndReturnAreDone(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]bool{"break": true, "return": false} {
		calls := 0
		n, done, err := loop(t, func(out *topology.Topic[string, string], ctx ctxOf, in stream) error {
			calls++
			for ev := range in.All() {
				out.Send(ctx, ev.Key, "")
				if leave {
					break
				}
				return nil
			}
			return nil
		}, abc...)
		require.NoError(t, err, name)
		require.Equal(t, 3, done, name)
		require.GreaterOrEqual(t, calls, 3, name)
		require.Len(t, n.sent("out"), 3, name)
	}
}

func TestLoopErrorAndPanicFailTheRecord(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, fail := range map[string]func(ctxOf) error{
		"error": func(ctxOf) error { return boom },
		"panic": func(ctxOf) error { panic(boom) },
		"Fail":  func(c ctxOf) error { c.Fail(boom); return nil },
	} {
		n, done, err := loop(t, func(out *topology.Topic[string, string], ctx ctxOf, in stream) error {
			for ev := range in.All() {
				out.Send(ctx, ev.Key, "")
				if ev.Key == "b" {
					if err := fail(ctx); err != nil {
						return err
					}
				}
			}
			return nil
		}, abc...)
		require.ErrorIs(t, err, boom, name)
		require.Equal(t, 1, done, name)
		require.Equal(t, []string{"a=@0"}, n.sent("out"), name)
	}
}

func TestLoopWithinLoop(t *testing.T) {
	t.Parallel()
	inner := 0
	_, done, err := loop(t, func(_ *topology.Topic[string, string], _ ctxOf, in stream) error {
		for range in.All() {
			for range in.All() {
				inner++
			}
		}
		return nil
	}, abc...)
	require.ErrorContains(t, err, "a second time")
	require.Zero(t, done)
	require.Zero(t, inner)
}

func TestLoopAfterLoop(t *testing.T) {
	t.Parallel()
	n, done, err := loop(t, func(out *topology.Topic[string, string], ctx ctxOf, in stream) error {
		for ev := range in.All() {
			out.Send(ctx, ev.Key, "")
			break
		}
		for range in.Batches(2, 0) {
			t.Error("a second loop was given records")
		}
		return nil
	}, abc...)
	require.ErrorContains(t, err, "a second time")
	require.Zero(t, done)
	require.Empty(t, n.sent("out"))
}

// A function that begins loops for ever would never end but for the panic.
func TestLoopsForEver(t *testing.T) {
	t.Parallel()
	_, _, err := loop(t, func(_ *topology.Topic[string, string], _ ctxOf, in stream) error {
		for {
			for range in.All() {
				break
			}
		}
	}, abc...)
	require.ErrorContains(t, err, "a second time")
}

func TestLoopEffectOutsideATurn(t *testing.T) {
	t.Parallel()
	_, done, err := loop(t, func(out *topology.Topic[string, string], ctx ctxOf, _ stream) error {
		out.Send(ctx, "early", "")
		return nil
	}, abc...)
	require.ErrorContains(t, err, "an effect outside a turn")
	require.Zero(t, done)
}

func TestBatchesAreOneTurn(t *testing.T) {
	t.Parallel()
	var sizes []int
	n, done, err := loop(t, func(out *topology.Topic[string, string], ctx ctxOf, in stream) error {
		for evs := range in.Batches(2, time.Second) {
			sizes = append(sizes, len(evs))
			for _, ev := range evs {
				out.Send(ctx, ev.Key, "")
			}
			if evs[0].Key == "c" {
				return errors.New("no")
			}
		}
		return nil
	}, append(slices.Clone(abc), record{key: "d"}, record{key: "e"})...)
	require.EqualError(t, err, "no")
	require.Equal(t, 2, done)
	require.Equal(t, []int{2, 2}, sizes)
	require.Equal(t, []string{"a=@0", "b=@0"}, n.sent("out"))
}

func TestEachStopsAtAFailure(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	out := topology.NewTopic(topo, "out", codec.String, codec.Int64)
	topology.Each(topo, "each", in, func(ctx ctxOf, ev topology.Event[string, int64]) error {
		out.Send(ctx, ev.Key, ev.Value+1)
		return nil
	}, topology.Sends(out))
	n := newNode(t, topo, 1, 0)
	done, err := n.run("each", record{key: "a", value: "\x00\x00\x00\x00\x00\x00\x00\x07"}, record{key: "b", value: "seven"}, record{key: "c"})
	require.Equal(t, 1, done)
	var undecodable *topology.DecodeError
	require.ErrorAs(t, err, &undecodable)
	require.Equal(t, "in", undecodable.Topic)
	require.EqualValues(t, 101, undecodable.Offset)
	require.EqualError(t, err, "decode the value of in/0@101 as int64: an int64 has 8 bytes, got 5: was it written with another codec?")
	require.True(t, undecodable.Permanent())
	require.Equal(t, []string{"a=\x00\x00\x00\x00\x00\x00\x00\x08@0"}, n.sent("out"))
}

func TestEventSaysWhereItIs(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	var got []event
	topology.Each(topo, "each", in, func(_ ctxOf, ev event) error { got = append(got, ev); return nil })
	n := newNode(t, topo, 8, 5)
	_, err := n.run("each",
		record{key: "k", value: "v", at: 1234, headers: []kafka.Header{{Key: "h", Value: []byte("x")}, {Key: "null"}}},
		record{nullKey: true}, record{nullValue: true})
	require.NoError(t, err)
	ev := got[0]
	require.Equal(t, "in", ev.Topic())
	require.EqualValues(t, 5, ev.Partition())
	require.EqualValues(t, 100, ev.Offset())
	require.Equal(t, time.UnixMilli(1234), ev.Timestamp())
	require.Equal(t, []kafka.Header{{Key: "h", Value: []byte("x")}, {Key: "null"}}, slices.Collect(ev.Headers()))
	require.False(t, ev.NullKey || ev.NullValue)
	require.True(t, got[1].NullKey)
	require.False(t, got[1].NullValue, "empty is not null")
	require.True(t, got[2].NullValue)
	require.False(t, got[2].NullKey)
	require.Empty(t, slices.Collect(got[2].Headers()))

	hand := event{Key: "k"} // as tests of handlers make them
	require.Empty(t, hand.Topic())
	require.Zero(t, hand.Partition())
	require.Zero(t, hand.Offset())
	require.Equal(t, time.UnixMilli(0), hand.Timestamp())
	require.Empty(t, slices.Collect(hand.Headers()))
}

func rowTopology(fn func(ctxOf, event, *topology.Row[int64]) error) (*topology.Topology, *topology.Topic[string, string], *topology.Table[string, int64]) {
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	table := topology.NewTable(topo, "rows", codec.String, codec.Int64)
	topology.EachRow(topo, "each", in, table, fn, topology.Sends(out))
	return topo, out, table
}

func TestEachRow(t *testing.T) {
	t.Parallel()
	var out *topology.Topic[string, string]
	topo, out, _ := rowTopology(func(ctx ctxOf, ev event, row *topology.Row[int64]) error {
		n, ok := row.Get()
		require.Equal(t, n > 0, ok)
		switch ev.Value {
		case "delete":
			row.Delete()
		case "fail":
			row.Set(99)
			return errors.New("no")
		default:
			row.Set(n + 1)
			out.Send(ctx, ev.Key, strings.Repeat("i", int(n+1)))
		}
		return nil
	})
	n := newNode(t, topo, 1, 0)
	var records []record
	for range 700 { // several chunks
		records = append(records, record{key: "a"})
	}
	_, err := n.run("each", append(records, record{key: "b"}, record{nullKey: true}, record{key: "b", value: "delete"}, record{key: "c"})...)
	require.NoError(t, err)
	require.Equal(t, []string{"a=700", "c=1"}, rows[int64](n, "rows"))
	require.Len(t, n.sent("out"), 702)
	require.EqualValues(t, 1000, n.out.Records[0].Timestamp, "what is sent has the record's time")
	require.EqualValues(t, 1699, n.out.Records[699].Timestamp)

	done, err := n.run("each", record{key: "c"}, record{key: "c", value: "fail"}, record{key: "c"})
	require.ErrorContains(t, err, "no")
	require.Equal(t, 1, done)
	require.Equal(t, []string{"a=700", "c=2"}, rows[int64](n, "rows"))
}

func TestEachRowSeesItsRowAlone(t *testing.T) {
	t.Parallel()
	var table *topology.Table[string, int64]
	for want, fn := range map[string]func(ctxOf) error{
		"sees its row alone": func(ctx ctxOf) error { _, _, err := table.Get(ctx, "a"); require.Error(t, err); return nil },
		"writes its row alone": func(ctx ctxOf) error {
			table.Set(ctx, "a", 1)
			table.Delete(ctx, "a")
			return nil
		},
	} {
		topo, _, tb := rowTopology(func(ctx ctxOf, _ event, row *topology.Row[int64]) error { row.Set(5); return fn(ctx) })
		table = tb
		n := newNode(t, topo, 1, 0)
		_, err := n.run("each", record{key: "a"})
		require.ErrorContains(t, err, want)
		require.Empty(t, rows[int64](n, "rows"))
	}
}

func TestWhatIsKeptPastATurn(t *testing.T) {
	t.Parallel()
	var kept ctxOf
	var row *topology.Row[int64]
	topo, out, table := rowTopology(func(ctx ctxOf, _ event, r *topology.Row[int64]) error { kept, row = ctx, r; return nil })
	n := newNode(t, topo, 1, 0)
	_, err := n.run("each", record{key: "a"})
	require.NoError(t, err)
	for name, use := range map[string]func(){
		"Send": func() { out.Send(kept, "a", "") }, "Row.Set": func() { row.Set(1) }, "Row.Get": func() { row.Get() },
		"Set": func() { table.Set(kept, "a", 1) }, "Fail": func() { kept.Fail(errors.New("late")) },
	} {
		require.ErrorContains(t, protect(func() error { use(); return nil }), "an effect outside a turn", name)
	}
	require.NoError(t, kept.Err(), "it is still a context.Context")
}

func TestPropsBatch(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Props(topo, "raw", in, actor.PropsFromFunc(func(actor.Context) {}), topology.Sends(out))
	n := newNode(t, topo, 3, 0)
	a := n.agent("raw")
	require.Nil(t, a.Program)
	seven := "\x00\x00\x00\x00\x00\x00\x00\x07"
	raw := &rawInput{node: n, recs: n.batch(a, record{key: "a", value: seven}, record{key: "b", value: "x"}), turns: map[int]*input{}}
	b, ok := a.Raw.Batch(raw).(*topology.Batch[string, int64])
	require.True(t, ok)
	require.Equal(t, 2, b.Len())

	ctx, err := b.Begin(0)
	require.NoError(t, err)
	ev, err := b.At(0)
	require.NoError(t, err)
	require.EqualValues(t, 7, ev.Value)
	out.Send(ctx, ev.Key, "ok", topology.ToPartition(0))
	require.NoError(t, b.Done(0))
	require.Equal(t, []string{"a=ok@0"}, n.sent("out"))
	require.Panics(t, func() { out.Send(ctx, "late", "") })

	_, err = b.At(1)
	var undecodable *topology.DecodeError
	require.ErrorAs(t, err, &undecodable)
	require.NoError(t, b.Fail(1, err))
	_, err = b.At(2)
	require.EqualError(t, err, "agent raw: At(2) of a batch of 2 records")
	_, err = b.At(-1)
	require.Error(t, err)
	_, err = b.Begin(9)
	require.Error(t, err)
	require.Equal(t, "done 0", raw.log[0])
}

func TestTimerAndTask(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.Int64)
	table := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Each(topo, "count", in, func(ctx ctxOf, ev event) error { table.Set(ctx, ev.Key, 3); return nil }, topology.Writes(table))
	var due time.Time
	topology.Every(topo, "report", time.Minute, func(ctx *topology.TaskContext) error {
		due = ctx.Due
		sum := int64(0)
		for k, v := range table.All(ctx) {
			got, ok, err := table.Get(ctx, k)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, v, got)
			sum += v
		}
		out.Send(ctx, "sum", sum, topology.ToPartition(0))
		return nil
	}, topology.Reads(table), topology.Sends(out))
	topology.Every(topo, "impatient", time.Minute, func(ctx *topology.TaskContext) error { ctx.Commit(); return nil })
	topology.Task(topo, "start", func(ctx *topology.TaskContext) error {
		out.Send(ctx, "started", 1, topology.ToPartition(1))
		if ctx.Commit() {
			out.Send(ctx, "more", 1, topology.ToPartition(1))
		}
		return errors.New("late")
	}, topology.Sends(out))
	topology.Task(topo, "undeclared", func(ctx *topology.TaskContext) error { out.Send(ctx, "", 1); return nil })

	n := newNode(t, topo, 2, 0)
	_, err := n.run("count", record{key: "a"}) // whose partition is 0 of 2
	require.NoError(t, err)
	n.shards[0].Committed(n.epoch)
	at := time.UnixMilli(5000)
	require.NoError(t, n.timer("report", at))
	require.Equal(t, at, due)
	require.Equal(t, []string{"sum=\x00\x00\x00\x00\x00\x00\x00\x03@0"}, n.sent("out"))
	require.EqualValues(t, 5000, n.out.Records[0].Timestamp)
	require.ErrorContains(t, n.timer("impatient", at), "timer impatient: Commit is for tasks")
	require.EqualError(t, n.timer("start", at), "late")
	require.Equal(t, "started=\x00\x00\x00\x00\x00\x00\x00\x01@1", n.sent("out")[1])
	require.Len(t, n.sent("out"), 2, "what was committed stays, what came after it is dropped")
	require.EqualValues(t, 5000, n.out.Records[1].Timestamp)
	require.ErrorContains(t, n.timer("undeclared", at), "task undeclared sends to topic out without having declared it: add topology.Sends(out) to it")
}

func TestLoopsOverWhatDoesNotDecode(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]func(topology.Stream[string, int64]) int{
		"All": func(in topology.Stream[string, int64]) (n int) {
			for range in.All() {
				n++
			}
			return n
		},
		"Batches": func(in topology.Stream[string, int64]) (n int) {
			for evs := range in.Batches(1, -1) {
				n += len(evs)
			}
			return n
		},
	} {
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
		seen := 0
		topology.Agent(topo, "loop", in, func(_ ctxOf, s topology.Stream[string, int64]) error { seen += body(s); return nil })
		n := newNode(t, topo, 1, 0)
		done, err := n.run("loop", record{nullValue: true}, record{value: "?"}, record{nullValue: true})
		var undecodable *topology.DecodeError
		require.ErrorAs(t, err, &undecodable, name)
		require.EqualValues(t, 101, undecodable.Offset, name)
		require.Equal(t, 1, done, name)
		require.Equal(t, 1, seen, name)
	}
}

type contextKey struct{}

// A handler may hand its ctx to whatever takes a context.Context: it ends when the partition moves.
func TestContextIsAContext(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "each", in, func(ctx ctxOf, _ event) error {
		require.EqualValues(t, 3, ctx.Partition())
		require.Equal(t, "here", ctx.Value(contextKey{}))
		_, ok := ctx.Deadline()
		require.False(t, ok)
		select {
		case <-ctx.Done():
			return ctx.Err()
		default:
			return nil
		}
	})
	n := newNode(t, topo, 4, 3)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "here"))
	n.ctx = ctx
	_, err := n.run("each", record{})
	require.NoError(t, err)
	cancel()
	_, err = n.run("each", record{})
	require.ErrorIs(t, err, context.Canceled)
}
