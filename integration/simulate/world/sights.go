package world

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	sawTwice      = "at-least-once: a record was done twice"
	sawStale      = "at-least-once: a bundle was written by who had lost its slot"
	sawTwin       = "at-least-once: the same, and who has the slot is of the same identity"
)

// Sights are what runs are to have seen.
func Sights() []string {
	return []string{sawCheckpoint, sawTooOld, sawDamage, sawGiant, sawDenied, sawTwice, sawStale, sawTwin}
}

// Saw implements Store.
func (w *World) Saw(what string) { w.seen[what]++ }

// checkpoints compares what is on the disks of all nodes with the changelogs: each checkpoint that a restore would go on from,
// with the rest of its changelog, must be the table.
func (w *World) checkpoints() error {
	var all []error
	for _, n := range w.nodes {
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
	if end, err := w.b.End(tp, kafka.ReadUncommitted); err != nil || x.Offset > end {
		return fmt.Errorf("it ends at offset %d of %d: %w", x.Offset, end, err)
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
	if a, b := next(want), next(got); !maps.EqualFunc(a, b, bytes.Equal) {
		return fmt.Errorf("a restore from its offset %d makes the table %v, and it is %v", x.Offset, b, a)
	}
	w.Saw(sawCheckpoint)
	return nil
}
