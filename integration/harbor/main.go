// Command harbor is a node with the topology of a test: a pattern of topics, whose records are passed on, and counted behind a topic of its own. Its command
// line is that of node.
package main

import (
	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// harbor takes what ships bring, each of which has a topic.
func harbor() *topology.Topology {
	t := topology.New("harbor")
	ships := topology.NewTopicPattern(t, "ships", `ship\..+`, codec.String, codec.String)
	landed := topology.NewTopic(t, "landed", codec.String, codec.String, topology.Partitions(2))
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.To(topology.From(ships), landed)
	topology.Count(topology.GroupBy(topology.From(ships), func(good string) string { return good[:1] }), counts)
	return t
}

func main() { troupe.Main(harbor()) }
