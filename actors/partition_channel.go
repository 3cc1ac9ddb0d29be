package actors

import (
	"math"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/topology/plan"
)

// A channel is a queue like that of a topic, behind those of the stage's topics. Its records are made by agents of the partition and are
// in memory only. A record of a topic and everything that it has caused through channels is one tree, and only whole trees are sealed: a seal
// waits until the channels are empty (it drains), and while it does, agents that feed trees begin no others: what they report
// meanwhile is kept for after the cut. So nothing needs to be known of which record belongs to which tree, but in careful mode, where
// there is one tree at a time.

// sent is a run of records for a channel.
type sent struct {
	Channel int // index in the stage
	Records plan.Parcel
}

// isFed says whether an agent reads a channel.
func (s *partitionState) isFed(a *agentSlot) bool { return a.source >= len(s.stage.Sources) }

// feeds says whether an agent begins trees: it has records of a topic, and sends to channels.
func (s *partitionState) feeds(a *agentSlot) bool { return len(a.into) > 0 && !s.isFed(a) }

// flows says whether there is something in a channel, or with an agent that reads one.
func (s *partitionState) flows() bool {
	if len(s.sources) == len(s.stage.Sources) {
		return false
	}
	for _, a := range s.agents {
		if s.isFed(a) && (len(a.works) > 0 || a.done.upTo < s.sources[a.source].position) {
			return true
		}
	}
	return false
}

// drains says whether a seal waits for the channels to be empty.
func (s *partitionState) drains() bool { return s.seal != nil && s.seal.drains }

// waits keeps what an agent that feeds trees says while a seal waits for those that it has begun.
func (s *partitionState) waits(m partitionMessage) bool {
	agent := -1
	switch m := m.(type) {
	case Worked:
		agent = m.Agent
	case AgentFailed:
		agent = m.Agent
	case Ask:
		agent = m.Agent
	case Announced, Applied, Arrived, Collected, Decided, Delivered, Leave, Resume, SealRound, Sealed, ShardFailed, ShardLate, ShardReady, Turn, Undone, Waits, Wake:
	}
	if s.isAside(agent, m) {
		return true
	}
	if agent < 0 || !s.drains() || !s.feeds(s.agents[agent]) || plant.Is("a tree is sealed half done") {
		return false
	}
	s.later = append(s.later, m)
	return true
}

// maybeDrained goes on with the seal once all trees are done, and then with what has waited for that.
func (s *partitionState) maybeDrained() {
	if s.drains() && !s.flows() {
		if s.phase == stopping && s.flushed == 0 {
			s.leaveBy = time.Time{} // nothing more to wait for by the clock
		}
		s.sealShards()
	}
	for len(s.later) > 0 && !s.drains() {
		m := s.later[0]
		s.later = s.later[1:]
		s.handle(m)
	}
}

// sealTrees seals once all trees that have begun are done.
func (s *partitionState) sealTrees() {
	if !s.flows() || plant.Is("a tree is sealed half done") {
		s.sealShards()
		return
	}
	if s.seal == nil {
		s.seal = &sealing{}
	}
	s.seal.drains = true
	for i, a := range s.agents {
		if s.isFed(a) && len(a.works) > 0 { // a batch that is being gathered would wait for records that do not come
			s.emit(toAgent{i, Flush{Incarnation: a.incarnation, Hurry: true}})
		}
	}
}

// pour queues what an agent has sent to channels.
func (s *partitionState) pour(a *agentSlot, all []sent, records int) {
	if len(a.into) == 0 {
		return
	}
	most := 0
	for _, x := range all {
		q := s.sources[len(s.stage.Sources)+x.Channel]
		b := x.Records.Batch(q.channel.Name, s.partition, q.position)
		most, q.position = max(most, len(b.Records)), b.Next
		q.batches, q.records = append(q.batches, b), q.records+len(b.Records)
		a.out += int64(len(b.Records))
	}
	if records > 0 {
		a.fan = max(1, (most+records-1)/records)
	}
}

// room is how many more records an agent may be given for the channels that it sends to.
func (s *partitionState) room(a *agentSlot) int {
	room := math.MaxInt
	for _, c := range a.into {
		q := s.sources[c]
		left := q.channel.Capacity - int(q.position-s.oldest(c))
		for _, x := range s.agents {
			if s.drains() && s.feeds(x) { // what it has in hand comes after the cut, which is waited for
				continue
			}
			for _, to := range x.into {
				if to == c {
					left -= x.records * x.fan
				}
			}
		}
		if left <= 0 {
			return 0
		}
		room = min(room, max(1, left/a.fan))
	}
	return room
}

// oldest is the first record of a channel that some agent has not done.
func (s *partitionState) oldest(channel int) int64 {
	oldest := s.sources[channel].position
	for _, a := range s.agents {
		if a.source == channel {
			oldest = min(oldest, a.done.upTo)
		}
	}
	return oldest
}

// atOnce is how many records an agent at a channel is given at once, so that both its ends have something to do.
func (s *partitionState) atOnce(a *agentSlot) int {
	n := math.MaxInt
	for _, c := range a.into {
		n = min(n, s.sources[c].channel.Capacity/4, s.room(a))
	}
	if s.isFed(a) {
		n = min(n, s.sources[a.source].channel.Capacity/4)
	}
	return max(n, 1)
}

// giveChannels gives out what is in channels. It is begun already, so whatever keeps new records back does not keep this.
func (s *partitionState) giveChannels() {
	if len(s.sources) == len(s.stage.Sources) || s.phase != running && s.phase != stopping {
		return
	}
	for i, a := range s.agents {
		for s.isFed(a) && s.canTake(a) {
			if _, ok := s.head(a); !ok {
				break
			}
			s.giveRun(i, math.MaxInt64, workSize)
		}
	}
}

// trimChannel forgets what all agents of a channel have done.
func (s *partitionState) trimChannel(channel int) {
	q, oldest := s.sources[channel], s.oldest(channel)
	n := 0
	for n < len(q.batches) && q.batches[n].Next <= oldest {
		q.records -= len(q.batches[n].Records)
		n++
	}
	s.cut(channel, n)
}

// cut forgets the first batches of a source.
func (s *partitionState) cut(source, n int) {
	if n == 0 {
		return
	}
	q := s.sources[source]
	rest := copy(q.batches, q.batches[n:])
	clear(q.batches[rest:])
	q.batches, q.first = q.batches[:rest], q.first+int64(n)
	for _, a := range s.agents {
		if a.source == source && a.batch < q.first {
			a.batch, a.record = q.first, 0
		}
	}
}

// emptyChannels forgets all that is in channels: what has made it is done again.
func (s *partitionState) emptyChannels() {
	for i, q := range s.sources[len(s.stage.Sources):] {
		q.records = 0
		s.cut(len(s.stage.Sources)+i, len(q.batches))
	}
	for _, a := range s.agents {
		if s.isFed(a) {
			a.done = progress{upTo: s.sources[a.source].position}
			a.whole, a.committed = a.done, a.done
			s.seek(a)
		}
	}
}

// failTree undoes a record of a channel, and with it all that is not whole: which record of a topic it comes from shows when they come
// one by one. If they do, that one has failed, by the policy of the agent that has.
func (s *partitionState) failTree(a *agentSlot, m AgentFailed) {
	if s.phase == stopping {
		s.leaveRest()
		return
	}
	s.rollBack(s.wholeEpoch, recordFailure{step: stepOf(m.Err), err: m.Err, stack: m.Stack, failedIn: a.agent.Name}, a.agent.Policy, false)
}

// name is that of the topic or the channel.
func (q *sourceQueue) name() string {
	if q.channel != nil {
		return q.channel.Name
	}
	return q.topic.Name
}
