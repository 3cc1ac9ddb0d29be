package broker

import (
	"slices"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// state is that of a transaction at its coordinator.
type state uint8

const (
	empty state = iota
	ongoing
	prepareCommit
	prepareAbort
	completeCommit
	completeAbort
)

// txn is what the coordinator knows of a transactional id.
type txn struct {
	id      string
	pid     int64
	epoch   int16
	state   state
	timeout time.Duration
	began   time.Time
	parts   []kafka.TopicPartition
	groups  []string
	markers int // not written yet
}

// marker is a control record that is on its way to a partition, or to the offsets of a group.
type marker struct {
	t      *txn
	tp     kafka.TopicPartition
	group  string
	epoch  int16
	commit bool
}

// Producer is who a transactional producer is: one incarnation of its id.
type Producer struct {
	ID    string
	PID   int64
	Epoch int16
}

// InitProducerID begins a new incarnation of an id. What an older one has open is aborted first: until its markers are
// written the answer is CONCURRENT_TRANSACTIONS.
func (b *Broker) InitProducerID(id string, timeout time.Duration) (Producer, error) {
	if e := b.inject("InitProducerId"); e != None {
		return Producer{}, e
	}
	t := b.txns[id]
	if t == nil {
		b.nextPID++
		t = &txn{id: id, pid: b.nextPID, epoch: -1}
		b.txns[id], b.byPID[t.pid] = t, t
		b.txnIDs = append(b.txnIDs, id)
	}
	switch t.state {
	case prepareCommit, prepareAbort:
		return Producer{}, ConcurrentTransactions
	case ongoing:
		t.epoch++
		b.end(t, false)
		return Producer{}, ConcurrentTransactions
	case empty, completeCommit, completeAbort:
	}
	t.epoch++
	t.state, t.timeout = empty, timeout
	return Producer{id, t.pid, t.epoch}, nil
}

// of checks that a request comes of the newest incarnation.
func (b *Broker) of(p Producer) (*txn, Err) {
	t := b.txns[p.ID]
	switch {
	case t == nil || t.pid != p.PID:
		return nil, InvalidPIDMapping
	case p.Epoch != t.epoch:
		return nil, InvalidProducerEpoch // PRODUCER_FENCED in later versions of the requests
	}
	return t, None
}

func (b *Broker) join(t *txn) Err {
	switch t.state {
	case prepareCommit, prepareAbort:
		return ConcurrentTransactions
	case empty, completeCommit, completeAbort:
		t.state, t.began, t.parts, t.groups = ongoing, b.now, nil, nil
	case ongoing:
	}
	return None
}

// AddPartitions adds topic-partitions to the transaction, and begins one if there is none.
func (b *Broker) AddPartitions(p Producer, tps ...kafka.TopicPartition) error {
	if e := b.inject("AddPartitionsToTxn"); e != None {
		return e
	}
	for _, tp := range tps {
		switch {
		case b.part(tp) == nil:
			return UnknownTopicOrPartition
		case b.denied[tp.Topic] != None:
			return b.denied[tp.Topic]
		}
	}
	t, e := b.of(p)
	if e == None {
		e = b.join(t)
	}
	if e != None {
		return e
	}
	for _, tp := range tps {
		if !slices.Contains(t.parts, tp) {
			t.parts = append(t.parts, tp)
		}
	}
	return nil
}

// ProduceTxn appends a batch inside a transaction. seq is the number of its first record in what this incarnation has
// sent to the partition: a batch that is among the last five is acknowledged and not written again. Where the partition has
// nothing of the transaction yet, the coordinator is asked whether it belongs to it; the lowest number that was seen until
// then has to be written first, also if it came late and was refused.
func (b *Broker) ProduceTxn(p Producer, tp kafka.TopicPartition, seq int32, records []Record) error {
	if e := b.inject("Produce"); e != None {
		return e
	}
	part, e := b.writable(tp, records)
	if e != None {
		return e
	}
	st := part.producers[p.PID]
	if st == nil {
		st = new(producerState)
		part.producers[p.PID] = st
	}
	isOpen := slices.ContainsFunc(part.open, func(o openTxn) bool { return o.pid == p.PID }) && st.epoch == p.Epoch
	if !isOpen {
		st.verify(p.Epoch, seq)
		if e := b.verified(p, func(t *txn) bool { return slices.Contains(t.parts, tp) }); e == ConcurrentTransactions {
			return NotEnoughReplicas
		} else if e != None {
			return e
		}
	}
	again, e := st.next(p.Epoch, seq, int32(len(records))) //nolint:gosec // small
	if e != None || again {
		return e.or()
	}
	if !isOpen {
		part.open = append(part.open, openTxn{p.PID, part.next})
	}
	for _, r := range records {
		part.append(b.entry(r, p.PID, true))
	}
	return nil
}

// verified asks the coordinator whether something belongs to the transaction of a producer.
func (b *Broker) verified(p Producer, belongs func(*txn) bool) Err {
	t := b.byPID[p.PID]
	switch {
	case t == nil:
		return InvalidPIDMapping
	case t.epoch != p.Epoch:
		return InvalidProducerEpoch
	case t.state == prepareCommit || t.state == prepareAbort:
		return ConcurrentTransactions
	case t.state != ongoing || !belongs(t):
		return InvalidTxnState
	}
	return None
}

// AddOffsets adds a group's offsets to the transaction.
func (b *Broker) AddOffsets(p Producer, group string) error {
	if e := b.inject("AddOffsetsToTxn"); e != None {
		return e
	}
	t, e := b.of(p)
	if e == None {
		e = b.join(t)
	}
	if e != None {
		return e
	}
	if !slices.Contains(t.groups, group) {
		t.groups = append(t.groups, group)
	}
	return nil
}

// TxnOffsetCommit commits offsets inside a transaction. The member is checked for its id, instance and generation, never for
// what it owns; one without id and generation is taken. The coordinator is asked whether the group belongs to the
// transaction, unless the transaction has offsets here already: then even one that was sent late, and comes behind EndTxn and
// before the marker, is taken.
func (b *Broker) TxnOffsetCommit(p Producer, group string, as kafka.Member, positions []kafka.Position) error {
	if e := b.inject("TxnOffsetCommit"); e != None {
		return e
	}
	g := b.group(group)
	if g.epochs[p.PID] > p.Epoch {
		return InvalidProducerEpoch
	}
	if !slices.ContainsFunc(g.commits, func(c commit) bool { return c.pending && c.pid == p.PID }) {
		if e := b.verified(p, func(t *txn) bool { return slices.Contains(t.groups, group) }); e != None {
			return e
		}
	}
	if e := g.validate(as, true); e != None {
		return e
	}
	g.epochs[p.PID] = p.Epoch
	return g.write(positions, func(pos kafka.Position) {
		g.commits = append(g.commits, commit{pos: pos, pid: p.PID, pending: true})
	}).or()
}

// EndTxn decides a transaction. It is answered before the markers are written. A second request of the same incarnation
// decides whatever is ongoing then: the next transaction, if there is one.
func (b *Broker) EndTxn(p Producer, commit bool) error {
	if e := b.inject("EndTxn"); e != None {
		return e
	}
	t, e := b.of(p)
	if e != None {
		return e
	}
	switch t.state {
	case empty:
		return InvalidTxnState
	case ongoing:
		b.end(t, commit)
		return nil
	case prepareCommit, prepareAbort:
		if commit == (t.state == prepareCommit) {
			return ConcurrentTransactions
		}
		return InvalidTxnState
	case completeCommit, completeAbort:
		if commit == (t.state == completeCommit) {
			return nil
		}
	}
	return InvalidTxnState
}

func (b *Broker) end(t *txn, commit bool) {
	t.state = prepareAbort
	if commit {
		t.state = prepareCommit
		b.Commits++
	}
	for _, tp := range t.parts {
		b.pending = append(b.pending, marker{t: t, tp: tp, epoch: t.epoch, commit: commit})
	}
	for _, g := range t.groups {
		b.pending = append(b.pending, marker{t: t, group: g, epoch: t.epoch, commit: commit})
	}
	t.markers = len(t.parts) + len(t.groups)
	b.flying += t.markers
	b.complete(t)
}

func (b *Broker) complete(t *txn) {
	if t.markers > 0 {
		return
	}
	if t.state == prepareCommit {
		t.state = completeCommit
	} else {
		t.state = completeAbort
	}
}

// Pending is how many markers wait to be sent.
func (b *Broker) Pending() int { return len(b.pending) }

// Flying is how many markers are not written yet.
func (b *Broker) Flying() int { return b.flying }

// Marker is a marker on its way.
type Marker struct{ m marker }

// SendMarker takes the i-th of those that wait: it is on its way until it is written.
func (b *Broker) SendMarker(i int) Marker {
	m := b.pending[i]
	b.pending = slices.Delete(b.pending, i, i+1)
	return Marker{m}
}

// WriteMarker writes a marker.
func (b *Broker) WriteMarker(of Marker) {
	m := of.m
	b.flying--
	if m.group != "" {
		b.group(m.group).decide(m.t.pid, m.epoch, m.commit)
	} else if p := b.part(m.tp); p != nil {
		p.decide(m, b.now)
	}
	m.t.markers--
	b.complete(m.t)
}

// decide writes a marker.
func (p *partition) decide(m marker, now time.Time) {
	first := p.next
	p.open = slices.DeleteFunc(p.open, func(o openTxn) bool {
		if o.pid == m.t.pid {
			first = o.first
		}
		return o.pid == m.t.pid
	})
	if !m.commit {
		for i := p.index(first); i < len(p.entries); i++ {
			if e := &p.entries[i]; e.PID == m.t.pid {
				e.Aborted = true
			}
		}
	}
	st := p.producers[m.t.pid]
	if st == nil || st.epoch < m.epoch {
		st = &producerState{epoch: m.epoch}
		p.producers[m.t.pid] = st
	}
	st.verifying = false
	p.append(Entry{Timestamp: now.UnixMilli(), PID: m.t.pid, Transactional: true, Control: true, written: now})
}
