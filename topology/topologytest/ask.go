package topologytest

import (
	"context"
	"strconv"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Request implements topology.Asker, so that a test can ask agents: ref.Ask(ctx, driver, key, value). The request is processed to
// completion, and done is called before it returns; without an answer then (a policy has stopped the partition) with topology.ErrSlow. In
// a handler the others go on until the answer is there.
func (d *Driver) Request(ctx context.Context, r plan.Request, done func([]byte, error)) error {
	d.t.Helper()
	d.asks++
	replies := d.topic(r.Agent.Reply.Topic.Name)
	ask := kafka.Ask{
		ID: strconv.Itoa(d.asks), Topology: r.Plan.Name, Agent: r.Agent.Name, Topic: r.Agent.Source.Name,
		Partition: int32(d.asks) % d.sim.Env().Partitions[replies.ID], By: r.By,
	}
	from := len(d.sim.Log(replies, ask.Partition))
	d.send(r, ask.Header())
	var value []byte
	var err error
	answered := func() bool {
		for _, rec := range d.sim.Log(replies, ask.Partition)[from:] {
			from++
			reply := kafka.ParseReply(rec.RawHeaders)
			if reply == nil || reply.ID != ask.ID {
				continue
			}
			if value = rec.Value; reply.Failure != nil {
				err = &topology.AskError{Agent: reply.Agent, ReplyFailure: *reply.Failure}
			}
			return true
		}
		err = ctx.Err()
		return err != nil
	}
	if !answered() && (!d.sim.IsInside() || !d.sim.Until(answered)) {
		err = topology.ErrSlow
	}
	done(value, err)
	return nil
}

// Cast implements topology.Asker.
func (d *Driver) Cast(_ context.Context, r plan.Request) error {
	d.t.Helper()
	d.send(r)
	return nil
}

// send sends a record; outside of a handler it is processed to completion.
func (d *Driver) send(r plan.Request, headers ...kafka.Header) {
	d.t.Helper()
	x := d.topic(r.Agent.Source.Name)
	partition := d.PartitionOf(x.Name, r.Key)
	if d.sim.IsInside() {
		d.must(d.sim.Produce(x, partition, d.sim.Now().UnixMilli(), r.Key, r.Value, kafka.AppendHeaders(nil, headers...)))
		return
	}
	d.PipeRaw(x.Name, partition, d.sim.Now(), r.Key, r.Value, headers...)
}
