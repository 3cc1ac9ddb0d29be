// Package topologytest runs a topology in a test, without a broker and without waiting: records piped in are processed to
// completion, through all topics between agents, by the very state machines that a node runs.
//
//	d := topologytest.New(t, wordcount.Topology())
//	topologytest.Pipe(d, lines, "", "to be or not to be")
//	require.Equal(t, map[string]int64{"to": 2, "be": 2, "or": 1, "not": 1}, topologytest.Table(d, counts))
//
// Topics have four partitions unless told otherwise. Time stands still but for [Driver.Advance]. A driver belongs to one
// goroutine. Agents made of actor props need a real node and are refused.
package topologytest

import (
	"slices"
	"testing"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Driver is a topology under test. Any error of the engine's fails the test at once; that of a handler does not: see
// Failures.
type Driver struct {
	t          testing.TB
	defined    *plan.Plan
	plan       *plan.Plan // with the topics that match patterns
	matching   []string   // those, as they have appeared
	sim        *actors.Sim
	partitions int32
	asks       int // so far
}

var _ topology.Asker = (*Driver)(nil)

// Option changes how a topology is run.
type Option func(*options)

type options struct {
	partitions int32
	matching   []string
	now        time.Time
	backoff    bool
}

// WithBackoff lets retries wait as the policies say, without jitter, for Advance to move the clock. By default they come at once.
func WithBackoff() Option { return func(o *options) { o.backoff = true } }

// Partitions sets the number of partitions of all topics that do not declare theirs. Defaults to 4.
func Partitions(n int32) Option { return func(o *options) { o.partitions = n } }

// StartAt sets the time at which the test begins. Defaults to the first moment of 2026, UTC.
func StartAt(at time.Time) Option { return func(o *options) { o.now = at } }

// Matching makes topics that are there before the topology starts for the first time, for its topic patterns: those that come later are read from their
// beginning, whatever the pattern's ReadFrom says. Defaults to none.
func Matching(topics ...string) Option {
	return func(o *options) { o.matching = append(o.matching, topics...) }
}

// New starts a topology. A fault of the topology fails the test.
func New(tb testing.TB, topo *topology.Topology, opts ...Option) *Driver {
	tb.Helper()
	o := options{partitions: 4, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for _, f := range opts {
		f(&o)
	}
	p, err := topo.Plan()
	if err != nil {
		tb.Fatalf("topology %s: %v", topo.Name(), err)
	}
	d := &Driver{t: tb, defined: p, partitions: o.partitions, matching: o.matching}
	d.resolve()
	d.sim, err = actors.NewSim(d.plan, d.count, o.now)
	if err != nil {
		tb.Fatalf("topology %s: %v", topo.Name(), err)
	}
	d.sim.Backoff = o.backoff
	tb.Cleanup(d.sim.Close)
	return d
}

// resolve makes the plan with the topics that match patterns.
func (d *Driver) resolve() {
	d.t.Helper()
	matches, left := d.defined.Matches(d.matching)
	for _, err := range left {
		d.t.Fatalf("topology %s: %v", d.defined.Name, err)
	}
	slices.SortStableFunc(matches, func(a, b plan.Match) int { // as they have appeared: partitions keep their slots
		return slices.Index(d.matching, a.Topic) - slices.Index(d.matching, b.Topic)
	})
	d.plan = d.defined.With(matches)
}

// Appear makes a topic that matches a topic pattern, and lets the topology begin anew with it, as a node does once it has found it.
func (d *Driver) Appear(topic string) {
	d.t.Helper()
	before := len(d.plan.Stages)
	d.matching = append(d.matching, topic)
	if d.resolve(); len(d.plan.Stages) == before {
		d.t.Fatalf("topology %s has no pattern that topic %s matches, or it is there", d.plan.Name, topic)
	}
	if d.sim.Later == nil {
		d.sim.Later = map[string]bool{}
	}
	d.sim.Later[topic] = true
	d.must(d.sim.Upgrade(d.plan, d.count))
}

// PipeMatching is Pipe to a topic that matches a pattern. One that is not there yet appears.
func PipeMatching[K, V any](d *Driver, pattern *topology.TopicPattern[K, V], topic string, key K, value V) {
	d.t.Helper()
	if !pattern.Matches(topic) {
		d.t.Fatalf("topology %s: topic %s does not match topic pattern %s", d.plan.Name, topic, pattern.Name())
	}
	if !slices.Contains(d.matching, topic) && !slices.ContainsFunc(d.plan.Topics, func(x *plan.Topic) bool { return x.Name == topic && x.Pattern != nil }) {
		d.Appear(topic)
	}
	k, v, err := pattern.Encode(key, value)
	d.must(err)
	d.PipeRaw(topic, d.PartitionOf(topic, k), d.sim.Now(), k, v)
}

// count is how many partitions a topic has.
func (d *Driver) count(x *plan.Topic) int32 {
	if x.Partitions > 0 {
		return x.Partitions
	}
	return d.partitions
}

// Upgrade stops the node, and starts another version of the topology, of the same name, on what is committed: to see that it takes over
// what the one before has left. The error says why it does not start; then the driver is of no further use.
func (d *Driver) Upgrade(topo *topology.Topology) error {
	d.t.Helper()
	p, err := topo.Plan()
	if err != nil {
		return err
	}
	d.defined = p
	d.resolve()
	return d.sim.Upgrade(d.plan, d.count)
}

func (d *Driver) topic(name string) *plan.Topic {
	d.t.Helper()
	for _, x := range d.plan.Topics {
		if x.Name == name {
			return x
		}
	}
	d.t.Fatalf("topology %s has no topic %s", d.plan.Name, name)
	return nil
}

func (d *Driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("topology %s: %v", d.plan.Name, err)
	}
}

// Pipe sends a record to a topic, to the partition of its key, and processes it to completion. Its time is the driver's now.
func Pipe[K, V any](d *Driver, topic *topology.Topic[K, V], key K, value V) {
	d.t.Helper()
	PipeAt(d, topic, d.sim.Now(), key, value)
}

// PipeAt is Pipe with a time of the record's own.
func PipeAt[K, V any](d *Driver, topic *topology.Topic[K, V], at time.Time, key K, value V) {
	d.t.Helper()
	k, v, err := topic.Encode(key, value)
	d.must(err)
	x := d.topic(topic.Name())
	d.PipeRaw(topic.Name(), x.Partitioner.Hash(k, d.sim.Env().Partitions[x.ID]), at, k, v)
}

// PipeRaw sends bytes, null ones too, to a partition: for records that do not decode, or have no key.
func (d *Driver) PipeRaw(topic string, partition int32, at time.Time, key, value []byte, headers ...kafka.Header) {
	d.t.Helper()
	d.must(d.sim.Produce(d.topic(topic), partition, at.UnixMilli(), key, value, kafka.AppendHeaders(nil, headers...)))
	d.must(d.sim.Settle())
}

// PartitionOf returns the partition of a topic that a key, encoded, belongs to.
func (d *Driver) PartitionOf(topic string, key []byte) int32 {
	d.t.Helper()
	x := d.topic(topic)
	return x.Partitioner.Hash(key, d.sim.Env().Partitions[x.ID])
}

// Read returns all records of a topic so far, partition by partition, decoded.
func Read[K, V any](d *Driver, topic *topology.Topic[K, V]) []topology.Event[K, V] {
	d.t.Helper()
	var all []topology.Event[K, V]
	for _, b := range d.Records(topic.Name()) {
		for i := range b.Records {
			ev, err := topic.Decode(b, i)
			d.must(err)
			all = append(all, ev)
		}
	}
	return all
}

// Records returns all records of any topic so far, internal ones too (TOPOLOGY-dead-letters, TOPOLOGY-TABLE-changelog), one
// batch per partition.
func (d *Driver) Records(topic string) []*kafka.Batch {
	d.t.Helper()
	x := d.topic(topic)
	var all []*kafka.Batch
	for part := range d.sim.Env().Partitions[x.ID] {
		b := &kafka.Batch{Topic: topic, Partition: part}
		for _, r := range d.sim.Log(x, part) {
			b.Append(r.Offset, r.Timestamp, r.Key, r.Value, r.RawHeaders)
		}
		all = append(all, b)
	}
	return all
}

// Table returns all entries of a table.
func Table[K comparable, V any](d *Driver, table *topology.Table[K, V]) map[K]V {
	d.t.Helper()
	all := map[K]V{}
	scan(d, table.Name(), func(b []byte, v V) {
		k, err := table.DecodeKey(b)
		d.must(err)
		all[k] = v
	})
	return all
}

// Set returns all elements of a set table by their keys, each set in the order of its elements' encoded bytes.
func Set[K comparable, E any](d *Driver, table *topology.SetTable[K, E]) map[K][]E {
	d.t.Helper()
	all := map[K][]E{}
	scan(d, table.Name(), func(b []byte, _ struct{}) {
		k, e, err := table.DecodeMember(b)
		d.must(err)
		all[k] = append(all[k], e)
	})
	return all
}

// scan goes over the entries of a table.
func scan[V any](d *Driver, table string, yield func(key []byte, v V)) {
	d.t.Helper()
	for _, x := range d.plan.Tables {
		if x.Name != table {
			continue
		}
		for part := range d.sim.Env().Partitions[x.Changelog.ID] {
			q := new(tables.Scan[V])
			d.must(d.sim.Query(x, part, q))
			d.must(q.Err)
			for i, b := range q.Keys {
				yield(b, q.Values[i])
			}
		}
	}
}

// Advance moves the wall clock. Each timer that is due fires once: missed intervals are one call. Agents that are throttled (topology.Throttle) are handed out what
// their limit lets them have at that moment.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	d.must(d.sim.Advance(by))
}

// Resume makes partitions go on that a policy has stopped (topology.StopPartition).
func (d *Driver) Resume() { d.t.Helper(); d.must(d.sim.Resume()) }

// Stopped returns why a policy has stopped partitions, by stage and number, such as orders/3.
func (d *Driver) Stopped() map[string]error { return d.sim.Stopped() }

// Now returns the wall clock.
func (d *Driver) Now() time.Time { return d.sim.Now() }

// Crash loses everything that is in memory, as kill -9 does, and goes on from what is committed.
func (d *Driver) Crash() {
	d.t.Helper()
	d.must(d.sim.Crash())
}

// Failures returns the errors of all handler calls that failed so far, retries included.
func (d *Driver) Failures() []error { return d.sim.Failures() }
