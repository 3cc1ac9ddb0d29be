package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Put writes a record, as text, to the topic behind a channel that takes records from outside, and returns where it is once all replicas have it.
// A nil key or value is null. Any goroutine may call it; it waits for the brokers until ctx ends.
func (n *Node) Put(ctx context.Context, channel string, key, value *string) (status.Put, error) {
	n.lags.mu.Lock()
	admin := n.lags.admin
	n.lags.mu.Unlock()
	if admin == nil {
		return status.Put{}, errNotRunning
	}
	i := slices.IndexFunc(n.defined.Channels, func(c *plan.Channel) bool { return c.Name == channel })
	if i < 0 {
		return status.Put{}, fmt.Errorf("topology %s has no channel %s: %w", n.defined.Name, channel, status.ErrRefused)
	}
	t := n.defined.Channels[i].Puts
	if t == nil {
		return status.Put{}, fmt.Errorf("channel %s takes nothing from outside: define it with topology.Puts: %w", channel, status.ErrRefused)
	}
	k, err := parsed(t.Key, "key", key)
	if err != nil {
		return status.Put{}, err
	}
	v, err := parsed(t.Value, "value", value)
	if err != nil {
		return status.Put{}, err
	}
	topics, err := admin.Topics(ctx, t.Name)
	if err != nil {
		return status.Put{}, err
	}
	p := status.Put{Topic: t.Name}
	if count := topics[t.Name].Partitions; count > 0 && k != nil {
		p.Partition = t.PartitionOf(k, count)
	}
	var out kafka.Outputs
	out.Append(0, p.Partition, 0, k, v, nil)
	offsets, err := admin.Produce(ctx, []string{p.Topic}, &out)
	if err != nil {
		return status.Put{}, fmt.Errorf("put into channel %s: %w", channel, err)
	}
	p.Offset = offsets[0]
	return p, nil
}

// parsed is a key or value of which there is a text; nil: null.
func parsed(t plan.Text, what string, text *string) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	b, err := t.Parse(*text)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the %s is no %s: %w", what, t.Type, err), status.ErrRefused)
	}
	return b, nil
}
