package world

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// What runs are to have seen: who looks at many runs, and finds one of these never, has a simulation that does not reach it.
const (
	sawCheckpoint = "a checkpoint and the rest of its changelog are the table"
	sawTooOld     = "a checkpoint that is too old to be gone on from"
	sawDamage     = "a checkpoint that cannot be trusted, and is known for it"
	sawGiant      = "a record that its topic does not take became a dead letter"
	sawDenied     = "a record that its topic was not to be written with became a dead letter"
	sawRange      = "a process reads on where retention has taken the log, after another has committed that"
	sawExpired    = "offsets have expired, and no node counts again what is in the tables"
	sawCalled     = "a durable timer was called"
	sawMoment     = "a timer in event time was called, in the order of records"
	sawTwice      = "at-least-once: a record was done twice"
	sawLapse      = "an entry has expired by the wall clock, and its key was counted anew"
	sawRefusal    = "a request that was given up is answered with why"
	sawCopy       = "a global table has what was committed before its process started"
	sawView       = "a view of a table is the table, though its process had to begin again"
	sawAgain      = "a record was dropped since its identity was seen before"
	sawThrottled  = "a record was handed out about when its agent's limit let it"
	sawAhead      = "a function was called for several records at a time"
	sawEarly      = "a handler has seen what another one of its partition answers before its commit"
)

// Sights are what runs are to have seen.
func Sights() []string {
	return []string{sawCheckpoint, sawTooOld, sawDamage, sawGiant, sawDenied, sawRange, sawExpired, sawCalled, sawTwice, sawLapse, sawCopy, sawRefusal, sawView, sawAgain, sawThrottled, sawAhead, sawMoment, sawEarly}
}

// Saw implements Store.
func (w *World) Saw(what string) { w.seen[what]++ }

// checkpoints compares what is on the disks of nodes with the changelogs: each checkpoint that a restore would go on from, with the
// rest of its changelog, must be the table.
func (w *World) checkpoints(of ...*node) error {
	var all []error
	for _, n := range of {
		for _, path := range slices.Sorted(maps.Keys(n.disk.files)) {
			if err := w.checkpoint(n, path); err != nil {
				all = append(all, fmt.Errorf("%s: %s: %w", n.name, path, err))
			}
		}
	}
	return errors.Join(all...)
}

func (w *World) checkpoint(n *node, path string) error {
	f, err := n.disk.Open(path)
	if err != nil {
		return err
	}
	x, err := tables.InspectFile(path, f)
	var corrupt *tables.CorruptError
	switch {
	case errors.As(err, &corrupt) && n.disk.damaged:
		w.Saw(sawDamage)
		return nil
	case err != nil:
		return err
	case !x.Complete:
		return nil
	case w.s.Now().Sub(x.Written) > w.b.DeleteRetention, x.Written.Sub(w.s.Now()) > time.Minute:
		w.Saw(sawTooOld)
		return nil
	}
	table, p := x.Identity.Table, x.Identity.Partition
	tp := kafka.TopicPartition{Topic: w.c.Name + "-" + table + "-changelog", Partition: p}
	end, err := w.b.End(tp, kafka.ReadUncommitted)
	switch {
	case err != nil || x.Offset > end:
		return fmt.Errorf("it ends at offset %d of %d: %w", x.Offset, end, err)
	case w.b.LSO(tp) < end:
		return nil // it may hold more than can be read yet
	}
	want, got := w.o.images(table, nil)[p], w.o.images(table, map[int32]*tables.Inspected{p: x})[p]
	if want == nil {
		want = new(tables.Image)
	}
	next := func(im *tables.Image) map[string][]byte {
		rows := map[string][]byte{}
		for k, v := range im.All() {
			rows[string(k)] = v
		}
		return rows
	}
	a, b := next(want), next(got)
	if !maps.EqualFunc(a, b, bytes.Equal) {
		return fmt.Errorf("a restore from its offset %d makes the table %v, and it is %v", x.Offset, b, a)
	}
	w.Saw(sawCheckpoint)
	return nil
}

// expire deletes the group's offsets while no node runs, as a broker does after a while, and checks that a node that is started
// then refuses to: the tables hold what the records of the sources would be counted into again.
func (w *World) expire() error {
	for _, n := range w.nodes {
		if n.running() {
			n.kill()
		}
	}
	for w.b.Flying() > 0 && w.step() {
	}
	if !w.holdsRows() {
		return nil
	}
	w.b.Expire(w.c.Name)
	w.b.OnOffset = nil // slots without tables begin anew
	before := w.rows()
	n := w.nodes[w.s.Rand().IntN(len(w.nodes))]
	n.start()
	for range settleSteps {
		if !n.running() || w.s.Err() != nil {
			break
		}
		w.step()
	}
	switch {
	case w.s.Err() != nil:
		return w.s.Err()
	case n.running() || n.err == nil || !strings.Contains(n.err.Error(), "they have expired or were deleted"):
		return fmt.Errorf("the offsets have expired, and %s goes on, or ended for another reason: %w", n.name, n.err)
	}
	if after := w.rows(); !slices.Equal(before, after) {
		return fmt.Errorf("the offsets have expired, and tables have changed from %v to %v", before, after)
	}
	w.Saw(sawExpired)
	return nil
}

// rows are all records of changelogs.
func (w *World) rows() (all []string) {
	for _, name := range w.b.Topics() {
		if strings.HasSuffix(name, "-changelog") {
			for _, r := range w.Committed(name) {
				all = append(all, fmt.Sprintf("%s/%d@%d", name, r.Partition, r.Offset))
			}
		}
	}
	return all
}

// holdsRows says whether the changelog of each partition of a table that has records holds a row: each partition knows then that
// it has a past.
func (w *World) holdsRows() bool {
	for _, name := range w.b.Topics() {
		st, _ := w.b.Describe(name)
		if !strings.HasSuffix(name, "-changelog") {
			continue
		}
		table := strings.TrimSuffix(strings.TrimPrefix(name, w.c.Name+"-"), "-changelog")
		images := w.o.images(table, nil)
		for p := range st.Partitions {
			if images[p] == nil || images[p].Len() == 0 { // all may have been deleted, or have expired
				return false
			}
		}
		return true
	}
	return false
}
