package world

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/integration/simulate/ground"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// view is a program that looks at a table from outside.
type view struct {
	node   *node // its process
	copy   *tables.ReplicaOf[int64]
	follow *actors.Follower // nil: it has not begun
	starts int
}

// views has a view of a table, in a process of its own that is killed now and then: it never shows more than is committed, and comes to the table.
func views() *Case {
	const changelog = "views-counts-changelog"
	return &Case{
		Name: "views", Compaction: -1, // what a view has seen is in the log
		Define: func(h *Hooks, _ int) *topology.Topology { return counting("views", h) },
		Input:  someInput, Check: countedInOrder,
		Disturb: func(w *World) {
			if _, made := w.b.Describe(changelog); made && (w.view == nil || w.view.node.proc.Dead()) && w.s.Chance("view: opened", 2000) {
				w.openView(changelog)
			}
			if w.view != nil && !w.view.node.proc.Dead() && w.s.Chance("view: killed", 10) {
				w.s.Kill(w.view.node.proc)
			}
		},
		Watch: func(o *Oracle) error {
			w, ok := o.Store.(*World)
			if !ok || w.view == nil || w.view.node.proc.Dead() {
				return nil
			}
			committed := map[string]bool{}
			for _, r := range o.Committed(changelog) {
				committed[r.Key+r.Value] = true
			}
			for k, x := range w.view.copy.Scan(nil, nil) {
				b, err := codec.Int64.Append(nil, x.Value)
				if err != nil || !committed[string(k)+string(b)] {
					return fmt.Errorf("a view has %d for %s, which is not committed (%w)", x.Value, k, err)
				}
			}
			return nil
		},
		Settled: func(w *World) error {
			want := map[string]int64{}
			for _, r := range w.o.good() {
				want[r.Key]++
			}
			if w.view == nil || w.view.node.proc.Dead() {
				w.openView(changelog)
			}
			var got map[string]int64
			for range 5000 {
				got = map[string]int64{}
				for k, x := range w.view.copy.Scan(nil, nil) {
					got[string(k)] = x.Value
				}
				if maps.Equal(want, got) {
					if w.view.starts > 1 {
						w.Saw(sawView)
					}
					return w.s.Err()
				}
				w.step()
			}
			return fmt.Errorf("a view should come to %v and is %v", want, got)
		},
	}
}

// openView starts a program that looks at a table.
func (w *World) openView(topic string) {
	v := &view{copy: tables.NewReplica(&tables.ReplicaSpec[int64]{Name: "view", Decode: codec.Int64.Decode}), starts: 1}
	if w.view != nil {
		v.starts += w.view.starts
	}
	n := &node{w: w, name: "view", disk: newDisk(w.s)}
	n.proc = w.s.Proc(fmt.Sprintf("view.%d", v.starts))
	n.ground = ground.New(w.s, n.proc)
	v.node, w.view = n, v
	d := w.driver(n, slog.New(&tracer{w.s, n.proc.Name}))
	w.s.Go(n.proc, "main", func() {
		admin, err := d.OpenAdmin()
		for err == nil && v.follow == nil {
			if v.follow, err = actors.Follow(context.Background(), n.ground, d, admin, topic, v.copy); err != nil {
				err = nil // a fault of the simulation: again
				w.s.Sleep(context.Background(), 20*time.Millisecond)
			}
		}
		if err != nil {
			w.s.Fail(err)
		}
	})
}
