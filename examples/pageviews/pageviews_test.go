package pageviews

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func TestTablesAndReport(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	views := topology.TopicOf[string, View](topo, "views")
	reports := topology.TopicOf[int32, Report](topo, "reports")
	pages := topology.TableOf[string, PageStats](topo, "pages")
	users := topology.TableOf[string, int64](topo, "users")

	sample, err := os.ReadFile("views.jsonl")
	require.NoError(t, err)
	for line := range strings.Lines(string(sample)) {
		var v View
		require.NoError(t, json.Unmarshal([]byte(line), &v))
		topologytest.Pipe(d, views, "", v)
	}
	require.Equal(t, map[string]PageStats{"/home": {3, 30, 12}, "/docs": {2, 55, 30}}, topologytest.Table(d, pages))
	require.Equal(t, map[string]int64{"ada": 3, "grace": 1, "alan": 1}, topologytest.Table(d, users))
	require.Empty(t, topologytest.Read(d, reports), "it is not time yet")

	d.Advance(Interval)
	lines := map[string]int64{}
	for _, r := range topologytest.Read(d, reports) {
		require.Equal(t, r.Key, r.Value.Partition)
		require.Len(t, r.Value.Top, r.Value.Pages)
		for _, l := range r.Value.Top {
			lines[l.Page] = l.Views
		}
	}
	require.Equal(t, map[string]int64{"/home": 3, "/docs": 2}, lines)
	require.Empty(t, d.Failures())
}

func TestRank(t *testing.T) {
	t.Parallel()
	var all []Line
	for _, page := range []string{"d", "b", "f", "a", "e", "c"} {
		all = append(all, Line{page, PageStats{Views: 1}})
	}
	all[2].Views = 9
	r := Rank(3, all)
	require.Equal(t, 6, r.Pages)
	require.Len(t, r.Top, Top)
	require.Equal(t, "f", r.Top[0].Page)
	require.Equal(t, "a", r.Top[1].Page)
}
