package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
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
	for _, c := range n.defined.Channels {
		if c.Name != channel {
			continue
		}
		if c.Puts == nil {
			return status.Put{}, fmt.Errorf("channel %s takes nothing from outside: define it with topology.Puts: %w", channel, status.ErrRefused)
		}
		var k, v []byte
		var err error
		if key != nil {
			if k, err = c.Puts.Key.Parse(*key); err != nil {
				return status.Put{}, errors.Join(fmt.Errorf("the key is no %s: %w", c.Puts.Key.Type, err), status.ErrRefused)
			}
		}
		if value != nil {
			if v, err = c.Puts.Value.Parse(*value); err != nil {
				return status.Put{}, errors.Join(fmt.Errorf("the value is no %s: %w", c.Puts.Value.Type, err), status.ErrRefused)
			}
		}
		topics, err := admin.Topics(ctx, c.Puts.Name)
		if err != nil {
			return status.Put{}, err
		}
		p := status.Put{Topic: c.Puts.Name}
		if count := topics[c.Puts.Name].Partitions; count > 0 && k != nil {
			p.Partition = c.Puts.PartitionOf(k, count)
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
	return status.Put{}, fmt.Errorf("topology %s has no channel %s: %w", n.defined.Name, channel, status.ErrRefused)
}
