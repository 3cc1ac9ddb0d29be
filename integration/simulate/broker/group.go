package broker

import (
	"fmt"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// SessionTimeout and RebalanceTimeout are those of all members.
const (
	SessionTimeout   = 400 * time.Millisecond
	RebalanceTimeout = 2 * time.Second
)

// groupState is that of a group of the classic protocol.
type groupState uint8

const (
	groupEmpty groupState = iota
	preparing
	completing
	stable
)

// group is one consumer group: its members and its offsets.
type group struct {
	b       *Broker
	name    string
	state   groupState
	gen     int32
	members []*groupMember // in the order of their joining
	leader  *groupMember
	began   time.Time // the rebalance under way
	commits []commit
	epochs  map[int64]int16 // of producers that wrote offsets
	next    int
}

type groupMember struct {
	id       string
	instance string
	client   string
	owned    []int32
	seen     time.Time
	joined   bool    // in the rebalance under way, and waits
	synced   bool    // it has asked for its assignment
	answer   *Joined // of the rebalance, until it is fetched
	assigned []int32
}

// commit is one record of the group's offsets.
type commit struct {
	pos     kafka.Position
	pid     int64
	pending bool
	aborted bool
}

func (b *Broker) group(name string) *group {
	g := b.groups[name]
	if g == nil {
		g = &group{b: b, name: name, gen: 0, epochs: map[int64]int16{}}
		b.groups[name] = g
	}
	return g
}

func (g *group) find(id string) *groupMember {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (g *group) static(instance string) *groupMember {
	for _, m := range g.members {
		if instance != "" && m.instance == instance {
			return m
		}
	}
	return nil
}

// known returns a member that a request claims to be of.
func (g *group) known(id, instance string) (*groupMember, Err) {
	if m := g.static(instance); m != nil && m.id != id {
		return nil, FencedInstanceID
	}
	m := g.find(id)
	if m == nil {
		return nil, UnknownMemberID
	}
	return m, None
}

// validate checks who commits offsets.
func (g *group) validate(as kafka.Member, transactional bool) Err {
	if as.Generation < 0 && as.ID == "" {
		if !transactional && g.state != groupEmpty {
			return UnknownMemberID
		}
		return None
	}
	m, e := g.known(as.ID, as.Instance)
	switch {
	case e != None:
		return e
	case as.Generation != g.gen:
		return IllegalGeneration
	case g.state == completing && !transactional:
		return RebalanceInProgress
	}
	if !transactional {
		m.seen = g.b.now // a plain commit is a sign of life
	}
	return None
}

// Joined is the answer to JoinGroup.
type Joined struct {
	MemberID   string
	Generation int32
	// Members are those that a leader assigns to; for others it is empty. Owned is what each says it has.
	Members []JoinedMember
	// Stable: a static member came back, or one joined again with the same claims, without a rebalance.
	Stable bool
}

// JoinedMember is one member as the leader sees it.
type JoinedMember struct {
	ID, Instance string
	Owned        []int32
}

// Join joins, or says what is subscribed anew. It has no answer until the rebalance is complete: ask Answer.
func (b *Broker) Join(name, id, instance, client string, owned []int32) (memberID string, answer *Joined, err error) {
	if e := b.inject("JoinGroup"); e != None {
		return id, nil, e
	}
	g := b.group(name)
	m := g.static(instance)
	switch {
	case id == "" && m != nil: // a static member comes back
		g.next++
		m.id = fmt.Sprintf("%s-%d", instance, g.next)
		m.seen, m.owned, m.client, m.answer = b.now, owned, client, nil
		if g.state == stable {
			return m.id, &Joined{MemberID: m.id, Generation: g.gen, Stable: true}, nil
		}
	case id == "":
		g.next++
		m = &groupMember{id: fmt.Sprintf("%s-%d", instance, g.next), instance: instance, client: client, owned: owned}
		g.members = append(g.members, m)
	case m != nil && m.id != id:
		return id, nil, FencedInstanceID
	default:
		if m = g.find(id); m == nil {
			return id, nil, UnknownMemberID
		}
		if g.state == stable && m != g.leader && slices.Equal(m.owned, owned) {
			m.seen = b.now
			return m.id, &Joined{MemberID: m.id, Generation: g.gen, Stable: true}, nil
		}
		m.owned = owned
	}
	m.seen, m.joined, m.answer = b.now, true, nil
	g.prepare()
	g.tick()
	return m.id, nil, nil
}

// prepare begins a rebalance unless one is under way.
func (g *group) prepare() {
	if g.state == preparing {
		return
	}
	g.state, g.began = preparing, g.b.now
	for _, m := range g.members {
		m.synced = false
	}
}

// JoinAnswer returns the answer to a Join once the rebalance is complete; nil before.
func (b *Broker) JoinAnswer(name, id, instance string) (*Joined, error) {
	g := b.group(name)
	m, e := g.known(id, instance)
	if e != None {
		return nil, e
	}
	m.seen = b.now
	a := m.answer
	m.answer = nil
	return a, nil
}

// tick ends sessions and rebalances whose time is over.
func (g *group) tick() {
	before := len(g.members)
	late := (g.state == completing || g.state == stable) && g.b.now.Sub(g.began) > RebalanceTimeout
	g.members = slices.DeleteFunc(g.members, func(m *groupMember) bool {
		return !m.joined && g.b.now.Sub(m.seen) > SessionTimeout || late && !m.synced
	})
	if len(g.members) < before {
		g.gone()
	}
	if g.state != preparing || len(g.members) == 0 {
		return
	}
	waiting := slices.ContainsFunc(g.members, func(m *groupMember) bool { return !m.joined })
	if waiting && g.b.now.Sub(g.began) < RebalanceTimeout {
		return
	}
	g.members = slices.DeleteFunc(g.members, func(m *groupMember) bool { return !m.joined && m.instance == "" })
	if !slices.ContainsFunc(g.members, func(m *groupMember) bool { return m.joined }) { // those that live have not come yet
		g.began = g.b.now
		return
	}
	if g.leader == nil || !g.leader.joined || !slices.Contains(g.members, g.leader) {
		g.leader = g.members[slices.IndexFunc(g.members, func(m *groupMember) bool { return m.joined })]
	}
	g.gen++
	g.state, g.began = completing, g.b.now
	var all []JoinedMember
	for _, m := range g.members {
		all = append(all, JoinedMember{m.id, m.instance, m.owned})
	}
	for _, m := range g.members {
		if m.joined {
			m.answer = &Joined{MemberID: m.id, Generation: g.gen}
		}
		m.joined, m.synced, m.seen = false, false, g.b.now
	}
	g.leader.answer.Members = all
}

// gone is called when members have left.
func (g *group) gone() {
	if len(g.members) == 0 {
		g.state = groupEmpty
		g.gen++
		return
	}
	g.prepare()
}

// Sync brings the leader's assignment, or asks for it: nil as long as the leader's is not there.
func (b *Broker) Sync(name, id, instance string, generation int32, assignment map[string][]int32) (assigned []int32, done bool, err error) {
	if e := b.inject("SyncGroup"); e != None {
		return nil, false, e
	}
	g := b.group(name)
	m, e := g.known(id, instance)
	switch {
	case e != None:
		return nil, false, e
	case generation != g.gen:
		return nil, false, IllegalGeneration
	case g.state == preparing:
		return nil, false, RebalanceInProgress
	}
	m.seen, m.synced = b.now, true
	if g.state == completing && assignment != nil {
		for _, x := range g.members {
			x.assigned = slices.Clone(assignment[x.id])
		}
		g.state = stable
	}
	if g.state != stable {
		return nil, false, nil
	}
	return slices.Clone(m.assigned), true, nil
}

// Heartbeat keeps a session alive.
func (b *Broker) Heartbeat(name, id, instance string, generation int32) error {
	if e := b.inject("Heartbeat"); e != None {
		return e
	}
	g := b.group(name)
	m, e := g.known(id, instance)
	switch {
	case e != None:
		return e
	case generation != g.gen:
		return IllegalGeneration
	}
	m.seen = b.now
	if g.state == preparing {
		return RebalanceInProgress
	}
	return nil
}

// Leave takes a member out.
func (b *Broker) Leave(name, id, instance string) error {
	if e := b.inject("LeaveGroup"); e != None {
		return e
	}
	g := b.group(name)
	m, e := g.known(id, instance)
	if e != None {
		return e
	}
	g.members = slices.DeleteFunc(g.members, func(x *groupMember) bool { return x == m })
	g.gone()
	g.tick()
	return nil
}

// Members returns how many members a group has and whether it is stable.
func (b *Broker) Members(name string) (n int, isStable bool) {
	g := b.group(name)
	return len(g.members), g.state == stable
}

// DescribeGroup returns the members of a group with what each was assigned, and whether the group is stable.
func (b *Broker) DescribeGroup(name string) (members []JoinedMember, isStable bool) {
	g := b.group(name)
	for _, m := range g.members {
		members = append(members, JoinedMember{m.id, m.instance, slices.Clone(m.assigned)})
	}
	return members, g.state == stable
}

// Assigned returns the partitions that a member was assigned last; none if the group does not know it.
func (b *Broker) Assigned(name, id string) []int32 {
	m := b.group(name).find(id)
	if m == nil {
		return nil
	}
	return m.assigned
}

// OffsetCommit commits offsets outside any transaction.
func (b *Broker) OffsetCommit(name string, as kafka.Member, positions []kafka.Position) error {
	if e := b.inject("OffsetCommit"); e != None {
		return e
	}
	g := b.group(name)
	if e := g.validate(as, false); e != None {
		return e
	}
	return g.write(positions, func(pos kafka.Position) {
		g.commits = append(g.commits, commit{pos: pos})
		if b.OnCommit != nil {
			b.OnCommit(name, as, pos)
		}
		g.b.onOffset(name, pos)
	}).or()
}

// write writes those positions that can be. The others are an error of their own, which does not stop it.
func (g *group) write(positions []kafka.Position, record func(kafka.Position)) (e Err) {
	for _, pos := range positions {
		if len(pos.Metadata) > kafka.MaxMetadata {
			e = OffsetMetadataTooLarge
			continue
		}
		record(pos)
	}
	return e
}

func (b *Broker) onOffset(group string, pos kafka.Position) {
	if b.OnOffset != nil {
		b.OnOffset(group, pos)
	}
}

// decide writes a marker into the group's offsets.
func (g *group) decide(pid int64, epoch int16, committed bool) {
	g.epochs[pid] = max(g.epochs[pid], epoch)
	var taken []kafka.Position
	for i := range g.commits {
		c := &g.commits[i]
		if c.pending && c.pid == pid {
			c.pending, c.aborted = false, !committed
			if committed && !slices.Contains(taken, c.pos) { // a request that was sent twice in one transaction counts once
				taken = append(taken, c.pos)
				g.b.onOffset(g.name, c.pos)
			}
		}
	}
	g.compact()
}

// compact forgets offsets that were overwritten by later records.
func (g *group) compact() {
	const many = 256
	if len(g.commits) < many {
		return
	}
	latest := map[kafka.TopicPartition]int{}
	for i, c := range g.commits {
		if !c.pending && !c.aborted {
			latest[c.pos.TopicPartition] = i
		}
	}
	kept := g.commits[:0:0]
	for i, c := range g.commits {
		if c.pending || !c.aborted && latest[c.pos.TopicPartition] == i {
			kept = append(kept, c)
		}
	}
	g.commits = kept
}

// OffsetFetch returns committed offsets: of each partition, that of the latest record that is committed, whenever its marker
// came. With isStable set, an open transaction on one of them is an error.
func (b *Broker) OffsetFetch(name string, isStable bool, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	if e := b.inject("OffsetFetch"); e != None {
		return nil, e
	}
	g := b.group(name)
	found := map[kafka.TopicPartition]kafka.Position{}
	for _, tp := range tps {
		found[tp] = kafka.Position{TopicPartition: tp, Offset: -1}
	}
	for _, c := range g.commits {
		if _, asked := found[c.pos.TopicPartition]; !asked {
			continue
		}
		if c.pending && isStable {
			return nil, UnstableOffsetCommit
		}
		if !c.pending && !c.aborted {
			found[c.pos.TopicPartition] = c.pos
		}
	}
	return found, nil
}

// Expire deletes all offsets of a group, as a broker does with those of one that was empty for offsets.retention.minutes.
func (b *Broker) Expire(name string) { b.group(name).commits = nil }

// Offsets returns all committed offsets of a group, sorted.
func (b *Broker) Offsets(name string) []kafka.Position { return b.offsets(name, nil) }

// Decided returns what Offsets will once the markers on their way are written.
func (b *Broker) Decided(name string) []kafka.Position {
	decided := map[int64]bool{}
	for _, t := range b.txns {
		decided[t.pid] = t.state == prepareCommit
	}
	return b.offsets(name, decided)
}

func (b *Broker) offsets(name string, decided map[int64]bool) []kafka.Position {
	latest := map[kafka.TopicPartition]kafka.Position{}
	for _, c := range b.group(name).commits {
		if !c.aborted && (!c.pending || decided[c.pid]) {
			latest[c.pos.TopicPartition] = c.pos
		}
	}
	all := make([]kafka.Position, 0, len(latest))
	for _, pos := range latest {
		all = append(all, pos)
	}
	slices.SortFunc(all, func(x, y kafka.Position) int { return x.Compare(y.TopicPartition) })
	return all
}
