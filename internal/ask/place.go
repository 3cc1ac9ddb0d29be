package ask

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// place is what is known of an agent's topics: where requests go and answers come from.
type place struct {
	replies kafka.TopicPartition // from which answers are read
	topicID string               // of the topic of replies: made anew, it is read anew
	sources int32                // partitions of the agent's topic
	seen    time.Time            // when it was looked at last
}

// request is where a request goes.
func (p *place) request(r plan.Request) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: r.Agent.Source.Name, Partition: r.Agent.Source.PartitionOf(r.Key, p.sources)}
}

// placeOf finds out whether the topology of a request runs, and reads the answers of its agents from now on. One that does not run is waited
// for, for a part of the time: it may just be starting.
func (c *Client) placeOf(ctx context.Context, r plan.Request) (*place, error) {
	patience := startFor
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/4)
	}
	until := time.Now().Add(patience)
	for {
		p, err := c.look(ctx, r)
		if !errors.Is(err, topology.ErrNotRunning) || time.Now().After(until) {
			return p, err
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return nil, err
		case <-c.ends.Done():
			return nil, topology.ErrAskerClosed
		}
	}
}

// look looks once. What was seen is believed for a moment.
func (c *Client) look(ctx context.Context, r plan.Request) (*place, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	if err := c.opening.take(ctx); err != nil {
		return nil, err
	}
	defer c.opening.end()
	if c.ends.Err() != nil {
		return nil, topology.ErrAskerClosed
	}
	source, replies, names := r.Agent.Source.Name, "", []string{r.Agent.Source.Name}
	if r.Agent.Reply != nil { // else it cannot be asked, only be sent something
		replies = r.Agent.Reply.Topic.Name
		names = append(names, replies)
	}
	key := r.Plan.Name + "\n" + source
	known := c.places[key]
	if known != nil && time.Since(known.seen) < freshFor {
		return known, nil
	}
	if time.Since(c.absent[r.Plan.Name]) < askAgain {
		return nil, fmt.Errorf("%w: group %s has no members; start a node", topology.ErrNotRunning, r.Plan.Name)
	}
	n, _, err := c.admin.Members(ctx, r.Plan.Name)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		c.absent[r.Plan.Name] = time.Now()
		return nil, fmt.Errorf("%w: group %s has no members; start a node", topology.ErrNotRunning, r.Plan.Name)
	}
	topics, err := c.admin.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if topics[name].Partitions == 0 {
			return nil, fmt.Errorf("%w in a version that has the agent %s: topic %s does not exist", topology.ErrNotRunning, r.Agent.Name, name)
		}
	}
	if replies == "" {
		known = &place{sources: topics[source].Partitions, seen: time.Now()}
		c.places[key] = known
		return known, nil
	}
	tp := kafka.TopicPartition{Topic: replies, Partition: c.lane(topics[replies].Partitions)}
	if !c.reads(tp, topics[replies].ID) {
		if err := c.readFrom(ctx, tp); err != nil {
			return nil, err
		}
	}
	known = &place{replies: tp, topicID: topics[replies].ID, sources: topics[source].Partitions, seen: time.Now()}
	c.places[key] = known
	return known, nil
}

// lane is the partition that this client reads of so many.
func (c *Client) lane(n int32) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.id))
	return int32(h.Sum32() % uint32(n))
}

// reads says whether answers are read there already.
func (c *Client) reads(tp kafka.TopicPartition, id string) bool {
	for _, p := range c.places {
		if p.replies == tp && p.topicID == id {
			return true
		}
	}
	return false
}

// readFrom reads a partition from its end on. What is behind the end that is committed only later is read too: it is nobody's here.
func (c *Client) readFrom(ctx context.Context, tp kafka.TopicPartition) error {
	ends, err := c.admin.Ends(ctx, kafka.ReadUncommitted, tp)
	if err != nil {
		return err
	}
	if c.reader == nil {
		r, err := c.open()
		if err != nil {
			return err
		}
		c.reader = r
		c.goes(func() { c.read(r) })
	}
	return c.reader.Assign(tp, ends[tp])
}
