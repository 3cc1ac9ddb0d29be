package topologytest

import (
	"context"
	"strconv"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Request implements topology.Asker, so that a test can ask agents: ref.Ask(ctx, driver, key, value). The request is processed to
// completion, and done is called before it returns; without an answer then (a policy has stopped the partition) with topology.ErrSlow. It
// must not be called by a handler.
func (d *Driver) Request(_ context.Context, r plan.Request, done func([]byte, error)) error {
	d.t.Helper()
	d.asks++
	replies := d.topic(r.Agent.Reply.Topic.Name)
	ask := kafka.Ask{
		ID: strconv.Itoa(d.asks), Topology: r.Plan.Name, Agent: r.Agent.Name, Topic: r.Agent.Source.Name,
		Partition: int32(d.asks) % d.sim.Env().Partitions[replies.ID],
	}
	from := len(d.sim.Log(replies, ask.Partition))
	d.send(r, ask.Header())
	for _, rec := range d.sim.Log(replies, ask.Partition)[from:] {
		reply := kafka.ParseReply(rec.RawHeaders)
		switch {
		case reply == nil || reply.ID != ask.ID:
			continue
		case reply.Failure != nil:
			done(nil, &topology.AskError{Agent: reply.Agent, ReplyFailure: *reply.Failure})
		default:
			done(rec.Value, nil)
		}
		return nil
	}
	done(nil, topology.ErrSlow)
	return nil
}

// Cast implements topology.Asker.
func (d *Driver) Cast(_ context.Context, r plan.Request) error {
	d.t.Helper()
	d.send(r)
	return nil
}

func (d *Driver) send(r plan.Request, headers ...kafka.Header) {
	d.t.Helper()
	x := d.topic(r.Agent.Source.Name)
	d.PipeRaw(x.Name, x.Partitioner.Hash(r.Key, d.sim.Env().Partitions[x.ID]), d.sim.Now(), r.Key, r.Value, headers...)
}
