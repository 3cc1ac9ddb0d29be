package status_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/status"
)

func TestParseWanted(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]status.Wanted{"3": {Partition: 3}, "orders/3": {Stage: "orders", Partition: 3}, "a/b/0": {Stage: "a/b"}} {
		got, err := status.ParseWanted(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, s, got.String())
	}
	for _, s := range []string{"", "x", "-1", "orders/", "orders/x", "99999999999"} {
		_, err := status.ParseWanted(s)
		require.Error(t, err, s)
	}
	require.True(t, status.Wanted{Partition: 3}.Is("any", 3))
	require.False(t, status.Wanted{Stage: "orders", Partition: 3}.Is("any", 3))
}

func TestForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		require.Equal(t, want, status.Count(n))
	}
	for r, want := range map[float64]string{0: "0", 0.04: "0", 0.06: "0.1", 9.94: "9.9", 12.4: "12", 12345.6: "12,346"} {
		require.Equal(t, want, status.Rate(r))
	}
	require.Equal(t, "-", status.Clock(time.Time{}))
	require.Len(t, status.Clock(time.Now()), 8)
	require.Len(t, status.Clock(time.Now().Add(-25*time.Hour)), 19)
}

// Partitions that nobody who answers has are shown: as unassigned if everybody answers.
func TestMissingPartitions(t *testing.T) {
	t.Parallel()
	a := status.Answer{Nodes: []status.Node{{Topology: "shop", All: []string{"a/0", "a/1"}, Partitions: []status.Partition{{Stage: "a", State: status.Running}}}}}
	o := status.Overviews(a)[0]
	require.Equal(t, "1 node, 2 partitions (1 running, 1 unassigned), lag 0 or more, 0 records/s in, 0 out", o.Headline)
	require.Equal(t, "a/1", o.Rows[1].Name)
	a.Unreachable = []status.Unreachable{{Topology: "shop", Instance: "b"}, {Topology: "zoo", Instance: "c"}}
	all := status.Overviews(a)
	require.Len(t, all, 2)
	require.Equal(t, "2 nodes (1 unreachable: what they have is not shown), 2 partitions (1 running, 1 unknown), lag 0 or more, 0 records/s in, 0 out", all[0].Headline)
	require.Equal(t, "zoo", all[1].Name)
	a.Unreachable = []status.Unreachable{{Topology: "shop", Why: "no broker"}} // who else there is, is not known
	require.Contains(t, status.Overviews(a)[0].Headline, "1 node or more, 2 partitions (1 running, 1 unknown)")
}

// A lag that is not known is not 0.
func TestUnknownLag(t *testing.T) {
	t.Parallel()
	of := func(p status.Partition) string {
		n := status.Node{Topology: "shop", All: []string{p.Name()}, Partitions: []status.Partition{p}}
		return status.Overviews(status.Answer{Nodes: []status.Node{n}})[0].Headline
	}
	require.Contains(t, of(status.Partition{Stage: "a", State: status.Busy, Lag: -1}), "lag 0 or more")
	require.NotContains(t, of(status.Partition{Stage: "a", State: status.Running}), "or more")
	require.NotContains(t, of(status.Partition{Stage: status.Leader, State: status.Running, Lag: -1}), "or more")
	require.Contains(t, status.Overviews(status.Answer{Nodes: []status.Node{{Topology: "shop", State: status.Starting}}})[0].Headline, "or more")
}
