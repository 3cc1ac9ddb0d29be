package actors

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Agents of one topic that had come to different places before a restart go on where each was, and what lies between records,
// markers and records that are gone, holds up none of them.
func TestAgentsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ahead kafka.Ahead
		given []int64 // to the agent that was ahead
	}{
		"at the beginning":          {kafka.Ahead{}, []int64{0, 5, 6}},
		"behind a record":           {kafka.Ahead{UpTo: 1}, []int64{5, 6}},
		"in a gap":                  {kafka.Ahead{UpTo: 3}, []int64{5, 6}},
		"the last is done":          {kafka.Ahead{Beyond: []int64{6, 7}}, []int64{0, 5}},
		"all records are done":      {kafka.Ahead{UpTo: 1, Beyond: []int64{5, 7}}, nil},
		"through with the lot":      {kafka.Ahead{UpTo: 9}, nil},
		"one in the middle is done": {kafka.Ahead{Beyond: []int64{5, 6}}, []int64{0, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := witness(&mishaps{rng: rand.New(rand.NewPCG(1, 1)), hits: map[string]int{}}).Plan()
			require.NoError(t, err)
			stage := p.Stages[1]
			now := time.UnixMilli(1_700_000_000_000)
			meta := kafka.Meta{Seq: 1, Agents: map[string]kafka.Ahead{"row": c.ahead, "update": {}, "pair": {}}}
			grant := kafka.Grant{Slot: 1, Incarnation: 1, Sources: []kafka.Position{
				{TopicPartition: kafka.TopicPartition{Topic: "in"}, Metadata: meta.Encode()},
			}}
			env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
			s, err := newPartitionState(p, stage, 0, grant, env, []startAt{{first: 0, end: 9}}, "test", now, func(plan.Backoff, int) time.Duration { return 0 })
			require.NoError(t, err)
			s.start()
			for i := range stage.Tables {
				s.step(ShardReady{Table: i})
			}
			b := &kafka.Batch{Topic: "in"}
			for _, offset := range []int64{0, 5, 6} {
				b.Append(offset, 1, []byte("k"), []byte("v"), nil)
			}
			b.Next = 9 // a marker lies behind them
			given := map[int][]int64{}
			todo := s.step(Arrived{0, b})
			for len(todo) > 0 {
				x, ok := todo[0].(toAgent)
				todo = todo[1:]
				w, work := x.msg.(Work)
				if !ok || !work {
					continue
				}
				for _, r := range w.Records {
					given[x.agent] = append(given[x.agent], r.B.Records[r.I].Offset)
				}
				todo = append(todo, s.step(Worked{Agent: x.agent, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records), Finished: true})...)
			}
			for i, a := range s.agents {
				require.Equal(t, progress{upTo: 9}, progress{a.done.upTo, append([]offsets(nil), a.done.beyond...)}, a.agent.Name)
				want := []int64{0, 5, 6}
				if a.agent.Name == "row" {
					want = c.given
				}
				require.Equal(t, want, given[i], a.agent.Name)
			}
		})
	}
}
