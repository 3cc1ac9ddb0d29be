package conformance

import (
	"strconv"
	"strings"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// compacted are the settings of a topic that is compacted soon. What tombstones are kept for is a parameter.
func compacted(deleteRetentionMs int) map[string]string {
	return map[string]string{
		"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0", "delete.retention.ms": strconv.Itoa(deleteRetentionMs),
	}
}

// put writes one record to partition 0 without a transaction.
func (s *script) put(key, value string) {
	s.Helper()
	s.ok(s.produce(broker.Producer{}, s.tp(0), 0, record{key: key, value: value, null: value == ""}), "Produce")
}

// roll writes records of other keys, so that those before are no longer in the active segment, and asks for a compaction.
func (s *script) roll() {
	s.Helper()
	for range 4 {
		s.put("filler", "f")
		s.pass()
	}
	s.compact(s.tp(0))
}

// of are the values of a key in partition 0; a tombstone is shown as -.
func (s *script) of(key string) string {
	s.Helper()
	all := []string{}
	for _, r := range s.values(kafka.ReadCommitted) {
		switch {
		case r.key == key && r.null:
			all = append(all, "-")
		case r.key == key:
			all = append(all, r.value)
		}
	}
	return strings.Join(all, " ")
}

// logs are about what is deleted from logs, and what does not get in.
func logs() []behaviour {
	return []behaviour{
		{
			name: "delete-records",
			does: "DeleteRecords up to the end empties a log and moves its start; beyond the end it is refused; below the start nothing happens.",
			run: func(s *script) {
				s.newTopic(1)
				for range 4 {
					s.put("k", "v")
				}
				s.is("in the middle", nil, s.deleteRecords(s.tp(0), 2))
				at, err := s.start(s.tp(0))
				s.ok(err)
				s.is("the start", 2, at)
				s.is("below the start", nil, s.deleteRecords(s.tp(0), 1))
				s.is("beyond the end", broker.OffsetOutOfRange, s.deleteRecords(s.tp(0), 5))
				s.is("at the end", nil, s.deleteRecords(s.tp(0), 4))
				at, err = s.start(s.tp(0))
				s.ok(err)
				s.is("the start then", 4, at)
				s.put("k", "next")
				s.is("what is there after the next record", "[4:next]", s.values(kafka.ReadCommitted))
			},
			kfake: map[string]string{"below the start": "OFFSET_OUT_OF_RANGE"},
		},
		{
			name: "delete-records-open-transaction",
			does: "DeleteRecords goes as far as the end, past the records of a transaction that is open.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 0, rec("a", "b")...))
				s.is("up to the end", nil, s.deleteRecords(s.tp(0), 2))
				at, err := s.start(s.tp(0))
				s.ok(err)
				s.is("the start", 2, at)
				s.ok(s.endTxn(p, true))
				s.settle(p, true)
				s.is("the end", 3, s.endOf(kafka.ReadCommitted))
			},
		},
		{
			name: "fetch-out-of-range",
			does: "Fetch below the start of a log or beyond its end is out of range; at the end, and between the last stable offset and the end, there is just nothing.",
			run: func(s *script) {
				s.newTopic(1)
				s.put("k", "a")
				s.put("k", "b")
				s.ok(s.deleteRecords(s.tp(0), 1))
				at := func(offset int64) (string, error) {
					found, _, err := s.fetch(s.tp(0), offset, kafka.ReadCommitted)
					return text(found), err
				}
				_, err := at(0)
				s.is("below the start", broker.OffsetOutOfRange, err)
				_, err = at(3)
				s.is("beyond the end", broker.OffsetOutOfRange, err)
				found, err := at(2)
				s.is("at the end", nil, err)
				s.is("what is there", "[]", found)
				p := s.producer()
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 0, rec("x", "y")...))
				found, err = at(3)
				s.is("behind the last stable offset", nil, err)
				s.is("what is there of the open transaction", "[]", found)
			},
		},
		{
			name: "compaction",
			does: "Compaction keeps the last record of each key, and everything in the active segment; offsets stay.",
			run: func(s *script) {
				s.ok(s.create(s.topic, 1, compacted(100_000)))
				for _, v := range []string{"1", "2", "3"} {
					s.put("a", v)
				}
				s.put("b", "1")
				s.until("the compaction", func() bool { s.roll(); return s.of("a") == "3" })
				s.is("the last record of a key", "3", s.of("a"))
				s.is("its offset", 2, s.values(kafka.ReadCommitted)[0].offset)
				s.is("another key", "1", s.of("b"))
				s.put("filler", "f")
				s.put("b", "2")
				s.put("b", "3")
				s.compact(s.tp(0))
				s.is("two of a key at the end", true, strings.HasSuffix(s.of("b"), "2 3"))
			},
		},
		{
			name: "tombstones",
			does: "A tombstone stays until delete.retention.ms after it was compacted, then it is gone: who reads later does not know that the key was there.",
			run: func(s *script) {
				s.ok(s.create(s.topic, 1, compacted(1000)))
				s.put("a", "1")
				s.put("a", "")
				s.put("b", "1")
				seen := false
				s.until("the deletion of the tombstone", func() bool {
					s.roll()
					seen = seen || s.of("a") == "-"
					return s.of("a") == ""
				})
				s.is("the tombstone without the record before it is seen", true, seen)
				s.is("the other key", "1", s.of("b"))
			},
		},
		{
			name: "tombstones-kept",
			does: "A tombstone that is younger than delete.retention.ms is kept by compaction.",
			run: func(s *script) {
				s.ok(s.create(s.topic, 1, compacted(100_000)))
				s.put("a", "1")
				s.put("a", "")
				s.until("the compaction", func() bool { s.roll(); return s.of("a") != "1 -" })
				s.is("what is left", "-", s.of("a"))
			},
		},
		{
			name: "compaction-of-transactions",
			does: "Compaction takes aborted records away; a record is not replaced by one of a transaction that is open, and behind that everything stays.",
			run: func(s *script) {
				s.ok(s.create(s.topic, 1, compacted(100_000)))
				p := s.producer()
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 0, record{key: "a", value: "aborted"}))
				s.ok(s.endTxn(p, false))
				s.settle(p, false)
				s.put("a", "1")
				s.put("a", "2")
				s.put("c", "1")
				s.put("c", "2")
				s.until("the compaction", func() bool { s.roll(); return s.of("a") == "2" })
				s.is("aborted records", "2", s.of("a"))
				s.begin(p)
				s.ok(s.produce(p, s.tp(0), 1, record{key: "a", value: "open"}))
				s.put("b", "1")
				s.put("b", "2")
				s.roll()
				s.is("what the open transaction would replace", "2", s.of("a"))
				s.ok(s.endTxn(p, false))
				s.settle(p, false)
				s.is("the same, once the transaction is aborted", "2", s.of("a"))
				s.is("records of a key behind it", "1 2", s.of("b"))
			},
			kfake: map[string]string{
				"what the open transaction would replace":   "",
				"the same, once the transaction is aborted": "",
				"records of a key behind it":                "2",
			},
		},
		{
			name: "max-message-bytes",
			does: "A record over the topic's max.message.bytes is refused.",
			run: func(s *script) {
				s.ok(s.create(s.topic, 1, map[string]string{"max.message.bytes": "2000"}))
				p := s.producer()
				s.begin(p)
				s.is("2500 bytes", broker.MessageTooLarge, s.produce(p, s.tp(0), 0, rec(strings.Repeat("x", 2500))...))
				s.is("1500 bytes, with the same sequence number", nil, s.produce(p, s.tp(0), 0, rec(strings.Repeat("x", 1500))...))
			},
		},
	}
}
