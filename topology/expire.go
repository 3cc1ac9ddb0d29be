package topology

import (
	"time"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Clock is a time by which entries of tables expire (TTL), and by which durable timers are due (NewTimers).
type Clock uint8

const (
	// EventTime is that of the records: a table's time in a partition is the latest timestamp of those whose handlers have written or read
	// it there; that of timers the latest timestamp of the records that agents are through with which declare them. It stands still when
	// nothing comes, never goes back, comes to the same when records are processed again, and is committed with them.
	EventTime Clock = iota
	// WallTime is that of the node. It goes on when nothing comes, and never back, whichever node has the partition.
	WallTime
)

// TTL lets the entries of a table expire so long after they were written last: after the timestamp of the record that wrote them, or
// after the moment of the write. After 0 they do not, but for those that are written with SetTTL. What has expired is not seen by
// reads any more, and deleted from the changelog by tombstones in the transaction of the record by whose time it has expired (by the wall clock:
// within a second). A table that is given a TTL later keeps what it holds until that is written again. Durations are rounded down to
// milliseconds.
func TTL(after time.Duration, by Clock) TableOption {
	return func(d *tableDef) {
		if after < 0 || after > 0 && after < time.Millisecond {
			d.t.fault("table %s: topology.TTL was given %v: pass a millisecond at least, or 0 for entries that expire only when SetTTL says so", d.name, after)
		}
		if by > WallTime {
			d.t.fault("table %s: topology.TTL was given an unknown clock: pass topology.EventTime or topology.WallTime", d.name)
		}
		d.ttl = &tables.TTL{After: after, Wall: by == WallTime}
	}
}

// SetTTL is Set of an entry that expires so long after this write, whatever the table's TTL says. The next write of the key that is not
// a SetTTL goes by the table's again. The table must be declared with TTL.
func (t *Table[K, V]) SetTTL(ctx Writer, key K, value V, after time.Duration) {
	if ops, e, k := t.write(ctx.turn(), key); ops != nil {
		if err := ops.SetTTL(k, value, after); err != nil {
			e.Fail(lasting("set table %s: %w", t.def.name, err))
		}
	}
}

// SetTTL is Set of a value that expires so long after this write, whatever the table's TTL says. The table must be declared with TTL.
func (r *Row[V]) SetTTL(value V, after time.Duration) { r.now().SetTTL(value, after) }

// AddTTL is Add of an element that expires so long after this write, whatever the table's TTL says. The table must be declared with TTL.
func (t *SetTable[K, E]) AddTTL(ctx Writer, key K, element E, after time.Duration) {
	t.rows.SetTTL(ctx, member[K, E]{key, element}, struct{}{}, after)
}

// tell tells operations on a table whose entries expire by the time of records what that of the record at hand is. A table that is
// only read is told, too: what the read does not see any more must be gone when the record is processed again.
func (t *Table[K, V]) tell(s *scope, e *plan.Effects) {
	if ttl := t.spec.TTL; ttl == nil || ttl.Wall || s.agent.role != plan.Processor || int(t.def.id) >= len(e.Ops) {
		return
	}
	ops, ok := e.Ops[t.def.id].(*tables.OpsOf[V])
	if !ok {
		ops = tables.NewOps(t.spec)
		e.Ops[t.def.id] = ops
	}
	ops.Time(s.timestamp())
}
