package topology

import (
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// defaultCapacity is how many records of a channel wait in each partition.
const defaultCapacity = 4000

// Channel is a pipe in memory between agents of one stage, partition by partition: what an agent sends is read by the agents
// of the same partition that have the channel as their source, each of which gets all of it. Nothing is encoded.
//
// A record of a topic is done, and its offset committed, only when everything that it has caused through channels is: it is
// one tree, whose effects are committed together. If the process dies before, all of it is done again; so nothing that is in
// memory is lost. If an agent fails in a record of a channel, the whole tree is undone and its record of the topic tried again,
// by the policy of the agent that failed; a dead letter holds the record of the topic, and names both agents.
type Channel[K, V any] struct {
	def    *topicDef
	validK func(K) error
	validV func(V) error
	puts   *Topic[K, V] // nil: it takes nothing from outside
}

// ChannelOption changes how a channel works.
type ChannelOption func(*topicDef)

// Capacity is how many records of a channel may wait in each partition: while there is no room, agents that send to it are
// given no more records. What one record sends is never split, so an agent that sends many may go over it by as much as the
// records that it was given before make. Defaults to 4,000.
func Capacity(n int) ChannelOption { return func(d *topicDef) { d.capacity = n } }

// NewChannel defines a channel. It ties its agents to one stage, that of those that send to it.
func NewChannel[K, V any](t *Topology, name string, opts ...ChannelOption) *Channel[K, V] {
	var k K
	var v V
	d := &topicDef{
		t: t, id: int32(len(t.channels)), name: name, memory: true, capacity: defaultCapacity,
		key: plan.Text{Type: fmt.Sprintf("%T", k)}, value: plan.Text{Type: fmt.Sprintf("%T", v)},
		parcel: func() plan.Parcel { return new(parcel[K, V]) },
	}
	for _, o := range opts {
		o(d)
	}
	if d.capacity <= 0 {
		t.fault("channel %s has the capacity %d: use a positive number", name, d.capacity)
	}
	t.channels = append(t.channels, d)
	t.changed()
	c := &Channel[K, V]{def: d, validK: codec.Validator[K](), validV: codec.Validator[V]()}
	if d.inlet != nil {
		c.openInlet()
	}
	return c
}

// topic returns nil for a nil handle, which the options turn into a fault.
func (c *Channel[K, V]) topic() *topicDef {
	if c == nil {
		return nil
	}
	return c.def
}

// Name returns the channel's name.
func (c *Channel[K, V]) Name() string { return c.def.name }

// codecs implements Source: there are none.
func (c *Channel[K, V]) codecs() (codec.Codec[K], codec.Codec[V]) { return nil, nil }

// event implements Source.
func (c *Channel[K, V]) event(rec plan.Rec, ev *Event[K, V]) error {
	all, ok := rec.B.Values.(run[K, V])
	if !ok {
		return fmt.Errorf("channel %s: it was given a record of %s", c.def.name, rec.B.Topic)
	}
	x := &all[rec.I]
	*ev = Event[K, V]{Key: x.key, Value: x.value, NullKey: x.nullKey, NullValue: x.nullValue, rec: rec}
	return nil
}

// Send sends a record to the agents that read the channel in this partition, when the turn at hand is over. The value is passed
// on as it is: what it points to must not be changed afterwards, by the sender or by a reader. An error (a channel that is not
// declared with Sends, a key or value whose Validate refuses it, an option that makes no sense here) fails the record at hand.
func (c *Channel[K, V]) Send(ctx *Context, key K, value V, opts ...SendOption) {
	var x sending
	if len(opts) > 0 {
		x = applied(opts)
	}
	c.put(ctx.turn(), key, value, x)
}

// put implements Destination.
func (c *Channel[K, V]) put(s *scope, key K, value V, x sending) {
	e := s.effects()
	if err := c.add(s, e, key, value, x); err != nil {
		e.Fail(err)
	}
}

func (c *Channel[K, V]) add(s *scope, e *plan.Effects, key K, value V, x sending) error {
	d, who := c.def, s.agent
	switch {
	case !who.sends[d]:
		return lasting("%s %s sends to channel %s without having declared it: add topology.Sends(%s) to it", roleOf(who), who.name, d.name, d.name)
	case x.placed:
		return lasting("%s %s sends to partition %d of channel %s: what is sent to a channel stays in its partition; send to a topic", roleOf(who), who.name, x.partition, d.name)
	case int(d.id) >= len(e.Sent):
		return lasting("%s %s cannot send to channel %s from here: it runs inside a table", roleOf(who), who.name, d.name)
	}
	p := passed[K, V]{timestamp: s.timestamp(), headers: x.headers, nullKey: x.nullKey, nullValue: x.nullValue}
	if x.timed {
		if p.timestamp = x.timestamp; p.timestamp <= 0 {
			return lasting("%s %s sends to channel %s with the time %s: it must be after the Unix epoch", roleOf(who), who.name, d.name,
				time.UnixMilli(p.timestamp).UTC().Format(time.RFC3339))
		}
	}
	if !x.nullKey {
		if p.key = key; c.validK != nil {
			if err := c.validK(key); err != nil {
				return lasting("send to channel %s: the key: %w", d.name, err)
			}
		}
	}
	if !x.nullValue {
		if p.value = value; c.validV != nil {
			if err := c.validV(value); err != nil {
				return lasting("send to channel %s: the value: %w", d.name, err)
			}
		}
	}
	if e.Sent[d.id] == nil {
		e.Sent[d.id] = d.parcel()
	}
	out := e.Sent[d.id].(*parcel[K, V]) //nolint:forcetypeassert // a channel has one type of parcels
	out.records = append(out.records, p)
	return nil
}

// passed is one record on its way through a channel.
type passed[K, V any] struct {
	key                K
	value              V
	nullKey, nullValue bool
	timestamp          int64
	headers            []byte
}

// run is some of them, one after the other.
type run[K, V any] []passed[K, V]

// KeyHash implements plan.KeyHasher. Keys that are equal print alike, and most are texts or numbers.
func (r run[K, V]) KeyHash(i int) (uint64, bool) {
	if r[i].nullKey {
		return 0, false
	}
	h := fnv.New64a()
	switch k := any(r[i].key).(type) {
	case string:
		_, _ = io.WriteString(h, k) // never fails, as below
	case []byte:
		_, _ = h.Write(k)
	default:
		_, _ = fmt.Fprint(h, k)
	}
	return h.Sum64(), true
}

// parcel is a run on its way. It has one owner at a time.
type parcel[K, V any] struct{ records run[K, V] }

// Len implements plan.Parcel.
func (p *parcel[K, V]) Len() int { return len(p.records) }

// AppendAll implements plan.Parcel.
func (p *parcel[K, V]) AppendAll(other plan.Parcel) {
	p.records = append(p.records, other.(*parcel[K, V]).records...) //nolint:forcetypeassert // a channel has one type of parcels
}

// Fresh implements plan.Parcel.
func (p *parcel[K, V]) Fresh() plan.Parcel { return new(parcel[K, V]) }

// Reset implements plan.Parcel.
func (p *parcel[K, V]) Reset() {
	clear(p.records)
	p.records = p.records[:0]
}

// Batch implements plan.Parcel.
func (p *parcel[K, V]) Batch(channel string, partition int32, from int64) *kafka.Batch {
	b := &kafka.Batch{Topic: channel, Partition: partition, Next: from, Values: p.records, Records: make([]kafka.Record, 0, len(p.records))}
	for i, r := range p.records {
		b.Append(from+int64(i), r.timestamp, nil, nil, r.headers)
	}
	return b
}
