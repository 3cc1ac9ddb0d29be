package actors_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// trap is an actor of a user's that does what the actor library does not forgive. It copies what it can.
type trap struct {
	out     *topology.Topic[string, string]
	stumble func(c actor.Context, value string) error // while it handles a record
	ending  func(c actor.Context)                     // at Stopping, and at Stopped
}

func (a *trap) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *topology.Batch[string, string]:
		for i := range m.Len() {
			if a.one(c, m, i) != nil {
				return
			}
		}
	case *actor.Stopping, *actor.Stopped:
		if a.ending != nil {
			a.ending(c)
		}
	}
}

func (a *trap) one(c actor.Context, b *topology.Batch[string, string], i int) error {
	ctx, err := b.Begin(i)
	if err != nil {
		return err
	}
	ev, err := b.At(i)
	if err != nil {
		return b.Fail(i, err)
	}
	a.out.Send(ctx, ev.Key, ev.Value)
	if a.stumble != nil {
		if err := a.stumble(c, ev.Value); err != nil {
			return b.Fail(i, err)
		}
	}
	return b.Done(i)
}

// child fails at each message; its parent's strategy decides.
type child struct{}

func (child) Receive(c actor.Context) {
	if _, ok := c.Message().(string); ok {
		panic("the child fails")
	}
}

// The traps of the actor library, sprung by actors of a user's own: the tree holds, what fails is the record at hand, once or for good,
// and the node stops in order afterwards.
func TestNodeTrapsOfTheLibrary(t *testing.T) {
	t.Parallel()
	once := func(f func(c actor.Context)) func(actor.Context, string) error {
		var done atomic.Bool
		return func(c actor.Context, value string) error {
			if value == "bad" && done.CompareAndSwap(false, true) {
				f(c)
			}
			return nil
		}
	}
	escalating := actor.NewOneForOneStrategy(1, time.Second, func(any) actor.Directive { return actor.EscalateDirective })
	resuming := actor.NewOneForOneStrategy(1, time.Second, func(any) actor.Directive { return actor.ResumeDirective })
	for name, c := range map[string]struct {
		stumble func(actor.Context, string) error
		ending  func(actor.Context)
		options []actor.PropsOption
	}{
		"the message that fails is lost":  {stumble: once(func(actor.Context) { panic("at hand") })},
		"a panic with no error":           {stumble: once(func(actor.Context) { panic(struct{ why string }{"strange"}) })},
		"Goexit ends the mailbox":         {stumble: once(func(actor.Context) { runtime.Goexit() })},
		"a thread that stays locked":      {stumble: once(func(actor.Context) { runtime.LockOSThread() })},
		"it stops itself":                 {stumble: once(func(c actor.Context) { c.Stop(c.Self()); panic("and fails") })},
		"a panic in Stopping and Stopped": {stumble: once(func(actor.Context) { panic("at hand") }), ending: func(actor.Context) { panic("at the end") }},
		"Goexit in Stopping":              {stumble: once(func(actor.Context) { panic("at hand") }), ending: func(actor.Context) { runtime.Goexit() }},
		"a child's failure is escalated": {
			stumble: once(func(c actor.Context) {
				c.Send(c.Spawn(actor.PropsFromProducer(func() actor.Actor { return child{} })), "fail")
			}),
			options: []actor.PropsOption{actor.WithSupervisor(escalating)},
		},
		"a child is resumed": {
			stumble: once(func(c actor.Context) {
				c.Send(c.Spawn(actor.PropsFromProducer(func() actor.Actor { return child{} })), "fail")
			}),
			options: []actor.PropsOption{actor.WithSupervisor(resuming)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "in", "out")
			topo := topology.New("traps")
			in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
			props := actor.PropsFromProducer(func() actor.Actor { return &trap{out, c.stumble, c.ending} }, c.options...)
			topology.Props(topo, "trap", in, props, topology.Sends(out))
			n := w.node(t.TempDir(), topo)
			w.send("in", "a", "bad", "b")
			require.Equal(t, []string{"a", "bad", "b"}, valuesOf(w.read("out", 3)))
			w.send("in", "c")
			w.read("out", 4)
			w.stop(n)
			require.Equal(t, []string{"a", "bad", "b", "c"}, valuesOf(w.read("out", 4)))
		})
	}
}

// An actor that fails at every record, without end, is made anew each time: each record is a dead letter, and nothing is left over.
func TestNodeRestartWithoutLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	topo := topology.New("traps")
	in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
	var made atomic.Int64
	topology.Props(topo, "trap", in, actor.PropsFromProducer(func() actor.Actor {
		made.Add(1)
		return &trap{out, func(actor.Context, string) error { panic(errors.New("always")) }, nil}
	}), topology.Sends(out), topology.OnFailure(topology.Policy{Attempts: 1}))
	n := w.node(t.TempDir(), topo)
	var values []string
	for i := range 200 {
		values = append(values, string(rune('a'+i%26)))
	}
	w.send("in", values...)
	require.Equal(t, values, valuesOf(w.read("traps-dead-letters", len(values))))
	require.GreaterOrEqual(t, made.Load(), int64(len(values)), "its producer runs again for each")
	w.stop(n)
	w.read("out", 0)
}

// Failures without end leave nothing behind: no goroutine, no actor, no memory of them.
func TestNodeManyFailures(t *testing.T) {
	total := 100_000 // alone: its memory is looked at
	if testing.Short() {
		total = 5000
	}
	w := newWorld(t, 1, "in", "out")
	topo := topology.New("many")
	in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		if ev.Value != "last" {
			return errors.New("always")
		}
		out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(out), topology.OnFailure(topology.Policy{Attempts: 1, Then: topology.Skip}))
	n := w.node(t.TempDir(), topo)
	send := func(n int, last string) {
		values := make([]string, n, n+1)
		for i := range values {
			values[i] = "bad"
		}
		w.send("in", append(values, last)...)
	}
	send(100, "last")
	w.read("out", 1)
	before, heap := runtime.NumGoroutine(), heapInUse()
	registered, _ := actors.Registered(n)
	send(total, "last")
	w.read("out", 2)
	living, boxes := actors.Registered(n)
	require.LessOrEqual(t, living, registered+2, "actors in the registry: one may be on its way out")
	require.LessOrEqual(t, boxes, 2*living+64, "mailboxes of dead ones are swept out")
	grown := heapInUse() - heap
	t.Logf("%d actors, %d mailboxes, %d bytes more than before", living, boxes, grown)
	require.Less(t, grown, int64(10<<20), "bytes of memory: a tenth of a kilobyte for each failure would be as much")
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+100 }, patience, tick, "there were %d goroutines, there are %d", before, runtime.NumGoroutine())
}

// heapInUse is how much memory is reachable.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A member of this node's identity that nobody is (a request to join that reached the broker late makes one) replaces the node in its
// group: it joins once more, and goes on. One that comes again is another process.
func TestNodeThatIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	dir := t.TempDir()
	w.ends = kafka.ErrDuplicateIdentity
	n := w.node(dir, echo("replaced", fine, fine))
	w.send("in", "a")
	w.read("out", 1)
	replace := func() {
		c := w.client(kgo.ConsumerGroup("replaced"), kgo.InstanceID(filepath.Base(dir)), kgo.ConsumeTopics("replaced-slots"), kgo.Balancers(kgo.CooperativeStickyBalancer()))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for id := ""; id == ""; id, _ = c.GroupMetadata() {
			c.PollFetches(ctx)
			require.NoError(t, ctx.Err())
			ctx, cancel := context.WithTimeout(ctx, tick)
			c.PollFetches(ctx)
			cancel()
		}
		c.CloseAllowingRebalance() // a static member does not leave
		broken.Add(1)
	}
	replace()
	w.send("in", "b")
	w.read("out", 2)
	require.Eventually(t, func() bool { return owned(n) > 0 }, patience, tick)
	replace()
	select {
	case <-n.Done():
	case <-time.After(patience):
		require.Fail(t, "a node that is replaced again and again must end")
	}
	require.ErrorIs(t, n.Stop(t.Context()), kafka.ErrDuplicateIdentity)
}
