package broker

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// Entry is one record of a log, or a control marker.
type Entry struct {
	Offset, Timestamp      int64
	Key, Value, RawHeaders []byte
	PID                    int64 // -1: not of an idempotent producer
	Transactional, Aborted bool
	Control                bool // a marker: it takes an offset and is no record
	written                time.Time
}

// partition is the log of one topic-partition.
type partition struct {
	topic     *topic
	tp        kafka.TopicPartition
	entries   []Entry
	start     int64
	next      int64 // the high watermark: one replica
	open      []openTxn
	producers map[int64]*producerState
}

// openTxn is a transaction whose marker is not here yet.
type openTxn struct{ pid, first int64 }

// producerState is what a partition knows of a producer.
type producerState struct {
	epoch int16
	seq   int32   // the next
	last  []int32 // first numbers of the last batches of the epoch

	// verifying: the coordinator was asked, and nothing was written since. lowest is the lowest number seen meanwhile.
	verifying   bool
	verifyEpoch int16
	lowest      int32
}

// verify remembers the number of a batch for which the coordinator is asked.
func (st *producerState) verify(epoch int16, seq int32) {
	switch {
	case !st.verifying || epoch > st.verifyEpoch:
		st.verifying, st.verifyEpoch, st.lowest = true, epoch, seq
	case epoch == st.verifyEpoch:
		st.lowest = min(st.lowest, seq)
	}
}

// next checks the number of a batch of n records, and counts it. It says whether the batch is there already.
func (st *producerState) next(epoch int16, seq, n int32) (again bool, e Err) {
	const remembered = 5
	fresh := epoch > st.epoch
	switch {
	case epoch < st.epoch:
		return false, InvalidProducerEpoch
	case !fresh && slices.Contains(st.last, seq):
		return true, None
	case st.verifying && seq > st.lowest, fresh && seq != 0, !fresh && seq != st.seq:
		return false, OutOfOrderSequence
	}
	if fresh {
		st.epoch, st.last = epoch, nil
	}
	st.seq, st.verifying = seq+n, false
	st.last = append(st.last, seq)
	st.last = st.last[max(0, len(st.last)-remembered):]
	return false, None
}

// lso is the last stable offset.
func (p *partition) lso() int64 {
	at := p.next
	for _, o := range p.open {
		at = min(at, o.first)
	}
	return at
}

func (p *partition) append(e Entry) {
	e.Offset = p.next
	p.next++
	p.entries = append(p.entries, e)
}

// index is the first entry at or behind an offset: compaction leaves gaps.
func (p *partition) index(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.entries, offset, func(e Entry, at int64) int { return cmp.Compare(e.Offset, at) })
	return i
}

// Fetch returns up to limit records from an offset on and the position behind them. Under read_committed it stops at the
// last stable offset and leaves out what was aborted. The records belong to the log.
func (b *Broker) Fetch(tp kafka.TopicPartition, offset int64, level kafka.Isolation, limit int) (found []*Entry, next int64, err error) {
	if e := b.inject("Fetch"); e != None {
		return nil, offset, e
	}
	p := b.part(tp)
	switch {
	case p == nil:
		return nil, offset, UnknownTopicOrPartition
	case offset < p.start || offset > p.next:
		return nil, offset, OffsetOutOfRange
	}
	end := p.next
	if level == kafka.ReadCommitted {
		end = p.lso()
	}
	next = offset
	for i := p.index(offset); i < len(p.entries) && p.entries[i].Offset < end && len(found) < limit; i++ {
		e := &p.entries[i]
		next = e.Offset + 1
		if !e.Control && (level == kafka.ReadUncommitted || !e.Aborted) {
			found = append(found, e)
		}
	}
	if len(found) < limit {
		next = max(next, end)
	}
	return found, next, nil
}

// Log returns all entries of a log, markers included. They belong to the log.
func (b *Broker) Log(tp kafka.TopicPartition) []Entry {
	if p := b.part(tp); p != nil {
		return p.entries
	}
	return nil
}

// End returns the end of a log; Start its first offset.
func (b *Broker) End(tp kafka.TopicPartition, level kafka.Isolation) (int64, error) {
	if e := b.inject("ListOffsets"); e != None {
		return 0, e
	}
	p := b.part(tp)
	switch {
	case p == nil:
		return 0, UnknownTopicOrPartition
	case level == kafka.ReadCommitted:
		return p.lso(), nil
	}
	return p.next, nil
}

// Start returns the first offset of a log.
func (b *Broker) Start(tp kafka.TopicPartition) (int64, error) {
	if e := b.inject("ListOffsets"); e != None {
		return 0, e
	}
	p := b.part(tp)
	if p == nil {
		return 0, UnknownTopicOrPartition
	}
	return p.start, nil
}

// Since returns the first offset of a committed record with a time or a later one; -1: there is none.
func (b *Broker) Since(tp kafka.TopicPartition, at int64) (int64, error) {
	if e := b.inject("ListOffsets"); e != None {
		return 0, e
	}
	p := b.part(tp)
	if p == nil {
		return 0, UnknownTopicOrPartition
	}
	end := p.lso()
	for i := p.index(p.start); i < len(p.entries) && p.entries[i].Offset < end; i++ {
		if e := &p.entries[i]; !e.Control && e.Timestamp >= at { // records of aborted transactions too, as in Kafka
			return e.Offset, nil
		}
	}
	return -1, nil
}

// DeleteRecords deletes what lies before an offset.
func (b *Broker) DeleteRecords(tp kafka.TopicPartition, before int64) error {
	if e := b.inject("DeleteRecords"); e != None {
		return e
	}
	p := b.part(tp)
	switch {
	case p == nil:
		return UnknownTopicOrPartition
	case before > p.next:
		return OffsetOutOfRange
	}
	p.start = max(p.start, before)
	p.entries = slices.Delete(p.entries, 0, p.index(p.start))
	return nil
}

// Compact removes records of which the log has a later one of the same key, and tombstones older than delete.retention.ms.
// What is behind the last stable offset, and the last few entries, stay: they are in the active segment.
func (b *Broker) Compact(tp kafka.TopicPartition) {
	const active = 3
	p := b.part(tp)
	if p == nil || len(p.entries) <= active {
		return
	}
	ms, err := strconv.ParseInt(p.topic.config["delete.retention.ms"], 10, 64)
	if err != nil {
		panic("broker: " + err.Error()) // a bug of the simulation
	}
	keep := time.Duration(ms) * time.Millisecond
	end := min(p.lso(), p.entries[len(p.entries)-active].Offset)
	latest := map[string]int64{}
	for _, e := range p.entries {
		if e.Offset < end && !e.Control && !e.Aborted {
			latest[string(e.Key)] = e.Offset
		}
	}
	p.entries = slices.DeleteFunc(p.entries, func(e Entry) bool {
		switch {
		case e.Offset >= end:
			return false
		case e.Control || e.Aborted:
			return e.Aborted
		case latest[string(e.Key)] > e.Offset:
			return true
		}
		return e.Value == nil && b.now.Sub(e.written) > keep
	})
}

// Record is a record to produce.
type Record struct {
	Timestamp              int64
	Key, Value, RawHeaders []byte
}

// Size is what a record counts for against the topic's limit.
func (r *Record) Size() int { return len(r.Key) + len(r.Value) + len(r.RawHeaders) + 70 }

// Produce appends a batch of a producer without transactions, or with pid -1 of one that is not idempotent.
func (b *Broker) Produce(tp kafka.TopicPartition, records []Record) (offset int64, err error) {
	if e := b.inject("Produce"); e != None {
		return -1, e
	}
	p, e := b.writable(tp, records)
	if e != None {
		return -1, e
	}
	offset = p.next
	for _, r := range records {
		p.append(b.entry(r, -1, false))
	}
	return offset, nil
}

func (b *Broker) writable(tp kafka.TopicPartition, records []Record) (*partition, Err) {
	p := b.part(tp)
	switch {
	case p == nil:
		return nil, UnknownTopicOrPartition
	case b.denied[tp.Topic] != None:
		return nil, b.denied[tp.Topic]
	}
	for i := range records {
		if records[i].Size() > p.topic.maxBytes() {
			return nil, MessageTooLarge
		}
	}
	return p, None
}

func (b *Broker) entry(r Record, pid int64, transactional bool) Entry {
	ts := r.Timestamp
	if ts == 0 {
		ts = b.now.UnixMilli()
	}
	return Entry{Timestamp: ts, Key: r.Key, Value: r.Value, RawHeaders: r.RawHeaders, PID: pid, Transactional: transactional, written: b.now}
}

// LSO is the last stable offset of a log, 0 where there is none: for a client that waits.
func (b *Broker) LSO(tp kafka.TopicPartition) int64 {
	if p := b.part(tp); p != nil {
		return p.lso()
	}
	return 0
}
