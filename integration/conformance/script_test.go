package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// behaviour is one line of the table: what Kafka does, and how a script of requests shows it.
type behaviour struct {
	name string // of its test, topic and group
	does string // a sentence
	run  func(s *script)
	// kfake is what kfake answers instead, by the name of the check: it must be that.
	kfake map[string]string
}

// script is one run of a behaviour against a cluster. Its topic, group and transactional id are its own.
type script struct {
	*testing.T
	cluster
	b      behaviour
	topic  string
	group  string
	id     string // transactional
	checks map[string]string
}

// patience bounds the wait for what happens in the end: a real Kafka looks after transactions that are over their time,
// and for logs to compact, every 10 to 15 s.
const patience = 100 * time.Second

// run runs a behaviour. It returns what each check is to be on a Kafka.
func (b behaviour) on(t *testing.T, c cluster) map[string]string {
	t.Helper()
	s := &script{T: t, cluster: c, b: b, topic: b.name, group: b.name + "-group", id: b.name + "-id", checks: map[string]string{}}
	b.run(s)
	if c.name() == "kfake" {
		for check := range b.kfake {
			require.Contains(t, s.checks, check, "the table has a difference of kfake for a check that was not made")
		}
	}
	require.NotEmpty(t, s.checks)
	return s.checks
}

// is checks an answer. Errors are compared by their names; none is "ok". It says whether the script can go on: not where
// kfake is known to differ, and what follows would mean nothing.
func (s *script) is(check string, want, got any) bool {
	s.Helper()
	_, twice := s.checks[check]
	require.False(s, twice, "the check %q is made twice: name one of them differently", check)
	w, g := text(want), text(got)
	s.checks[check] = w
	if other, ok := s.b.kfake[check]; ok && s.name() == "kfake" {
		require.NotEqual(s, w, g, "%s: kfake does as Kafka now: take it out of the table", check)
		require.Equal(s, other, g, "%s: kfake is known to differ from Kafka here, in another way", check)
		return false
	}
	if w != g {
		s.Errorf("%s: %s answers %s; Kafka %s", check, s.name(), g, w)
	}
	return w == g
}

func text(x any) string {
	switch v := x.(type) {
	case nil:
		return "ok"
	case broker.Err:
		return string(v)
	case error:
		return "failed: " + v.Error()
	case []record:
		var all []string
		for _, r := range v {
			all = append(all, fmt.Sprintf("%d:%s", r.offset, r.value))
		}
		return "[" + strings.Join(all, " ") + "]"
	case []int32:
		if len(v) == 0 {
			return "[]"
		}
	}
	return fmt.Sprint(x)
}

// ok ends the script unless a step that is no check went well.
func (s *script) ok(err error, step ...any) {
	s.Helper()
	require.NoError(s, err, step...)
}

// until lets time pass until cond holds.
func (s *script) until(what string, cond func() bool) {
	s.Helper()
	for deadline := s.clock().Add(patience); !cond(); s.pass() {
		require.True(s, s.clock().Before(deadline), "%s: still waiting for: %s", s.name(), what)
	}
}

// within lets time pass until cond holds, and says whether it did.
func (s *script) within(d time.Duration, cond func() bool) bool {
	for deadline := s.clock().Add(d); !cond(); s.pass() {
		if s.clock().After(deadline) {
			return false
		}
	}
	return true
}

// sometimes says whether cond holds in one of many tries, each after others have settled: "sometimes" or "never".
func (s *script) sometimes(cond func() bool) string {
	const tries = 200
	for range tries {
		if cond() {
			return "sometimes"
		}
	}
	return "never"
}

// tp is a partition of the script's topic.
func (s *script) tp(p int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: s.topic, Partition: p}
}

// at is a position in the script's topic, with metadata.
func (s *script) at(p int32, offset int64, metadata string) kafka.Position {
	return kafka.Position{TopicPartition: s.tp(p), Offset: offset, Metadata: metadata}
}

// rec is a record with a value and no key of interest.
func rec(values ...string) []record {
	var all []record
	for _, v := range values {
		all = append(all, record{key: "k", value: v})
	}
	return all
}

// anonymous is who commits without being a member.
func anonymous() kafka.Member { return kafka.Member{Generation: -1} }

// longTimeout is that of transactions that are not to time out.
const longTimeout = time.Minute

// newTopic makes the script's topic.
func (s *script) newTopic(partitions int32) {
	s.Helper()
	s.ok(s.create(s.topic, partitions, nil))
}

// producer opens a producer, waiting for what an older one has left.
func (s *script) producer() (p broker.Producer) {
	s.Helper()
	s.again("InitProducerId", func() (err error) { p, err = s.initProducer(s.id, longTimeout); return err })
	return p
}

// again repeats a step as long as it is told that a transaction is being ended.
func (s *script) again(step string, f func() error) {
	s.Helper()
	var err error
	s.until(step, func() bool { err = f(); return err != broker.ConcurrentTransactions }) //nolint:errorlint // the very value
	s.ok(err, step)
}

// begin adds partition 0 to the next transaction of p, waiting for the markers of the last.
func (s *script) begin(p broker.Producer, partitions ...int32) {
	s.Helper()
	var tps []kafka.TopicPartition
	for _, x := range append(partitions, 0)[:max(1, len(partitions))] {
		tps = append(tps, s.tp(x))
	}
	s.again("AddPartitionsToTxn", func() error { return s.addPartitions(p, tps...) })
}

// transaction writes values to partition 0 in a transaction and ends it; its markers are on their way.
func (s *script) transaction(p broker.Producer, seq int32, commit bool, values ...string) {
	s.Helper()
	s.begin(p)
	s.ok(s.produce(p, s.tp(0), seq, rec(values...)...), "Produce")
	s.ok(s.endTxn(p, commit), "EndTxn")
}

// settle waits until the markers of the last transaction of p are written.
func (s *script) settle(p broker.Producer, commit bool) {
	s.Helper()
	s.again("settle", func() error { return s.endTxn(p, commit) })
}

// stablePosition returns the committed position of a partition once no transaction is open on it.
func (s *script) stablePosition(p int32) (found kafka.Position) {
	s.Helper()
	s.until("stable offsets", func() bool {
		got, err := s.committed(s.group, true, s.tp(p))
		if err == broker.UnstableOffsetCommit { //nolint:errorlint // the very value
			return false
		}
		s.ok(err, "OffsetFetch")
		found = got[s.tp(p)]
		return true
	})
	return found
}

// offsetOf is the committed offset of partition 0 as it is read now.
func (s *script) offsetOf(stable bool) string {
	s.Helper()
	got, err := s.committed(s.group, stable, s.tp(0))
	if err != nil {
		return text(err)
	}
	return text(got[s.tp(0)].Offset)
}

// values reads partition 0 from its start.
func (s *script) values(level kafka.Isolation) []record {
	s.Helper()
	from, err := s.start(s.tp(0))
	s.ok(err, "ListOffsets")
	found, _, err := s.fetch(s.tp(0), from, level)
	s.ok(err, "Fetch")
	return found
}

// endOf is an end of partition 0.
func (s *script) endOf(level kafka.Isolation) int64 {
	s.Helper()
	at, err := s.end(s.tp(0), level)
	s.ok(err, "ListOffsets")
	return at
}

// sorted returns the keys of a map.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
