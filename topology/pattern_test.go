package topology_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

type pattern = topology.TopicPattern[string, string]

func skip(*topology.Context, topology.Event[string, string]) error { return nil }

// Each misuse of a pattern is a fault that names it, with its mend.
func TestTopicPatternFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		define func(t *topology.Topology)
		fault  string
	}{
		"no expression": {func(t *topology.Topology) {
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "(", codec.String, codec.String), skip)
		}, "topic pattern in: error parsing regexp: missing closing ): `(`: write it in the syntax of Go's package regexp"},
		"empty": {func(t *topology.Topology) {
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "", codec.String, codec.String), skip)
		}, "topic pattern in has no expression: pass one that the names of its topics match, such as `orders\\..+`"},
		"partitions": {func(t *topology.Topology) {
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String, topology.Partitions(3)), skip)
		}, "topic pattern in is given Partitions or WithConfig: a node makes none of its topics, which it does not know; leave them out"},
		"codec": {func(t *topology.Topology) {
			topology.Each(t, "a", topology.NewTopicPattern[string, string](t, "in", "x.+", codec.String, nil), skip)
		}, "topic pattern in has no codec for its keys or values: pass one, such as codec.String or codec.JSON[T]()"},
		"unread": {func(t *topology.Topology) {
			topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String)
			topology.Each(t, "a", topology.NewTopic(t, "lines", codec.String, codec.String), skip)
		}, "topic pattern in is read by no agent: read it, or remove it"},
		"twice": {func(t *topology.Topology) {
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String), skip)
			topology.Each(t, "b", topology.NewTopicPattern(t, "in", "y.+", codec.String, codec.String), skip)
		}, "two topic patterns are called in: define it once and share the handle"},
		"by name too": {func(t *topology.Topology) {
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String), skip)
			topology.Each(t, "b", topology.NewTopic(t, "xy", codec.String, codec.String), skip)
		}, "topic xy is read under its name, and matches topic pattern in (x.+), so that it would be read twice: read it as one of the pattern's, or change the expression"},
		"table": {func(t *topology.Topology) {
			table := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Count(topology.GroupByKey(topology.From(topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String))), table)
		}, "agent count-counts reads topic pattern in and touches table counts: the topics that match may have any number of partitions, and keys would be in others than the table's; " +
			"send the records through a topic, with topology.GroupBy, topology.Repartition or Send, and let an agent of that touch the table"},
		"channel": {func(t *topology.Topology) {
			pipe := topology.NewChannel[string, string](t, "pipe")
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String), skip, topology.Sends(pipe))
			topology.Each(t, "b", pipe, skip)
		}, "agent a reads topic pattern in and sends to channel pipe, whose partitions are those of one topic: send through a topic"},
		"sent to": {func(t *topology.Topology) {
			in := topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String)
			topology.Each(t, "a", in, skip, topology.Sends(in))
		}, "agent a: topology.Sends was given topic pattern in, which is read from: name the topics that it sends to"},
		"loop": {func(t *topology.Topology) {
			out := topology.NewTopic(t, "xs", codec.String, codec.String)
			topology.Each(t, "a", topology.NewTopicPattern(t, "in", "x.+", codec.String, codec.String), skip, topology.Sends(out))
		}, "records go round in a loop: xs → topic pattern in → agent a → xs; if that is meant, declare one of the topics with topology.Loop(), else let topic pattern in not match xs"},
		"nil": {func(t *topology.Topology) {
			topology.Each[string, string](t, "a", (*pattern)(nil), skip)
		}, "agent a was given a nil topic to read: define the topic first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topo := topology.New("test")
			c.define(topo)
			_, err := topo.Plan()
			require.ErrorContains(t, err, c.fault)
		})
	}
}

// A loop that is meant is none, and neither is a topic that matches and is sent to by others than those who read it.
func TestTopicPatternLoops(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]topology.TopicOption{{topology.Loop()}, nil} {
		topo := topology.New("test")
		lines, out := topology.NewTopic(topo, "lines", codec.String, codec.String), topology.NewTopic(topo, "xs", codec.String, codec.String)
		in := topology.NewTopicPattern(topo, "in", "x.+", codec.String, codec.String, opts...)
		sends := []topology.AgentOption{}
		if opts != nil {
			sends = append(sends, topology.Sends(out))
		}
		topology.Each(topo, "fill", lines, skip, topology.Sends(out))
		topology.Each(topo, "a", in, skip, sends...)
		p, err := topo.Plan()
		require.NoError(t, err)
		matches, left := p.Matches([]string{"xs", "lines", "x1"})
		require.Empty(t, left)
		p = p.With(matches)
		require.Equal(t, []string{"x1", "xs"}, []string{p.Stages[2].Key, p.Stages[3].Key})
		require.Equal(t, "a-xs", p.Stages[3].Agents[0].Name)
		require.Equal(t, "a", p.Stages[3].Agents[0].Of)
		xs := p.Stages[3].Sources[0]
		require.True(t, xs.Source && xs.Sink)
		require.Same(t, xs, p.Topics[xs.ID], "it is one topic")
		for i, x := range p.Topics {
			require.Equal(t, int32(i), x.ID) //nolint:gosec // few
		}
	}
}

// What brokers and topologies have made for themselves matches nothing; what two patterns match is read by none.
func TestTopicPatternMatches(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	all := topology.NewTopicPattern(topo, "all", ".*", codec.String, codec.String)
	topology.Count(topology.GroupBy(topology.From(all), func(value string) string { return value }), topology.NewTable(topo, "counts", codec.String, codec.Int64))
	p, err := topo.Plan()
	require.NoError(t, err)
	names := []string{
		"__consumer_offsets", "test-slots", "test-leader", "test-dead-letters", "test-counts-changelog", "test-count-counts-repartition", "test-old-changelog",
		"other-slots", "other-leader", "other-x-changelog", "other-dead-letters", "other-orders",
		"lone-slots", "lone-x-changelog", "b", "a", "a",
	}
	matches, left := p.Matches(names)
	require.Empty(t, left)
	var found []string
	for _, m := range matches {
		found = append(found, m.Topic)
	}
	require.Equal(t, []string{"a", "b", "lone-slots", "lone-x-changelog", "other-orders"}, found)
	for _, x := range p.Topics {
		if x.Kind == plan.Repartition {
			require.Same(t, p.Patterns[0], x.LikePattern)
		}
	}

	topo = topology.New("test")
	topology.Each(topo, "one", topology.NewTopicPattern(topo, "one", "a.*|b", codec.String, codec.String), skip)
	topology.Each(topo, "two", topology.NewTopicPattern(topo, "two", ".*b", codec.String, codec.String), skip)
	topology.Each(topo, "one-ax", topology.NewTopic(topo, "lines", codec.String, codec.String), skip)
	p, err = topo.Plan()
	require.NoError(t, err)
	matches, left = p.Matches([]string{"ab", "ax", "xb", "bc", "a"})
	require.Len(t, matches, 2, "an expression matches whole names: bc matches none")
	require.Len(t, left, 2)
	require.EqualError(t, left[0], "topic ab matches the topic patterns one and two, and can be read by one alone: it is not read; change one of the expressions")
	require.EqualError(t, left[1], "topic ax matches topic pattern one, and its agent would be called one-ax, as another one is: it is not read; rename that one")
}

// A pattern is shown in place of its topics.
func TestTopicPatternDescribed(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopicPattern(topo, "in", `x\..+`, codec.String, codec.Int64, topology.ReadFrom(topology.Latest))
	topology.Each(topo, "a", in, func(*topology.Context, topology.Event[string, int64]) error { return nil })
	p, err := topo.Plan()
	require.NoError(t, err)
	require.Empty(t, p.Agents, "there is none before a topic is")
	for format, says := range map[string][]string{
		"text": {"stage 1: in\n  agent a: reads topics that match in, starts at the latest record\n", `  in: all topics that match x\..+ (string → int64)`},
		"json": {`"kind": "pattern"`, `"matches": "x\\..+"`, `"source": "in"`}, "mermaid": {`(["in"])`, "t3 --> a0"}, "dot": {`t3 [label="in"`, "t3 -> a0"},
	} {
		text, err := topology.Describe(p, format)
		require.NoError(t, err)
		for _, s := range says {
			require.Contains(t, text, s)
		}
	}
}
