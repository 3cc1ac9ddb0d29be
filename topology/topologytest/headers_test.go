package topologytest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// headed pipes a record with a header, and one of the engine's marks, and returns the headers of what came of it.
func headed(t *testing.T, p *pairs, topic, key, value string) []string {
	t.Helper()
	d := topologytest.New(t, p.topo, topologytest.Partitions(1))
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("a"), kafka.Header{Key: "trace", Value: []byte("first")})
	before := d.Records("out")[0].Len()
	d.PipeRaw(topic, 0, d.Now().Add(time.Second), []byte(key), []byte(value), kafka.Header{Key: "trace", Value: []byte("last")}, kafka.Header{Key: "null"}, kafka.Header{Key: kafka.AskHeader, Value: []byte("{}")})
	require.Empty(t, d.Failures())
	b := d.Records("out")[0]
	require.Greater(t, b.Len(), before)
	var all []string
	for i := before; i < b.Len(); i++ {
		for h := range b.Headers(i) {
			all = append(all, h.Key+"="+string(h.Value))
		}
	}
	return all
}

// What flows and sinks make of a record has its headers, through internal topics, channels and tables; only the engine's own marks stay behind.
func TestHeadersArePassedOn(t *testing.T) {
	t.Parallel()
	upper := func(v string) string { return v + "!" }
	for name, define := range map[string]func(p *pairs, in texts){
		"to": func(p *pairs, in texts) {
			topology.To(topology.Map(topology.From(in), upper), p.out)
		},
		"echo": func(p *pairs, in texts) {
			topology.Echo(topology.From(in), []texts{p.out})
		},
		"repartition": func(p *pairs, in texts) {
			topology.To(topology.Repartition(topology.From(in), "spread", 2), p.out)
		},
		"channel": func(p *pairs, in texts) {
			channel := topology.NewChannel[string, string](p.topo, "channel")
			topology.To(topology.From(in), channel)
			topology.To(topology.From(channel), p.out)
		},
		"process": func(p *pairs, in texts) {
			topology.Process(p.topo, "process", in, func(_ *topology.Context, e event, emit func(string)) error {
				emit(e.Value)
				return nil
			}).AddSink(topology.SinkTopic(p.out))
		},
		"aggregation": func(p *pairs, in texts) {
			sums := topology.NewTable(p.topo, "sums", codec.String, codec.String)
			topology.Reduce(topology.GroupBy(topology.From(in), func(string) string { return "all" }), sums, func(x, y string) string { return x + y })
			topology.To(topology.ToStream(sums), p.out)
		},
		"aggregation of a table": func(p *pairs, in texts) {
			counts := topology.NewTable(p.topo, "counts", codec.String, codec.String)
			rows := topology.TableFrom(p.topo, "rows", in)
			groups := topology.GroupTable(rows, func(string, string) (string, string, bool) { return "all", "x", true }, codec.String)
			topology.ReduceRows(groups, counts, func(x, y string) string { return x + y }, func(x, _ string) (string, bool) { return x[1:], true })
			topology.To(topology.ToStream(counts), p.out)
		},
		"join": func(p *pairs, in texts) {
			topology.To(topology.LeftJoin(topology.From(in), topology.TableFrom(p.topo, "rights", textTopics(p.topo, "right")[0]), besideLeft), p.out)
		},
		"join of tables": func(p *pairs, in texts) {
			joined := topology.NewTable(p.topo, "joined", codec.String, codec.String)
			topology.LeftJoinTables(topology.TableFrom(p.topo, "lefts", in), topology.TableFrom(p.topo, "rights", textTopics(p.topo, "right")[0]), joined, besideLeft)
			topology.To(topology.ToStream(joined), p.out)
		},
		"foreign key": func(p *pairs, in texts) {
			joined := topology.NewTable(p.topo, "joined", codec.String, codec.String)
			name := func(_, v string) (string, bool) { return v, true }
			topology.LeftJoinForeign(topology.TableFrom(p.topo, "lefts", in), topology.TableFrom(p.topo, "rights", textTopics(p.topo, "right")[0]), joined, name, besideLeft)
			topology.To(topology.ToStream(joined), p.out)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pairs{topo: topology.New("test")}
			x := textTopics(p.topo, "in", "out")
			p.out = x[1]
			define(p, x[0])
			require.Equal(t, []string{"trace=last", "null="}, headed(t, p, "in", "k", "b"))
		})
	}
	p := &pairs{topo: topology.New("test")}
	x := textTopics(p.topo, "in", "right", "out")
	joined := topology.NewTable(p.topo, "joined", codec.String, codec.String)
	topology.JoinForeign(topology.TableFrom(p.topo, "lefts", x[0]), topology.TableFrom(p.topo, "rights", x[1]), joined, func(_, v string) (string, bool) { return v, true }, beside)
	topology.To(topology.ToStream(joined), x[2])
	require.Equal(t, []string{"trace=last", "null="}, headed(t, p, "right", "a", "row"), "a change of the right row")
}
