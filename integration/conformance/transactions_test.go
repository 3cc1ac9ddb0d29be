package conformance

import (
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// endings are about how transactions end, and what comes late.
func endings() []behaviour {
	return []behaviour{
		{
			name: "markers-lag",
			does: "EndTxn is answered before the markers are written: right after it the last stable offset may be short, the read-uncommitted end never is.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				seq, shortEnd := int32(0), "never"
				lag := s.sometimes(func() bool {
					before := s.endOf(kafka.ReadUncommitted)
					s.transaction(p, seq, true, "x", "y")
					seq += 2
					stable, end := s.endOf(kafka.ReadCommitted), s.endOf(kafka.ReadUncommitted)
					if end < before+2 {
						shortEnd = "sometimes"
					}
					s.settle(p, true)
					return stable < end && stable <= before
				})
				s.is("the last stable offset is short", "sometimes", lag)
				s.is("the read-uncommitted end is short", "never", shortEnd)
				s.is("the last stable offset once the markers are written", s.endOf(kafka.ReadUncommitted), s.endOf(kafka.ReadCommitted))
			},
			kfake: map[string]string{"the last stable offset is short": "never"},
		},
		{
			name: "concurrent-transactions",
			does: "Until the markers of a transaction are written, the next one of the same id cannot begin, and EndTxn again says so too; EndTxn for the other outcome is an error.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				seq := int32(0)
				busy := func(f func() error) func() bool {
					return func() bool {
						s.transaction(p, seq, true, "x")
						seq++
						err := f()
						s.settle(p, true)
						return err == broker.ConcurrentTransactions //nolint:errorlint // the very value
					}
				}
				again := func() error { return s.endTxn(p, true) }
				s.is("EndTxn again is told CONCURRENT_TRANSACTIONS", "sometimes", s.sometimes(busy(again)))
				s.is("EndTxn for the other outcome, once they are written", broker.InvalidTxnState, s.endTxn(p, false))
				begins := func() error {
					err := s.addPartitions(p, s.tp(0))
					if err == nil {
						s.ok(s.endTxn(p, true))
					}
					return err
				}
				s.is("the next AddPartitionsToTxn is told CONCURRENT_TRANSACTIONS", "sometimes", s.sometimes(busy(begins)))
			},
			kfake: map[string]string{
				"EndTxn again is told CONCURRENT_TRANSACTIONS":                "never",
				"the next AddPartitionsToTxn is told CONCURRENT_TRANSACTIONS": "never",
			},
		},
		{
			name: "second-endtxn",
			does: "A second EndTxn of the same epoch commits whatever is ongoing when it comes: the next transaction, whose commit nobody asked for.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.transaction(p, 0, true, "first")
				s.settle(p, true)
				s.is("EndTxn again after the end", nil, s.endTxn(p, true))
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 1, rec("second")...))
				s.is("EndTxn of the first, held back until the second is ongoing", nil, s.endTxn(p, true))
				s.settle(p, true)
				s.is("what is committed", "[0:first 2:second]", s.values(kafka.ReadCommitted))
			},
		},
		{
			name: "endtxn-of-nothing",
			does: "EndTxn by a producer that has begun nothing is an error.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.is("commit", broker.InvalidTxnState, s.endTxn(p, true))
				s.is("abort", broker.InvalidTxnState, s.endTxn(p, false))
			},
			kfake: map[string]string{"abort": "ok"},
		},
		{
			name: "abort-twice",
			does: "EndTxn to abort, sent again after the end, is answered with success; to commit what was aborted is an error.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.transaction(p, 0, false, "x")
				s.settle(p, false)
				s.is("abort again", nil, s.endTxn(p, false))
				s.is("commit after an abort", broker.InvalidTxnState, s.endTxn(p, true))
			},
		},
		{
			name: "late-offsets",
			does: "A TxnOffsetCommit that comes after its transaction has ended is refused, until the next transaction of the epoch has added offsets of the group: then it belongs to that one, and overwrites newer offsets there.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.again("AddOffsetsToTxn", func() error { return s.addOffsets(p, s.group) })
				s.ok(s.txnCommit(p, s.group, anonymous(), s.at(0, 10, "first")))
				s.ok(s.endTxn(p, true))
				s.settle(p, true)
				late := func() error { return s.txnCommit(p, s.group, anonymous(), s.at(0, 10, "first")) }
				s.is("between the transactions", broker.InvalidTxnState, late())
				s.begin(p)
				s.is("in the next, before it has added offsets", broker.InvalidTxnState, late())
				s.ok(s.addOffsets(p, s.group))
				s.ok(s.txnCommit(p, s.group, anonymous(), s.at(0, 20, "second")))
				s.is("in the next, behind its offsets", nil, late())
				s.ok(s.endTxn(p, true))
				s.is("the offset that is committed", 10, s.stablePosition(0).Offset)
			},
		},
		{
			name: "late-offsets-before-the-marker",
			does: "A TxnOffsetCommit that comes behind EndTxn, and before the marker is written into the group's offsets, is taken into the transaction that was decided already, if that has offsets there; else it is told CONCURRENT_TRANSACTIONS.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				behind := func(before bool, answer error) func() bool {
					return func() bool {
						s.again("AddOffsetsToTxn", func() error { return s.addOffsets(p, s.group) })
						if before {
							s.ok(s.txnCommit(p, s.group, anonymous(), s.at(0, 1, "")))
						}
						s.ok(s.endTxn(p, true))
						err := s.txnCommit(p, s.group, anonymous(), s.at(0, 2, ""))
						s.settle(p, true)
						return err == answer //nolint:errorlint // the very value
					}
				}
				s.is("the transaction has no offsets yet: CONCURRENT_TRANSACTIONS", "sometimes", s.sometimes(behind(false, broker.ConcurrentTransactions)))
				if s.is("the transaction has offsets: it is taken", "sometimes", s.sometimes(behind(true, nil))) {
					s.is("the offset", 2, s.stablePosition(0).Offset)
				}
			},
			kfake: map[string]string{
				"the transaction has no offsets yet: CONCURRENT_TRANSACTIONS": "never",
				"the transaction has offsets: it is taken":                    "never",
			},
		},
		{
			name: "late-produce-before-the-marker",
			does: "A Produce that comes behind EndTxn, and before the marker, is taken into the transaction that was decided already where that has written; elsewhere it is told to try again.",
			run: func(s *script) {
				s.newTopic(2)
				behind := func(partition, seq int32, answer error) func() bool {
					return func() bool {
						p := s.producer()
						s.transaction(p, 0, true, "x")
						return s.produce(p, s.tp(partition), seq, rec("late")...) == answer //nolint:errorlint // the very value
					}
				}
				s.is("where it has not written: NOT_ENOUGH_REPLICAS", "sometimes", s.sometimes(behind(1, 0, broker.NotEnoughReplicas)))
				if !s.is("where it has written: it is taken", "sometimes", s.sometimes(behind(0, 1, nil))) {
					return
				}
				s.producer()
				late := 0
				for _, r := range s.values(kafka.ReadCommitted) {
					if r.value == "late" {
						late++
					}
				}
				s.is("it is committed", true, late > 0)
			},
			kfake: map[string]string{
				"where it has not written: NOT_ENOUGH_REPLICAS": "never",
				"where it has written: it is taken":             "never",
			},
		},
		{
			name: "late-addpartitions",
			does: "An AddPartitionsToTxn that comes after its transaction has ended begins the next one.",
			run: func(s *script) {
				s.newTopic(2)
				p := s.producer()
				s.transaction(p, 0, true, "x")
				s.settle(p, true)
				s.is("late AddPartitionsToTxn", nil, s.addPartitions(p, s.tp(1)))
				s.is("EndTxn, which has something to end", nil, s.endTxn(p, false))
				s.settle(p, false)
				at, err := s.end(s.tp(1), kafka.ReadUncommitted)
				s.ok(err)
				s.is("the end of the partition: its marker", 1, at)
			},
		},
		{
			name: "late-produce",
			does: "A Produce that comes again inside the next transaction, behind a batch of that, is acknowledged and not written again if it is among the last five batches; an older one is out of order.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.transaction(p, 0, true, "0")
				s.settle(p, true)
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 1, rec("1")...))
				s.is("the last of the transaction before", nil, s.produce(p, s.tp(0), 0, rec("0")...))
				s.is("the end: nothing was written", 3, s.endOf(kafka.ReadUncommitted))
				for seq := range int32(4) {
					s.ok(s.produce(p, s.tp(0), seq+2, rec("more")...))
				}
				s.is("the oldest of the last five", nil, s.produce(p, s.tp(0), 1, rec("1")...))
				s.is("an older one", broker.OutOfOrderSequence, s.produce(p, s.tp(0), 0, rec("0")...))
				s.is("the end: four were written", 7, s.endOf(kafka.ReadUncommitted))
			},
		},
		{
			name: "late-produce-first",
			does: "A Produce that comes after its transaction has ended, and before the next has written to the partition, is not written again; but the first batch of the next transaction is then out of order, until that transaction has ended.",
			run: func(s *script) {
				s.newTopic(2)
				p := s.producer()
				s.transaction(p, 0, true, "0")
				s.settle(p, true)
				late := func() error { return s.produce(p, s.tp(0), 0, rec("0")...) }
				s.is("between the transactions", broker.InvalidTxnState, late())
				s.begin(p, 1)
				s.is("in the next, which has not added the partition", broker.InvalidTxnState, late())
				s.begin(p)
				if !s.is("the first batch of the next", broker.OutOfOrderSequence, s.produce(p, s.tp(0), 1, rec("1")...)) {
					return
				}
				s.is("the end: nothing was written", 2, s.endOf(kafka.ReadUncommitted))
				s.ok(s.endTxn(p, false))
				s.settle(p, false)
				s.begin(p)
				s.is("the same batch in the transaction after that", nil, s.produce(p, s.tp(0), 1, rec("1")...))
			},
			kfake: map[string]string{"the first batch of the next": "ok"},
		},
		{
			name: "transaction-timeout",
			does: "A transaction that is open for longer than its timeout is aborted, and its producer is fenced by a new epoch.",
			run: func(s *script) {
				s.newTopic(1)
				p, err := s.initProducer(s.id, time.Second)
				s.ok(err)
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 0, rec("x")...))
				s.is("the last stable offset before", 0, s.endOf(kafka.ReadCommitted))
				s.until("the abort", func() bool { return s.endOf(kafka.ReadCommitted) == 2 })
				s.is("what is committed", "[]", s.values(kafka.ReadCommitted))
				s.is("EndTxn of the producer", broker.InvalidProducerEpoch, s.endTxn(p, true))
				s.is("Produce of the producer", broker.InvalidProducerEpoch, s.produce(p, s.tp(0), 1, rec("y")...))
				s.is("epochs to the next producer", 2, s.producer().Epoch-p.Epoch)
			},
			kfake: map[string]string{"EndTxn of the producer": "PRODUCER_FENCED", "Produce of the producer": "INVALID_TXN_STATE"},
		},
	}
}
