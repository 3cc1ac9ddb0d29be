package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how much time, of the bubble's clock, a test gives to what must happen.
const patience = time.Minute

// world is a process with hand-written clients, in a bubble of synctest: no time passes while anything runs. It is the
// wire, the handler and the transactional and plain clients at once, and notes what it is asked in calls.
type world struct {
	state protocol.GroupState

	t     *testing.T
	group *protocol.Group
	prod  *protocol.Producer
	con   *consumer
	end   context.CancelFunc
	ran   chan struct{}

	mu        sync.Mutex
	calls     []string
	twice     atomic.Int32       // requests that were sent twice
	faults    map[string][]fault // by the name of a call: what becomes of the next ones
	marks     map[int32]string
	positions map[kafka.TopicPartition]kafka.Position
	grants    []kafka.Grant
	lost      []int32
	why       error
	failed    []error
	fatal     error
	broken    bool               // the plain client
	produced  [][]*kafka.Outputs // in transactions
	sent      [][]*kafka.Outputs // outside
	keep      []int32            // slots that the handler does not let go of
	idle      bool               // the handler assigns nothing
	opens     int                // of the consumer
	unopened  int                // until so many, they fail, once one was closed
	closed    []int              // how many opens there were when the consumer was closed
}

// fault is what becomes of a call: it takes some time, or until its context ends, and fails.
type fault struct {
	err   error
	takes time.Duration // -1: until its context ends
	twice bool          // it is sent twice
}

// in runs a test with a group that is joined, as A/1.
func in(t *testing.T, cfg kafka.GroupConfig, f func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg.Group, cfg.Instance, cfg.Nonce = "g", "A", "1"
		w := &world{
			t: t, faults: map[string][]fault{}, marks: map[int32]string{}, positions: map[kafka.TopicPartition]kafka.Position{},
			ran: make(chan struct{}),
		}
		w.con = &consumer{w: w, member: kafka.Member{ID: "A-1", Instance: "A", Generation: 1}, assigned: map[kafka.TopicPartition]bool{}, do: make(chan func(), 10)}
		var err error
		w.group, err = protocol.NewGroup(cfg, slog.New(slog.DiscardHandler), protocol.Real{}, w, func(events protocol.Events) (protocol.Consumer, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.opens++; len(w.closed) > 0 && w.opens <= w.unopened {
				return nil, errBroker
			}
			w.con.events = events
			return w.con, nil
		})
		require.NoError(t, err)
		w.prod, err = protocol.NewProducer(t.Context(), w.group, w, func(ctx context.Context) (protocol.Transactor, protocol.Plain, error) {
			if !cfg.AtLeastOnce {
				return transactor{w}, nil, w.call(ctx, "open")
			}
			return transactor{w}, plain{w}, w.call(ctx, "open")
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		w.end = cancel
		go func() {
			defer close(w.ran)
			_ = w.group.Run(ctx, w)
		}()
		defer func() { // after a failed check too
			cancel()
			<-w.ran
			if err := w.prod.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(w)
	})
}

// next says what becomes of the next calls of a name.
func (w *world) next(call string, faults ...fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[call] = append(w.faults[call], faults...)
}

// call notes a call, and has happen to it what was said. With a context that has ended, nothing is sent.
func (w *world) call(ctx context.Context, name string, args ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	w.calls = append(w.calls, strings.TrimSpace(fmt.Sprintln(append([]any{name}, args...)...)))
	var x fault
	if q := w.faults[name]; len(q) > 0 {
		x, w.faults[name] = q[0], q[1:]
	}
	if x.twice {
		w.twice.Add(1)
	}
	w.mu.Unlock()
	switch {
	case x.takes < 0:
		<-ctx.Done()
		return ctx.Err()
	case x.takes > 0:
		<-time.After(x.takes)
	}
	return x.err
}

// asked returns the calls since it was asked the last time.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

// until waits for a condition, which is checked with the world locked.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		synctest.Wait()
		w.mu.Lock()
		ok := cond()
		w.mu.Unlock()
		if ok {
			return
		}
		require.True(w.t, time.Now().Before(end), "%s: not within %v", what, patience)
	}
}

// take has the group grant slots, and waits for the grants.
func (w *world) take(slots ...int32) []kafka.Grant {
	w.t.Helper()
	n := len(w.grants)
	want := n + len(slots)
	if slices.Contains(slots, foreign) {
		want--
	}
	w.con.assign(slots...)
	w.until("slots are taken", func() bool { return len(w.grants) == want })
	return w.grants[n:]
}

// foreign is a slot of another version of the topology.
const foreign = 9

func source(slot int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: "a", Partition: slot}
}

func bundle(g kafka.Grant, seq int64) *kafka.Bundle {
	pos := kafka.Position{TopicPartition: source(g.Slot), Offset: seq, Metadata: kafka.Meta{Seq: seq}.Encode()}
	return &kafka.Bundle{
		Slot: g.Slot, Incarnation: g.Incarnation, MemberID: g.MemberID, Seq: seq, Offsets: []kafka.Position{pos},
		Outputs: []*kafka.Outputs{{Journal: true}, {}},
	}
}

// The wire.

func (w *world) Marks(ctx context.Context, slots []int32) (map[int32]string, error) {
	if err := w.call(ctx, "marks", slots); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.marks), nil
}

func (w *world) Mark(ctx context.Context, as kafka.Member, marks map[int32]kafka.Mark) error {
	name := "mark"
	for _, m := range marks {
		switch {
		case m.Released:
			name = "mark-released"
		case len(m.Owners) > 1:
			name = "mark-over"
		}
	}
	var texts []string
	for _, slot := range slices.Sorted(maps.Keys(marks)) {
		texts = append(texts, fmt.Sprintf("%d=%s", slot, marks[slot]))
	}
	if err := w.call(ctx, name, as.ID, strings.Join(texts, ", ")); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for slot, m := range marks {
		w.marks[slot] = m.String()
	}
	return nil
}

func (w *world) Offsets(ctx context.Context, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	if err := w.call(ctx, "offsets"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	got := map[kafka.TopicPartition]kafka.Position{}
	for _, tp := range tps {
		pos, ok := w.positions[tp]
		if !ok {
			pos = kafka.Position{TopicPartition: tp, Offset: -1}
		}
		got[tp] = pos
	}
	return got, nil
}

func (w *world) store(positions []kafka.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pos := range positions {
		w.positions[pos.TopicPartition] = pos
	}
}

func (w *world) Commit(ctx context.Context, _ kafka.Member, positions []kafka.Position) error {
	if err := w.call(ctx, "commit-offsets"); err != nil {
		return err
	}
	w.store(positions)
	return nil
}

func (w *world) Fence(ctx context.Context, instance string) error {
	return w.call(ctx, "fence", instance)
}

func (w *world) Describe(context.Context) (protocol.GroupState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, nil
}

func (w *world) Leave(ctx context.Context, who kafka.Member) error {
	return w.call(ctx, "leave", who.ID)
}

// The handler.

func (w *world) Sources(slot int32) []kafka.TopicPartition {
	if slot == foreign {
		return nil
	}
	return []kafka.TopicPartition{source(slot)}
}

func (w *world) Taken(grants []kafka.Grant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.grants = append(w.grants, grants...)
	for _, g := range grants {
		if !w.idle {
			w.group.Assign(g, g.Sources)
		}
	}
}

func (w *world) Release(ctx context.Context, slots []int32) []int32 {
	_ = w.call(ctx, "release", slots)
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(slots), func(s int32) bool { return slices.Contains(w.keep, s) })
}

func (w *world) Lost(slots []int32, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost, w.why = append(w.lost, slots...), why
}

func (w *world) Batch(b *kafka.Batch) {
	_ = w.call(context.Background(), "batch", b.Topic, b.Partition)
}

func (w *world) Failed(err error, fatal bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
	if fatal {
		w.fatal = err
	}
}

// consumer grants and revokes what a test says.
type consumer struct {
	w                 *world
	events            protocol.Events
	do                chan func() // inside Poll
	onAssign, onGoing func([]int32)
	lost, gathered    bool

	mu       sync.Mutex
	member   kafka.Member
	assigned map[kafka.TopicPartition]bool
}

func (c *consumer) assign(slots ...int32) { c.do <- func() { c.onAssign(slots) } }

func (c *consumer) revoke(slots ...int32) { c.do <- func() { c.onGoing(slots) } }

// joins makes the consumer another member.
func (c *consumer) joins(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.member.ID = id
}

func (c *consumer) Subscribe(_ string, assigned, revoked func([]int32)) error {
	c.onAssign, c.onGoing = assigned, revoked
	return nil
}

func (c *consumer) Poll(wait time.Duration) bool {
	select {
	case f := <-c.do:
		f()
		return true
	case <-time.After(wait):
		return false
	}
}

// Close is called once for each opening.
func (c *consumer) Close() {
	_ = c.w.call(context.Background(), "close-consumer")
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if slices.Contains(c.w.closed, c.w.opens) {
		c.w.t.Error("the consumer is closed twice")
	}
	c.w.closed = append(c.w.closed, c.w.opens)
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.assigned)
}

func (c *consumer) Flush() { // the record is handed over before a rebalance changes anything
	if c.gathered {
		c.gathered = false
		c.events.Batch(&kafka.Batch{Topic: "a", Partition: 1})
	}
}

func (c *consumer) Member() (protocol.Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return protocol.Member{Member: c.member}, nil
}

func (c *consumer) Lost() bool { return c.lost }

func (c *consumer) Assign(from []kafka.Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range from {
		if c.assigned[pos.TopicPartition] {
			return fmt.Errorf("%v is assigned already", pos.TopicPartition)
		}
		c.assigned[pos.TopicPartition] = true
	}
	return nil
}

// Unassign refuses the whole if one is not assigned, as librdkafka does.
func (c *consumer) Unassign(tps []kafka.TopicPartition) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tp := range tps {
		if !c.assigned[tp] {
			return fmt.Errorf("%v is not assigned", tp)
		}
	}
	for _, tp := range tps {
		delete(c.assigned, tp)
	}
	return c.w.call(context.Background(), "unassign", len(tps))
}

func (c *consumer) Pause(tps []kafka.TopicPartition) error {
	return c.w.call(context.Background(), "pause", tps)
}

func (c *consumer) Resume(tps []kafka.TopicPartition) error {
	return c.w.call(context.Background(), "resume", tps)
}

// transactor commits what it is given, if nothing else was said.
type transactor struct{ w *world }

func (x transactor) Begin() error { return x.w.call(context.Background(), "begin") }

func (x transactor) Produce(ctx context.Context, outs []*kafka.Outputs) error {
	x.w.produced = append(x.w.produced, outs)
	return x.w.call(ctx, "produce")
}

func (x transactor) Flush(ctx context.Context) error { return x.w.call(ctx, "flush") }

func (x transactor) SendOffsets(ctx context.Context, bundles []*kafka.Bundle, _ protocol.Member) error {
	if err := x.w.call(ctx, "send-offsets"); err != nil {
		return err
	}
	for _, b := range bundles {
		x.w.store(b.Offsets)
	}
	return nil
}

func (x transactor) Commit(ctx context.Context) error { return x.w.call(ctx, "commit") }

func (x transactor) Abort(ctx context.Context) error { return x.w.call(ctx, "abort") }

func (x transactor) Watch() func() error {
	before := x.w.twice.Load()
	return func() error {
		if x.w.twice.Load() != before {
			return errors.New("a connection was lost")
		}
		return nil
	}
}

func (x transactor) Close() error { return x.w.call(context.Background(), "close") }

type plain struct{ w *world }

func (x plain) Produce(ctx context.Context, outs []*kafka.Outputs) error {
	x.w.sent = append(x.w.sent, outs)
	return x.w.call(ctx, "send")
}

func (x plain) Flush(ctx context.Context) error { return x.w.call(ctx, "flush-sent") }

func (x plain) Broken() bool {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	return x.w.broken
}

func (x plain) Close() error { return x.w.call(context.Background(), "close-plain") }

var errBroker = errors.New("the broker says no")

func kind(k protocol.Kind) error { return fmt.Errorf("produce: %w", protocol.WithKind(errBroker, k)) }
