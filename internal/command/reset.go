package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

func (c *cli) resetCommand() *cobra.Command {
	var yes, letters, reread bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Put a stopped topology back to its beginning: all its tables and progress are deleted",
		Long: `Puts a stopped topology back to its beginning: deletes its progress (the group with its offsets), its tables (changelogs,
and the checkpoints in the data directory), and its other internal topics. Topics that the topology reads or writes by name
are left as they are; the next start reads them again, each agent from where it declares to start. But what is in topics
that the topology both writes and reads is skipped, since it will be written again (--reread: not if others write them).

It says what it will delete, and asks. It refuses while nodes run. Stopped on its way, it goes on when it is run again; no
node can start before it is through. Checkpoints in other data directories are dropped by their nodes when they start.`,
		Args: exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			p, err := c.chosen()
			if err != nil {
				return err
			}
			dir, err := c.directory(p.Name)
			if err != nil {
				return err
			}
			release, err := lockExisting(dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, release()) }()
			cluster, err := c.connect(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cluster.Close()) }()
			if p, err = resolved(cmd.Context(), cluster, p); err != nil {
				return err
			}
			r := &reset{cli: c, plan: p, admin: cluster.Admin, state: host.StateDir(dir, p.Name), letters: letters, reread: reread}
			return r.run(cmd.Context(), yes)
		},
	}
	yesFlag(cmd.Flags(), &yes)
	cmd.Flags().BoolVar(&letters, "dead-letters", false, "delete the topic of dead letters too")
	cmd.Flags().BoolVar(&reread, "reread", false, "read again what is in topics that the topology writes itself")
	return cmd
}

// lockExisting takes a data directory, so that no node starts in it. One that does not exist is not made.
func lockExisting(dir string) (release func() error, err error) {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return func() error { return nil }, nil
	}
	d, err := host.OpenDir(dir, "reset") // the name is not used: the directory's own is neither read nor made
	if err != nil {
		return nil, fmt.Errorf("nothing was done: %w", err)
	}
	return d.Close, nil
}

// reset puts one topology back to its beginning.
//
// The order matters where it is cut short. First a record in the slot map keeps nodes from starting. Then the group goes:
// as long as it is there, the changelogs are, so that a node that could start nevertheless finds either everything or, with
// tables and no offsets, refuses. The slots topic, with that record, goes last.
type reset struct {
	*cli
	plan    *plan.Plan
	admin   kafka.Operator
	state   string // directory of the topology's state
	letters bool
	reread  bool
}

// resetWork is what there is to delete.
type resetWork struct {
	group  kafka.GroupState
	topics []string // but for the slots topic
	slots  int32    // partitions of the slots topic; 0: there is none
	state  bool
	others []string // topics that are named as if they were the topology's
	skip   []string // topics that the topology both writes and reads
}

func (w *resetWork) empty() bool {
	// What is left of a reset that is through is the offsets of what was skipped.
	through := w.slots == 0 && len(w.topics) == 0 && len(w.skip) > 0
	return (!w.group.Exists || through) && len(w.topics) == 0 && w.slots == 0 && !w.state
}

func (r *reset) run(ctx context.Context, yes bool) error {
	w, err := r.survey(ctx)
	if err != nil {
		return err
	}
	if err := r.refuse(w.group); err != nil {
		return err
	}
	if w.empty() {
		r.app.say("topology %s is at its beginning: there is nothing to reset", r.plan.Name)
		return nil
	}
	r.announce(w)
	if !yes {
		if err := r.confirm(ctx, fmt.Sprintf("Reset topology %s?", r.plan.Name)); err != nil {
			return err
		}
	}
	if err := r.carryOut(ctx, w); err != nil {
		return fmt.Errorf("reset of topology %s: %w; run it again, it goes on where it was", r.plan.Name, err)
	}
	r.app.say("topology %s is at its beginning", r.plan.Name)
	return nil
}

// survey finds out what there is to delete.
func (r *reset) survey(ctx context.Context) (*resetWork, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	w := new(resetWork)
	var err error
	if w.group, err = r.admin.Group(ctx, r.plan.Name); err != nil {
		return nil, err
	}
	all, err := r.admin.AllTopics(ctx)
	if err != nil {
		return nil, err
	}
	slots := kafka.SlotsTopic(r.plan.Name)
	if slices.Contains(all, slots) {
		states, err := r.admin.Topics(ctx, slots)
		if err != nil {
			return nil, err
		}
		w.slots = states[slots].Partitions
	}
	slices.Sort(all)
	for _, name := range all {
		switch {
		case name == slots:
		case r.deletes(name):
			w.topics = append(w.topics, name)
		case r.rewrites(name):
			w.skip = append(w.skip, name)
		case strings.HasPrefix(name, r.plan.Name+"-") && !r.has(name):
			w.others = append(w.others, name)
		}
	}
	switch _, err := os.Stat(r.state); {
	case err == nil:
		w.state = true
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return w, nil
}

// deletes says whether a topic is one of the topology's own.
func (r *reset) deletes(name string) bool {
	return slices.ContainsFunc(r.plan.Topics, func(t *plan.Topic) bool {
		return t.Name == name && t.Kind != plan.External && (t.Kind != plan.DeadLetters || r.letters)
	})
}

// rewrites says whether a topic is one that the topology will write again, and reads.
func (r *reset) rewrites(name string) bool {
	return !r.reread && slices.ContainsFunc(r.plan.Topics, func(t *plan.Topic) bool {
		return t.Name == name && t.Kind == plan.External && t.Source && t.Sink
	})
}

func (r *reset) has(name string) bool {
	return slices.ContainsFunc(r.plan.Topics, func(t *plan.Topic) bool { return t.Name == name })
}

// refuse refuses while the group has members.
func (r *reset) refuse(g kafka.GroupState) error {
	if len(g.Members) == 0 {
		return nil
	}
	var who []string
	for _, m := range g.Members {
		who = append(who, describeMember(r.plan.Name, m))
	}
	return fmt.Errorf("topology %s has live nodes: %s: stop them, or take those that have died out with `node evict`", r.plan.Name, strings.Join(who, "; "))
}

func (r *reset) announce(w *resetWork) {
	var lines []string
	if w.group.Exists {
		lines = append(lines, "group "+r.plan.Name+": all offsets")
	}
	topics := slices.Clone(w.topics)
	if w.slots > 0 {
		topics = append(topics, kafka.SlotsTopic(r.plan.Name))
	}
	if len(topics) > 0 {
		lines = append(lines, "topics "+strings.Join(topics, ", "))
	}
	if w.state {
		lines = append(lines, "checkpoints in "+r.state)
	}
	for _, l := range lines {
		r.app.say("will delete %s", l)
	}
	if len(w.skip) > 0 {
		r.app.say("will skip what is in topics %s, which the topology writes itself", strings.Join(w.skip, ", "))
	}
	if len(w.others) > 0 {
		r.app.say("will keep %s: named like this topology's, but not of this version of it", strings.Join(w.others, ", "))
	}
}

func (r *reset) carryOut(ctx context.Context, w *resetWork) error {
	ctx, cancel := context.WithTimeout(ctx, 4*askTimeout)
	defer cancel()
	if err := r.bar(ctx, w); err != nil {
		return err
	}
	// A node that was starting meanwhile has joined by now and made its topics, or finds the record.
	w, err := r.survey(ctx)
	if err != nil {
		return err
	}
	if err := r.refuse(w.group); err != nil {
		return err
	}
	if err := r.fence(ctx, w); err != nil {
		return err
	}
	if err := r.admin.DeleteGroup(ctx, r.plan.Name); err != nil {
		return err
	}
	if err := r.skip(ctx, w.skip); err != nil {
		return err
	}
	if err := r.admin.Delete(ctx, w.topics...); err != nil {
		return err
	}
	if err := os.RemoveAll(r.state); err != nil {
		return fmt.Errorf("delete checkpoints: %w", err)
	}
	// One that had read the slot map before the record was there, and joined after the look above: what it has committed
	// since must go too.
	group, err := r.admin.Group(ctx, r.plan.Name)
	if err != nil {
		return err
	}
	if err := r.refuse(group); err != nil {
		return err
	}
	return r.admin.Delete(ctx, kafka.SlotsTopic(r.plan.Name))
}

// skip has the next start begin at the ends of topics.
func (r *reset) skip(ctx context.Context, topics []string) error {
	tps, err := partitionsOf(ctx, r.admin, topics...)
	if err != nil {
		return err
	}
	ends, err := r.admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	if err != nil {
		return err
	}
	var at []kafka.Position
	for _, tp := range tps {
		if ends[tp] > 0 {
			at = append(at, kafka.Position{TopicPartition: tp, Offset: ends[tp], Metadata: kafka.Meta{}.Encode()})
		}
	}
	return r.admin.SetOffsets(ctx, r.plan.Name, at...)
}

// bar keeps nodes from starting until the slots topic is gone.
func (r *reset) bar(ctx context.Context, w *resetWork) error {
	if w.slots == 0 {
		if err := r.admin.Create(ctx, kafka.SlotsSpec(r.plan.Name, 1)); err != nil {
			return err
		}
	}
	out := new(kafka.Outputs)
	key, value := kafka.ResetRecord()
	out.Append(0, 0, 0, key, value, nil)
	if _, err := r.admin.Produce(ctx, []string{kafka.SlotsTopic(r.plan.Name)}, out); err != nil {
		return fmt.Errorf("keep nodes from starting: %w", err)
	}
	return nil
}

// fence ends what nodes that did not stop in order have open: it would be committed into the group after its end.
func (r *reset) fence(ctx context.Context, w *resetWork) error {
	slots := make([]int32, w.slots)
	for i := range slots {
		slots[i] = int32(i)
	}
	texts, err := r.admin.Marks(ctx, r.plan.Name, slots...)
	if err != nil {
		return err
	}
	fenced := map[string]bool{}
	for _, text := range texts {
		mark, err := kafka.ParseMark(text)
		if err != nil {
			continue // by another program: it names nobody
		}
		for _, o := range mark.Owners {
			if fenced[o.Instance] {
				continue
			}
			fenced[o.Instance] = true
			if err := r.admin.Fence(ctx, r.plan.Name, o.Instance); err != nil {
				return err
			}
		}
	}
	return nil
}
