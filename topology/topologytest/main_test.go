package topologytest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// A driver leaves no goroutine of a loop agent behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	ctxOf = *topology.Context
	event = topology.Event[string, string]
	texts = *topology.Topic[string, string]
)

// bench is a topology with a topic to pipe to, one to send to and a table.
type bench struct {
	topo    *topology.Topology
	in, out texts
	table   *topology.Table[string, int64]
}

func newBench(opts ...topology.TableOption) bench {
	t := topology.New("test")
	return bench{
		t, topology.NewTopic(t, "in", codec.String, codec.String), topology.NewTopic(t, "out", codec.String, codec.String),
		topology.NewTable(t, "table", codec.String, codec.Int64, opts...),
	}
}

// all declares everything that a bench has.
func (b bench) all() []topology.AgentOption {
	return []topology.AgentOption{topology.Sends(b.out), topology.Writes(b.table)}
}

// one starts a topology whose topics have one partition.
func one(t *testing.T, topo *topology.Topology) *topologytest.Driver {
	t.Helper()
	return topologytest.New(t, topo, topologytest.Partitions(1))
}

// values returns the values sent to a topic.
func values(d *topologytest.Driver, topic texts) (all []string) {
	for _, ev := range topologytest.Read(d, topic) {
		all = append(all, ev.Value)
	}
	return all
}

// letter is a dead letter.
type letter struct {
	key, value string
	headers    map[string]string
}

// letters returns the dead letters of topology test.
func letters(d *topologytest.Driver) (all []letter) {
	for _, b := range d.Records("test-dead-letters") {
		for i := range b.Records {
			l := letter{string(b.Key(i)), string(b.Value(i)), map[string]string{}}
			for h := range b.Headers(i) {
				l.headers[h.Key] = string(h.Value)
			}
			all = append(all, l)
		}
	}
	return all
}

// requireLetter expects one dead letter, of a value, whose error says all of some things.
func requireLetter(t *testing.T, d *topologytest.Driver, value, attempts string, says ...string) letter {
	t.Helper()
	all := letters(d)
	require.Len(t, all, 1)
	require.Equal(t, value, all[0].value)
	require.Equal(t, attempts, all[0].headers["troupe.attempts"])
	for _, s := range says {
		require.Contains(t, all[0].headers["troupe.error"], s)
	}
	return all[0]
}

// each starts a bench with one agent that has declared everything.
func each(t *testing.T, b bench, fn func(ctxOf, event) error) *topologytest.Driver {
	t.Helper()
	topology.Each(b.topo, "agent", b.in, fn, b.all()...)
	return one(t, b.topo)
}

// pipe sends values, all under one key.
func pipe(d *topologytest.Driver, topic texts, values ...string) {
	for _, v := range values {
		topologytest.Pipe(d, topic, "k", v)
	}
}
