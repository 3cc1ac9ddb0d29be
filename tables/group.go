package tables

import (
	"fmt"
	"strings"

	"github.com/troupe-stream/troupe/kafka"
)

// Group is the shards of one partition between which functions go on from row to row: those of tables that are joined. One
// actor owns all of them, so that there is one order of what happens to them.
type Group struct {
	shards map[int32]Shard // by the table's ID
	epoch  int64           // of the operations at hand
	out    *kafka.Outputs
}

// Link makes a group of shards, by the IDs of their tables.
func Link(shards map[int32]Shard) {
	g := &Group{shards: shards}
	for _, s := range shards {
		s.link(g)
	}
}

func (s *ShardOf[V]) link(g *Group) { s.group = g }

// newest is the last epoch that any shard of the group knows of.
func (g *Group) newest() int64 {
	last := int64(0)
	for _, s := range g.shards {
		last = max(last, s.last())
	}
	return last
}

// undo undoes in all shards what came after an epoch.
func (g *Group) undo(to int64) {
	for _, s := range g.shards {
		s.Undo(to)
	}
}

// last is the newest epoch that has touched the shard and is not settled.
func (s *ShardOf[V]) last() int64 {
	last := int64(0)
	if n := len(s.logs); n > 0 {
		last = s.logs[n-1].epoch
	}
	if s.ttl != nil {
		if n := len(s.ttl.clocks); n > 0 {
			last = max(last, s.ttl.clocks[n-1].epoch)
		}
	}
	return last
}

// Group returns the group of the row's shard; nil if it is alone.
func (r *Row[V]) Group() *Group { return r.shard.group }

// Err returns the first error of the row's codec. The function that has gone on to the row fails with it.
func (r *Row[V]) Err() error { return r.err }

// RowsIn yields the rows of another table of the group whose keys begin with a prefix, in the order of keys: for a function that runs inside one of its shards. The table must be Ordered, and must not be changed meanwhile.
func RowsIn[V any](g *Group, table int32, prefix []byte, yield func(key []byte, v V) error) (err error) {
	s, err := shardIn[V](g, table)
	if err != nil {
		return err
	}
	s.each(prefix, nil, false, func(i int32) bool {
		key := s.key(i)
		if !strings.HasPrefix(key, string(prefix)) {
			return false
		}
		v, ok, fault := s.read(i, false)
		if fault == nil && ok {
			fault = yield(keyBytes(key), v)
		}
		err = fault
		return err == nil
	})
	return err
}

// RowIn returns a row of another table of the group: for a function that runs inside one of its shards, and as long as that
// runs. The key is copied.
func RowIn[V any](g *Group, table int32, key []byte) (*Row[V], error) {
	s, err := shardIn[V](g, table)
	if err != nil {
		return nil, err
	}
	return &Row[V]{Out: g.out, shard: s, key: append([]byte{}, key...), epoch: g.epoch}, nil
}

func shardIn[V any](g *Group, table int32) (*ShardOf[V], error) {
	if g == nil {
		return nil, fmt.Errorf("a function inside a shard goes on to table %d from a table that is in no group", table) // a bug of this module's
	}
	s, ok := g.shards[table].(*ShardOf[V])
	if !ok {
		return nil, fmt.Errorf("a function inside a shard goes on to table %d, which is not in its group, or has values of another type", table)
	}
	return s, nil
}
