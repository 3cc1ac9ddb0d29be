package actors

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// TestRightsFor: what is asked for at the start is what docs/guarantees.md grants, by the use of each topic.
func TestRightsFor(t *testing.T) {
	t.Parallel()
	p := &plan.Plan{Name: "t", Topics: []*plan.Topic{
		{Name: "in", Source: true},
		{Name: "between", Source: true, Sink: true},
		{Name: "out", Sink: true},
		{Name: "t-x-changelog", Kind: plan.Changelog},
		{Name: "t-dead-letters", Kind: plan.DeadLetters},
		{Name: "t-slots", Kind: plan.Slots},
		{Name: "t-leader", Kind: plan.Leader},
		{Name: "t-y-repartition", Kind: plan.Repartition, Source: true, Sink: true},
	}}
	needed, whole := rightsFor(p)
	ops := func(rights []kafka.Right) map[string][]string {
		by := map[string][]string{}
		for _, r := range rights {
			by[r.Name] = append(by[r.Name], r.Op)
		}
		return by
	}
	require.Equal(t, map[string][]string{
		"in": {"DescribeConfigs", "Read"}, "between": {"DescribeConfigs", "Read", "Write"}, "out": {"DescribeConfigs", "Write"},
		"t-x-changelog": {"DescribeConfigs", "Read", "Write"}, "t-dead-letters": {"DescribeConfigs", "Write"},
		"t-slots": {"DescribeConfigs", "Read", "Write"}, "t-leader": {"DescribeConfigs", "Read"}, "t-y-repartition": {"DescribeConfigs", "Read", "Write"},
		"t": {"Read", "Describe"},
	}, ops(needed))
	require.Equal(t, []string{"Describe"}, ops(whole)["in"])
	require.Equal(t, []string{"Describe", "Create", "Alter", "Delete"}, ops(whole)["t-slots"])
}

// deniedAdmin is an admin to which something is denied.
type deniedAdmin struct{ kafka.Admin }

var errDeniedNow = fmt.Errorf("read topic in: %w", kafka.ErrDenied)

func (deniedAdmin) Lacking(context.Context, []kafka.Right, []kafka.Right) error { return errDeniedNow }

func (deniedAdmin) Topics(context.Context, ...string) (map[string]kafka.TopicState, error) {
	return nil, errDeniedNow
}

// TestDeniedAtTheStart and while topics are watched: the node ends with it. An admin that cannot ask is no reason to.
func TestDeniedAtTheStart(t *testing.T) {
	t.Parallel()
	p := &plan.Plan{Name: "t"}
	require.ErrorIs(t, checkRights(t.Context(), p, deniedAdmin{}), kafka.ErrDenied)
	require.NoError(t, checkRights(t.Context(), p, struct{ kafka.Admin }{}))
	_, err := (&topics{deletions: newDeletions()}).changed(t.Context(), time.Time{}, p, deniedAdmin{})
	require.ErrorIs(t, err, kafka.ErrDenied)
}

// TestCommitterGivesUpWhatIsDenied: no bundle is blamed and none is committed again, whatever the verdict; nor when it cannot be
// found out what became of them.
func TestCommitterGivesUpWhatIsDenied(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	b := &kafka.Bundle{Slot: 1, Incarnation: 1, Seq: 1}
	gaveUp := func(t *testing.T, msg committerMessage) {
		t.Helper()
		c := newCommitterState(time.Millisecond, now)
		out := c.step(msg)
		require.Len(t, out, 1)
		up, ok := out[0].(giveUp)
		require.True(t, ok, "%T", out[0])
		require.ErrorIs(t, up.err, kafka.ErrDenied)
	}
	for _, v := range []kafka.Verdict{kafka.Aborted, kafka.Unknown} {
		gaveUp(t, Done{now, []*kafka.Bundle{b}, kafka.Outcome{Verdict: v, Err: errors.Join(errDeniedNow, errors.New("abort"))}})
	}
	gaveUp(t, Found{Now: now, Bundles: []*kafka.Bundle{b}, Err: errDeniedNow})
}
