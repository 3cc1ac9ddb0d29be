package world

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/integration/simulate/client"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
	"github.com/troupe-stream/troupe/topology/plan"
)

func newBroker(s *sched.Sched) *broker.Broker {
	b := broker.New()
	b.SetNow(s.Now())
	if s.Rand().IntN(3) > 0 {
		b.DeleteRetention = 400 * time.Millisecond
	}
	return b
}

// driver opens the clients of a node's process.
func (w *World) driver(n *node, log *slog.Logger) kafka.Driver {
	return client.NewDriver(&client.Net{
		S: w.s, B: w.b, Kafka: w.kafka, Away: w.away,
		OutOfRange: func() { w.Saw(sawRange) },
		Kill:       func(*sched.Proc) { n.kill() },
		Pause:      func(*sched.Proc) { n.pause(w.aWhile()) },
	}, n.proc, n.ground, log)
}

func (w *World) createTopic(name string, partitions int32) {
	if err := w.b.Create(name, partitions, nil); err != nil {
		w.s.Fail(err)
	}
}

func (w *World) append(tp kafka.TopicPartition, timestamp int64, key, value string) {
	rec := broker.Record{Timestamp: timestamp, Key: []byte(key), Value: []byte(value)}
	if w.c.Headers != nil {
		rec.RawHeaders = w.c.Headers(key, value)
	}
	at, err := w.b.Produce(tp, []broker.Record{rec})
	if err != nil {
		w.s.Fail(err)
	}
	w.s.Logf("input %s %s at %s/%d@%d", key, value, tp.Topic, tp.Partition, at)
}

// markers lets the markers of decided transactions arrive, one by one and in any order.
func (w *World) markers() {
	for range 8 {
		w.s.Go(w.kafka, "markers", func() {
			for {
				w.s.Wait(func() bool { return w.b.Pending() > 0 })
				m := w.b.SendMarker(w.s.Rand().IntN(w.b.Pending()))
				if w.s.Chance("marker late", 800) {
					w.s.Sleep(context.Background(), time.Duration(w.s.Rand().Int64N(int64(300*time.Millisecond))))
				}
				w.b.WriteMarker(m)
			}
		})
	}
}

// disturbBroker lets faults of the cluster happen.
func (w *World) disturbBroker() {
	if w.s.Chance("retention takes what is committed", 40) {
		w.retain()
	}
	if w.c.Compaction >= 0 && w.s.Chance("changelog compacted", cmpOr(w.c.Compaction, 100)) {
		for _, name := range w.b.Topics() {
			if !strings.HasSuffix(name, "-changelog") {
				continue
			}
			st, _ := w.b.Describe(name)
			for p := range st.Partitions {
				w.b.Compact(kafka.TopicPartition{Topic: name, Partition: p})
			}
		}
	}
}

// retain moves the starts of the logs of "in": retention takes what is committed.
func (w *World) retain() {
	for _, pos := range w.Offsets() {
		if pos.Topic != "in" || pos.Offset <= 0 {
			continue
		}
		if err := w.b.DeleteRecords(pos.TopicPartition, pos.Offset); err != nil {
			w.s.Fail(fmt.Errorf("retention: %w", err))
		}
	}
}

// Committed implements Store.
func (w *World) Committed(topic string) (all []Record) {
	st, ok := w.b.Describe(topic)
	if !ok {
		return nil
	}
	for p := range st.Partitions {
		tp := kafka.TopicPartition{Topic: topic, Partition: p}
		lso := w.b.LSO(tp)
		for _, e := range w.b.Log(tp) {
			if !e.Control && !e.Aborted && e.Offset < lso {
				all = append(all, Record{Partition: p, Offset: e.Offset, Key: string(e.Key), Value: string(e.Value), Tombstone: e.Value == nil, headers: e.RawHeaders})
			}
		}
	}
	return all
}

// AtStart implements Store.
func (w *World) AtStart() []Record { return w.started[w.s.Running()] }

// Offsets implements Store.
func (w *World) Offsets() []kafka.Position { return w.b.Offsets(w.c.Name) }

// Seen implements Store.
func (w *World) Seen(what string) bool { return w.seen[what] > 0 }

// Decided implements Store.
func (w *World) Decided() []kafka.Position { return w.b.Decided(w.c.Name) }

// progress says how many slots have committed something, and how many transactions were committed.
func (w *World) progress() (slots, commits int) {
	for _, pos := range w.Offsets() {
		if kafka.SeqOf(pos.Metadata) > 0 {
			slots++
		}
	}
	return slots, w.b.Commits
}

// sources are the topics that agents of any version in use read.
func (w *World) sources() (topics []*plan.Topic) {
	version := 0
	for _, n := range w.nodes {
		version = max(version, n.version)
	}
	matches, _ := w.plans[version].Matches(w.b.Topics())
	for _, st := range w.plans[version].With(matches).Stages {
		for _, t := range st.Sources {
			if t.Kind != plan.Leader {
				topics = append(topics, t)
			}
		}
	}
	return topics
}

// isDone says whether everything that was read is committed for all agents, and nothing is open.
func (w *World) isDone() bool { return w.lag() == "" && (w.c.Done == nil || w.c.Done(w.o)) }

// lag says what is not done; empty: nothing.
func (w *World) lag() string {
	if w.b.Flying() > 0 {
		return "markers are on their way"
	}
	committed := map[kafka.TopicPartition]kafka.Position{}
	for _, pos := range w.Offsets() {
		committed[pos.TopicPartition] = pos
	}
	for _, t := range w.sources() {
		st, ok := w.b.Describe(t.Name)
		if !ok {
			return "topic " + t.Name + " does not exist"
		}
		for p := range st.Partitions {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: p}
			end, err := w.b.End(tp, kafka.ReadUncommitted)
			if err != nil || w.b.LSO(tp) < end {
				return fmt.Sprintf("%s/%d has an open transaction", t.Name, p)
			}
			last := int64(0)
			for _, e := range w.b.Log(tp) {
				if !e.Control && !e.Aborted {
					last = e.Offset + 1
				}
			}
			pos, ok := committed[tp]
			if !ok || pos.Offset < last {
				return fmt.Sprintf("%s/%d is committed up to %d (%v) of %d", t.Name, p, pos.Offset, ok, last)
			}
		}
	}
	return ""
}

// watchSequences checks, at each commit, that the numbers of a slot's bundles follow each other: two owners that both
// commit would repeat one, or leave one out.
func (w *World) watchSequences() {
	last := map[kafka.TopicPartition]kafka.Position{}
	w.b.OnOffset = func(_ string, pos kafka.Position) {
		m, err := kafka.ParseMeta(pos.Metadata)
		if err != nil || m.Seq == 0 {
			return // a mark
		}
		w.s.Logf("committed %s/%d@%d %s", pos.Topic, pos.Partition, pos.Offset, pos.Metadata)
		before := last[pos.TopicPartition]
		if seq := kafka.SeqOf(before.Metadata); m.Seq != seq+1 {
			w.s.Fail(fmt.Errorf("%s/%d: bundle %d is committed after bundle %d", pos.Topic, pos.Partition, m.Seq, seq))
		}
		if pos.Offset < before.Offset {
			w.s.Fail(fmt.Errorf("%s/%d: offset %d is committed after %d", pos.Topic, pos.Partition, pos.Offset, before.Offset))
		}
		last[pos.TopicPartition] = pos
	}
}

// watchMarks checks that a slot is marked as taken only by the member that the group has given it to, by the assignment that is
// valid when the mark is written: whoever is given the slot next finds the mark, and fences who wrote it. A mark that came later
// would name another than the slot's owner.
func (w *World) watchMarks() {
	w.b.OnCommit = func(group string, as kafka.Member, pos kafka.Position) {
		if pos.Topic != protocol.SlotsTopic(group) {
			return
		}
		m, err := kafka.ParseMark(pos.Metadata)
		switch {
		case err != nil:
			w.s.Fail(fmt.Errorf("slot %d: %w", pos.Partition, err))
		case m.Released:
		case !slices.Contains(w.b.Assigned(group, as.ID), pos.Partition):
			w.s.Fail(fmt.Errorf("slot %d is marked %q by %s, generation %d, which has not got it", pos.Partition, pos.Metadata, as.ID, as.Generation))
		}
	}
}
