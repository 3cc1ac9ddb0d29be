package actors

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// failures are what a partition reports among what it asks for.
func failuresOf(out []any) (all []recordFailure) {
	for _, x := range out {
		if r, ok := x.(report); ok {
			all = append(all, r.failure)
		}
	}
	return all
}

// goOn lets the pauses of all agents end.
func goOn(s *partitionState) []any { return s.step(Wake{s.now.Add(topologyPause)}) }

const topologyPause = 10 * 60e9 // longer than any pause

func records(n int64) *kafka.Batch {
	b := &kafka.Batch{Topic: "in", Next: n}
	for i := range n {
		b.Append(i, 1, []byte{'k', byte('0' + i)}, []byte("v"), nil)
	}
	return b
}

// Records that are in hand at once and fail in turns are each given up when their own attempts are over.
func TestAttemptsOfSeveralRecordsInHand(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Agent(topo, "work", in, func(_ *topology.Context, s topology.Stream[string, string]) error {
		for range s.All() {
		}
		return nil
	}, topology.Concurrency(4), topology.OnFailure(topology.Policy{Attempts: 3, Then: topology.Skip}))
	s := stateOf(t, topo, kafka.Meta{Seq: 1})
	out := s.step(Arrived{0, records(8)})
	attempts := map[int64][]int{}
	for round := 0; s.agents[0].done.upTo < 8; round++ {
		require.Less(t, round, 20, "tried without end: %v", attempts)
		works := worksOf(s, out, "work")
		require.NotEmpty(t, works)
		w := works[round%len(works)] // another lane each time
		out = s.step(AgentFailed{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Turn: 1, Err: errors.New("poison")})
		for _, f := range failuresOf(out) {
			attempts[f.offset] = append(attempts[f.offset], f.attempts)
		}
		for s.agents[0].backing {
			out = goOn(s)
		}
		if len(attempts) == 2 && s.agents[0].done.has(0) || round > 8 { // the others are good
			break
		}
	}
	require.GreaterOrEqual(t, len(attempts), 2)
	for offset, of := range attempts {
		for i, n := range of {
			require.Equal(t, i+1, n, "record %d: %v", offset, of)
		}
	}
}

// An agent that fails between its records has none to give up. It is begun again after a pause that grows no longer once it has done a
// record, and a failure of its own is not one of the record before or behind it.
func TestAgentThatFailsBetweenRecords(t *testing.T) {
	t.Parallel()
	define := func(policy topology.Policy) *topology.Topology {
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", codec.String, codec.String)
		pipe := topology.NewChannel[string, string](topo, "pipe")
		loop := func(_ *topology.Context, s topology.Stream[string, string]) error {
			for range s.All() {
			}
			return nil
		}
		topology.Each(topo, "feed", in, func(*topology.Context, topology.Event[string, string]) error { return nil }, topology.Sends(pipe))
		topology.Agent(topo, "loop", in, loop, topology.OnFailure(policy))
		topology.Agent(topo, "fed", pipe, loop, topology.OnFailure(policy))
		return topo
	}
	index := func(s *partitionState, name string) int {
		for i, a := range s.agents {
			if a.agent.Name == name {
				return i
			}
		}
		return -1
	}
	fail := func(s *partitionState, i int, err error) []any {
		return s.step(AgentFailed{Agent: i, Incarnation: s.agents[i].incarnation, Err: err})
	}
	for _, name := range []string{"loop", "fed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stateOf(t, define(topology.Policy{Attempts: 2}), kafka.Meta{Seq: 1})
			i := index(s, name)
			for n := 1; n < 6; n++ {
				f := failuresOf(fail(s, i, errors.New("no connection")))
				require.Len(t, f, 1)
				require.Equal(t, plan.Retry, f[0].decision, "there is no record to give up")
				require.Equal(t, n, f[0].attempts)
				require.EqualValues(t, -1, f[0].offset)
				goOn(s)
			}
			a := s.agents[i]
			w := &given{id: s.id(), records: []plan.Rec{{B: records(1)}}, end: 1}
			a.works, a.records = append(a.works, w), 1
			if name == "fed" {
				s.sources[a.source].position = 1
			}
			out := s.step(Worked{Agent: i, Incarnation: a.incarnation, Work: w.id, Done: 1, Finished: true})
			require.Contains(t, out, recovered{name, s.sources[a.source].name(), -1, 6})
			require.Equal(t, 1, failuresOf(fail(s, i, errors.New("no connection")))[0].attempts, "it counts anew")
		})
		for _, then := range []topology.Decision{topology.StopPartition, topology.StopNode} {
			t.Run(name+" "+then.String(), func(t *testing.T) {
				t.Parallel()
				s := stateOf(t, define(topology.Policy{Attempts: 2, Then: then}), kafka.Meta{Seq: 1})
				i := index(s, name)
				fail(s, i, errors.New("no connection"))
				goOn(s)
				out := fail(s, i, errors.New("no connection"))
				require.Equal(t, then, failuresOf(out)[0].decision)
				require.Equal(t, then == topology.StopPartition, s.halt != nil)
				if then == topology.StopPartition {
					require.Empty(t, worksOf(s, s.step(Arrived{0, records(3)}), "feed"), "nothing is given out")
					require.NotEmpty(t, worksOf(s, s.step(Resume{}), "feed"))
				}
			})
		}
	}
	t.Run("a record's attempts are its own", func(t *testing.T) {
		t.Parallel()
		s := stateOf(t, define(topology.Policy{Attempts: 2}), kafka.Meta{Seq: 1})
		i := index(s, "loop")
		w := worksOf(s, s.step(Arrived{0, records(1)}), "loop")[0]
		f := failuresOf(s.step(AgentFailed{Agent: i, Incarnation: w.Incarnation, Work: w.ID, Turn: 1, Err: errors.New("poison")}))
		require.Equal(t, 1, f[0].attempts)
		goOn(s)
		fail(s, i, errors.New("no connection"))
		w = worksOf(s, goOn(s), "loop")[0]
		f = failuresOf(s.step(AgentFailed{Agent: i, Incarnation: w.Incarnation, Work: w.ID, Turn: 1, Err: errors.New("poison")}))
		require.Equal(t, 2, f[0].attempts)
		require.Equal(t, plan.DeadLetter, f[0].decision)
	})
}

// A record that waited behind another one of its key, and then met an outage, is told of when it is done, as any that has failed.
func TestAParkedRecordThatMeetsAnOutage(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "work", in, func(*topology.Context, topology.Event[string, string]) error { return nil },
		topology.OnFailure(topology.Policy{KeyOrder: true, Breaker: topology.Breaker{Pause: time.Minute}}))
	s := stateOf(t, topo, kafka.Meta{Seq: 1})
	b := &kafka.Batch{Topic: "in", Next: 2}
	for i := range int64(2) {
		b.Append(i, 1, []byte("k"), []byte("v"), nil)
	}
	var told []recovered
	var works []Work
	do := func(out []any) {
		for len(out) > 0 {
			works = append(works, worksOf(s, out[:1], "work")...)
			x := out[0]
			out = out[1:]
			switch x := x.(type) {
			case recovered:
				told = append(told, x)
			case toCommitter:
				switch m := any(x.msg).(type) {
				case Dry:
					out = append(out, s.step(SealRound{1})...)
				case Offer:
					out = append(out, s.step(Decided{m.Bundle.Seq, nil})...)
				}
			}
		}
	}
	do(s.step(Arrived{0, b}))
	for _, err := range []error{errors.New("busy"), nil, topology.Unavailable(errors.New("down")), nil} {
		for range 3 { // pauses end
			if len(works) == 0 {
				do(goOn(s))
			}
		}
		require.NotEmpty(t, works)
		w := works[len(works)-1]
		works = nil
		if err != nil {
			do(s.step(AgentFailed{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Turn: 1, Err: err}))
		} else {
			do(s.step(Worked{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records), Finished: true}))
		}
	}
	require.Equal(t, []recovered{{"work", "in", 0, 2}, {"work", "in", 1, 1}}, told)
}
