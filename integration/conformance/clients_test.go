package conformance

import (
	"testing"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// library is a client library with a cluster below it: librdkafka, or the model of it.
type library interface {
	cluster
	producer(id string) libProducer
	consumer(topic, group, instance string) libConsumer
	// loseAnswer breaks the connection on which the next EndTxn is to be answered, after it was carried out. lost
	// says whether that has happened.
	loseAnswer() (lost func() bool)
	// holdAnswer keeps the answer to the next EndTxn back, on a connection that stays.
	holdAnswer() (held func() bool)
}

// libProducer is a transactional producer.
type libProducer interface {
	// write begins a transaction and writes a record.
	write(tp kafka.TopicPartition, value string) error
	commit(within time.Duration) error
	abort() error
}

// libConsumer is a static member with cooperative assignment. What it is assigned it takes without reading it.
type libConsumer interface {
	// poll handles what is there, for some milliseconds.
	poll()
	owned() int
	// onRevoke is called when slots are taken away. It calls unassign once.
	onRevoke(f func(slots []int32))
	assign(tp kafka.TopicPartition, from int64) error
	unassign(tps ...kafka.TopicPartition)
	// position is where reading of an assigned partition goes on; -1 before the first.
	position(tp kafka.TopicPartition) int64
	member() kafka.Member
}

// clientBehaviour is one line of the table of clients.
type clientBehaviour struct {
	name string
	does string
	run  func(s *script, l library)
}

func (b clientBehaviour) on(t *testing.T, l library) int {
	t.Helper()
	plain := behaviour{name: b.name, does: b.does, run: func(s *script) { b.run(s, l) }}
	return len(plain.on(t, l))
}

// polled lets time pass in which consumers poll, until cond holds.
func (s *script) polled(what string, cond func() bool, all ...libConsumer) {
	s.Helper()
	s.until(what, func() bool {
		for _, c := range all {
			c.poll()
		}
		return cond()
	})
}

// clientBehaviours is the table of clients.
func clientBehaviours() []clientBehaviour {
	return []clientBehaviour{
		{
			name: "client-commit-retries",
			does: "A commit whose connection breaks after EndTxn was carried out is sent again inside, on another connection, and returns success.",
			run: func(s *script, l library) {
				s.newTopic(1)
				p := l.producer(s.id)
				s.ok(p.write(s.tp(0), "first"))
				lost := l.loseAnswer()
				s.is("Commit", nil, p.commit(askTimeout))
				s.is("the answer was lost", true, lost())
				s.ok(p.write(s.tp(0), "second"))
				s.is("Commit of the next", nil, p.commit(askTimeout))
				s.until("the markers", func() bool { return s.endOf(kafka.ReadCommitted) == 4 })
				s.is("what is committed", "[0:first 2:second]", s.values(kafka.ReadCommitted))
			},
		},
		{
			name: "client-abort-after-commit",
			does: "A commit whose answer does not come in the time that it is given fails, though it was carried out; the transaction cannot be aborted then, and another commit goes on with it and returns success.",
			run: func(s *script, l library) {
				s.newTopic(1)
				p := l.producer(s.id)
				s.ok(p.write(s.tp(0), "first"))
				held := l.holdAnswer()
				s.is("Commit fails", true, p.commit(time.Second) != nil)
				s.is("the answer was held", true, held())
				s.is("Abort fails", true, p.abort() != nil)
				s.is("Commit again", nil, p.commit(askTimeout))
				s.until("the marker", func() bool { return s.endOf(kafka.ReadCommitted) == 2 })
				s.is("what is committed", "[0:first]", s.values(kafka.ReadCommitted))
			},
		},
		{
			name: "client-position",
			does: "At the end of a log the position of a consumer lies behind markers and aborted records: it is the end.",
			run: func(s *script, l library) {
				s.newTopic(4)
				p := l.producer(s.id)
				s.ok(p.write(s.tp(0), "committed"))
				s.ok(p.commit(askTimeout))
				s.ok(p.write(s.tp(0), "aborted"))
				s.ok(p.abort())
				c := l.consumer(s.topic, s.group, "a")
				s.polled("the assignment", func() bool { return c.owned() == 4 }, c)
				s.ok(c.assign(s.tp(0), 0))
				s.polled("the end", func() bool { return c.position(s.tp(0)) >= 4 }, c)
				s.is("the position", s.endOf(kafka.ReadUncommitted), c.position(s.tp(0)))
			},
		},
		{
			name: "client-unassign",
			does: "A member that gives up slots by unassigning nothing joins again, and the others get them; one that unassigns a partition that is not assigned never joins again.",
			run: func(s *script, l library) {
				s.newTopic(4)
				for _, x := range []struct {
					check  string
					badly  bool
					others int
				}{{"slots of the other", false, 2}, {"slots of the other, after a partition that is not assigned", true, 0}} {
					group := s.group
					if x.badly {
						group += "-badly"
					}
					a := l.consumer(s.topic, group, "a")
					s.polled("the assignment", func() bool { return a.owned() == 4 }, a)
					told := false
					a.onRevoke(func([]int32) {
						told = true
						if x.badly {
							a.unassign(s.tp(3))
						} else {
							a.unassign()
						}
					})
					b := l.consumer(s.topic, group, "b")
					s.polled("the revocation", func() bool { return told }, a, b)
					s.within(session(s), func() bool {
						a.poll()
						b.poll()
						return b.owned() > 0
					})
					s.is(x.check, x.others, b.owned())
				}
			},
		},
		{
			name: "client-metadata",
			does: "Inside the revoked callback a member has the generation in which the slots were taken; it has the next one only after it unassigned. One that the group threw out has no member id, and the old generation.",
			run: func(s *script, l library) {
				s.newTopic(4)
				a := l.consumer(s.topic, s.group, "a")
				s.polled("the assignment", func() bool { return a.owned() == 4 }, a)
				first := a.member()
				var told *kafka.Member
				a.onRevoke(func([]int32) {
					m := a.member()
					told = &m
					a.unassign()
				})
				b := l.consumer(s.topic, s.group, "b")
				s.polled("the revocation", func() bool { return told != nil }, a, b)
				s.is("generations further in the callback", 1, told.Generation-first.Generation)
				s.is("the same member id", first.ID, told.ID)
				s.polled("the other's slots", func() bool { return b.owned() == 2 }, a, b)
				now := a.member()
				s.is("generations further after it", 2, now.Generation-first.Generation)
				told = nil
				s.ok(s.leave(s.group, now))
				s.polled("the loss", func() bool { return told != nil }, a, b)
				s.is("the member id of one that was thrown out", "", told.ID)
				s.is("its generation", now.Generation, told.Generation)
				s.polled("it is a member again", func() bool { return a.member().ID != "" && a.owned() == 2 }, a, b)
				s.is("another member id", true, a.member().ID != now.ID)
			},
		},
	}
}

func runClients(t *testing.T, open func(t *testing.T) library) {
	t.Helper()
	for _, b := range clientBehaviours() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.on(t, open(t))
		})
	}
}

// pollTime is how long a consumer polls at a time.
const pollTime = 5 * time.Millisecond
