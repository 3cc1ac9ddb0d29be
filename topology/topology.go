package topology

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Topology is a named set of topics, tables and agents. Its name is the consumer group and the prefix of its internal
// topics.
type Topology struct {
	name    string
	topics  []*topicDef
	tables  []*tableDef
	globals []*globalDef
	agents  []*agentDef
	// channels and patterns are defined as topics are, but are none.
	channels []*topicDef
	patterns []*topicDef
	// followers of tables run inside the shards of those.
	followers []*agentDef
	typed     map[any]any // *Topic, *Table and *GlobalTable by their definitions
	leaves    []*leaf     // flows, as they are behind each step
	policy    Policy
	faults    []error
	// replies is the topic of answers; nil where no agent can be asked.
	replies *topicDef

	mu      sync.Mutex // several nodes of one process may ask for the plan at once
	planned *plan.Plan // nil until all is checked, and after a further definition
}

// New begins a topology. Faults of its name, as all others, are reported by Plan.
func New(name string) *Topology { return &Topology{name: name, typed: map[any]any{}} }

// Name returns the topology's name.
func (t *Topology) Name() string { return t.name }

// fault notes what is wrong with a definition; Plan reports it.
func (t *Topology) fault(format string, args ...any) {
	t.faults = append(t.faults, fmt.Errorf(format, args...))
}

// changed drops the plan made so far: something has been defined since.
func (t *Topology) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.planned = nil
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
	start       plan.Start // of agents and flows that say nothing themselves
	extractor   any        // func(Event[K, V]) time.Time
	eventTime   func(b *kafka.Batch, i int) (int64, error)
	keyFault    error     // why its keys cannot be written with their codec
	likeTable   *tableDef // the same, as that table has
	beside      bool      // it is co-partitioned with likeTable: partitioner is that of what the table is written from
	like        *topicDef // of a repartition topic: it is made with as many partitions as this one
	memory      bool      // it is a channel: its id is its index among those
	// pattern is set where it stands for all topics with names that match: its id is its index among patterns. expr is how the user wrote it.
	pattern  *regexp.Regexp
	expr     string
	capacity int
	parcel   func() plan.Parcel
	inlet    any                      // of a channel: what Puts was given; nil: nothing
	outside  *topicDef                // of a channel: the topic behind Puts
	origin   atomic.Pointer[topicDef] // a topic of the channel's stage: the first, as of the last Plan
}

// tableDef is a table without its types.
type tableDef struct {
	t          *Topology
	id         int32
	name       string
	ordered    bool
	local      bool
	ttl        *tables.TTL // nil: entries do not expire
	version    uint64      // of the codec of the values
	migrations []migration
	initial    any                        // func() V; nil: none
	timers     bool                       // durable timers
	clock      Clock                      // of timers: by which they are due
	part       func([]byte) []byte        // the part of a key that says to which partition it belongs; nil: all of it
	policy     *Policy                    // nil: that of the agent
	followers  []*agentDef                // of its changes
	joined     bool                       // flows or tables look rows of it up
	stamped    bool                       // rows keep the times of their last changes
	stamp      func()                     // makes it so
	make       plan.Table                 // what Plan gives out, but for its stage and changelog
	plan       atomic.Pointer[plan.Table] // what it gave out last
}

// agentDef is an agent without its types.
type agentDef struct {
	t       *Topology
	name    string
	of      string // the name that the user gave it, where name tells it from those for the other topics of several
	role    plan.Role
	source  *topicDef
	every   time.Duration
	cron    *plan.Cron
	leader  bool        // declared so
	fires   *tableDef   // the timers that it is called for
	spread  *topicDef   // of an agent that is called for timers: the topic that its keys are spread as
	start   *plan.Start // nil: the source's
	policy  *Policy     // nil: the topology's
	sends   map[*topicDef]bool
	reads   map[*tableDef]bool
	writes  map[*tableDef]bool
	globals map[*globalDef]bool
	order   []any // sends, reads and writes as declared
	loop    bool
	inside  bool // it runs inside a table
	workers int  // 0: not said
	// throttle is how fast it is given its records; nil: as fast as it is.
	throttle *plan.Throttle
	program  func() plan.Program
	raw      *plan.Raw
	steps    []string
	reply    *replyDef // nil: it cannot be asked
	eager    bool      // its answers do not wait for the commit
	results  bool      // made by Process: its results want a sink
	sinks    int
	// links are the tables that its functions inside shards go between: they are one group.
	links []*tableDef
	// Of a follower: the table, and the program that each of the table's changes is given to.
	follows *tableDef
	follow  func() func(*scope, plan.Rec) error
}

// replyDef says how an agent answers.
type replyDef struct {
	topic  *topicDef
	value  plan.Text
	others []*topicDef // of continuations
}

// to is the topic for the answer to an ask; nil for one that is not declared.
func (r *replyDef) to(ask *kafka.Ask) *topicDef {
	if ask.To == "" {
		return r.topic
	}
	for _, d := range r.others {
		if d.name == ask.To {
			return d
		}
	}
	return nil
}

// what says what a topicDef is.
func (d *topicDef) what() string {
	switch {
	case d.memory:
		return "channel"
	case d.pattern != nil:
		return "topic pattern"
	}
	return "topic"
}

// AnyTopic is a topic or a channel of any types.
type AnyTopic interface{ topic() *topicDef }

// AnyTable is a table of any types.
type AnyTable interface{ table() *tableDef }

// AnyReadable is a table, or a global table, of any types.
type AnyReadable interface{ declareRead(a *agentDef) }

// Source is where the records of an agent or a flow come from, with keys of type K and values of type V: a *Topic, a
// *TopicPattern, a *Channel, or several of them (Sources). An agent is written the same over any.
type Source[K, V any] interface {
	AnyTopic
	// event decodes a record of the source into ev, whatever that was before: an event is larger than what is cheap to return.
	event(rec plan.Rec, ev *Event[K, V]) error
	// codecs are how it writes its keys and values.
	codecs() (codec.Codec[K], codec.Codec[V])
}

// sourceOf returns the definition of a source, nil for none.
func sourceOf(s AnyTopic) *topicDef {
	if s == nil {
		return nil
	}
	return s.topic()
}

// Topic is a topic with keys of type K and values of type V. It is a handle: any goroutine may use it.
type Topic[K, V any] struct {
	def    *topicDef
	kc     codec.Codec[K]
	vc     codec.Codec[V]
	validK func(K) error // nil where keys have no Validate
	validV func(V) error
	timeOf func(Event[K, V]) time.Time // nil: a record's time is its timestamp
}

// topic returns nil for a nil handle, which the options turn into a fault.
func (t *Topic[K, V]) topic() *topicDef {
	if t == nil {
		return nil
	}
	return t.def
}

// codecs implements Source.
func (t *Topic[K, V]) codecs() (codec.Codec[K], codec.Codec[V]) { return t.kc, t.vc }

// Name returns the topic's name on the broker.
func (t *Topic[K, V]) Name() string { return t.def.name }

// TopicOption changes how a topic is used or made.
type TopicOption func(*topicDef)

// Partitions says with how many partitions the topic is made, if the node makes it. Defaults to those of a topic that it must
// be co-partitioned with, or 4.
func Partitions(n int32) TopicOption { return func(d *topicDef) { d.partitions = n } }

// WithConfig adds settings of the topic (cleanup.policy, retention.ms, …), used if the node makes it. The map is copied.
func WithConfig(settings map[string]string) TopicOption {
	settings = maps.Clone(settings)
	return func(d *topicDef) { maps.Copy(d.config, settings) }
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
	x := makeTopic(t, "topic", name, keys, values, opts)
	x.def.id = int32(len(t.topics))
	t.topics = append(t.topics, x.def)
	t.typed[x.def] = x
	return x
}

// makeTopic makes a topic that is in no list yet.
func makeTopic[K, V any](t *Topology, what, name string, keys codec.Codec[K], values codec.Codec[V], opts []TopicOption) *Topic[K, V] {
	d := &topicDef{t: t, name: name, config: map[string]string{}, partitioner: kafka.Murmur2(), key: textOf(keys), value: textOf(values)}
	for _, o := range opts {
		o(d)
	}
	if keys == nil || values == nil {
		t.fault("%s %s has no codec for its keys or values: pass one, such as codec.String or codec.JSON[T]()", what, name)
	}
	if d.partitioner.Hash == nil || d.partitioner.Name == "" {
		t.fault("%s %s has a partitioner without a name or a function: pass one such as kafka.Murmur2()", what, name)
	}
	t.changed()
	t.checkCodec(what+" "+name+": the codec of its keys", codecFault(keys))
	t.checkCodec(what+" "+name+": the codec of its values", codecFault(values))
	if keys != nil {
		d.keyFault = codec.CheckKey(keys)
	}
	x := &Topic[K, V]{def: d, kc: keys, vc: values, validK: codec.Validator[K](), validV: codec.Validator[V]()}
	x.extractTime()
	return x
}

// textOf is how values of a codec are shown and read by commands.
func textOf[T any](c codec.Codec[T]) plan.Text {
	if c == nil {
		return plan.Text{}
	}
	text, valid := codec.TextOf(c), codec.Validator[T]()
	var zero T
	return plan.Text{
		Type:    fmt.Sprintf("%T", zero),
		Secrets: codec.HoldsSecrets(c),
		Same:    func(a, b []byte) bool { return sameValue(c, a, b) },
		Format: func(b []byte) (string, error) {
			v, err := c.Decode(b)
			if err != nil {
				return "", err
			}
			return text.Format(v), nil
		},
		Parse: func(s string) ([]byte, error) {
			v, err := text.Parse(s)
			if err == nil && valid != nil {
				err = valid(v)
			}
			if err != nil {
				return nil, err
			}
			return c.Append([]byte{}, v)
		},
	}
}

// sameValue says whether two encodings are of one value: a later version of a codec may write it in other bytes.
func sameValue[T any](c codec.Codec[T], a, b []byte) bool {
	x, err1 := c.Decode(a)
	y, err2 := c.Decode(b)
	if err1 != nil || err2 != nil {
		return false
	}
	if reflect.DeepEqual(x, y) {
		return true
	}
	text := codec.TextOf(c)
	if !codec.HoldsSecrets(c) && text.Format(x) == text.Format(y) {
		return true
	}
	a, err1 = c.Append(nil, x)
	b, err2 = c.Append(nil, y)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

// codecFault says what is wrong with a codec as it was made.
func codecFault[T any](c codec.Codec[T]) error {
	if c == nil {
		return nil // reported on its own
	}
	return codec.Check(c)
}

func (t *Topology) checkCodec(of string, err error) {
	if err != nil {
		t.fault("%s: %w", of, err)
	}
}

// TopicOf finds a topic by name and types: for tests of a topology that keeps its handles to itself. It panics, naming what
// there is, if there is none or its types are others.
func TopicOf[K, V any](t *Topology, name string) *Topic[K, V] {
	return handleOf[*Topic[K, V]](t, "topic", name, t.topics, func(d *topicDef) string { return d.name })
}

// handleOf finds the handle of a definition by name. It panics, naming what there is, if there is none or it has other types.
func handleOf[X, D any](t *Topology, kind, name string, defs []D, nameOf func(D) string) X {
	var names []string
	for _, d := range defs {
		if nameOf(d) == name {
			x, ok := t.typed[d].(X)
			if !ok {
				panic(fmt.Sprintf("topology: %s %s of topology %s is a %T", kind, name, t.name, t.typed[d]))
			}
			return x
		}
		names = append(names, nameOf(d))
	}
	if len(names) == 0 {
		panic(fmt.Sprintf("topology: topology %s has no %s %s: it has none", t.name, kind, name))
	}
	panic(fmt.Sprintf("topology: topology %s has no %s %s: there are %s", t.name, kind, name, strings.Join(names, ", ")))
}

// AgentOption says what an agent, timer or task touches, and how it runs.
type AgentOption func(*agentDef)

// Sends declares the topics and channels that a handler sends to.
func Sends(topics ...AnyTopic) AgentOption {
	return func(a *agentDef) {
		for _, t := range topics {
			if t == nil || t.topic() == nil {
				if _, several := t.(interface{ parts() int }); several {
					a.t.fault("%s %s: topology.Sends was given topology.Sources, which are read from: name the topics one by one", roleOf(a), a.name)
				} else {
					a.t.fault("%s %s: topology.Sends was given a nil topic: define the topic first", roleOf(a), a.name)
				}
				continue
			}
			if d := t.topic(); d.pattern != nil {
				a.t.fault("%s %s: topology.Sends was given topic pattern %s, which is read from: name the topics that it sends to", roleOf(a), a.name, d.name)
				continue
			}
			a.sends[t.topic()] = true
			a.order = append(a.order, t.topic())
		}
	}
}

// Reads declares the tables and global tables that a handler reads.
func Reads(tables ...AnyReadable) AgentOption {
	return func(a *agentDef) {
		for _, t := range tables {
			if t == nil {
				a.nilTable("Reads")
				continue
			}
			t.declareRead(a)
		}
	}
}

// Writes declares the tables that a handler writes; it may read them too. A timer or task cannot write.
func Writes(tables ...AnyTable) AgentOption {
	return func(a *agentDef) { a.touch("Writes", tables, a.reads, a.writes) }
}

func (a *agentDef) touch(option string, tables []AnyTable, sets ...map[*tableDef]bool) {
	for _, t := range tables {
		if t == nil || t.table() == nil {
			a.nilTable(option)
			continue
		}
		for _, set := range sets {
			set[t.table()] = true
		}
		a.order = append(a.order, t.table())
	}
}

func (a *agentDef) nilTable(option string) {
	a.t.fault("%s %s: topology.%s was given a nil table: define the table first", roleOf(a), a.name, option)
}

// OnLeader says that a timer or task runs once for the whole topology: on the leader, the owner of slot 0, a partition that every topology
// has and one node owns at a time, fenced as all partitions are. That is what timers and tasks do anyway that read no tables; it says that it
// is meant, so that one that reads a table, and would be called once per partition, is refused by Plan.
func OnLeader() AgentOption { return func(a *agentDef) { a.leader = true } }

// maxConcurrency bounds Concurrency: what is done out of order has to fit the metadata of a committed offset.
const maxConcurrency = 100

// Concurrency lets an agent handle up to n records of a partition at the same time, for handlers that wait for something. Records of a key
// are handled one after the other, in order, always by the same one of n workers; those without a key are spread. Each worker has a program of its
// own: a loop agent's function runs n times. Defaults to 1.
//
// What is done is committed, whatever before it is not. When a record fails, all workers of the partition begin anew, and records that they had at
// hand are handled again. No more than some 170 records are given out at once, so it is of no use for handlers that only compute.
func Concurrency(n int) AgentOption {
	return func(a *agentDef) {
		if a.workers = n; n < 1 || n > maxConcurrency {
			a.t.fault("%s %s has the concurrency %d: use a number from 1 to %d", roleOf(a), a.name, n, maxConcurrency)
		}
	}
}

// checkConcurrency finds agents that cannot have several workers.
func (t *Topology) checkConcurrency() (faults []error) {
	for _, a := range t.agents {
		why := ""
		switch {
		case a.workers <= 1:
			continue
		case a.role != plan.Processor:
			why = "only agents have it"
		case a.raw != nil:
			why = "an actor of your own is through with its records in any order as it is"
		case a.inside:
			why = "its handler runs inside its table, one call after the other"
		}
		if why != "" {
			faults = append(faults, fmt.Errorf("%s %s has a concurrency of %d: %s; leave it out", roleOf(a), a.name, a.workers, why))
		}
	}
	return faults
}

func (t *Topology) newAgent(name string, role plan.Role, source *topicDef, opts []AgentOption) *agentDef {
	a := t.makeAgent(name, role, source, opts)
	if role == plan.Processor && source == nil {
		t.fault("agent %s was given a nil topic to read: define the topic first", name)
	}
	t.agents = append(t.agents, a)
	t.changed()
	return a
}

// makeAgent makes an agent that is in no list yet.
func (t *Topology) makeAgent(name string, role plan.Role, source *topicDef, opts []AgentOption) *agentDef {
	a := &agentDef{
		t: t, name: name, role: role, source: source,
		sends: map[*topicDef]bool{}, reads: map[*tableDef]bool{}, writes: map[*tableDef]bool{}, globals: map[*globalDef]bool{},
	}
	for _, o := range opts {
		o(a)
	}
	if a.of == "" {
		a.of = name
	}
	return a
}

// errOutside is what a use of a context outside a turn panics with: there is no record whose failure it could be.
var errOutside = errors.New("topology: an effect outside a turn: a context holds only while its record is at hand; it was kept, or used before or after the loop over All()")
