package topology

import (
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Start says where an agent begins to read its topic when the group has no committed offset for it: Earliest, Latest, None, or a time (Since).
type Start = plan.Start

// Where an agent may start (Kafka: auto.offset.reset).
const (
	Earliest = plan.Earliest // with the oldest record that the topic still has
	Latest   = plan.Latest   // with what is written after the agent has started
	None     = plan.None     // nowhere: the node refuses to run without a committed offset, and says how to set one
)

// Since is a Start: the first record with that time, to the millisecond, or a later one, by the timestamps that Kafka has (not by an extractor); what is written after the
// agent has started where no record is as young. One at or before the Unix epoch is Earliest.
func Since(at time.Time) Start { return Start(max(at.UnixMilli(), 0)) }

// StartAt says where an agent without a committed offset starts. Defaults to what its topics say (ReadFrom), and that to Earliest.
//
// Where it has started is committed at once, and with Latest and Since before it is given any record: so from its first record on it
// leaves out none, whatever dies. That holds for each partition by itself, those that a topic gets later too. An agent that is new to a topology has no committed offset, though
// others of the same topic have.
func StartAt(s Start) AgentOption { return func(a *agentDef) { a.start = &s } }

// ReadFrom says where agents and flows that read the topic start without a committed offset, unless they say otherwise themselves (StartAt). Defaults to Earliest.
func ReadFrom(s Start) TopicOption { return func(d *topicDef) { d.start = s } }

// startsAt is where an agent starts.
func (a *agentDef) startsAt() plan.Start {
	switch {
	case a.start != nil:
		return *a.start
	case a.source != nil:
		return a.source.start
	}
	return plan.Earliest
}

// TimestampExtractor makes the times of a topic's records of their keys, values and headers (Kafka Streams: TimestampExtractor). That time is the record's wherever the topology
// asks for one: Event.Timestamp, the order in which records of several topics are taken, the clocks of tables, joins, and what is sent. The event that the function is
// given has the time that Kafka has; returning that keeps it. Kafka itself, Since, and dead letters go by Kafka's time.
//
// A time that is zero or before the Unix epoch is none: the record fails for good, at the step decode, and its policy decides (Kafka Streams: FailOnInvalidTimestamp; a policy that
// skips is LogAndSkipOnInvalidTimestamp). So does one for which the function panics.
//
// The function is called when records arrive, before they are anybody's turn, and perhaps several times: it must be pure and quick, and it is under no deadline. It decodes each record once more.
func TimestampExtractor[K, V any](fn func(Event[K, V]) time.Time) TopicOption {
	return func(d *topicDef) {
		if d.extractor = fn; fn == nil {
			d.t.fault("topic %s has a TimestampExtractor without a function: pass one", d.name)
			d.extractor = nil
		}
	}
}

// extractTime takes over the topic's extractor.
func (t *Topic[K, V]) extractTime() {
	d := t.def
	if d.extractor == nil {
		return
	}
	fn, ok := d.extractor.(func(Event[K, V]) time.Time)
	if !ok {
		d.t.fault("topic %s holds %T and has a TimestampExtractor of %T: let it take the event of the topic", d.name, Event[K, V]{}, d.extractor)
		return
	}
	t.timeOf = fn
	d.eventTime = func(b *kafka.Batch, i int) (int64, error) {
		var ev Event[K, V]
		if err := t.event(plan.Rec{B: b, I: i}, &ev); err != nil {
			return -1, err
		}
		return millisOf(fn(ev)), nil
	}
}

// millisOf is a time in milliseconds since the Unix epoch; -1: it is none.
func millisOf(at time.Time) int64 {
	if at.IsZero() {
		return -1
	}
	return max(at.UnixMilli(), -1)
}

// TimeError says that a topic's TimestampExtractor has found no time for a record.
type TimeError struct {
	Topic     string
	Partition int32
	Offset    int64
	Found     time.Time
}

func (e *TimeError) Error() string {
	found := "the zero time"
	if !e.Found.IsZero() {
		found = e.Found.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("the TimestampExtractor of topic %s says of record %s/%d@%d that its time is %s: it must be after the Unix epoch; return ev.Timestamp() to keep what Kafka has", e.Topic, e.Topic, e.Partition, e.Offset, found)
}

// Permanent says that trying again does not help.
func (e *TimeError) Permanent() bool { return true }

// Step says at which step a record with this error failed: its dead letter tells it.
func (e *TimeError) Step() string { return kafka.StepDecode }

// timeless is why a record has no time. The function is called again: if it panics, it does so in the turn of its record.
func (t *Topic[K, V]) timeless(ev Event[K, V]) error {
	if t.timeOf == nil { // a bug of this module's
		return lasting("topic %s has no TimestampExtractor, and a record without a time", t.def.name)
	}
	at := t.timeOf(ev)
	if millisOf(at) >= 0 {
		return lasting("the TimestampExtractor of topic %s has found no time for record %s/%d@%d, and now finds %s: it must be a pure function", t.def.name, ev.Topic(), ev.Partition(), ev.Offset(), at.UTC().Format(time.RFC3339Nano))
	}
	return &TimeError{ev.Topic(), ev.Partition(), ev.Offset(), at}
}
