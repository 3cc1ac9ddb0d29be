package topology_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

var update = flag.Bool("update", false, "write testdata anew")

// shop has one of everything.
func shop() *topology.Topology {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.JSON[map[string]int](), topology.Partitions(6))
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	reports := topology.NewTopic(t, "reports", codec.String, codec.Int64)
	open := topology.NewTable(t, "open", codec.String, codec.Int64, topology.Ordered())
	seen := topology.NewTable(t, "seen", codec.Int32, codec.Bytes, topology.Local())
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	type order = topology.Event[string, map[string]int]
	topology.EachRow(t, "open", orders, open, func(*topology.Context, order, *topology.Row[int64]) error { return nil }, topology.Sends(lines))
	topology.Each(t, "look", orders, func(*topology.Context, order) error { return nil }, topology.Reads(open), topology.Writes(seen))
	sums := topology.NewChannel[string, int](t, "sums", topology.Capacity(100))
	topology.Each(t, "sum", orders, func(*topology.Context, order) error { return nil }, topology.Sends(sums))
	topology.Each(t, "add", sums, func(*topology.Context, topology.Event[string, int]) error { return nil }, topology.Sends(reports))
	topology.Props(t, "audit", orders, actor.PropsFromFunc(func(actor.Context) {}))
	topology.Count(topology.GroupBy(topology.FlatMap(topology.From(lines), strings.Fields), word), counts)
	topology.Every(t, "report", time.Minute, nothingAtAll, topology.Reads(open), topology.Sends(reports))
	topology.Cron(t, "nightly", "CRON_TZ=Europe/Berlin 0 4 * * *", nothingAtAll, topology.Sends(reports), topology.OnLeader())
	due := topology.NewTimers(t, "due", codec.String, codec.String, topology.EventTime)
	topology.Each(t, "remind", orders, func(*topology.Context, order) error { return nil }, topology.Writes(due))
	topology.OnTimer(t, "overdue", due, func(*topology.Context, topology.Timer[string, string]) error { return nil }, topology.Writes(due), topology.Sends(reports))
	topology.Task(t, "seed", nothingAtAll, topology.Sends(orders))
	return t
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for name, topo := range map[string]*topology.Topology{"shop": shop(), "wordcount": wordcount()} {
		p, err := topo.Plan()
		require.NoError(t, err)
		for _, format := range topology.Formats() {
			got, err := topology.Describe(p, format)
			require.NoError(t, err)
			file := filepath.Join("testdata", "describe", name+"."+format)
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "go test ./topology -update makes it")
			require.Equal(t, string(want), got, file)
		}
	}
	_, err := topology.Describe(nil, "svg")
	require.EqualError(t, err, `no format "svg": there are text, mermaid, dot, json`)
}

// No name of a type of the engine's own is shown to users.
func TestDescribeSetTable(t *testing.T) {
	t.Parallel()
	topo := topology.New("chat")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	topology.Each(topo, "join", in, func(*topology.Context, topology.Event[string, int64]) error { return nil },
		topology.Writes(topology.NewSetTable(topo, "members", codec.String, codec.Int64)))
	p, err := topo.Plan()
	require.NoError(t, err)
	for _, format := range topology.Formats() {
		text, err := topology.Describe(p, format)
		require.NoError(t, err)
		require.NotContains(t, text, "topology.")
	}
	text, err := topology.Describe(p, "text")
	require.NoError(t, err)
	require.Contains(t, text, "chat-members-changelog: changelog (string with int64 → nothing)")
}
