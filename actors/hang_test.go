package actors_test

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// hanging is a place in which a handler hangs when stall blocks, which it calls with each value and with its context.
type hanging func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption)

var hangingPlaces = map[string]hanging{
	"Each": func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption) {
		topology.Each(t, "agent", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
			out.Send(ctx, ev.Key, ev.Value)
			return stall(ctx, ev.Value)
		}, topology.Sends(out), p)
	},
	"Agent": func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption) {
		topology.Agent(t, "agent", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
			for ev := range s.All() {
				out.Send(ctx, ev.Key, ev.Value)
				if err := stall(ctx, ev.Value); err != nil {
					return err
				}
			}
			return nil
		}, topology.Sends(out), p)
	},
	"Batches": func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption) {
		topology.Agent(t, "agent", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
			for evs := range s.Batches(10, 10*time.Millisecond) {
				for _, ev := range evs {
					out.Send(ctx, ev.Key, ev.Value)
					if err := stall(ctx, ev.Value); err != nil {
						return err
					}
				}
			}
			return nil
		}, topology.Sends(out), p)
	},
	"EachRow": func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption) {
		table := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.EachRow(t, "agent", in, table, func(ctx *topology.Context, ev topology.Event[string, string], row *topology.Row[int64]) error {
			row.Set(1)
			out.Send(ctx, ev.Key, ev.Value)
			return stall(ctx, ev.Value)
		}, topology.Sends(out), p)
	},
	"Update": func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption) {
		table := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "agent", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
			out.Send(ctx, ev.Key, ev.Value)
			table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, stall(ctx, ev.Value) })
			return nil
		}, topology.Sends(out), topology.Writes(table), p)
	},
	"Props": func(t *topology.Topology, in, out *topology.Topic[string, string], stall func(context.Context, string) error, p topology.AgentOption) {
		topology.Props(t, "agent", in, actor.PropsFromFunc(func(c actor.Context) {
			b, ok := c.Message().(*topology.Batch[string, string])
			if !ok {
				return
			}
			for i := range b.Len() {
				ctx, err := b.Begin(i)
				if err != nil {
					return
				}
				ev, err := b.At(i)
				if err == nil {
					out.Send(ctx, ev.Key, ev.Value)
					err = stall(ctx, ev.Value)
				}
				if err != nil {
					err = b.Fail(i, err)
				} else {
					err = b.Done(i)
				}
				if err != nil {
					return
				}
			}
		}), topology.Sends(out), p)
	},
}

// A record whose handler passes its deadline is tried again, then it is a dead letter; whether the handler heeds its context or not,
// wherever it runs. Records of other handlers, and those behind it, come through once.
func TestNodeHandlersThatHang(t *testing.T) {
	t.Parallel()
	for name, place := range hangingPlaces {
		for _, heeds := range []bool{true, false} {
			if heeds && name == "Update" {
				continue // a function of Update has no context
			}
			what := " that ignores its context"
			if heeds {
				what = " that heeds its context"
			}
			t.Run(name+what, func(t *testing.T) {
				t.Parallel()
				release := make(chan struct{})
				w := newWorld(t, 1, "in", "out")
				topo := topology.New("hang")
				in := topology.NewTopic(topo, "in", codec.String, codec.String)
				out := topology.NewTopic(topo, "out", codec.String, codec.String)
				var hung atomic.Int32
				place(topo, in, out, func(ctx context.Context, value string) error {
					if value != "bad" {
						return nil
					}
					hung.Add(1)
					if heeds {
						<-ctx.Done()
						return ctx.Err()
					}
					<-release
					return nil
				}, topology.OnFailure(topology.Policy{
					Attempts: 2, Deadline: 500 * time.Millisecond, Grace: 200 * time.Millisecond, Backoff: topology.Backoff{Min: time.Millisecond},
				}))
				n := w.node(t.TempDir(), topo)
				t.Cleanup(func() { close(release) }) // before the node stops
				w.send("in", "a", "bad", "c")
				require.Equal(t, []string{"a", "c"}, valuesOf(w.read("out", 2)))
				letter := w.read("hang-dead-letters", 1)[0]
				require.Equal(t, "bad", string(letter.Value))
				require.Equal(t, "2", header(letter, "troupe.attempts"))
				require.Regexp(t, "has passed its deadline of 500ms|the handler hangs", header(letter, "troupe.error"))
				require.GreaterOrEqual(t, hung.Load(), int32(2))
				if !heeds {
					require.Contains(t, header(letter, "troupe.stack"), "actors_test.", "where the handler hangs")
					w.stop(n)
					require.Equal(t, []string{"a", "c"}, valuesOf(w.read("out", 2)), "what it would still do is refused")
				}
			})
		}
	}
}

// Timers and tasks that hang, or whose goroutine ends, are tried again as records are.
func TestNodeTimersAndTasksThatHang(t *testing.T) {
	t.Parallel()
	define := map[string]func(*topology.Topology, func(*topology.TaskContext) error, ...topology.AgentOption){
		"timer": func(t *topology.Topology, fn func(*topology.TaskContext) error, opts ...topology.AgentOption) {
			topology.Every(t, "beside", 50*time.Millisecond, fn, opts...)
		},
		"task": func(t *topology.Topology, fn func(*topology.TaskContext) error, opts ...topology.AgentOption) {
			topology.Task(t, "beside", fn, opts...)
		},
	}
	for kind, def := range define {
		for _, how := range []string{"heeds its context", "ignores its context", "ends its goroutine", "panics"} {
			t.Run(kind+" that "+how, func(t *testing.T) {
				t.Parallel()
				release := make(chan struct{})
				w := newWorld(t, 1, "in", "out")
				topo := topology.New("hang")
				in := topology.NewTopic(topo, "in", codec.String, codec.String)
				out := topology.NewTopic(topo, "out", codec.String, codec.String)
				topology.Each(topo, "agent", in, func(*topology.Context, topology.Event[string, string]) error { return nil })
				var calls atomic.Int32
				def(topo, func(ctx *topology.TaskContext) error {
					n := calls.Add(1)
					out.Send(ctx, "k", strconv.Itoa(int(n)))
					if n > 1 {
						return nil
					}
					switch how {
					case "heeds its context":
						<-ctx.Done()
						return ctx.Err()
					case "ignores its context":
						<-release
					case "ends its goroutine":
						runtime.Goexit()
					default:
						panic("a pipe burst")
					}
					return nil
				}, topology.Sends(out), topology.OnFailure(topology.Policy{
					Attempts: 3, Deadline: 500 * time.Millisecond, Grace: 200 * time.Millisecond, Backoff: topology.Backoff{Min: time.Millisecond},
				}))
				n := w.node(t.TempDir(), topo)
				t.Cleanup(func() { close(release) })                                                                          // before the node stops
				require.Equal(t, "2", string(w.readSome("out", 1)[0].Value), "what the first call has sent is not committed") // a timer may have gone on
				w.stop(n)
			})
		}
	}
}

// A handler that hangs is in the log with its stack, once, and again when it has ended at last.
func TestNodeTellsWhatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in")
	log := new(lines)
	w.logs = log
	release := make(chan struct{})
	topo := topology.New("hang")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(*topology.Context, topology.Event[string, string]) error { <-release; return nil },
		topology.OnFailure(topology.Policy{Attempts: 1, Deadline: time.Millisecond, Grace: time.Millisecond}))
	w.node(t.TempDir(), topo)
	end := sync.OnceFunc(func() { close(release) })
	t.Cleanup(end) // before the node stops
	w.send("in", "bad")
	w.read("hang-dead-letters", 1)
	const ended = "handler that hung has ended"
	hangs := log.with(`msg="handler hangs: `)
	require.Len(t, hangs, 1)
	require.Contains(t, hangs[0], "level=ERROR")
	require.Contains(t, hangs[0], `of="agent agent, partition 0" hanging=1 stack="goroutine `)
	require.Contains(t, hangs[0], "actors_test.TestNodeTellsWhatHangs")
	require.Empty(t, log.with(ended))
	end()
	require.Eventually(t, func() bool { return len(log.with(ended)) == 1 }, patience, tick)
	require.Contains(t, log.with(ended)[0], "level=INFO")
}

// The stack of one goroutine is found among thousands.
func TestAStackAmongMany(t *testing.T) {
	t.Parallel()
	const many = 10_000
	release, ids := make(chan struct{}), make(chan string, many)
	var all sync.WaitGroup
	defer all.Wait()
	defer close(release)
	for range many {
		all.Go(func() {
			ids <- actors.GoroutineID()
			<-release
		})
	}
	for i := range many {
		if id := <-ids; i%1000 == 999 { // wherever it is listed
			stack := actors.StackOf(id)
			require.True(t, strings.HasPrefix(stack, id+" ["), stack)
			require.Contains(t, stack, "TestAStackAmongMany")
		}
	}
}

// Handlers that hang are given up one after the other, and more of them than a process can bear end the node, which says so.
func TestNodeTooManyHang(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8, "in")
	release := make(chan struct{})
	topo := topology.New("hang")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(*topology.Context, topology.Event[string, string]) error {
		<-release
		return nil
	}, topology.OnFailure(topology.Policy{Attempts: 1, Then: topology.Skip, Deadline: time.Millisecond, Grace: time.Millisecond}))
	n := w.node(t.TempDir(), topo)
	t.Cleanup(func() { close(release) })
	var values []string
	for i := range 300 {
		values = append(values, strconv.Itoa(i))
	}
	w.send("in", values...)
	require.Eventually(t, func() bool { return n.Err() != nil }, patience, tick)
	w.ends = n.Err()
	require.ErrorContains(t, n.Err(), "101 handlers hang, each with a goroutine that cannot be ended; the last of agent agent, partition ")
	require.ErrorContains(t, n.Err(), "let handlers heed their context")
}
