package protocol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/kafka"
)

const (
	// defaultReleaseTimeout is how long letting go of slots may take in a rebalance, where GroupConfig says nothing.
	defaultReleaseTimeout = 10 * time.Second
	// pollWait is how long one poll waits when there is nothing to read; so long may a command wait. After so many polls
	// without anything to do, one waits longer.
	pollWait      = 5 * time.Millisecond
	pollWaitQuiet = 25 * time.Millisecond
	quietPolls    = 40
	// rejoinAfter is how long ago the last rejoining of a member that was replaced must be for another one.
	rejoinAfter = time.Minute
	// reopenWait and maxReopenWait are between attempts to open a consumer for that.
	reopenWait    = 100 * time.Millisecond
	maxReopenWait = 2 * time.Second
)

// Group is a process's membership in the group of a topology: it implements kafka.Group over a Consumer and a Wire, and
// promises that its grants are taken as package protocol says. Everything in the last block of its fields belongs to the
// goroutine of Run; other goroutines queue what they want done there.
type Group struct {
	cfg  kafka.GroupConfig
	me   kafka.Owner
	log  *slog.Logger
	rt   Runtime
	wire Wire

	open    func(Events) (Consumer, error)
	commits *commits

	mu       sync.Mutex
	consumer Consumer // changed by Run's goroutine alone, which may read it without mu; nil: about to join once more
	commands []func()

	// Of Run's goroutine.
	h           kafka.GroupHandler
	closing     bool
	undo        []kafka.TopicPartition // what the revoke callback unassigns while closing
	member      Member                 // as of the last assign callback
	slots       map[int32]*slot
	incarnation int64
	held        map[int32]bool // slots that this process has marked as its own, and not let go of in order
	fatal       error
	replaced    error                         // the group has another member of our identity, says the consumer, and is of no use any more
	rejoined    time.Time                     // after that, last
	looking     bool                          // at the group's state
	looked      time.Time                     // last
	orphans     []int32                       // slots of nobody, as of then
	left        map[int32]bool                // slots that were let go of to leave the group, and that the consumer still has
	assigned    map[kafka.TopicPartition]bool // in the consumer
}

var _ kafka.Group = (*Group)(nil)

// slot is one partition of the slots topic that the group has granted us.
type slot struct {
	id       int32
	take     *take
	tries    int // failed takes in a row
	granted  bool
	grant    kafka.Grant
	sources  []kafka.TopicPartition
	assigned []kafka.TopicPartition // in the consumer
}

// NewGroup makes a group that has not joined yet: it joins in Run. open makes its consumer, once cfg is found to be sound.
func NewGroup(cfg kafka.GroupConfig, log *slog.Logger, rt Runtime, wire Wire, open func(Events) (Consumer, error)) (*Group, error) {
	me := kafka.Owner{Instance: cfg.Instance, Nonce: cfg.Nonce}
	if err := me.Validate(); err != nil {
		return nil, fmt.Errorf("open group %s: %w", cfg.Group, err)
	}
	if cfg.Group == "" {
		return nil, errors.New("open group: it has no name")
	}
	if cfg.ReleaseTimeout <= 0 {
		cfg.ReleaseTimeout = defaultReleaseTimeout
	}
	g := &Group{
		cfg: cfg, me: me, log: log, rt: rt, wire: wire, open: open,
		commits: &commits{granted: map[int32]grantOf{}, marking: map[int32]chan struct{}{}}, slots: map[int32]*slot{}, held: map[int32]bool{}, left: map[int32]bool{},
		assigned: map[kafka.TopicPartition]bool{},
	}
	var err error
	if g.consumer, err = open(events{g}); err != nil {
		return nil, err
	}
	return g, nil
}

// events passes on what the consumer of a group has to tell.
type events struct{ g *Group }

// Batch implements Events.
func (e events) Batch(b *kafka.Batch) { e.g.h.Batch(b) }

// Failed implements Events.
func (e events) Failed(err error, fatal bool) {
	switch {
	case fatal && errors.Is(err, kafka.ErrDuplicateIdentity) && e.g.mayRejoin():
		e.g.replaced = err
	case fatal:
		e.g.fail(err)
	default:
		e.g.h.Failed(err, false)
	}
}

// mayRejoin says whether a member that was replaced may join once more.
func (g *Group) mayRejoin() bool {
	return g.fatal == nil && (g.rejoined.IsZero() || g.rt.Now().Sub(g.rejoined) > rejoinAfter)
}

// rejoin joins the group once more, with a consumer that replaces one that another member of our identity has replaced. That may
// be nobody but we: a request to join that was given up for lost and reached the broker late makes a member that nobody is. If it is another
// process, we meet again: the marks of slots tell, or it replaces us a second time.
func (g *Group) rejoin(ctx context.Context) {
	why := g.replaced
	g.replaced, g.rejoined = nil, g.rt.Now()
	g.log.Warn("the group has a member of this node's identity that is not this one: a late request of its own may have made that, so it joins once more", "error", why)
	g.undo = g.lose(g.owned(), why)
	g.closing = true
	g.consumer.Close()
	g.closing, g.undo, g.member = false, nil, Member{}
	clear(g.left)
	g.use(nil)
	g.tellJoined()
	for wait := reopenWait; ; wait = min(2*wait, maxReopenWait) {
		c, err := g.open(events{g})
		if err == nil {
			g.use(c)
			g.subscribe()
			return
		}
		g.h.Failed(fmt.Errorf("join group %s once more: %w", g.cfg.Group, err), false)
		if !g.rt.Sleep(ctx, wait) {
			return
		}
	}
}

func (g *Group) use(c Consumer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.consumer = c
}

func (g *Group) subscribe() {
	topic := SlotsTopic(g.cfg.Group)
	if err := g.consumer.Subscribe(topic, g.onAssigned, g.onRevoked); err != nil {
		g.fail(fmt.Errorf("subscribe to %s: %w", topic, err))
	}
}

// current returns who we are at this moment. Any goroutine may ask.
func (g *Group) current() (Member, error) {
	g.mu.Lock()
	c := g.consumer
	g.mu.Unlock()
	if c == nil {
		return Member{}, errNoConsumer
	}
	return c.Member()
}

// errNoConsumer says that this process is no member of the group just now: it is about to join once more.
var errNoConsumer = errors.New("this process joins its group once more")

// Run implements kafka.Group.
func (g *Group) Run(ctx context.Context, h kafka.GroupHandler) error {
	g.h = h
	g.subscribe()
	for quiet := 0; ctx.Err() == nil && g.fatal == nil; quiet++ {
		wait := pollWait
		if quiet > quietPolls {
			wait = pollWaitQuiet
		}
		if g.execute() || g.consumer.Poll(wait) {
			quiet = 0
		}
		if g.replaced != nil {
			g.rejoin(ctx)
		}
		g.maybeLook()
	}
	g.stop()
	return g.fatal
}

// fail reports a fatal error once; Run ends on it.
func (g *Group) fail(err error) {
	if g.fatal != nil {
		return
	}
	g.fatal = err
	g.h.Failed(err, true)
}

// queue has f executed on Run's goroutine, between two polls. It does not block.
func (g *Group) queue(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commands = append(g.commands, f)
}

// execute executes what is queued, and says whether there was something.
func (g *Group) execute() bool {
	g.mu.Lock()
	commands := g.commands
	g.commands = nil
	g.mu.Unlock()
	for _, f := range commands {
		f()
	}
	return len(commands) > 0
}

// Assign implements kafka.Group.
func (g *Group) Assign(grant kafka.Grant, from []kafka.Position) {
	from = slices.Clone(from)
	g.queue(func() { g.assign(grant, from) })
}

func (g *Group) assign(grant kafka.Grant, from []kafka.Position) {
	s := g.slots[grant.Slot]
	if s == nil || !s.granted || s.grant.Incarnation != grant.Incarnation {
		return // gone meanwhile
	}
	var fresh []kafka.Position
	for _, pos := range from {
		if !slices.Contains(s.sources, pos.TopicPartition) || g.assigned[pos.TopicPartition] {
			g.log.Error("assign a partition that is no source of the slot or is assigned already", "slot", s.id, "topic", pos.Topic, "partition", pos.Partition)
			continue
		}
		fresh = append(fresh, pos)
		g.assigned[pos.TopicPartition] = true
		s.assigned = append(s.assigned, pos.TopicPartition)
	}
	if len(fresh) == 0 {
		return
	}
	if err := g.consumer.Assign(fresh); err != nil {
		g.fail(fmt.Errorf("assign the sources of slot %d: %w", s.id, err))
	}
}

// Pause implements kafka.Group.
func (g *Group) Pause(tps ...kafka.TopicPartition) { g.flow("pause", Consumer.Pause, tps) }

// Resume implements kafka.Group.
func (g *Group) Resume(tps ...kafka.TopicPartition) { g.flow("resume", Consumer.Resume, tps) }

func (g *Group) flow(what string, do func(Consumer, []kafka.TopicPartition) error, tps []kafka.TopicPartition) {
	tps = slices.Clone(tps)
	g.queue(func() {
		known := slices.DeleteFunc(tps, func(tp kafka.TopicPartition) bool { return !g.assigned[tp] })
		if len(known) == 0 {
			return
		}
		if err := do(g.consumer, known); err != nil {
			g.h.Failed(fmt.Errorf("%s %v: %w", what, known, err), false)
		}
	})
}

// Retake implements kafka.Group.
func (g *Group) Retake(slots []int32, why error) {
	slots = slices.Clone(slots)
	g.queue(func() {
		slots = slices.DeleteFunc(slots, func(id int32) bool { return g.slots[id] == nil || !g.slots[id].granted })
		g.retake(slots, why)
	})
}

// Holds implements kafka.Group.
func (g *Group) Holds(ctx context.Context, slot int32, incarnation int64) (bool, error) {
	texts, err := g.wire.Marks(ctx, []int32{slot})
	if err != nil {
		return false, err
	}
	m, err := kafka.ParseMark(texts[slot])
	return err == nil && m.IsOf(g.me) && g.commits.holds(slot, incarnation), nil
}

// stop lets go of all slots, closes the consumer and leaves the group.
func (g *Group) stop() {
	if g.consumer == nil { // it was replaced, and told to stop before it could join once more: there is nothing to leave
		return
	}
	g.consumer.Flush()
	all := g.owned()
	if g.fatal == nil {
		g.undo = g.release(all)
	} else {
		g.undo = g.lose(all, g.fatal)
	}
	crashpoint.Hit("leave.released")
	who := g.member
	if now, err := g.consumer.Member(); err == nil && now.Valid() {
		who = now
	}
	g.closing = true
	g.consumer.Close()
	crashpoint.Hit("leave.closed")
	if g.cfg.KeepSlots || g.cfg.Returns != nil && g.cfg.Returns() || errors.Is(g.fatal, kafka.ErrDuplicateIdentity) {
		return
	}
	if err := g.leave(who.Member); err != nil {
		g.log.Warn("leaving the group failed: its slots move on only after the session timeout", "error", err)
	}
	crashpoint.Hit("leave.left")
}

// leave takes this node's member out of the group. A node that was told to stop while it joined does not know which one
// that is: the broker may have made it a member meanwhile, or it still is one from before.
func (g *Group) leave(who kafka.Member) error {
	if who.ID != "" {
		return g.wire.Leave(context.Background(), who)
	}
	state, err := g.wire.Describe(context.Background())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(state.Members, func(m MemberState) bool { return m.Instance == g.me.Instance })
	if i < 0 {
		return nil
	}
	who.ID, who.Instance = state.Members[i].ID, g.me.Instance
	return g.wire.Leave(context.Background(), who)
}

// owned returns the ids of all slots, in order.
func (g *Group) owned() []int32 {
	ids := make([]int32, 0, len(g.slots))
	for id := range g.slots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// SlotsTopic is the topic on which the group of a topology is a consumer group.
func SlotsTopic(group string) string { return group + "-slots" }

// slotNames lists slots for a message.
func slotNames(slots []int32) string { return strings.Trim(fmt.Sprint(slots), "[]") }
