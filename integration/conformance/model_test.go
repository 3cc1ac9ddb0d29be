package conformance

import (
	"testing"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// model is the model of a cluster, with a clock that moves when time is to pass.
type model struct {
	b     *broker.Broker
	now   time.Time
	topic map[string]map[string]string
}

func newModel(*testing.T) cluster {
	m := &model{b: broker.New(), now: time.UnixMilli(1_700_000_000_000), topic: map[string]map[string]string{}}
	m.b.SetNow(m.now)
	return m
}

func (m *model) name() string { return "model" }

func (m *model) timeouts() (session, rebalance time.Duration) {
	return broker.SessionTimeout, broker.RebalanceTimeout
}

func (m *model) clock() time.Time { return m.now }

// pass writes the oldest marker that is on its way.
func (m *model) pass() {
	const step = 10 * time.Millisecond
	m.now = m.now.Add(step)
	m.b.SetNow(m.now)
	m.marker()
}

// marker writes the oldest marker that is on its way.
func (m *model) marker() {
	if m.b.Pending() > 0 {
		m.b.WriteMarker(m.b.SendMarker(0))
	}
}

func (m *model) create(topic string, partitions int32, config map[string]string) error {
	m.topic[topic] = config
	return m.b.Create(topic, partitions, config)
}

func (m *model) initProducer(id string, timeout time.Duration) (broker.Producer, error) {
	return m.b.InitProducerID(id, timeout)
}

func (m *model) addPartitions(p broker.Producer, tps ...kafka.TopicPartition) error {
	return m.b.AddPartitions(p, tps...)
}

func (m *model) produce(p broker.Producer, tp kafka.TopicPartition, seq int32, records ...record) error {
	var batch []broker.Record
	for _, r := range records {
		x := broker.Record{Key: []byte(r.key), Value: []byte(r.value)}
		if r.null {
			x.Value = nil
		}
		batch = append(batch, x)
	}
	if p.ID == "" {
		_, err := m.b.Produce(tp, batch)
		return err
	}
	return m.b.ProduceTxn(p, tp, seq, batch)
}

func (m *model) addOffsets(p broker.Producer, group string) error { return m.b.AddOffsets(p, group) }

func (m *model) txnCommit(p broker.Producer, group string, as kafka.Member, positions ...kafka.Position) error {
	return m.b.TxnOffsetCommit(p, group, as, positions)
}

func (m *model) endTxn(p broker.Producer, commit bool) error { return m.b.EndTxn(p, commit) }

func (m *model) fetch(tp kafka.TopicPartition, from int64, level kafka.Isolation) (found []record, next int64, err error) {
	const all = 1 << 20
	entries, next, err := m.b.Fetch(tp, from, level, all)
	for _, e := range entries {
		found = append(found, record{offset: e.Offset, key: string(e.Key), value: string(e.Value), null: e.Value == nil})
	}
	return found, next, err
}

func (m *model) end(tp kafka.TopicPartition, level kafka.Isolation) (int64, error) {
	return m.b.End(tp, level)
}

func (m *model) start(tp kafka.TopicPartition) (int64, error) { return m.b.Start(tp) }

func (m *model) deleteRecords(tp kafka.TopicPartition, before int64) error {
	return m.b.DeleteRecords(tp, before)
}

func (m *model) compact(tp kafka.TopicPartition) { m.b.Compact(tp) }

func (m *model) commit(group string, as kafka.Member, positions ...kafka.Position) error {
	return m.b.OffsetCommit(group, as, positions)
}

func (m *model) committed(group string, stable bool, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	return m.b.OffsetFetch(group, stable, tps...)
}

func (m *model) join(group string, as kafka.Member, owned []int32) func() (joined, bool) {
	id, answer, err := m.b.Join(group, as.ID, as.Instance, "", owned)
	return func() (joined, bool) {
		if answer == nil && err == nil {
			answer, err = m.b.JoinAnswer(group, id, as.Instance)
		}
		if err != nil {
			return joined{err: err}, true
		}
		if answer == nil {
			return joined{}, false
		}
		j := joined{member: kafka.Member{ID: answer.MemberID, Instance: as.Instance, Generation: answer.Generation}, leader: len(answer.Members) > 0, members: map[string]string{}}
		for _, x := range answer.Members {
			key := x.Instance
			if key == "" {
				key = x.ID
			}
			j.members[key] = x.ID
		}
		return j, true
	}
}

func (m *model) sync(group string, as kafka.Member, assignment map[string][]int32) func() (synced, bool) {
	var over *synced
	ask := func() (synced, bool) {
		if over == nil {
			slots, done, err := m.b.Sync(group, as.ID, as.Instance, as.Generation, assignment)
			if !done && err == nil {
				return synced{}, false
			}
			over = &synced{slots, err}
		}
		return *over, true
	}
	ask()
	return ask
}

func (m *model) heartbeat(group string, as kafka.Member) error {
	return m.b.Heartbeat(group, as.ID, as.Instance, as.Generation)
}

func (m *model) leave(group string, as kafka.Member) error {
	return m.b.Leave(group, as.ID, as.Instance)
}

func (m *model) members(group string) int {
	n, _ := m.b.Members(group)
	return n
}
