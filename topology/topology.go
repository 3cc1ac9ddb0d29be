package topology

import (
	"errors"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Topology is a named set of topics, tables and agents. Its name is the consumer group and the prefix of its internal
// topics.
type Topology struct {
	name   string
	topics []*topicDef
	tables []*tableDef
	agents []*agentDef
	typed  map[any]any // *Topic and *Table by their definitions
	faults []error
}

// New begins a topology. Faults of its name, as all others, are reported by Plan.
func New(name string) *Topology { return &Topology{name: name, typed: map[any]any{}} }

// Name returns the topology's name.
func (t *Topology) Name() string { return t.name }

func (t *Topology) fault(format string, args ...any) {
	t.faults = append(t.faults, fmt.Errorf(format, args...))
}

// topicDef is a topic without its types. Its id is its index in the topology.
type topicDef struct {
	t           *Topology
	id          int32
	name        string
	kind        plan.Kind
	partitions  int32
	config      map[string]string
	partitioner kafka.Partitioner
	loop        bool
	key, value  plan.Text
}

// tableDef is a table without its types.
type tableDef struct {
	t       *Topology
	id      int32
	name    string
	ordered bool
	local   bool
	plan    *plan.Table // filled by Plan
	make    plan.Table  // NewShard, NewOps, Key, Value
}

// agentDef is an agent without its types.
type agentDef struct {
	t       *Topology
	name    string
	role    plan.Role
	source  *topicDef
	every   time.Duration
	start   plan.Start
	sends   map[*topicDef]bool
	reads   map[*tableDef]bool
	writes  map[*tableDef]bool
	order   []any // sends, reads and writes as declared
	loop    bool
	program func() plan.Program
	raw     *plan.Raw
	steps   []string
}

// AnyTopic is a topic of any types.
type AnyTopic interface{ topic() *topicDef }

// AnyTable is a table of any types.
type AnyTable interface{ table() *tableDef }

// Topic is a topic with keys of type K and values of type V. It is a handle: any goroutine may use it.
type Topic[K, V any] struct {
	def *topicDef
	kc  codec.Codec[K]
	vc  codec.Codec[V]
}

func (t *Topic[K, V]) topic() *topicDef { return t.def }

// Name returns the topic's name on the broker.
func (t *Topic[K, V]) Name() string { return t.def.name }

// TopicOption changes how a topic is used or made.
type TopicOption func(*topicDef)

// Partitions says with how many partitions the topic is made, if the node makes it. Defaults to those of a topic that it must
// be co-partitioned with, or 4.
func Partitions(n int32) TopicOption { return func(d *topicDef) { d.partitions = n } }

// WithConfig sets a setting of the topic (cleanup.policy, retention.ms, …), if the node makes it.
func WithConfig(key, value string) TopicOption {
	return func(d *topicDef) { d.config[key] = value }
}

// WithPartitioner says to which partition a key goes. It must be what all other writers of the topic use. Defaults to
// kafka.Murmur2, that of Kafka's own clients in Java.
func WithPartitioner(p kafka.Partitioner) TopicOption {
	return func(d *topicDef) { d.partitioner = p }
}

// Loop declares that records may come back to an agent through this topic, so that a cycle is no mistake.
func Loop() TopicOption { return func(d *topicDef) { d.loop = true } }

// NewTopic defines a topic with codecs for its keys and values.
func NewTopic[K, V any](t *Topology, name string, keys codec.Codec[K], values codec.Codec[V], opts ...TopicOption) *Topic[K, V] {
	d := &topicDef{
		t: t, id: int32(len(t.topics)), name: name, config: map[string]string{}, partitioner: kafka.Murmur2(),
		key: textOf(keys), value: textOf(values),
	}
	for _, o := range opts {
		o(d)
	}
	if keys == nil || values == nil {
		t.fault("topic %s has no codec for its keys or values: pass one, such as codec.String or codec.JSON[T]()", name)
	}
	t.topics = append(t.topics, d)
	x := &Topic[K, V]{def: d, kc: keys, vc: values}
	t.typed[d] = x
	return x
}

// textOf is how values of a codec are shown and read by commands.
func textOf[T any](c codec.Codec[T]) plan.Text {
	if c == nil {
		return plan.Text{}
	}
	text := codec.TextOf(c)
	var zero T
	return plan.Text{
		Type: fmt.Sprintf("%T", zero),
		Format: func(b []byte) (string, error) {
			v, err := c.Decode(b)
			if err != nil {
				return "", err
			}
			return text.Format(v), nil
		},
		Parse: func(s string) ([]byte, error) {
			v, err := text.Parse(s)
			if err != nil {
				return nil, err
			}
			return c.Append([]byte{}, v)
		},
	}
}

// TopicOf finds a topic by name and types: for tests of a topology that keeps its handles to itself. It panics, naming what
// there is, if there is none or its types are others.
func TopicOf[K, V any](t *Topology, name string) *Topic[K, V] {
	for _, d := range t.topics {
		if d.name == name {
			if x, ok := t.typed[d].(*Topic[K, V]); ok {
				return x
			}
			panic(fmt.Sprintf("topology: topic %s of topology %s is a %T", name, t.name, t.typed[d]))
		}
	}
	panic(fmt.Sprintf("topology: topology %s has no topic %s", t.name, name))
}

// AgentOption says what an agent, timer or task touches, and how it runs.
type AgentOption func(*agentDef)

// Sends declares the topics that a handler sends to.
func Sends(topics ...AnyTopic) AgentOption {
	return func(a *agentDef) {
		for _, t := range topics {
			a.sends[t.topic()] = true
			a.order = append(a.order, t.topic())
		}
	}
}

// Reads declares the tables that a handler reads.
func Reads(tables ...AnyTable) AgentOption {
	return func(a *agentDef) {
		for _, t := range tables {
			a.reads[t.table()] = true
			a.order = append(a.order, t.table())
		}
	}
}

// Writes declares the tables that a handler writes; it may read them too. A timer or task cannot write.
func Writes(tables ...AnyTable) AgentOption {
	return func(a *agentDef) {
		for _, t := range tables {
			a.reads[t.table()], a.writes[t.table()] = true, true
			a.order = append(a.order, t.table())
		}
	}
}

// StartAtEnd makes an agent that has no committed offset start with what comes next. Without it, it starts with the oldest
// record of its topic.
func StartAtEnd() AgentOption { return func(a *agentDef) { a.start = plan.Latest } }

func (t *Topology) newAgent(name string, role plan.Role, source *topicDef, opts []AgentOption) *agentDef {
	a := &agentDef{
		t: t, name: name, role: role, source: source,
		sends: map[*topicDef]bool{}, reads: map[*tableDef]bool{}, writes: map[*tableDef]bool{},
	}
	for _, o := range opts {
		o(a)
	}
	t.agents = append(t.agents, a)
	return a
}

// errOutside is what a use of a context outside a turn panics with: there is no record whose failure it could be.
var errOutside = errors.New("topology: an effect outside a turn: a context holds only while its record is at hand; it was kept, or used before or after the loop over All()")
