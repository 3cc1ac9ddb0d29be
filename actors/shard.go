package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	checkpointPages = 64 // pages written before other messages get their turn
	// checkpointShare is how many times longer than a write a shard does something else: 5 % of its time.
	checkpointShare = 19
	endTimeout      = 5 * time.Second
)

// What a shard's actor sends itself.
type (
	checkpointTick struct{}
	changelogEnd   struct {
		offset int64
		err    error
	}
	finishShard   struct{}                // by the partition: a last checkpoint, then shardFinished
	shardFinished struct{ table int }     // to the partition
	shardBroken   struct{ err error }     // to the partition: the shard cannot be restored
	rewind        struct{ reason string } // by the restorer: the checkpoint cannot be gone on from
)

// shardActor is the actor of one shard: the pure state of its table's partition, and its checkpoint file. It restores
// itself when it starts, and is never resumed after a failure of its own: its partition is taken anew.
type shardActor struct {
	site     *site
	ref      shardRef // where its messages go
	grant    kafka.Grant
	table    *plan.Table
	index    int
	config   tables.Config
	identity tables.Identity
	log      *slog.Logger
	deadline time.Duration // for each call of a user's function; 0: none
	grace    time.Duration
	gauge    *shardGauge

	state      tables.Shard
	machine    *shardState
	checkpoint *tables.Checkpoint
	replayed   int64
	restored   bool      // it holds all that was committed when it was restored
	end        int64     // of the changelog, for the checkpoint being written; -1: none is
	asked      time.Time // when it was asked for: deletions behind it are not older than that
	covers     int64     // the epoch that must be committed before the checkpoint may be written
	asking     bool
}

func (a *shardActor) changelog() kafka.TopicPartition {
	return kafka.TopicPartition{Topic: a.table.Changelog.Name, Partition: a.config.Partition}
}

// Receive implements actor.Actor.
func (a *shardActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.ref = shardRef{c.Self(), -1}
		a.open(c)
	case *actor.Stopped, *actor.Restarting:
		a.close()
	default:
		a.handle(c, m)
	}
}

// handle handles a message for the shard, whether it is alone or in a group.
func (a *shardActor) handle(c actor.Context, m any) {
	switch m := m.(type) {
	case shardMessage:
		a.step(c, m)
	case rewind:
		a.log.Warn("checkpoint dropped", "error", m.reason)
		crashpoint.Hit("restore.unfit")
		if err := a.checkpoint.Drop(m.reason); err != nil {
			c.Send(c.Parent(), shardBroken{err})
		}
		a.state.Clear()
		crashpoint.Hit("restore.rewound")
	case checkpointTick:
		a.tick()
	case changelogEnd:
		a.onEnd(m)
	case digestQuery:
		c.Respond(a.digest())
	case finishShard:
		a.finish(c)
	}
}

// open loads the checkpoint and asks for the rest of the changelog.
func (a *shardActor) open(c actor.Context) {
	a.end = -1
	a.state = a.table.NewShard(a.config)
	a.machine = &shardState{table: a.index, state: a.state, guard: func(calls bool, f func() error) (string, error) { return a.guard(c, calls, f) }}
	path := filepath.Join(a.site.dir, fmt.Sprintf("%s-%d.db", a.table.Name, a.config.Partition))
	var err error
	if a.checkpoint, err = tables.OpenCheckpoint(a.site.disk, path, a.identity, a.log); err != nil {
		c.Send(c.Parent(), shardBroken{err})
		return
	}
	crashpoint.Hit("restore.opened")
	from, written, ok := a.checkpoint.Offset()
	if ok {
		if err := a.checkpoint.Load(a.state); err != nil {
			a.log.Warn("checkpoint dropped", "path", path, "error", err)
			crashpoint.Hit("restore.damaged")
			if err := a.checkpoint.Drop(err.Error()); err != nil {
				c.Send(c.Parent(), shardBroken{err})
				return
			}
			a.state.Clear()
			ok = false
		}
	}
	crashpoint.Hit("restore.loaded")
	if !ok {
		from = -1
	}
	c.Send(a.site.restorer, restore{tp: a.changelog(), table: a.table.Name, from: from, written: written, kept: a.checkpoint.Kept(), shard: a.ref, gauge: a.gauge})
}

func (a *shardActor) close() {
	if a.checkpoint != nil {
		if err := a.checkpoint.Close(); err != nil {
			a.log.Warn("close checkpoint", "error", err)
		}
		a.checkpoint = nil
	}
}

func (a *shardActor) step(c actor.Context, m shardMessage) {
	switch m := m.(type) {
	case Replay:
		if err := a.state.Replay(m.Batch); err != nil {
			c.Send(c.Parent(), shardBroken{fmt.Errorf("restore table %s/%d at offset %d of %s: %w", a.table.Name, a.config.Partition, m.Batch.Next, m.Batch.Topic, err)})
			return
		}
		a.replayed += int64(len(m.Batch.Records))
		a.measure()
		crashpoint.Hit("restore.replayed")
	case Restored:
		if m.Err != nil {
			c.Send(c.Parent(), shardBroken{m.Err})
			return
		}
		a.restored = true
		a.gauge.ready.Store(true)
		a.measure()
		crashpoint.Hit("restore.done")
		c.Send(c.Parent(), ShardReady{Table: a.index, Records: a.replayed, Entries: a.state.Stats().Entries, Expires: a.state.NextExpiry(), Due: a.state.NextDue()})
		a.later(a.site.checkpoint)
	case Apply, Seal, Collect, Undo, Settle, Answer:
		shardStep(m)
		if reply := a.machine.step(m); reply != nil {
			c.Send(c.Parent(), reply)
		}
		a.measure()
	}
}

// digest tells what the shard holds that is committed.
func (a *shardActor) digest() status.Digest {
	if !a.restored || a.machine.lost {
		return status.Digest{Why: "it is being restored"}
	}
	d, err := a.state.Digest()
	if err != nil {
		return status.Digest{Why: err.Error()}
	}
	return status.Digest{Known: true, Entries: int64(d.Entries), Sum: d.Sum, Sealed: a.machine.sealed, Committed: a.machine.committed, Incarnation: a.grant.Incarnation}
}

// measure notes how large the shard is, unless a function that hangs may be changing it.
func (a *shardActor) measure() {
	if a.machine.lost {
		return
	}
	st := a.state.Stats()
	a.gauge.entries.Store(int64(st.Entries))
	a.gauge.bytes.Store(st.Bytes)
}

// later asks for a checkpoint after a while.
func (a *shardActor) later(d time.Duration) {
	g, self := a.site.ground, a.ref
	g.After(d, func() { g.Send(self.pid, self.address(checkpointTick{})) })
}

// tick goes on with a checkpoint, or begins one. The changelog's end is asked for first; what is written afterwards
// includes everything before it, once all that was sealed by then is committed.
func (a *shardActor) tick() {
	switch {
	case a.checkpoint == nil || a.machine.lost:
	case a.end >= 0:
		a.write()
	case a.state.Stats().Dirty == 0:
		a.later(a.site.checkpoint)
	case !a.asking:
		a.asking, a.asked = true, a.site.ground.Now()
		g, self := a.site.ground, a.ref
		g.Go(func() {
			ctx, cancel := g.WithTimeout(context.Background(), endTimeout)
			defer cancel()
			end, err := a.safeEnd(ctx)
			g.Send(self.pid, self.address(changelogEnd{end, err}))
		})
	}
}

// safeEnd is the changelog's end, before which nobody else has written since the shard was restored: the slot's mark is
// read after it. Without that, the checkpoint of a process that has stood still would vouch for its successor's records.
func (a *shardActor) safeEnd(ctx context.Context) (int64, error) {
	end, err := a.site.ends(ctx, a.changelog())
	if err != nil {
		return 0, err
	}
	ours, err := a.site.holds(ctx, a.grant.Slot, a.grant.Incarnation)
	if err == nil && !ours && !plant.Is("checkpoint without a look at the mark") {
		err = errors.New("the slot is not this node's any more")
	}
	return end, err
}

func (a *shardActor) onEnd(m changelogEnd) {
	a.asking = false
	if m.err != nil {
		a.log.Warn("checkpoint put off: the end of the changelog is not known", "error", m.err)
		a.later(a.site.checkpoint)
		return
	}
	a.end, a.covers = m.offset, a.machine.sealed
	crashpoint.Hit("checkpoint.end-known")
	a.write()
}

// write writes some pages, and the offset once all are written.
func (a *shardActor) write() {
	if a.machine.lost {
		return
	}
	if a.machine.committed < a.covers && !plant.Is("checkpoint ahead of the commit") {
		a.later(50 * time.Millisecond)
		return
	}
	began := a.site.ground.Now()
	more, err := a.checkpoint.Write(a.state, a.end, checkpointPages)
	if err == nil && !more {
		err = a.checkpoint.Mark(a.state, a.asked, a.site.deletions.least(a.changelog().Topic, a.asked))
	}
	switch took := a.site.ground.Now().Sub(began); {
	case err != nil:
		a.log.Warn("checkpoint not written", "error", err)
		a.end = -1
		a.later(a.site.checkpoint)
	case more:
		a.later(took * checkpointShare)
	default:
		a.end = -1
		a.later(max(a.site.checkpoint, took*checkpointShare))
	}
}

// finish writes a last checkpoint: nothing is in flight any more. A shard that is being restored has none to write: the
// changelog's end would vouch for records that it has not seen.
func (a *shardActor) finish(c actor.Context) {
	defer c.Send(c.Parent(), shardFinished{a.index})
	if a.checkpoint == nil || a.machine.lost || !a.restored && !plant.Is("checkpoint of a half restored shard") || a.state.Stats().Dirty == 0 {
		return
	}
	crashpoint.Hit("finish.begun")
	ctx, cancel := a.site.ground.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	asked := a.site.ground.Now()
	end, err := a.safeEnd(ctx)
	for more := true; err == nil && more; {
		more, err = a.checkpoint.Write(a.state, end, checkpointPages)
	}
	if err == nil {
		err = a.checkpoint.Mark(a.state, asked, a.site.deletions.least(a.changelog().Topic, asked))
	}
	if err != nil {
		a.log.Warn("last checkpoint not written; the next start replays more", "error", err)
	}
	crashpoint.Hit("finish.checkpointed")
}
