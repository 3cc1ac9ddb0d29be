package topology_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// An agent asks another one about each order, and goes on when the answer is there.
func ExampleAskThen() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String) // by customer: which ware
	wares := topology.NewTopic(t, "wares", codec.String, codec.String)   // questions by ware
	price := topology.Answer(t, "price", wares, func(_ *topology.Context, ware topology.Event[string, string]) (int64, error) {
		if ware.Key == "unicorn" {
			return 0, topology.Permanent(errors.New("no such ware"))
		}
		return int64(len(ware.Key)), nil
	}, codec.Int64)
	bill := topology.Then(t, "bill", orders, price, func(_ *topology.Context, a topology.Event[string, topology.Outcome[int64]]) error {
		if a.Value.Err != nil {
			fmt.Println(a.Key, "gets nothing:", a.Value.Err.ReplyFailure.Error)
			return nil //nolint:nilerr // that is what there is to do
		}
		fmt.Println(a.Key, "pays", a.Value.Result)
		return nil
	})
	topology.Each(t, "order", orders, func(ctx *topology.Context, o topology.Event[string, string]) error {
		topology.AskThen(ctx, bill, o.Key, o.Value, "")
		return nil
	}, topology.Sends(bill))

	d := topologytest.New(inExample{}, t)
	topologytest.Pipe(d, orders, "ann", "lamp")
	topologytest.Pipe(d, orders, "bob", "unicorn")
	// Output:
	// ann pays 4
	// bob gets nothing: no such ware
}

// What an agent asks another one is answered once, to the partition of its own key, beside its own table; crashes change nothing.
func TestAskThen(t *testing.T) {
	t.Parallel()
	topo := topology.New("asks")
	in := topology.NewTopic(topo, "in", codec.String, codec.String, topology.Partitions(3))
	questions := topology.NewTopic(topo, "questions", codec.String, codec.String, topology.Partitions(2))
	heard := topology.NewTable(topo, "heard", codec.String, codec.Int64)
	upper := topology.Answer(topo, "upper", questions, func(_ *topology.Context, e event) (string, error) {
		return strings.ToUpper(e.Value), nil
	}, codec.String)
	var got []string
	hear := func(ctx *topology.Context, key string) {
		heard.Update(ctx, key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
	}
	then := topology.Then(topo, "hear", in, upper, func(ctx *topology.Context, e topology.Event[string, topology.Outcome[string]]) error {
		got = append(got, e.Key+" "+e.Value.Result)
		hear(ctx, e.Key)
		return nil
	}, topology.Writes(heard))
	fails := 1
	topology.Each(topo, "ask", in, func(ctx *topology.Context, e event) error {
		hear(ctx, e.Key)
		topology.AskThen(ctx, then, e.Key, "one of "+e.Key, e.Value)
		topology.AskThen(ctx, then, e.Key, "two of "+e.Key, e.Value+e.Value)
		if fails--; fails == 0 {
			return errors.New("what a failing record asks is not asked")
		}
		return nil
	}, topology.Sends(then), topology.Writes(heard))
	p, err := topo.Plan()
	require.NoError(t, err)
	i := slices.IndexFunc(p.Topics, func(x *plan.Topic) bool { return x.Name == "asks-hear-answers" })
	require.Equal(t, plan.Repartition, p.Topics[i].Kind, "it is purged of what was read")

	d := topologytest.New(t, topo)
	for _, key := range []string{"a", "b", "c", "d"} {
		topologytest.Pipe(d, in, key, "x"+key)
		d.Crash()
	}
	slices.Sort(got)
	require.Equal(t, []string{"a XA", "a XAXA", "b XB", "b XBXB", "c XC", "c XCXC", "d XD", "d XDXD"}, got)
	require.Equal(t, map[string]int64{"a": 3, "b": 3, "c": 3, "d": 3}, topologytest.Table(d, heard))
	require.Zero(t, repliesIn(d, "asks-replies"), "nobody outside is told")
	require.Len(t, d.Failures(), 1)
}

func TestFaultsOfContinuations(t *testing.T) {
	t.Parallel()
	topo, other := topology.New("test"), topology.New("other")
	in, foreign := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(other, "there", codec.String, codec.String)
	handler := func(*topology.Context, event) (string, error) { return "", nil }
	ref, away := topology.Answer(topo, "here", in, handler, codec.String), topology.Answer(other, "away", foreign, handler, codec.String)
	type outcome = topology.Event[string, topology.Outcome[string]]
	hear := func(*topology.Context, outcome) error { return nil }
	topology.Then(topo, "a", in, away, hear)
	topology.Then(topo, "b", in, ref, nil)
	topology.Then[string, string](topo, "c", nil, ref, hear)
	topology.Then[string, string, string, string, string](topo, "d", in, nil, hear)
	_, err := topo.Plan()
	for _, want := range []string{
		"the continuation a is of agent away of another topology, other", "agent b has no function",
		"the continuation c was given a nil topic or agent", "the continuation d was given a nil topic or agent",
	} {
		require.ErrorContains(t, err, want)
	}
}

// An ask to answer into a topic that is none of the agent's is not answered.
func TestAnAnswerToAnotherTopic(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("x"), kafka.Ask{ID: "1", Topology: "asked", Agent: "upper", Topic: "in", To: "out", Key: []byte("k")}.Header())
	require.Equal(t, []string{"X"}, values(d, a.out), "only the sink's")
	require.Zero(t, replies(d))
}
