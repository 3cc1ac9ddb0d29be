//go:build integration

package crashpoints

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
)

// scenario brings a node to some crash points. Its nodes that are armed run on directory A, one after the other; it ends
// with errAtPoint where the last of them has come to its point, and with nil when it is over without that.
type scenario struct {
	name string
	run  func(ctx context.Context, x *trial) error
}

// unsure are the points that a scenario comes to only as the broker's and the client's timing have it, with the reason. One that is
// missed is said to be; any other that is missed fails the test.
var unsure = map[string]string{
	"release.unassigned": "the group seldom asks for a slot while it is being taken",
	"commit.aborted":     "a node that stood still must find its transaction open",
	"own.given-up":       "a node that stood still must be asked for slots before it has noticed",
	"retake.unassigned":  "a node that stood still must find its slots its own again",
	"retake.lost":        "as for retake.unassigned",
}

// scenarios are preferred in this order, where they come to a point equally often.
var scenarios = []scenario{
	{"life", life},
	{"growth", growth},
	{"pair", pair},
	{"frozen", frozen},
	{"frozen beside another", frozenBeside},
	{"damage", damage},
	{"broken", broken},
	{"denied", denied},
	{"few slots", fewSlots},
	{"new topic", newTopic},
	{"cut off", cutOff},
	{"refused", refused},
	{"dying", dying},
	{"at least once", atLeastOnce},
}

// busy starts an armed node and waits until it has committed and checkpointed.
func busy(ctx context.Context, x *trial) (*nodes.Node, error) {
	n, err := x.arm()
	if err != nil {
		return nil, err
	}
	if err := x.steps(ctx, n, nil, "commit.committed", 4); err != nil {
		return nil, err
	}
	return n, x.steps(ctx, n, nil, "checkpoint.marked", 2)
}

// life is that of a node which starts, works and stops, twice.
func life(ctx context.Context, x *trial) error {
	for range 2 {
		n, err := busy(ctx, x)
		if err == nil {
			err = x.ended(ctx, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// growth is that of a node whose table outgrows the layout of its checkpoints.
func growth(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	var lines []string
	for i := 0; i < 10_000; i += 20 {
		var b strings.Builder
		for j := range 20 {
			fmt.Fprintf(&b, "x%d ", i+j)
		}
		lines = append(lines, b.String())
	}
	x.send(ctx, x.name+"-lines", lines...)
	if err := x.steps(ctx, n, nil, "checkpoint.layout-forgotten", 1); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// pair is that of a node that lets another have some of its slots, and takes them back when the other stops.
func pair(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	b, err := x.other("B")
	if err != nil {
		return err
	}
	if err := x.both(ctx, n, b, "commit.committed", 2); err != nil {
		return err
	}
	if err := x.ended(ctx, b); err != nil {
		return err
	}
	if err := x.steps(ctx, n, n.Steps(), "commit.committed", 3); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// atLeastOnce is the life of a node that sends outside of transactions.
func atLeastOnce(ctx context.Context, x *trial) error {
	x.again = true
	return life(ctx, x)
}

// both waits until another node has come to a step, or the armed node has ended before.
func (x *trial) both(ctx context.Context, armed, other *nodes.Node, name string, times int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-armed.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err := x.steps(ctx, other, nil, name, times)
	if err != nil && ctx.Err() != nil {
		return x.judge(armed, err, "another node's "+name)
	}
	return err
}

// frozen is that of a node that stands still for longer than its session lasts, with nobody to take over.
func frozen(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := x.deserted(ctx); err != nil {
		return err
	}
	before := n.Steps()
	if err := n.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := x.steps(ctx, n, before, "take.offsets-read", 1); err != nil {
		return err
	}
	if err := x.steps(ctx, n, n.Steps(), "commit.committed", 2); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// frozenBeside is that of a node that stands still until another has taken over.
func frozenBeside(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	b, err := x.other("B")
	if err != nil {
		return err
	}
	if err := x.steps(ctx, b, nil, "commit.committed", 3); err != nil {
		return err
	}
	before := n.Steps()
	if err := n.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := x.steps(ctx, n, before, "take.offsets-read", 1); err != nil {
		return err
	}
	if err := x.ended(ctx, b); err != nil {
		return err
	}
	if err := x.steps(ctx, n, n.Steps(), "commit.committed", 2); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// damage is that of a node that finds its checkpoints begun but not finished, damaged, and too old.
func damage(ctx context.Context, x *trial) error {
	first, err := x.start("A", []string{"TROUPE_CRASHPOINT=checkpoint.pages-written@1"})
	if err != nil {
		return err
	}
	x.others = append(x.others, first)
	if err := await(ctx, first.Done()); err != nil {
		return err
	}
	for _, harm := range []func(context.Context) error{nil, x.flip, x.expire} {
		if harm != nil {
			if err := harm(ctx); err != nil {
				return err
			}
		}
		n, err := busy(ctx, x)
		if err != nil {
			return err
		}
		n.Kill()
	}
	return nil
}

// pages finds the pages of a checkpoint in the log that its file is: what ends before the bytes of each.
var pages = regexp.MustCompile(`page/\d+/\d+\r\n\$\d+\r\n`)

// flip damages all pages of all checkpoints.
func (x *trial) flip(context.Context) error {
	paths, err := filepath.Glob(filepath.Join(host.StateDir(x.data("A"), x.name), "tables", "*.db"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("no checkpoints below %s", x.data("A"))
	}
	if err != nil {
		return err
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, at := range pages.FindAllIndex(b, -1) {
			b[at[1]] ^= 4
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// expire makes the changelog one whose deletions are forgotten soon, and lets the checkpoints get older than that.
func (x *trial) expire(ctx context.Context) error {
	const keep = 3 * time.Second // a restore may not take longer
	if err := x.configure(ctx, x.name+"-counts-changelog", "delete.retention.ms", strconv.FormatInt(keep.Milliseconds(), 10)); err != nil {
		return err
	}
	select {
	case <-time.After(keep + 100*time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// broken is that of a node that cannot open a checkpoint, until it can.
func broken(ctx context.Context, x *trial) error {
	in := filepath.Join(host.StateDir(x.data("A"), x.name), "tables", "counts-0.db")
	if err := os.MkdirAll(in, 0o750); err != nil {
		return err
	}
	n, err := x.arm()
	if err != nil {
		return err
	}
	if err := x.steps(ctx, n, nil, "retake.unassigned", 2); err != nil {
		_ = os.Remove(in)
		return err
	}
	if err := os.Remove(in); err != nil {
		return err
	}
	if err := x.steps(ctx, n, n.Steps(), "checkpoint.marked", 2); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// denied is that of a node that may not write a topic, and ends; then it may, and is started again.
func denied(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	if err := x.deny(ctx, x.name+"-words"); err != nil {
		return err
	}
	err = await(ctx, n.Done())
	if allow := x.allow(ctx, x.name+"-words"); allow != nil {
		return allow
	}
	if err != nil {
		return fmt.Errorf("wait for the node to end: %w; its last lines:\n%s", err, tail(n))
	}
	if x.point != "" && n.Code() == code {
		return errAtPoint
	}
	if n, err = busy(ctx, x); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// fewSlots is that of a node that finds fewer slots than it needs: an older version of the program had fewer partitions.
func fewSlots(ctx context.Context, x *trial) error {
	spec := kafka.SlotsSpec(x.name, 1)
	if err := x.admin.Create(ctx, spec); err != nil {
		return err
	}
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// newTopic is that of a node that finds a further topic that matches a pattern, and begins anew with it.
func newTopic(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	if err := x.admin.Create(ctx, kafka.TopicSpec{Name: x.more(), Partitions: 2, Replicas: 1}); err != nil {
		return err
	}
	for range 20 {
		x.send(ctx, x.more(), x.line(300))
	}
	if err := x.steps(ctx, n, nil, "renew.opening", 1); err != nil {
		return err
	}
	if err := x.steps(ctx, n, n.Steps(), "commit.committed", 3); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// more is a topic that matches the topology's pattern; most scenarios have none.
func (x *trial) more() string { return x.name + "-more-1" }

// cutOff is that of a node that loses its connections just when it commits, again and again: it has to find out what became of that.
func cutOff(ctx context.Context, x *trial) error {
	lane := <-x.lanes
	x.lane = lane.Addr()
	defer func() {
		x.lane = ""
		lane.Heal()
		x.lanes <- lane
	}()
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	for range 10 {
		if err := x.steps(ctx, n, n.Steps(), "commit.offsets", 1); err != nil {
			return err
		}
		lane.Cut()
		lane.Heal()
		if err := x.steps(ctx, n, n.Steps(), "commit.committed", 1); err != nil {
			return err
		}
	}
	return x.ended(ctx, n)
}

// refused is that of a node whose changelog takes nothing any more, while the rest of the cluster does; then it takes records again, and the
// node is started again.
func refused(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	if err != nil {
		return err
	}
	limit := func(bytes string) error {
		return x.configure(ctx, x.name+"-counts-changelog", "max.message.bytes", bytes)
	}
	if err := limit("79"); err != nil { // the markers of transactions have 78 bytes, and must be written
		return err
	}
	err = x.steps(ctx, n, nil, "undo.done", 2)
	if err := errors.Join(err, limit("1048588")); err != nil {
		return err
	}
	n.Kill()
	if n, err = busy(ctx, x); err != nil {
		return err
	}
	return x.ended(ctx, n)
}

// dying is that of a node that dies in each window in which it looks for a record that kills, until it looks at one record at a time.
func dying(ctx context.Context, x *trial) error {
	n, err := busy(ctx, x)
	for range 6 {
		if err != nil {
			return err
		}
		n.Kill()
		if n, err = x.arm(); err == nil {
			err = x.steps(ctx, n, nil, "probe.told", 1)
		}
	}
	if err == nil {
		err = x.steps(ctx, n, nil, "probe.turn", 1)
	}
	if err == nil {
		err = x.ended(ctx, n)
	}
	return err
}
