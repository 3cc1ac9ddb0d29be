package world

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// asker asks agents from inside a handler of the simulation. It implements topology.Asker.
type asker struct {
	h        *Hooks
	patience time.Duration // how long an ask waits
}

// Request implements topology.Asker.
func (a *asker) Request(ctx context.Context, r plan.Request, done func([]byte, error)) error {
	a.h.asked++
	ask := kafka.Ask{ID: "ask " + strconv.Itoa(a.h.asked), Topology: r.Plan.Name, Agent: r.Agent.Name, Topic: r.Agent.Source.Name, Partition: int32(a.h.asked % 4), By: r.By} //nolint:gosec // small
	at := kafka.TopicPartition{Topic: kafka.RepliesTopic(r.Plan.Name), Partition: ask.Partition}
	from := len(a.h.b.Log(at))
	if err := a.write(r, ask.Header()); err != nil {
		return err
	}
	for until := a.h.s.Now().Add(a.patience); a.h.s.Now().Before(until); {
		if !a.h.s.Sleep(ctx, 20*time.Millisecond) {
			done(nil, ctx.Err())
			return nil
		}
		log := a.h.b.Log(at)
		for ; from < len(log) && log[from].Offset < a.h.b.LSO(at); from++ {
			x := log[from]
			if x.Control || x.Aborted || string(x.Key) != ask.ID {
				continue
			}
			reply := kafka.ParseReply(x.RawHeaders)
			if reply.Failure != nil {
				done(nil, &topology.AskError{Agent: reply.Agent, ReplyFailure: *reply.Failure})
				return nil
			}
			if reply.Early {
				a.h.o.Saw(sawEarly)
			}
			done(x.Value, nil)
			return nil
		}
	}
	done(nil, topology.ErrSlow)
	return nil
}

// Cast implements topology.Asker.
func (a *asker) Cast(_ context.Context, r plan.Request) error { return a.write(r) }

func (a *asker) write(r plan.Request, headers ...kafka.Header) error {
	t := r.Agent.Source
	st, ok := a.h.b.Describe(t.Name)
	if !ok {
		return fmt.Errorf("topic %s does not exist", t.Name)
	}
	tp := kafka.TopicPartition{Topic: t.Name, Partition: t.Partitioner.Hash(r.Key, st.Partitions)}
	_, err := a.h.b.Produce(tp, []broker.Record{{Key: r.Key, Value: r.Value, RawHeaders: kafka.AppendHeaders(nil, headers...)}})
	return err
}

// eager has an agent whose handler asks another one of its own partition, which answers before the commit.
func eager() *Case {
	return asking("eager", 10*time.Second, func(key string) string { return key }, topology.Breaker{})
}

// pleas has one whose handler asks another one of the partition of another key, whose records ask that of the first, and is tried again where no answer comes. Processes that have it in
// hand end again and again: while what ends them is looked for, partitions whose records wait for each other must not do so for long.
func pleas() *Case {
	c := asking("pleas", time.Second, func(key string) string {
		n, _ := strconv.Atoi(key[1:]) // see word
		return fmt.Sprintf("k%d", n^1)
	}, topology.Breaker{Pause: 300 * time.Millisecond})
	c.Disturb = func(w *World) {
		for _, n := range w.nodes {
			if n.running() && n.until.IsZero() && w.s.Chance("node: killed again", 20) {
				n.kill()
			}
		}
	}
	return c
}

// asking has an agent whose handler asks another one of the same stage, for so long, and is held back where no answer comes. Each record of "in" has one effect; a question may be asked
// again, and each one that was asked has its effect once, and one answer with its commit.
func asking(name string, patience time.Duration, whom func(key string) string, breaker topology.Breaker) *Case {
	return &Case{
		Name: name,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New(name)
			in, questions, out := topicOf(t, "in"), topicOf(t, "questions"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			asks := topology.NewTable(t, "asks", codec.String, codec.Int64)
			judge := topology.Answer(t, "judge", questions, func(ctx *topology.Context, e event) (string, error) {
				counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + 1, h.Fate("judge", e.Value) })
				return e.Value, h.Turn(ctx, "judged", e.Value)
			}, codec.String, topology.Eager(), topology.Writes(counts), topology.Reads(asks))
			by := &asker{h, patience}
			topology.Each(t, "ask", in, func(ctx *topology.Context, e event) error {
				if err := h.Turn(ctx, "ask", e.Value); err != nil {
					return err
				}
				within, cancel := context.WithTimeout(ctx, time.Hour) // by the real clock, which stands still; the asker has its own
				defer cancel()
				answer, err := judge.Ask(within, by, whom(e.Key), e.Value)
				if errors.Is(err, topology.ErrSlow) {
					return topology.Unavailable(err)
				}
				asks.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + 1, h.Fate("asked", e.Value) })
				out.Send(ctx, e.Key, answer)
				return err
			}, topology.Writes(asks), topology.Sends(out))
			t.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1, Breaker: breaker})
			return t
		},
		Prepare: func(w *World) { w.createTopic("questions", w.parts) },
		Input:   someInput,
		Watch:   func(o *Oracle) error { _, err := o.answers(); return err },
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), nil); err != nil {
				return err
			}
			if err := o.table("asks", counted(o.good())); err != nil {
				return err
			}
			asked := o.Committed("questions")
			if err := o.table("counts", counted(asked)); err != nil {
				return err
			}
			answers, err := o.answers()
			if err != nil {
				return err
			}
			if len(answers) != len(asked) {
				return fmt.Errorf("%d questions were asked, and %d are answered with their commit", len(asked), len(answers))
			}
			return nil
		},
	}
}

// answers are the requests that are answered with their commit: once at most.
func (o *Oracle) answers() (map[string]bool, error) {
	seen := map[string]bool{}
	for _, r := range o.Committed(kafka.RepliesTopic(o.topology)) {
		if reply := kafka.ParseReply(r.headers); reply.Early {
			continue
		}
		if seen[r.Key] {
			return nil, fmt.Errorf("request %s is answered twice with a commit", r.Key)
		}
		seen[r.Key] = true
	}
	return seen, nil
}
