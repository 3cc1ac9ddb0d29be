package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// place is a topic-partition.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.partition) }

// places are all partitions of topics.
func places(topics ...string) []place {
	var out []place
	for _, t := range topics {
		for p := range int32(partitions) {
			out = append(out, place{t, p})
		}
	}
	return out
}

// ends asks for the ends of all that is written, transactions in flight included.
func (c *cluster) ends(ctx context.Context, of []place) (map[place]int64, error) {
	rq := kmsg.NewPtrListOffsetsRequest()
	rq.ReplicaID = -1
	by := map[string][]int32{}
	for _, p := range of {
		by[p.topic] = append(by[p.topic], p.partition)
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for _, n := range by[name] {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp = n, -1
			t.Partitions = append(t.Partitions, p)
		}
		rq.Topics = append(rq.Topics, t)
	}
	out := map[place]int64{}
	for _, shard := range c.client.RequestSharded(ctx, rq) {
		if shard.Err != nil {
			return nil, fmt.Errorf("ends of topics: %w", shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("end of %s/%d: %w", t.Topic, p.Partition, err)
				}
				out[place{t.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return out, nil
}

// committed asks for a group's committed offsets, stable ones only; 0 where there is none.
func (c *cluster) committed(ctx context.Context, group string, of []place) (map[place]int64, error) {
	rq := kmsg.NewPtrOffsetFetchRequest()
	rq.RequireStable = true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	by := map[string][]int32{}
	for _, p := range of {
		by[p.topic] = append(by[p.topic], p.partition)
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = name, by[name]
		g.Topics = append(g.Topics, t)
	}
	rq.Groups = append(rq.Groups, g)
	answer, err := rq.RequestWith(ctx, c.client)
	if err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", group, err)
	}
	out := map[place]int64{}
	for _, g := range answer.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, fmt.Errorf("offsets of group %s: %w", group, err)
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("offset of group %s in %s/%d: %w", group, t.Topic, p.Partition, err)
				}
				out[place{t.Topic, p.Partition}] = max(p.Offset, 0)
			}
		}
	}
	return out, nil
}
