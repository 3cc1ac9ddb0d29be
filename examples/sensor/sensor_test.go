package sensor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// What is too hot is an alarm; what has not reported for half a minute is gone from the table; each minute the leader polls all sensors once, and each
// partition with readings gives an overview.
func TestSensors(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo, topologytest.Partitions(1), topologytest.StartAt(time.Date(2026, 1, 1, 12, 0, 20, 0, time.UTC)))
	sensors := topology.TopicOf[string, Sensor](topo, "sensors")
	readings := topology.TopicOf[string, Reading](topo, "readings")
	latest := topology.TableOf[string, float64](topo, "latest")
	topologytest.Pipe(d, sensors, "attic", Sensor{"under the roof", 40})
	topologytest.Pipe(d, sensors, "cellar", Sensor{"beside the wine", 14})
	topologytest.Pipe(d, readings, "cellar", Reading{15})
	d.Advance(20 * time.Second) // 12:00:40
	topologytest.Pipe(d, readings, "attic", Reading{31})
	d.Crash()
	require.Equal(t, map[string]float64{"attic": 31, "cellar": 15}, topologytest.Table(d, latest))
	d.Advance(15 * time.Second) // 12:00:55
	require.Equal(t, map[string]float64{"attic": 31}, topologytest.Table(d, latest), "the cellar is silent")
	d.Advance(5 * time.Second) // 12:01:00
	d.Crash()
	d.Advance(50 * time.Second)
	d.Advance(10 * time.Second) // 12:02:00

	overviews := topologytest.Read(d, topology.TopicOf[int32, Overview](topo, "overviews"))
	require.Len(t, overviews, 1, "there is none of nothing")
	require.Equal(t, Overview{1, "attic", 31}, overviews[0].Value)
	polls := map[string]int{}
	for _, c := range topologytest.Read(d, topology.TopicOf[string, string](topo, "commands")) {
		polls[c.Key]++
	}
	require.Equal(t, map[string]int{"attic": 2, "cellar": 2}, polls)
	alarms := topologytest.Read(d, topology.TopicOf[string, Alarm](topo, "alarms"))
	require.Len(t, alarms, 1)
	require.Equal(t, Alarm{"beside the wine", 15}, alarms[0].Value)
	require.Empty(t, d.Failures())
}
