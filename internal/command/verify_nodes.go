package command

import (
	"context"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

const (
	// digestTries is how often a shard is compared that changes meanwhile, and digestPause how long the second try waits; each later
	// one waits twice as long.
	digestTries = 4
	digestPause = 20 * time.Millisecond
)

// keeper is a node that holds a shard.
type keeper struct{ at, instance string }

// shardName names a shard of a table.
type shardName struct {
	table     string
	partition int32
}

// findNodes asks the nodes that run which shards they hold.
func (v *verify) findNodes(ctx context.Context) error {
	if len(v.group.Members) == 0 {
		return nil
	}
	var answer status.Answer
	err := v.asking.first(ctx, func(ctx context.Context, at string, q gateway.Query) (err error) {
		answer, err = v.asking.client.Status(ctx, at, q)
		return err
	})
	if err != nil {
		v.note("nodes", "what running nodes have in memory is not compared: %s", oneLine(err))
		return ctx.Err()
	}
	for _, n := range answer.Nodes {
		for _, p := range n.Partitions {
			for _, s := range p.Shards {
				v.keepers[shardName{s.Table, p.Partition}] = keeper{n.Address, n.Instance}
			}
		}
	}
	for _, u := range answer.Unreachable {
		v.note("nodes", "what this one has in memory is not compared: %s", describeUnreachable(u))
	}
	return nil
}

// running compares what a running node has of a shard in memory with the changelog. Both must stand still for that.
func (c *tableCheck) running(ctx context.Context, of string, p int32) error {
	k, ok := c.keepers[shardName{c.table.Name, p}]
	if !ok {
		return nil
	}
	ask := func() (status.Digest, error) {
		return c.asking.client.Digest(ctx, k.at, gateway.Query{Topology: c.plan.Name, Instance: k.instance}, c.table.Name, p)
	}
	before, err := ask()
	differs, logged := false, 0
	for try := 0; try < digestTries && err == nil && before.Known; try++ {
		log, through, bad := c.replayed(ctx, p)
		if bad != nil || !through {
			return bad // what is not through was said already
		}
		after, bad := ask()
		if err = bad; err != nil {
			break
		}
		// One that has a commit under way may have been committed already, and not been told of it.
		still := after == before && after.Sealed <= after.Committed
		before = after
		if still && after.Known {
			if after.Entries == int64(log.Entries) && after.Sum == log.Sum {
				c.alike++
				return nil
			}
			differs, logged = true, log.Entries
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(digestPause << try):
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		c.note(of, "not compared with node %s: %s", k.instance, oneLine(err))
	case !before.Known:
		c.note(of, "not compared with node %s: %s", k.instance, before.Why)
	case differs:
		c.wrong(of, "restart that node: it reads the changelog, which is the truth; and report this as a bug, with the node's log",
			"node %s has %s in memory, the changelog %s, and what they say differs", k.instance, count(int(before.Entries), "key", "keys"), count(logged, "key", "keys"))
	default:
		c.note(of, "not compared with node %s: it changes too fast; nothing is wrong with that", k.instance)
	}
	return nil
}

// replayed is the digest of a shard that is made of the changelog, and whether all of that could be read.
func (c *tableCheck) replayed(ctx context.Context, p int32) (d tables.Digest, through bool, err error) {
	tp := kafka.TopicPartition{Topic: c.table.Changelog.Name, Partition: p}
	starts, err := c.admin.Starts(ctx, tp)
	if err != nil {
		return d, false, err
	}
	ends, err := c.admin.Ends(ctx, kafka.ReadUncommitted, tp)
	if err != nil {
		return d, false, err
	}
	shard := c.table.NewShard(tables.Config{Table: c.table.Name, Partition: p})
	through, err = c.read(ctx, starts, ends[tp], shard.Replay)
	if err == nil && through {
		d, err = shard.Digest()
	}
	if err != nil {
		err = fmt.Errorf("replay the changelog: %w", err)
	}
	return d, through, err
}
