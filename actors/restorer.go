package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

const restorePoll = 50 * time.Millisecond

// maxSkew is how far a clock may have been set back since a checkpoint was written, without a doubt about its age.
const maxSkew = time.Minute

// What the restorer receives.
type (
	// restore asks for a changelog from an offset on (-1: its start), up to what is its end now.
	restore struct {
		tp      kafka.TopicPartition
		table   string
		from    int64
		written time.Time     // of the checkpoint that ends at from
		kept    time.Duration // deletions in the changelog, when that was written
		shard   shardRef
		gauge   *shardGauge
	}
	// forget ends a restore whose shard is gone.
	forget struct{ shard *actor.PID }
	// located says where a restore begins and ends.
	located struct {
		restore
		inquiry    uint64
		asked      time.Time
		start, end int64
		err        error
	}
	pollNow struct{}
)

// restoring is one restore under way.
type restoringShard struct {
	restore
	position, start, end int64
	began                time.Time // before its ends were asked for
}

// slowRestoreError says that deletions may have gone from a changelog before they were read. To try again at once does not mend it.
type slowRestoreError struct {
	table      string
	tp         kafka.TopicPartition
	took, keep time.Duration
}

func (e *slowRestoreError) Error() string {
	return fmt.Sprintf("restore table %s/%d: reading %s took %v, and delete.retention.ms of it is %v: deletions may have gone from it before they were read, and deleted keys be back; "+
		"set delete.retention.ms to much more than a restore takes (86400000, a day, is the default)", e.table, e.tp.Partition, e.tp.Topic, e.took.Round(time.Millisecond), e.keep)
}

// Restoring describes a restore under way.
type Restoring struct {
	Table     string
	Partition int32
	Done      int64 // records' offsets passed, of Total
	Total     int64
	ETA       time.Duration
}

// restorer reads changelogs for shards that are catching up. It reads while there is anything to read, and blocks its own
// mailbox for one short poll at a time.
type restorer struct {
	ground    Ground
	reader    kafka.Reader
	admin     kafka.Admin
	deletions *deletions
	progress  func([]Restoring)
	log       *slog.Logger
	inquiries map[kafka.TopicPartition]inquiry // where changelogs begin and end: under way
	inquired  uint64
	shards    map[kafka.TopicPartition]*restoringShard
	polling   bool
	shown     time.Time
}

// inquiry is a question of locate. An answer to another one, of a shard that is gone, is not heeded.
type inquiry struct {
	id    uint64
	shard *actor.PID
}

// Receive implements actor.Actor.
func (r *restorer) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case restore:
		r.locate(c, m)
	case located:
		r.onLocated(c, m)
	case forget:
		for tp, s := range r.shards {
			if s.shard.pid.Equal(m.shard) {
				r.remove(tp)
			}
		}
		maps.DeleteFunc(r.inquiries, func(_ kafka.TopicPartition, q inquiry) bool { return q.shard.Equal(m.shard) })
	case pollNow:
		r.poll(c)
	}
}

// bounds asks where the logs of topic-partitions begin and end.
func bounds(ctx context.Context, a kafka.Admin, level kafka.Isolation, tps ...kafka.TopicPartition) (starts, ends map[kafka.TopicPartition]int64, err error) {
	starts, err = a.Starts(ctx, tps...)
	ends, err2 := a.Ends(ctx, level, tps...)
	return starts, ends, errors.Join(err, err2)
}

// locate asks for the changelog's start and its read-uncommitted end: under read_committed a commit whose markers are
// on their way would be missed. What a shard that is gone has asked for ends: it may have asked after it was forgotten.
func (r *restorer) locate(c actor.Context, m restore) {
	if r.shards[m.tp] != nil {
		r.remove(m.tp)
	}
	r.inquired++
	x := located{restore: m, inquiry: r.inquired, asked: r.ground.Now()}
	r.inquiries[m.tp] = inquiry{x.inquiry, m.shard.pid}
	g, self := r.ground, c.Self()
	g.Go(func() {
		ctx, cancel := g.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		level := kafka.ReadUncommitted
		if plant.Is("restore ends at the last stable offset") {
			level = kafka.ReadCommitted
		}
		starts, ends, err := bounds(ctx, r.admin, level, m.tp)
		x.start, x.end, x.err = starts[m.tp], ends[m.tp], err
		g.Send(self, x)
	})
}

func (r *restorer) onLocated(c actor.Context, m located) {
	if r.inquiries[m.tp].id != m.inquiry {
		return
	}
	delete(r.inquiries, m.tp)
	if m.err != nil {
		m.shard.send(c, Restored{Err: fmt.Errorf("restore table %s/%d: find the ends of %s: %w", m.table, m.tp.Partition, m.tp.Topic, m.err)})
		return
	}
	if reason := r.unfit(m); reason != "" {
		m.shard.send(c, rewind{reason})
		m.from = -1
	}
	crashpoint.Hit("restore.located")
	from := max(m.from, m.start)
	s := &restoringShard{restore: m.restore, position: from, start: from, end: m.end, began: m.asked}
	m.gauge.toRestore.Store(max(m.end-from, 0))
	if from >= m.end {
		m.shard.send(c, Restored{End: m.end})
		return
	}
	if err := r.reader.Assign(m.tp, from); err != nil {
		m.shard.send(c, Restored{Err: fmt.Errorf("restore table %s/%d: %w", m.table, m.tp.Partition, err)})
		return
	}
	r.shards[m.tp] = s
	crashpoint.Hit("restore.assigned")
	r.log.Info("restoring", "table", m.table, "partition", m.tp.Partition, "from", from, "to", m.end)
	r.again(c)
}

// unfit says why a checkpoint cannot be gone on from; empty if it can.
func (r *restorer) unfit(m located) string {
	switch {
	case m.from < 0:
		return ""
	case m.from < m.start:
		return fmt.Sprintf("it ends at offset %d and the changelog begins at %d", m.from, m.start)
	case m.from > m.end:
		return fmt.Sprintf("it ends at offset %d, ahead of the changelog's end %d", m.from, m.end)
	}
	age := r.ground.Now().Sub(m.written)
	if age < -maxSkew {
		return fmt.Sprintf("it was written at %v, which is still to come: how old it is cannot be told", m.written.Format(time.RFC3339))
	}
	if keep := r.keep(m.restore); forgotten(age, keep) {
		return fmt.Sprintf("it is older than delete.retention.ms (%v): deletions since may be gone from the changelog", keep)
	}
	return ""
}

// keep is how long the changelog has kept deletions since a checkpoint was written: by what was noted with it, and what this process has seen.
func (r *restorer) keep(m restore) time.Duration {
	return min(m.kept, r.deletions.least(m.tp.Topic, m.written))
}

// forgotten says whether a changelog may lack deletions of a time ago.
func forgotten(age, keep time.Duration) bool { return age > keep && !plant.Is("stale checkpoint") }

// elapsed is the time between two, by whichever of a process's clocks says more: a machine that sleeps stops one of them, and the other may be set.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// late handles a restore that has read all, if deletions may have gone from the changelog before it had read them. After a deletion's records
// were first compacted, when what it deletes goes, it stays for delete.retention.ms. So whoever has seen what was deleted, at the
// beginning of its read or as of its checkpoint, sees the deletion as well, if it has read all within that time.
func (r *restorer) late(c actor.Context, s *restoringShard) bool {
	took := elapsed(s.began, r.ground.Now())
	if s.from < 0 {
		keep := r.deletions.least(s.tp.Topic, s.began)
		if !forgotten(took, keep) {
			return false
		}
		r.remove(s.tp)
		s.shard.send(c, Restored{Err: &slowRestoreError{s.table, s.tp, took, keep}})
		return true
	}
	keep := r.keep(s.restore)
	if !forgotten(s.began.Sub(s.written)+took, keep) {
		return false
	}
	s.shard.send(c, rewind{fmt.Sprintf("it got older than delete.retention.ms (%v) while what follows it was read: deletions may be gone from the changelog", keep)})
	again := s.restore
	again.from = -1
	r.locate(c, again)
	return true
}

func (r *restorer) again(c actor.Context) {
	if !r.polling && len(r.shards) > 0 {
		r.polling = true
		c.Send(c.Self(), pollNow{})
	}
}

func (r *restorer) poll(c actor.Context) {
	r.polling = false
	for range 64 { // then other messages get their turn
		if len(r.shards) == 0 {
			return
		}
		b, err := r.reader.Poll(restorePoll)
		if errors.Is(err, kafka.ErrDenied) {
			c.Send(c.Parent(), nodeFailed{fmt.Errorf("restore tables: %w", err)})
		}
		if err != nil {
			for _, tp := range slices.SortedFunc(maps.Keys(r.shards), kafka.TopicPartition.Compare) {
				s := r.shards[tp]
				s.shard.send(c, Restored{Err: fmt.Errorf("restore table %s/%d: %w", s.table, tp.Partition, err)})
				r.remove(tp)
			}
			return
		}
		if b == nil {
			break
		}
		r.onBatch(c, b)
	}
	r.show()
	r.again(c)
}

func (r *restorer) onBatch(c actor.Context, b *kafka.Batch) {
	tp := kafka.TopicPartition{Topic: b.Topic, Partition: b.Partition}
	s := r.shards[tp]
	if s == nil {
		return
	}
	if len(b.Records) > 0 {
		s.shard.send(c, Replay{b})
	}
	s.position = b.Next
	s.gauge.restored.Store(s.position - s.start)
	if s.position >= s.end {
		if r.late(c, s) {
			return
		}
		s.shard.send(c, Restored{End: s.position})
		r.remove(tp)
		crashpoint.Hit("restore.read")
		r.log.Info("restored", "table", s.table, "partition", tp.Partition, "offsets", s.end-s.start, "took", r.ground.Now().Sub(s.began).Round(time.Millisecond))
	}
}

func (r *restorer) remove(tp kafka.TopicPartition) {
	delete(r.shards, tp)
	if err := r.reader.Remove(tp); err != nil {
		r.log.Warn("stop reading a changelog", "topic", tp.Topic, "partition", tp.Partition, "error", err)
	}
}

// show reports how far the restores are, twice a second.
func (r *restorer) show() {
	if r.progress == nil || r.ground.Now().Sub(r.shown) < 500*time.Millisecond {
		return
	}
	r.shown = r.ground.Now()
	var all []Restoring
	for tp, s := range r.shards {
		x := Restoring{Table: s.table, Partition: tp.Partition, Done: s.position - s.start, Total: s.end - s.start}
		if x.Done > 0 {
			x.ETA = time.Duration(float64(r.ground.Now().Sub(s.began)) * float64(x.Total-x.Done) / float64(x.Done)).Round(100 * time.Millisecond)
		}
		all = append(all, x)
	}
	r.progress(all)
}
