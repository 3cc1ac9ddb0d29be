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
		written time.Time // of the checkpoint that ends at from
		shard   shardRef
		gauge   *shardGauge
	}
	// forget ends a restore whose shard is gone.
	forget struct{ shard *actor.PID }
	// located says where a restore begins and ends.
	located struct {
		restore
		inquiry    uint64
		since      time.Time // of the question: what is deleted from then on may be in the log, or may not
		start, end int64
		keep       time.Duration // delete.retention.ms; negative where it is not told
		err        error
	}
	pollNow struct{}
)

// restoring is one restore under way.
type restoringShard struct {
	restore
	position, start, end int64
	began                time.Time
	keep                 time.Duration
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
// on their way would be missed. And for how long deletions stay in it: that may have been changed since the node began.
func (r *restorer) locate(c actor.Context, m restore) {
	r.inquired++
	x := located{restore: m, inquiry: r.inquired, since: r.ground.Now()}
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
		x.start, x.end = starts[m.tp], ends[m.tp]
		topics, err2 := r.admin.Topics(ctx, m.tp.Topic)
		x.keep = time.Duration(atoi(topics[m.tp.Topic].Config["delete.retention.ms"], -1)) * time.Millisecond
		x.err = errors.Join(err, err2)
		g.Send(self, x)
	})
}

func (r *restorer) onLocated(c actor.Context, m located) {
	if r.inquiries[m.tp].id != m.inquiry {
		return
	}
	delete(r.inquiries, m.tp)
	if m.err != nil {
		m.shard.send(c, Restored{Err: fmt.Errorf("restore table %s/%d: find the ends of %s, and its settings: %w", m.table, m.tp.Partition, m.tp.Topic, m.err)})
		return
	}
	if reason := r.unfit(m); reason != "" {
		m.shard.send(c, rewind{reason})
		m.from = -1
	}
	crashpoint.Hit("restore.located")
	from := max(m.from, m.start)
	s := &restoringShard{restore: m.restore, position: from, start: from, end: m.end, began: m.since, keep: m.keep}
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
	if forgotten(age, m.keep) {
		return fmt.Sprintf("it is older than delete.retention.ms (%v): deletions since may be gone from the changelog", m.keep)
	}
	return ""
}

// forgotten says whether a changelog may lack deletions of a time ago.
func forgotten(age, keep time.Duration) bool {
	return keep >= 0 && age > keep && !plant.Is("stale checkpoint")
}

// late handles a restore that has read all, if deletions may have gone from the changelog before it had read them. A deletion is
// in the log for delete.retention.ms after it was written, and what it deleted is until it is first compacted: so of what a reader has
// seen since it began, or a checkpoint holds since it was written, the deletions are there for that long.
func (r *restorer) late(c actor.Context, s *restoringShard) bool {
	since := s.began
	if s.from >= 0 {
		since = s.written
	}
	if !forgotten(r.ground.Now().Sub(since), s.keep) {
		return false
	}
	r.remove(s.tp)
	if s.from >= 0 {
		s.shard.send(c, rewind{fmt.Sprintf("it got older than delete.retention.ms (%v) while what follows it was read: deletions may be gone from the changelog", s.keep)})
		again := s.restore
		again.from = -1
		r.locate(c, again)
		return true
	}
	s.shard.send(c, Restored{Err: fmt.Errorf("restore table %s/%d: reading %s took %v, and delete.retention.ms of it is %v: deletions may have gone from it before they were read, and deleted keys be back; "+
		"it is read again; set delete.retention.ms to much more than a restore takes (86400000, a day, is the default)",
		s.table, s.tp.Partition, s.tp.Topic, r.ground.Now().Sub(since).Round(time.Millisecond), s.keep)})
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
