package actors

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// TestWhatIsRetriedCarefullyDoesNotHoldUpTheRest: while records go one by one, after a function inside a shard has failed, and one of them waits for its next attempt, other
// agents are given what has come since: it may wait for an answer of another partition, whose records wait for one of this.
func TestWhatIsRetriedCarefullyDoesNotHoldUpTheRest(t *testing.T) {
	t.Parallel()
	topo := topology.New("waiter")
	in, questions := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "questions", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	nothing := func(*topology.Context, topology.Event[string, string]) error { return nil }
	topology.Each(topo, "waits", in, nothing, topology.Reads(counts), topology.OnFailure(topology.Policy{Decide: func(topology.Failure) topology.Decision { return topology.Retry }}))
	topology.Each(topo, "answers", questions, nothing, topology.Writes(counts))
	x := seekerOf(t, topo, false, kafka.Trying{}, 0)
	record := kafka.AgentOffset{Agent: "waits", Offset: 0}
	x.holds = map[kafka.AgentOffset]bool{record: true}
	x.records(0, 1)
	require.Len(t, x.held, 1)
	x.held = nil // it is begun anew
	x.do(x.s.step(ShardFailed{Table: 0, Undo: x.s.undo, Err: errors.New("not now")}))
	require.Len(t, x.held, 1, "it is given again")
	require.NotNil(t, x.s.careful)

	b := &kafka.Batch{Topic: "questions", Next: 1}
	b.Append(0, 1, []byte("k"), []byte("v"), nil)
	x.do(x.s.step(Arrived{1, b}))
	require.Empty(t, x.given["answers"], "one at a time")
	x.release()
	require.Equal(t, []int64{0}, x.given["answers"])
	require.Empty(t, x.held)
	clear(x.holds)
	x.pass(time.Second)
	x.pass(time.Second)
	require.Equal(t, []int64{0}, x.given["waits"])
	require.Nil(t, x.s.careful)
}
