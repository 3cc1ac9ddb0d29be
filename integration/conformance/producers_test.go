package conformance

import (
	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// producers are about who may write in a transaction, and what a reader sees of it.
func producers() []behaviour {
	return []behaviour{
		{
			name: "partition-not-added",
			does: "Produce to a partition that was not added to the ongoing transaction is refused.",
			run: func(s *script) {
				s.newTopic(2)
				p := s.producer()
				s.is("without a transaction", broker.InvalidTxnState, s.produce(p, s.tp(0), 0, rec("x")...))
				s.begin(p, 1)
				s.is("in one with another partition", broker.InvalidTxnState, s.produce(p, s.tp(0), 0, rec("x")...))
				s.begin(p)
				s.is("after it was added", nil, s.produce(p, s.tp(0), 0, rec("x")...))
			},
		},
		{
			name: "init-fences",
			does: "InitProducerId during a transaction aborts it and is told CONCURRENT_TRANSACTIONS until the markers are written; then the old epoch is fenced from everything.",
			run: func(s *script) {
				s.newTopic(2)
				s.ok(s.commit(s.group, anonymous(), s.at(0, -1, "")))
				old := s.producer()
				s.begin(old)
				s.ok(s.addOffsets(old, s.group))
				s.ok(s.produce(old, s.tp(0), 0, rec("x")...))
				s.ok(s.txnCommit(old, s.group, anonymous(), s.at(0, 7, "")))
				_, err := s.initProducer(s.id, longTimeout)
				s.is("the first InitProducerId", broker.ConcurrentTransactions, err)
				p := s.producer()
				s.is("the producer id", old.PID, p.PID)
				s.is("epochs further", 2, p.Epoch-old.Epoch)
				s.is("AddPartitionsToTxn of the old", broker.InvalidProducerEpoch, s.addPartitions(old, s.tp(0)))
				s.is("AddOffsetsToTxn of the old", broker.InvalidProducerEpoch, s.addOffsets(old, s.group))
				s.is("EndTxn of the old", broker.InvalidProducerEpoch, s.endTxn(old, true))
				s.is("Produce of the old", broker.InvalidProducerEpoch, s.produce(old, s.tp(0), 1, rec("y")...))
				s.is("TxnOffsetCommit of the old", broker.InvalidProducerEpoch, s.txnCommit(old, s.group, anonymous(), s.at(0, 8, "")))
				s.begin(p, 0, 1)
				s.is("Produce of the old where it never wrote, in a transaction of the new", broker.InvalidProducerEpoch, s.produce(old, s.tp(1), 0, rec("y")...))
				s.is("what is committed", "[]", s.values(kafka.ReadCommitted))
				s.is("the offset", -1, s.stablePosition(0).Offset)
			},
			kfake: map[string]string{
				"the first InitProducerId":      "ok",
				"AddPartitionsToTxn of the old": "PRODUCER_FENCED",
				"AddOffsetsToTxn of the old":    "PRODUCER_FENCED",
				"EndTxn of the old":             "PRODUCER_FENCED",
				"Produce of the old":            "INVALID_TXN_STATE",
				"TxnOffsetCommit of the old":    "PRODUCER_FENCED",
			},
		},
		{
			name: "init-again",
			does: "InitProducerId without an open transaction gives the same producer id and the next epoch; however many ask, none is refused.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				q, err := s.initProducer(s.id, longTimeout)
				s.is("the second", nil, err)
				s.is("its producer id", p.PID, q.PID)
				s.is("epochs further", 1, q.Epoch-p.Epoch)
				_, err = s.initProducer(s.id, longTimeout)
				s.is("the third", nil, err)
				other, err := s.initProducer(s.id+"-other", longTimeout)
				s.ok(err)
				s.is("another id has another producer id", true, other.PID != p.PID)
			},
		},
		{
			name: "init-after-endtxn",
			does: "InitProducerId is answered only after the markers of the last transaction are written: then the end of every partition is stable as far as that id goes.",
			run: func(s *script) {
				s.newTopic(1)
				waited := s.sometimes(func() bool {
					p := s.producer()
					s.transaction(p, 0, true, "x")
					_, err := s.initProducer(s.id, longTimeout)
					return err == broker.ConcurrentTransactions //nolint:errorlint // the very value
				})
				s.is("it is told CONCURRENT_TRANSACTIONS", "sometimes", waited)
				s.producer()
				s.is("the last stable offset after it", s.endOf(kafka.ReadUncommitted), s.endOf(kafka.ReadCommitted))
			},
			kfake: map[string]string{"it is told CONCURRENT_TRANSACTIONS": "never"},
		},
		{
			name: "wrong-producer-id",
			does: "A request with a producer id that is not that of the transactional id is refused.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				p.PID += 1000
				s.is("AddPartitionsToTxn", broker.InvalidPIDMapping, s.addPartitions(p, s.tp(0)))
				s.is("AddOffsetsToTxn", broker.InvalidPIDMapping, s.addOffsets(p, s.group))
				s.is("EndTxn", broker.InvalidPIDMapping, s.endTxn(p, true))
			},
		},
		{
			name: "sequence-gap",
			does: "A batch with a gap before it is out of order; a new epoch counts from 0 again.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 0, rec("a", "b")...))
				s.is("a gap", broker.OutOfOrderSequence, s.produce(p, s.tp(0), 3, rec("d")...))
				s.is("the next", nil, s.produce(p, s.tp(0), 2, rec("c")...))
				s.ok(s.endTxn(p, true))
				p = s.producer()
				s.begin(p)
				s.is("a new epoch that goes on counting", broker.OutOfOrderSequence, s.produce(p, s.tp(0), 3, rec("d")...))
				s.is("a new epoch that begins at 0", nil, s.produce(p, s.tp(0), 0, rec("d")...))
			},
		},
		{
			name: "unknown-topic",
			does: "A topic that is not there is refused by name, by each request; a topic is made once.",
			run: func(s *script) {
				p := s.producer()
				s.is("AddPartitionsToTxn", broker.UnknownTopicOrPartition, s.addPartitions(p, s.tp(0)))
				s.is("Produce", broker.UnknownTopicOrPartition, s.produce(broker.Producer{}, s.tp(0), 0, rec("x")...))
				_, _, err := s.fetch(s.tp(0), 0, kafka.ReadCommitted)
				s.is("Fetch", broker.UnknownTopicOrPartition, err)
				_, err = s.end(s.tp(0), kafka.ReadCommitted)
				s.is("ListOffsets", broker.UnknownTopicOrPartition, err)
				s.newTopic(1)
				s.is("CreateTopics again", broker.TopicExists, s.create(s.topic, 1, nil))
				_, err = s.end(s.tp(1), kafka.ReadCommitted)
				s.is("ListOffsets of a partition that is not there", broker.UnknownTopicOrPartition, err)
			},
		},
		{
			name: "markers-take-offsets",
			does: "The marker of a transaction takes an offset in every partition that was added to it, also where nothing was written.",
			run: func(s *script) {
				s.newTopic(2)
				p := s.producer()
				s.begin(p, 0, 1)
				s.ok(s.produce(p, s.tp(0), 0, rec("a", "b")...))
				s.ok(s.endTxn(p, true))
				s.settle(p, true)
				s.is("the end behind two records", 3, s.endOf(kafka.ReadUncommitted))
				at, err := s.end(s.tp(1), kafka.ReadUncommitted)
				s.ok(err)
				s.is("the end where nothing was written", 1, at)
				found, next, err := s.fetch(s.tp(0), 0, kafka.ReadCommitted)
				s.ok(err)
				s.is("the records", "[0:a 1:b]", found)
				s.is("the position behind them", 3, next)
			},
		},
		{
			name: "aborted-records",
			does: "Aborted records are left out under read_committed, and the position jumps over them and their marker; under read_uncommitted they are there.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.transaction(p, 0, true, "a")
				s.transaction(p, 1, false, "x", "y")
				s.settle(p, false)
				found, next, err := s.fetch(s.tp(0), 0, kafka.ReadCommitted)
				s.ok(err)
				s.is("read_committed", "[0:a]", found)
				s.is("the position", 5, next)
				s.is("read_uncommitted", "[0:a 2:x 3:y]", s.values(kafka.ReadUncommitted))
				s.is("the last stable offset", 5, s.endOf(kafka.ReadCommitted))
			},
		},
		{
			name: "open-transaction-stops-readers",
			does: "An open transaction ends read_committed at its first record: what others committed behind it waits, too.",
			run: func(s *script) {
				s.newTopic(1)
				s.ok(s.produce(broker.Producer{}, s.tp(0), 0, rec("plain")...))
				p := s.producer()
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 0, rec("open")...))
				q, err := s.initProducer(s.id+"-other", longTimeout)
				s.ok(err)
				s.ok(s.addPartitions(q, s.tp(0)))
				s.ok(s.produce(q, s.tp(0), 0, rec("committed")...))
				s.ok(s.endTxn(q, true))
				s.settle(q, true)
				s.is("the last stable offset", 1, s.endOf(kafka.ReadCommitted))
				s.is("read_committed", "[0:plain]", s.values(kafka.ReadCommitted))
				s.is("read_uncommitted", "[0:plain 1:open 2:committed]", s.values(kafka.ReadUncommitted))
				s.ok(s.endTxn(p, false))
				s.settle(p, false)
				s.is("read_committed once it is aborted", "[0:plain 2:committed]", s.values(kafka.ReadCommitted))
			},
		},
	}
}
