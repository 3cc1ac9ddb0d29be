package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// onTable is a message for one of the shards of a group.
type onTable struct {
	table int // index in the stage
	msg   any
}

// shardRef is where messages for a shard go: to its actor, or to that of its group. table is -1 for a shard that is alone.
type shardRef struct {
	pid   *actor.PID
	table int
}

// address says on a message which shard of the group it is for.
func (r shardRef) address(m any) any {
	if r.table < 0 {
		return m
	}
	return onTable{r.table, m}
}

func (r shardRef) send(c actor.Context, m any) { c.Send(r.pid, r.address(m)) }

// groupActor holds the shards of tables that are joined: functions go on from a row of one to a row of another, so that one mailbox
// must give one order to all of them. Each is restored, sealed, undone and checkpointed as one that is alone.
type groupActor struct{ members []*shardActor }

// Receive implements actor.Actor.
func (g *groupActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		states := map[int32]tables.Shard{}
		for _, a := range g.members {
			a.ref = shardRef{c.Self(), a.index}
			if a.open(c); a.state != nil {
				states[a.table.ID] = a.state
			}
		}
		tables.Link(states)
		for _, a := range g.members {
			a.machine.group = func() {
				for _, other := range g.members {
					other.machine.lost = true
				}
			}
		}
	case onTable:
		for _, a := range g.members {
			if a.index == m.table {
				a.handle(c, m.msg)
			}
		}
	case *actor.Stopped, *actor.Restarting:
		for _, a := range g.members {
			a.close()
		}
	}
}

// spawnGroups makes the actors of groups of tables.
func (p *partitionActor) spawnGroups(c actor.Context, members map[int32][]*shardActor) {
	for _, t := range p.state.stage.Tables {
		of := members[t.Group]
		if of == nil || of[0].table != t {
			continue
		}
		pid := p.site.ground.Child(c, "shard-"+t.Name, func() actor.Actor { return &groupActor{of} }, nil)
		for _, a := range of {
			p.shards[a.index].pid = pid
		}
	}
}

// touch notes that operations on a table belong to the epoch being filled: functions among them may go on to all tables of its group.
func (s *partitionState) touch(table int) {
	s.tables[table].touched = true
	group := s.tables[table].table.Group
	if group == 0 {
		return
	}
	for _, t := range s.tables {
		if t.table.Group == group {
			t.touched = true
		}
	}
}

// turnInOrder is the agent whose turn it is among those that share tables which are joined: the one whose next record is the oldest, when all
// others are through with what they have been given. -1: none's. So a join sees the records of its topics in the order of their times.
func (s *partitionState) turnInOrder() int {
	turn, first, busy := -1, int64(0), -1
	for i, a := range s.agents {
		if !a.agent.InOrder || s.leavesOut(i) {
			continue
		}
		if len(a.works) > 0 {
			busy = i
		}
		// In wide windows what is suspect is announced when its turn comes; in narrow ones others may have to go first.
		mayCome := a.backing || s.probe != nil && s.probe.level == 0
		if ts, ok := s.head(a); ok && (turn < 0 || ts < first) && (mayCome || s.allows(i, s.cursor(a))) {
			turn, first = i, ts
		}
	}
	if busy >= 0 && busy != turn {
		return -1
	}
	return turn
}

// linkShards makes groups of shards, by their places in a stage.
func linkShards(st *plan.Stage, shards func(i int) tables.Shard) {
	var groups []int32
	for _, t := range st.Tables {
		if t.Group != 0 && !slices.Contains(groups, t.Group) {
			groups = append(groups, t.Group)
		}
	}
	for _, g := range groups {
		members := map[int32]tables.Shard{}
		for i, t := range st.Tables {
			if t.Group == g {
				members[t.ID] = shards(i)
			}
		}
		tables.Link(members)
	}
}
