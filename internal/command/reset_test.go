package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	example "github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
)

// TestReset: a topology that is reset counts everything anew, once.
func TestReset(t *testing.T) {
	t.Parallel()
	s := ran(t)
	r := s.run("reset", "--yes")
	require.Equal(t, exitClean, r.code, r.err)
	for _, line := range []string{
		"will delete group wordcount: all offsets", "will delete topics wordcount-counts-changelog, wordcount-leader, wordcount-slots",
		"will delete checkpoints in " + host.StateDir(s.dir, "wordcount"), "will skip what is in topics words, which the topology writes itself", "topology wordcount is at its beginning",
	} {
		require.Contains(t, r.err, line+"\n")
	}
	_, err := os.Stat(host.StateDir(s.dir, "wordcount"))
	require.ErrorIs(t, err, os.ErrNotExist)
	s.change(func(ctx context.Context, admin kafka.Operator) error {
		all, err := admin.AllTopics(ctx)
		require.ElementsMatch(t, []string{"lines", "words", "wordcount-dead-letters"}, all)
		return err
	})
	require.Contains(t, s.run("reset", "--yes").err, "there is nothing to reset")
	s.verified(exitClean)
	s.recount()
	s.verified(exitClean)

	require.Zero(t, s.run("reset", "--yes", "--dead-letters").code)
	s.change(func(ctx context.Context, admin kafka.Operator) error {
		all, err := admin.AllTopics(ctx)
		require.ElementsMatch(t, []string{"lines", "words"}, all)
		return err
	})
}

// TestResetReread reads again what the topology has written itself: twice as much by then.
func TestResetReread(t *testing.T) {
	t.Parallel()
	s := ran(t)
	require.Zero(t, s.run("reset", "--yes", "--reread").code)
	require.Zero(t, s.run("--drain").code)
	require.Equal(t, "be\t4\n", s.run("get", "counts", "be", "--format", "tsv").out)
}

// TestResetAsks before it deletes anything.
func TestResetAsks(t *testing.T) {
	t.Parallel()
	s := ran(t)
	r := s.run("reset")
	require.Equal(t, exitWrongUse, r.code)
	require.Contains(t, r.err, "There is no terminal to ask on: add --yes")
	ask := func(answer string) result {
		var out, errs buffer
		app := &App{Name: "node", Topologies: []Topology{example.Topology()}, In: strings.NewReader(answer), Out: &out, Err: &errs, Asks: true}
		code := app.Run(t.Context(), []string{"reset", "--data-dir", s.dir})
		return result{code, out.String(), errs.String()}
	}
	for _, no := range []string{"n\n", "\n", "", "maybe\n"} {
		r := ask(no)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.err, "Reset topology wordcount? [y/N] ")
		require.Contains(t, r.err, "nothing was done")
	}
	s.verified(exitClean)
	r = ask("y\n")
	require.Zero(t, r.code, r.err)
	s.recount()
}

// TestResetRefusesLiveNodes: by the data directory's lock, and from elsewhere by the group.
func TestResetRefusesLiveNodes(t *testing.T) {
	t.Parallel()
	s := ran(t)
	s.start("--instance-id", "alive")
	r := s.run("reset", "--yes")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "nothing was done: data directory "+s.dir+" is in use by another node")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := host.Connect(ctx, host.ClusterConfig{DataDir: s.dir})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	r = runWith(ctx, nil, []Topology{example.Topology()}, "reset", "--yes", "--brokers", c.Brokers[0], "--data-dir", t.TempDir())
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "topology wordcount has live nodes: member alive at 127.0.0.1")
	require.Contains(t, r.err, "with slots 0-8: stop them, or take those that have died out with `node evict`")
	s.verified(exitClean)
}

// cut is an admin whose connection breaks before its n-th change.
type cut struct {
	kafka.Operator
	left int
}

var errCut = errors.New("cut")

func (c *cut) change() error {
	if c.left--; c.left < 0 {
		return errCut
	}
	return nil
}

func (c *cut) Create(ctx context.Context, specs ...kafka.TopicSpec) error {
	return errors.Join(c.change(), c.Operator.Create(ctx, specs...))
}

func (c *cut) Produce(ctx context.Context, names []string, out *kafka.Outputs) ([]int64, error) {
	if err := c.change(); err != nil {
		return nil, err
	}
	return c.Operator.Produce(ctx, names, out)
}

func (c *cut) DeleteGroup(ctx context.Context, group string) error {
	if err := c.change(); err != nil {
		return err
	}
	return c.Operator.DeleteGroup(ctx, group)
}

func (c *cut) SetOffsets(ctx context.Context, group string, positions ...kafka.Position) error {
	if err := c.change(); err != nil {
		return err
	}
	return c.Operator.SetOffsets(ctx, group, positions...)
}

// Delete deletes one topic at a time, so that it may be cut between two.
func (c *cut) Delete(ctx context.Context, topics ...string) error {
	for _, t := range topics {
		if err := c.change(); err != nil {
			return err
		}
		if err := c.Operator.Delete(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// TestResetCutShort anywhere: a node that is started then refuses, and says how to go on; going on ends it.
func TestResetCutShort(t *testing.T) {
	t.Parallel()
	origin := ran(t)
	plan, err := example.Topology().Plan()
	require.NoError(t, err)
	const changes = 6 // the record, the group, offsets, two topics, the slots topic
	for n := range changes + 1 {
		t.Run(fmt.Sprintf("after %d changes", n), func(t *testing.T) {
			t.Parallel()
			s := origin.clone(t)
			s.change(func(ctx context.Context, admin kafka.Operator) error {
				c := &cli{app: &App{Name: "node", Out: new(buffer), Err: new(buffer)}}
				r := &reset{cli: c, plan: plan, admin: &cut{Operator: admin, left: n}, state: host.StateDir(s.dir, "wordcount")}
				err := r.run(ctx, true)
				if n == changes {
					return err
				}
				require.ErrorIs(t, err, errCut)
				require.ErrorContains(t, err, "run it again")
				return nil
			})
			if n == 0 { // nothing has been done
				s.recount()
			} else if n < changes {
				r := s.run("--drain")
				require.Equal(t, exitFailed, r.code)
				require.Contains(t, r.err, "a reset of the topology was begun and is not through: run `node reset` again")
			}
			r := s.run("reset", "--yes")
			require.Zero(t, r.code, r.err)
			s.recount()
			s.verified(exitClean)
		})
	}
}

// TestEvict lists members, and takes one out that is gone and kept its slots.
func TestEvict(t *testing.T) {
	t.Parallel()
	s := state{t, t.TempDir()}
	addr := startBroker(t, t.TempDir())
	require.Contains(t, s.run("evict", "--brokers", addr).err, "topology wordcount has no members")
	n := s.start("--brokers", addr, "--create-topics", "--instance-id", "gone", "--keep-slots")
	n.end()

	r := s.run("evict", "--brokers", addr, "--format", "json")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, `"instance":"gone"`)
	require.Contains(t, r.out, `"slots":[0,1,2,3,4,5,6,7,8]`)
	require.Contains(t, s.run("evict", "--brokers", addr).out, "0-8\n")

	r = s.run("evict", "--brokers", addr, "gnoe", "--yes")
	require.Equal(t, exitWrongUse, r.code)
	require.Contains(t, r.err, `unknown member "gnoe": did you mean "gone"?`)
	r = s.run("evict", "--brokers", addr, "gone")
	require.Equal(t, exitWrongUse, r.code)
	require.Contains(t, r.err, "Take member gone at 127.0.0.1")
	require.Contains(t, r.err, " with slots 0-8 out of topology wordcount?")

	r = s.run("evict", "--brokers", addr, "gone", "--yes")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "is out of topology wordcount\n")
	require.Contains(t, s.run("evict", "--brokers", addr).err, "topology wordcount has no members")
	s.start("--brokers", addr) // at once, though the session of the other would have lasted for long
}

func TestSlotList(t *testing.T) {
	t.Parallel()
	require.Empty(t, slotList(nil))
	require.Equal(t, "3", slotList([]int32{3}))
	require.Equal(t, "0-3,7,9-10", slotList([]int32{0, 1, 2, 3, 7, 9, 10}))
}

// late is an admin under which a node joins while the checkpoints are deleted.
type late struct {
	kafka.Operator
	looks int
}

func (l *late) Group(ctx context.Context, group string) (kafka.GroupState, error) {
	g, err := l.Operator.Group(ctx, group)
	if l.looks++; l.looks == 3 {
		g.Members = append(g.Members, kafka.GroupMember{ID: "1", Instance: "late"})
	}
	return g, err
}

// TestResetFindsALateNode: one that had looked before the reset began, and joined in the midst of it.
func TestResetFindsALateNode(t *testing.T) {
	t.Parallel()
	s := ran(t)
	plan, err := example.Topology().Plan()
	require.NoError(t, err)
	s.change(func(ctx context.Context, admin kafka.Operator) error {
		c := &cli{app: &App{Name: "node", Out: new(buffer), Err: new(buffer)}}
		r := &reset{cli: c, plan: plan, admin: &late{Operator: admin}, state: host.StateDir(s.dir, "wordcount")}
		err := r.run(ctx, true)
		require.ErrorContains(t, err, "topology wordcount has live nodes: member late")
		return nil
	})
	require.Contains(t, s.run("--drain").err, "a reset of the topology was begun and is not through")
	require.Zero(t, s.run("reset", "--yes").code)
	s.recount()
}
