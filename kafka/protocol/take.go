package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

const (
	// takeTimeout bounds one try to take slots.
	takeTimeout = 30 * time.Second
	// takeBackoff and takeBackoffMax bound the wait between two tries.
	takeBackoff    = 50 * time.Millisecond
	takeBackoffMax = 2 * time.Second
)

// take is the taking of slots that came together. It runs on a goroutine of its own and touches nothing of the group
// but its wire and its commits; its result is queued.
type take struct {
	rt     Runtime
	group  string
	as     kafka.Member // who we were in the assign callback: marks are written as this member or not at all
	me     kafka.Owner
	wire   Wire
	own    *commits
	slots  []taking
	cancel context.CancelFunc
	over   chan struct{}
}

// errCancelled ends a take of which a slot was given up while it waited to try again.
var errCancelled = errors.New("one of the slots was given up")

type taking struct {
	id      int32
	sources []kafka.TopicPartition
	held    bool // this process has had it
}

// taken is what a take found.
type taken struct {
	careful map[int32]bool
	mine    map[int32]kafka.Mark // as it is written once those before are fenced
	sources map[int32][]kafka.Position
}

// start takes slots that the group says are ours.
func (g *Group) start(ids []int32) {
	g.startAfter(ids, 0, 0)
}

func (g *Group) startAfter(ids []int32, wait time.Duration, tries int) {
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &take{
		rt: g.rt, group: g.cfg.Group, as: g.member.Member, me: g.me, wire: g.wire, own: g.commits,
		cancel: cancel, over: make(chan struct{}),
	}
	if plant.Is("marks of the moment's generation") {
		t.wire = momentary{g.wire, g.consumer}
	}
	for _, id := range ids {
		s := &slot{id: id, take: t, tries: tries, sources: g.h.Sources(id)}
		g.slots[id] = s
		t.slots = append(t.slots, taking{id, s.sources, g.held[id]})
	}
	g.rt.Go(func() {
		defer close(t.over)
		defer cancel()
		var got taken
		err := errCancelled // for one of its slots: the others go on
		if wait <= 0 || g.rt.Sleep(ctx, wait) {
			got, err = t.run(ctx)
		} else if plant.Is("cancelled take is forgotten") {
			return
		}
		g.queue(func() { g.onTake(t, got, err) })
	})
}

// onTake ends a take: the slots of it that are still granted are handed over, or tried again.
func (g *Group) onTake(t *take, got taken, err error) {
	var still []*slot
	for _, x := range t.slots {
		if s := g.slots[x.id]; s != nil && s.take == t {
			still = append(still, s)
		}
	}
	if len(still) == 0 || g.fatal != nil {
		return
	}
	if err != nil {
		g.onTakeFailed(still, err)
		return
	}
	var grants []kafka.Grant
	for _, s := range still {
		g.incarnation++
		s.granted, s.tries, g.held[s.id] = true, 0, true
		s.grant = kafka.Grant{Slot: s.id, Incarnation: g.incarnation, MemberID: t.as.ID, Sources: got.sources[s.id], Careful: got.careful[s.id], Suspects: got.mine[s.id].Trying}
		g.commits.grant(s.id, s.grant.Incarnation, s.grant.MemberID, s.sources)
		if len(s.sources) > 0 {
			grants = append(grants, s.grant)
		}
	}
	if len(grants) > 0 {
		g.h.Taken(grants)
	}
}

func (g *Group) onTakeFailed(still []*slot, err error) {
	if errors.Is(err, kafka.ErrDuplicateIdentity) || errors.Is(err, kafka.ErrDenied) {
		g.fail(err)
		return
	}
	var ids []int32
	tries := 0
	for _, s := range still {
		ids = append(ids, s.id)
		tries = max(tries, s.tries+1)
		delete(g.slots, s.id)
	}
	wait := min(takeBackoff<<min(tries-1, 10), takeBackoffMax)
	g.log.Warn("slots cannot be taken yet", "slots", ids, "try", tries, "again_after", wait, "error", err)
	if tries == 10 {
		g.h.Failed(fmt.Errorf("slots %s of group %s cannot be taken, after %d tries: %w", slotNames(ids), g.cfg.Group, tries, err), false)
	}
	g.startAfter(ids, wait, tries)
}

// run marks the slots "me over them", fences them, marks the slots "me", and reads the offsets of their sources.
func (t *take) run(ctx context.Context) (taken, error) {
	ctx, cancel := t.rt.WithTimeout(ctx, takeTimeout)
	defer cancel()
	crashpoint.Hit("take.start")
	if err := t.own.awaitMarks(ctx, t.rt, t.ids()); err != nil {
		return taken{}, err
	}
	ids := t.ids()
	var sources []kafka.TopicPartition
	for _, s := range t.slots {
		sources = append(sources, s.sources...)
	}
	texts, err := t.wire.Marks(ctx, ids)
	if err != nil {
		return taken{}, err
	}
	crashpoint.Hit("take.marks-read")
	got := taken{careful: map[int32]bool{}, mine: map[int32]kafka.Mark{}, sources: map[int32][]kafka.Position{}}
	over, dead, err := t.judge(texts, got)
	if err != nil {
		return taken{}, err
	}
	if plant.Is("fence before the mark") {
		for _, instance := range dead {
			if err := t.wire.Fence(ctx, instance); err != nil {
				return taken{}, err
			}
		}
		dead = nil
	}
	if len(over) > 0 {
		if err := t.wire.Mark(ctx, t.as, over); err != nil { // from here on, who finds us dead fences them as well
			return taken{}, err
		}
	}
	crashpoint.Hit("take.marked-over")
	for _, instance := range dead {
		if err := t.wire.Fence(ctx, instance); err != nil {
			return taken{}, err
		}
	}
	crashpoint.Hit("take.fenced")
	if err := errors.Join(ctx.Err(), t.wire.Mark(ctx, t.as, got.mine)); err != nil {
		return taken{}, err
	}
	crashpoint.Hit("take.marked")
	if err := t.own.await(ctx, t.rt); err != nil {
		return taken{}, err
	}
	crashpoint.Hit("take.awaited")
	positions, err := t.wire.Offsets(ctx, sources)
	if err != nil {
		return taken{}, err
	}
	crashpoint.Hit("take.offsets-read")
	for _, s := range t.slots {
		for _, tp := range s.sources {
			got.sources[s.id] = append(got.sources[s.id], positions[tp])
		}
	}
	return got, nil
}

func (t *take) ids() []int32 {
	ids := make([]int32, len(t.slots))
	for i, s := range t.slots {
		ids[i] = s.id
	}
	return ids
}

// judge reads the marks that were found: which slots are taken over whom, and which instances may still have a
// transaction open on them.
func (t *take) judge(texts map[int32]string, got taken) (over map[int32]kafka.Mark, dead []string, err error) {
	over = map[int32]kafka.Mark{}
	for _, s := range t.slots {
		m, err := kafka.ParseMark(texts[s.id])
		if err != nil {
			m = kafka.Mark{} // by another program: there is nobody to fence
		}
		got.careful[s.id] = texts[s.id] != "" && !m.Released
		got.mine[s.id] = m.Taken(t.me)
		if twin, ok := m.Twin(t.me); ok && s.held {
			return nil, nil, fmt.Errorf("slot %d of group %s, which this process %s held, is marked by %s: %w", s.id, t.group, t.me, twin, kafka.ErrDuplicateIdentity)
		}
		for _, o := range m.Owners {
			// Our own id was settled when our producer was opened; to fence it would fence ourselves.
			if o.Instance == t.me.Instance {
				continue
			}
			over[s.id] = m.TakenBy(t.me)
			if !slices.Contains(dead, o.Instance) {
				dead = append(dead, o.Instance)
			}
		}
	}
	return over, dead, nil
}

// momentary writes marks as the member that the consumer is at that moment: a planted fault.
type momentary struct {
	Wire
	consumer Consumer
}

// Mark implements Wire.
func (w momentary) Mark(ctx context.Context, as kafka.Member, marks map[int32]kafka.Mark) error {
	if now, err := w.consumer.Member(); err == nil {
		as = now.Member
	}
	return w.Wire.Mark(ctx, as, marks)
}
