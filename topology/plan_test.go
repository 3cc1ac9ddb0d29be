package topology_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// wordcount is the topology of the design's page on the API.
func wordcount() *topology.Topology {
	t := topology.New("wordcount")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)

	topology.Agent(t, "split", lines, func(ctx *topology.Context, in topology.Stream[string, string]) error {
		for line := range in.All() {
			for w := range strings.FieldsSeq(line.Value) {
				words.Send(ctx, w, "")
			}
		}
		return nil
	}, topology.Sends(words))
	topology.Each(t, "count", words, func(ctx *topology.Context, w topology.Event[string, string]) error {
		counts.Update(ctx, w.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	return t
}

func TestWordcount(t *testing.T) {
	t.Parallel()
	n := newNode(t, wordcount(), 1, 0)
	_, err := n.run("split", record{value: "to be or"}, record{value: "not to be"})
	require.NoError(t, err)
	require.Equal(t, []string{"to=@0", "be=@0", "or=@0", "not=@0", "to=@0", "be=@0"}, n.sent("words"))
	var words []record
	for _, r := range n.sent("words") {
		words = append(words, record{key: strings.TrimSuffix(r, "=@0")})
	}
	_, err = n.run("count", words...)
	require.NoError(t, err)
	require.Equal(t, []string{"be=2", "not=1", "or=1", "to=2"}, rows[int64](n, "counts"))
}

func TestPlanOfWordcount(t *testing.T) {
	t.Parallel()
	p, err := wordcount().Plan()
	require.NoError(t, err)
	require.Equal(t, "wordcount", p.Name)
	type topic struct {
		name       string
		kind       plan.Kind
		partitions int32
		config     map[string]string
		source     bool
		sink       bool
	}
	kept := map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
	var topics []topic
	for i, x := range p.Topics {
		require.EqualValues(t, i, x.ID)
		topics = append(topics, topic{x.Name, x.Kind, x.Partitions, x.Config, x.Source, x.Sink})
	}
	require.Equal(t, []topic{
		{"lines", plan.External, 0, map[string]string{}, true, false},
		{"words", plan.External, 0, map[string]string{}, true, true},
		{"wordcount-counts-changelog", plan.Changelog, 0, map[string]string{"cleanup.policy": "compact"}, false, false},
		{"wordcount-dead-letters", plan.DeadLetters, 1, kept, false, false},
		{"wordcount-slots", plan.Slots, 1, kept, false, false},
		{"wordcount-leader", plan.Leader, 1, kept, true, false},
	}, topics)

	require.Len(t, p.Stages, 3)
	for i, key := range []string{"", "lines", "words"} {
		require.EqualValues(t, i, p.Stages[i].ID)
		require.Equal(t, key, p.Stages[i].Key)
	}
	require.Equal(t, []*plan.Topic{p.Topics[5]}, p.Stages[0].Sources)
	require.Equal(t, p.Tables, p.Stages[2].Tables)
	require.EqualValues(t, 2, p.Tables[0].Stage)
	require.Equal(t, "string", p.Tables[0].Key.Type)
	require.Equal(t, "int64", p.Tables[0].Value.Type)
	b, err := p.Tables[0].Value.Parse("12")
	require.NoError(t, err)
	text, err := p.Tables[0].Value.Format(b)
	require.NoError(t, err)
	require.Equal(t, "12", text)

	split, count := p.Agents[0], p.Agents[1]
	require.True(t, split.Loop)
	require.False(t, count.Loop)
	require.Equal(t, []*plan.Topic{p.Topics[1]}, split.Sends)
	require.Equal(t, p.Tables, count.Reads)
	require.Equal(t, p.Tables, count.Writes)
	require.EqualValues(t, 2, count.Stage)
	require.Equal(t, plan.Earliest, count.Start)
}

func nothing(ctxOf, event) error               { return nil }
func nothingAtAll(*topology.TaskContext) error { return nil }

// Topics whose agents share a table, even by way of a third one, are one stage; timers run where the tables are.
func TestStages(t *testing.T) {
	t.Parallel()
	topo := topology.New("shop")
	topic := func(name string, opts ...topology.TopicOption) texts {
		return topology.NewTopic(topo, name, codec.String, codec.String, opts...)
	}
	table := func(name string, opts ...topology.TableOption) *topology.Table[string, string] {
		return topology.NewTable(topo, name, codec.String, codec.String, opts...)
	}
	orders, payments, refunds, clicks := topic("orders", topology.Partitions(6), topology.WithConfig(map[string]string{"retention.ms": "1"})), topic("payments"), topic("refunds"), topic("clicks")
	open, paid, hot := table("open"), table("paid", topology.Ordered()), table("hot", topology.Local())
	topology.Each(topo, "order", orders, nothing, topology.Writes(open), topology.Writes(open))
	topology.Each(topo, "pay", payments, nothing, topology.Reads(open), topology.Writes(paid))
	topology.Each(topo, "refund", refunds, nothing, topology.Reads(paid), topology.StartAt(topology.Latest))
	topology.Each(topo, "click", clicks, nothing, topology.Writes(hot))
	topology.Every(topo, "tick", time.Second, nothingAtAll, topology.Sends(orders))
	topology.Every(topo, "hottest", time.Second, nothingAtAll, topology.Sends(orders), topology.Reads(hot))
	topology.Task(topo, "once", nothingAtAll, topology.Reads(open, paid))
	p, err := topo.Plan()
	require.NoError(t, err)

	stages := map[string][]string{}
	for _, st := range p.Stages {
		for _, a := range st.Agents {
			require.Equal(t, st.ID, a.Stage)
			stages[st.Key] = append(stages[st.Key], a.Name)
		}
	}
	require.Equal(t, map[string][]string{
		"":                        {"tick"},
		"clicks":                  {"click", "hottest"},
		"orders,payments,refunds": {"order", "pay", "refund", "once"},
	}, stages)
	require.Equal(t, plan.Latest, p.Agents[2].Start)
	require.Len(t, p.Agents[0].Writes, 1, "declared twice is declared once")
	require.EqualValues(t, 6, p.Topics[0].Partitions)
	require.Equal(t, "1", p.Topics[0].Config["retention.ms"])
	require.True(t, p.Tables[1].Ordered)
	require.True(t, p.Tables[2].Local)
}

// Nodes of one process may share a topology.
func TestPlanIsMadeOnce(t *testing.T) {
	t.Parallel()
	topo := wordcount()
	first, err := topo.Plan()
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			p, err := topo.Plan()
			require.NoError(t, err)
			require.Same(t, first, p)
		})
	}
	all.Wait()
	topology.Each(topo, "more", topology.TopicOf[string, string](topo, "lines"), nothing)
	p, err := topo.Plan()
	require.NoError(t, err)
	require.Len(t, p.Agents, 3)
	require.Len(t, first.Agents, 2)
}

// fault is a topology and what must be said of it.
type fault struct {
	name  string
	build func(*topology.Topology)
	want  []string
}

func topicsOf(t *topology.Topology, names ...string) (all []texts) {
	for _, n := range names {
		all = append(all, topology.NewTopic(t, n, codec.String, codec.String))
	}
	return all
}

func faults() []fault {
	var none codec.Codec[string]
	return []fault{
		{"nothing", func(*topology.Topology) {}, []string{"topology test has no agents"}},
		{"codecs", func(t *topology.Topology) {
			in := topology.NewTopic(t, "in", codec.String, none)
			tb := topology.NewTable(t, "table", none, codec.String)
			topology.Each(t, "each", in, nothing, topology.Writes(tb))
		}, []string{"topic in has no codec", "table table has no codec"}},
		{"names twice", func(t *topology.Topology) {
			in := topicsOf(t, "in", "in", "a.b", "a_b")
			for _, x := range in {
				topology.Each(t, "each", x, nothing, topology.Writes(topology.NewTable(t, "table", codec.String, codec.String)))
			}
		}, []string{"two topics are called in", "topic a_b and topic a.b collide", "two agents are called each", "two tables are called table"}},
		{"case", func(t *topology.Topology) {
			in := topicsOf(t, "in")[0]
			topology.Each(t, "each", in, nothing, topology.Writes(topology.NewTable(t, "T", codec.String, codec.String), topology.NewTable(t, "t", codec.String, codec.String)))
		}, []string{"tables T and t differ in case only: rename one"}},
		{"names that Kafka refuses", func(t *topology.Topology) {
			for i, x := range topicsOf(t, "..", ".", "", "a b", strings.Repeat("x", 250), "__consumer_offsets") {
				topology.Each(t, fmt.Sprint("each", i), x, nothing)
			}
			topology.Each(t, "é", topicsOf(t, "ok")[0], nothing, topology.Writes(topology.NewTable(t, strings.Repeat("y", 240), codec.String, codec.String)))
		}, []string{
			`a topic is called "..", which Kafka refuses`, `a topic is called ".", which`, "a topic has no name: give it one", `a topic is called "a b": Kafka takes letters`,
			"a topic has a name of 250 characters", "a topic of Kafka's own", `agent of topology test is called "é"`, "the changelog of table yyy", "has a name of 255 characters",
		}},
		{"internal names", func(t *topology.Topology) {
			for i, x := range topicsOf(t, "test-slots", "test_leader", "test-table-changelog", "test-dead-letters") {
				topology.Each(t, fmt.Sprint("each", i), x, nothing, topology.Writes(topology.NewTable(t, fmt.Sprint("table", i), codec.String, codec.String)))
			}
			topology.Each(t, "each", topicsOf(t, "in")[0], nothing, topology.Writes(topology.NewTable(t, "table", codec.String, codec.String)))
		}, []string{
			"the internal topic test-slots and topic test-slots collide", "the changelog of table table and topic test-table-changelog collide",
			"the internal topic test-dead-letters and topic test-dead-letters collide",
		}},
		{"unused", func(t *topology.Topology) {
			topology.NewTable(t, "table", codec.String, codec.String)
			topology.Each(t, "each", topicsOf(t, "in", "idle")[0], nothing)
		}, []string{"topic idle is used by no agent: read it, declare it with topology.Sends, or remove it", "table table is written by no agent: declare topology.Writes(table)"}},
		{"loops", func(t *topology.Topology) {
			x := topicsOf(t, "a", "b", "c", "self")
			topology.Each(t, "ab", x[0], nothing, topology.Sends(x[1]))
			topology.Each(t, "bc", x[1], nothing, topology.Sends(x[2]))
			topology.Each(t, "ca", x[2], nothing, topology.Sends(x[0]))
			topology.Each(t, "me", x[3], nothing, topology.Sends(x[3]))
		}, []string{
			"records go round in a loop: a → agent ab → b → agent bc → c → agent ca → a; if that is meant, declare one of the topics with topology.Loop()",
			"records go round in a loop: self → agent me → self",
		}},
		{"two stages", func(t *topology.Topology) {
			a := topology.NewTopic(t, "a", codec.String, codec.String, topology.Partitions(4))
			b := topology.NewTopic(t, "b", codec.String, codec.String, topology.Partitions(8))
			c := topology.NewTopic(t, "c", codec.String, codec.String, topology.WithPartitioner(kafka.CRC32()))
			x, y := topology.NewTable(t, "x", codec.String, codec.String), topology.NewTable(t, "y", codec.String, codec.String)
			topology.Each(t, "from-a", a, nothing, topology.Writes(x))
			topology.Each(t, "from-b", b, nothing, topology.Writes(x))
			topology.Each(t, "from-c", c, nothing, topology.Writes(y), topology.Reads(x))
		}, []string{
			"table x is written from two stages, by agent from-a from topic a and by agent from-b from topic b: they are declared with 4 and 8 partitions",
			"topics a and c are not co-partitioned, but agents from-a and from-c share table x: they have the partitioners murmur2 and crc32",
		}},
		{"three stages by way of tables", func(t *topology.Topology) {
			a := topology.NewTopic(t, "a", codec.String, codec.String, topology.Partitions(4))
			c := topology.NewTopic(t, "c", codec.String, codec.String, topology.Partitions(5))
			x, y := topology.NewTable(t, "x", codec.String, codec.String), topology.NewTable(t, "y", codec.String, codec.String)
			topology.Each(t, "from-a", a, nothing, topology.Writes(x))
			topology.Each(t, "from-b", topicsOf(t, "b")[0], nothing, topology.Reads(x), topology.Writes(y))
			topology.Each(t, "from-c", c, nothing, topology.Reads(y))
		}, []string{"topics a and c are not co-partitioned, but feed one stage through the tables or channels that its agents share: they are declared with 4 and 5"}},
		{"timers and tasks", func(t *topology.Topology) {
			x := topicsOf(t, "a", "b")
			ta, tb := topology.NewTable(t, "ta", codec.String, codec.String), topology.NewTable(t, "tb", codec.String, codec.String)
			topology.Each(t, "each-a", x[0], nothing, topology.Writes(ta))
			topology.Each(t, "each-b", x[1], nothing, topology.Writes(tb))
			topology.Every(t, "never", 0, nothingAtAll)
			topology.Every(t, "both", time.Second, nothingAtAll, topology.Reads(ta, tb))
			topology.Task(t, "writer", nothingAtAll, topology.Writes(ta))
			topology.Task(t, "empty", nil)
		}, []string{
			"timer never has the interval 0s: it must be positive", "timer both reads tables of two stages: tb is spread as topics b are, other tables as topics a",
			"task writer writes table ta: only agents write tables", "task empty has no function",
		}},
		{"several topics", func(t *topology.Topology) {
			x := topicsOf(t, "a", "b", "c")
			narrow := topology.NewTopic(t, "narrow", codec.String, codec.String, topology.Partitions(2))
			wide := topology.NewTopic(t, "wide", codec.String, codec.String, topology.Partitions(3))
			both := topology.NewTable(t, "both", codec.String, codec.Int64)
			topology.Each(t, "twice", topology.Sources(x[0], x[1], x[0]), nothing, topology.Sends(topology.Sources(x[0], x[1])))
			topology.Each(t, "one", x[0], nothing)
			topology.Each(t, "one-b", x[1], nothing)
			topology.Each(t, "one", topology.Sources(x[1], x[2]), nothing)
			topology.Each(t, "two", topology.Sources(x[0], x[1]), nothing)
			topology.Each(t, "two", x[0], nothing)
			topology.Count(topology.GroupByKey(topology.Merge(topology.From(narrow), topology.From(wide))), both)
		}, []string{
			"agent twice was given Sources with topic a twice: name it once", "agent twice-a: topology.Sends was given topology.Sources, which are read from: name the topics one by one",
			"two agents are called one-b", "agents two-a and two both read topic a as two, under which their progress is kept: rename one", "table both is written from two stages, by agent count-both-narrow from topic narrow and by agent count-both-wide from topic wide: they are declared with 2 and 3 partitions",
		}},
		{"times of records", func(t *topology.Topology) {
			in := topology.NewTopic(t, "in", codec.String, codec.String, topology.TimestampExtractor(func(topology.Event[string, int64]) time.Time { return time.Time{} }))
			other := topology.NewTopic(t, "other", codec.String, codec.String, topology.TimestampExtractor[string, string](nil))
			topology.Each(t, "a", topology.Sources(in, other), nothing)
		}, []string{
			"topic in holds topology.Event[string,string] and has a TimestampExtractor of func(topology.Event[string,int64]) time.Time: let it take the event of the topic",
			"topic other has a TimestampExtractor without a function",
		}},
		{"on the leader", func(t *topology.Topology) {
			x := topicsOf(t, "a")
			ta := topology.NewTable(t, "ta", codec.String, codec.String)
			topology.Each(t, "each-a", x[0], nothing, topology.Writes(ta), topology.OnLeader())
			topology.Every(t, "sum", time.Second, nothingAtAll, topology.Reads(ta), topology.OnLeader())
			topology.Task(t, "once", nothingAtAll, topology.OnLeader())
		}, []string{
			"agent each-a is declared OnLeader: it reads topic a, whose partitions are on all nodes; the option is for timers and tasks",
			"timer sum is declared OnLeader and reads table ta, of which the leader has nothing: its partitions are where those of topics a are; remove OnLeader, and it runs once per partition",
		}},
		{"durable timers", func(t *topology.Topology) {
			in := topicsOf(t, "in")[0]
			timers := func(name string) *topology.Timers[string, string] {
				return topology.NewTimers(t, name, codec.String, codec.String)
			}
			call := func(*topology.Context, topology.Timer[string, string]) error { return nil }
			lonely, unset, twice, own := timers("lonely"), timers("unset"), timers("twice"), timers("own")
			topology.Each(t, "set", in, nothing, topology.Writes(lonely, twice))
			topology.OnTimer(t, "of-unset", unset, call)
			topology.OnTimer(t, "one", twice, call, topology.OnLeader(), topology.Sends(topology.NewChannel[string, string](t, "pipe")))
			topology.OnTimer(t, "two", twice, call, topology.OnFailure(topology.Policy{KeyOrder: true}))
			topology.OnTimer(t, "of-own", own, nil, topology.Writes(own))
			topology.OnTimer[string, string](t, "of-nil", nil, call)
			topology.NewTimers[string, string](t, "bare", nil, nil)
		}, []string{
			"timers lonely have no agent that is called for them: define topology.OnTimer", "timers unset are set by no agent that reads a topic: declare topology.Writes(unset)",
			"timers twice have two agents, one and two", "agent one is called for timers and sends to channel pipe", "agent one is declared OnLeader: it is called for timers twice", "agent two: its policy has KeyOrder",
			"agent of-own has no function", "timers own are set by no agent that reads a topic", "agent of-nil was given nil timers", "timers bare have no codec for their payloads",
			"table bare has no codec for its keys",
		}},
		{"timers in event time", func(t *topology.Topology) {
			in := topicsOf(t, "in")[0]
			due := topology.NewTimers(t, "due", codec.String, codec.String, topology.EventTime)
			topology.NewTimers(t, "odd", codec.String, codec.String, topology.Clock(7), nil)
			pipe := topology.NewChannel[string, string](t, "pipe")
			topology.Each(t, "set", in, nothing, topology.Writes(due), topology.Concurrency(4))
			topology.Each(t, "pour", in, nothing, topology.Sends(pipe))
			topology.Each(t, "look", pipe, nothing, topology.Reads(due))
			topology.OnTimer(t, "call", due, func(*topology.Context, topology.Timer[string, string]) error { return nil })
		}, []string{
			"timers odd were given an unknown clock: pass topology.EventTime or topology.WallTime", "timers odd were given a nil option",
			"agent set has a concurrency of 4 and declares timers due, which are in event time", "agent look reads channel pipe and declares timers due, which are in event time",
		}},
		{"nil", func(t *topology.Topology) {
			var topic texts
			var table *topology.Table[string, string]
			var props *actor.Props
			in := topicsOf(t, "in")[0]
			topology.Each(t, "no-source", topic, nothing)
			topology.Each(t, "nothing-at-all", nil, nothing)
			topology.Each(t, "nils", in, nil, topology.Sends(topic, nil), topology.Reads(table), topology.Writes(nil))
			topology.EachRow(t, "no-table", in, table, func(ctxOf, event, *topology.Row[string]) error { return nil })
			topology.Props(t, "no-props", in, props)
			topology.NewTopic(t, "partitioned", codec.String, codec.String, topology.WithPartitioner(kafka.Partitioner{}), topology.Partitions(-1))
			topology.To(topology.Map(topology.Filter(topology.From(in), nil), func(string) string { return "" }), topicsOf(t, "to")[0])
		}, []string{
			"agent no-source was given a nil topic to read", "agent nothing-at-all was given a nil topic to read", "agent nils has no function", "agent nils: topology.Sends was given a nil topic", "agent nils: topology.Reads was given a nil table",
			"agent nils: topology.Writes was given a nil table", "agent no-table: topology.Writes was given a nil table", "agent no-props has no props",
			"topic partitioned has a partitioner without a name", "declared with -1 partitions", "the flow from topic in has a step Filter without a function",
		}},
		{"another topology", func(t *topology.Topology) {
			other := topology.New("other")
			in, tb := topicsOf(other, "theirs")[0], topology.NewTable(other, "their-table", codec.String, codec.String)
			topology.Each(t, "a", in, nothing)
			topology.Each(t, "b", topicsOf(t, "ours")[0], nothing, topology.Sends(in), topology.Writes(tb))
		}, []string{"agent a reads topic theirs of another topology, other", "agent b sends to topic theirs of another", "agent b uses table their-table of another"}},
		{"indexes", func(t *topology.Topology) {
			orders := topology.NewTable(t, "orders", codec.String, codec.String)
			topology.NewIndex(orders, "", func(string, string) string { return "" }, codec.String)
			topology.NewIndex[string, string, string](orders, "", nil, nil)
			topology.NewIndex[string, string, string](orders, "customer", nil, nil)
		}, []string{"table orders has an index without a name: give it one", "index customer of table orders lacks its function or its codec"}},
		{"flows without an end", func(t *topology.Topology) {
			in := topology.NewTopic(t, "in", codec.String, codec.Int64)
			f := topology.From(in)
			topology.Filter(f, func(topology.Event[string, int64]) bool { return true })
			topology.GroupByKey(topology.Peek(f, func(topology.Event[string, int64]) {}))
			topology.To(topology.Map(f, func(n int64) int64 { return n }), topology.NewTopic(t, "out", codec.String, codec.Int64))
			topology.Through(f, topology.NewTopic(t, "mid", codec.String, codec.Int64)) // that is an end
			branches := topology.Branch(f, func(topology.Event[string, int64]) bool { return true })
			topology.To(branches[0], topology.NewTopic(t, "first", codec.String, codec.Int64)) // the other one is dropped
			topology.Branch(topology.From(topology.NewTopic(t, "second", codec.String, codec.Int64)))
		}, []string{
			"the flow from in | filter ends nowhere, so nothing would be done with it: end it with topology.To, Count, Reduce or Aggregate, or remove it",
			"the flow from in | peek | group ends nowhere", "the flow from second | branches ends nowhere",
		}},
		{"flows to a channel from inside a table", func(t *topology.Topology) {
			in := topicsOf(t, "in")[0]
			rows := topology.TableFrom(t, "rows", in)
			pipe := topology.NewChannel[string, string](t, "pipe")
			joined := topology.LeftJoin(topology.From(in), rows, func(v, _ string, _ bool) string { return v })
			topology.To(topology.Merge(joined, topology.ToStream(rows), topology.From(in)), pipe)
			topology.Each(t, "read", pipe, nothing)
		}, []string{
			"the flow from in | join table rows sends to channel pipe from inside table rows: send to a topic",
			"the flow changes of rows | new values sends to channel pipe from inside table rows: send to a topic",
		}},
		{"operators", func(t *topology.Topology) {
			in := topology.NewTopic(t, "in", codec.String, codec.Int64)
			tb := topology.NewTable(t, "table", codec.String, codec.Int64)
			f := topology.Map(topology.From(in), func(n int64) string { return fmt.Sprint(n) })
			g := topology.GroupBy(f, func(s string) string { return s })
			topology.Aggregate(g, tb, func() int64 { return 0 }, nil)
			topology.Count(g, tb)
			topology.Count(g, tb)
		}, []string{
			"aggregate into table table: GroupBy needs to know how to write values to its topic: pass it topology.WithValues(codec)", "aggregate into table table lacks a function",
			"two agents are called count-table-group: progress is kept under their names; rename one, or give the end of an operator's flow a name with topology.Named",
		}},
	}
}

// Every fault is reported, at once.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			topo := topology.New("test")
			f.build(topo)
			p, err := topo.Plan()
			require.Nil(t, p)
			for _, want := range f.want {
				require.ErrorContains(t, err, want)
			}
			again, err2 := topo.Plan()
			require.Nil(t, again)
			require.EqualError(t, err2, err.Error())
		})
	}
	topo := topology.New("all at once")
	for _, f := range faults() {
		f.build(topo)
	}
	_, err := topo.Plan()
	require.ErrorContains(t, err, `the topology is called "all at once"`)
	require.NotContains(t, err.Error(), "all at once-", "names derived from a bad one are not reported too")
	lines := strings.Split(err.Error(), "\n")
	require.Greater(t, len(lines), 30)
}

func TestLoopsThatAreMeant(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	a := topicsOf(topo, "a")[0]
	b := topology.NewTopic(topo, "b", codec.String, codec.String, topology.Loop())
	topology.Each(topo, "ab", a, nothing, topology.Sends(b))
	topology.Each(topo, "ba", b, nothing, topology.Sends(a))
	_, err := topo.Plan()
	require.NoError(t, err)
}

// Whatever is wired with whatever: Plan does not panic, and what it makes hangs together.
func TestAnyTopology(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topo := topology.New("any")
		var topics []topology.AnyTopic
		var sources []texts
		for i := range rapid.IntRange(1, 5).Draw(t, "topics") {
			x := topology.NewTopic(topo, fmt.Sprint("topic", i), codec.String, codec.String, topology.Loop(), topology.Partitions(rapid.Int32Range(0, 2).Draw(t, "partitions")))
			topics, sources = append(topics, x), append(sources, x)
		}
		var tables []topology.AnyTable
		var readable []topology.AnyReadable
		for i := range rapid.IntRange(0, 4).Draw(t, "tables") {
			x := topology.NewTable(topo, fmt.Sprint("table", i), codec.String, codec.String)
			tables, readable = append(tables, x), append(readable, x)
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "globals") {
			readable = append(readable, topology.NewGlobalTable(topo, fmt.Sprint("global", i), rapid.SampledFrom(sources).Draw(t, "copied")))
		}
		for i := range rapid.IntRange(1, 6).Draw(t, "agents") {
			name, opts := fmt.Sprint("agent", i), []topology.AgentOption{topology.Sends(rapid.SampledFrom(topics).Draw(t, "sends"))}
			if len(tables) > 0 {
				some := rapid.SliceOfN(rapid.SampledFrom(tables), 0, 2)
				opts = append(opts, topology.Reads(rapid.SliceOfN(rapid.SampledFrom(readable), 0, 2).Draw(t, "reads")...))
				if rapid.Bool().Draw(t, "writer") {
					opts = append(opts, topology.Writes(some.Draw(t, "writes")...))
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "role") == 0 {
				topology.Every(topo, name, time.Second, nothingAtAll, opts...)
				continue
			}
			topology.Each(topo, name, rapid.SampledFrom(sources).Draw(t, "source"), nothing, opts...)
		}
		p, err := topo.Plan()
		if err != nil {
			require.NotContains(t, err.Error(), "%!", "a message with a fault of its own")
			return
		}
		requireSound(t, p)
	})
}

func requireSound(t require.TestingT, p *plan.Plan) {
	seen := map[*plan.Topic]bool{}
	for i, st := range p.Stages {
		require.EqualValues(t, i, st.ID)
		require.NotEmpty(t, st.Sources)
		partitions := int32(0)
		for _, s := range st.Sources {
			require.True(t, s.Source)
			require.False(t, seen[s], "a topic feeds one stage")
			seen[s] = true
			if s.Partitions > 0 {
				require.True(t, partitions == 0 || partitions == s.Partitions)
				partitions = s.Partitions
			}
		}
		for _, tb := range st.Tables {
			require.Equal(t, st.ID, tb.Stage)
		}
		for _, a := range st.Agents {
			require.Equal(t, st.ID, a.Stage)
			require.Subset(t, st.Tables, a.Reads)
			require.Subset(t, a.Reads, a.Writes)
			if a.Source != nil {
				require.Contains(t, st.Sources, a.Source)
			}
		}
	}
	require.Empty(t, p.Stages[0].Tables)
	for i, tb := range p.Tables {
		require.EqualValues(t, i, tb.ID)
		require.NotZero(t, tb.Stage)
		require.Equal(t, plan.Changelog, tb.Changelog.Kind)
	}
}

// More agents than how far they are fits beside an offset.
func TestTooManyAgentsOfATopic(t *testing.T) {
	t.Parallel()
	define := func(n int) (*plan.Plan, error) {
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", codec.String, codec.String)
		for i := range n {
			topology.Each(topo, fmt.Sprint(strings.Repeat("a", 100), i), in, func(*topology.Context, topology.Event[string, string]) error { return nil })
		}
		return topo.Plan()
	}
	_, err := define(20)
	require.NoError(t, err)
	_, err = define(40)
	require.ErrorContains(t, err, "topic in is read by 40 agents")
	require.ErrorContains(t, err, "give them shorter names")
}
