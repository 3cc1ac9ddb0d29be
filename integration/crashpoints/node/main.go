// Command node is the node that tests end at its crash points: it counts words, as the example does, in a topology of
// whatever name --topology gives, whose topics are named after it, so that many of them can run on one broker. Lines come from any topic
// NAME-more-…, too.
package main

import (
	"os"
	"regexp"
	"slices"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

func main() {
	name := "count"
	if i := slices.Index(os.Args, "--topology"); i >= 0 && i+1 < len(os.Args) {
		name = os.Args[i+1]
	}
	troupe.Main(count(name))
}

func count(name string) *topology.Topology {
	t := topology.New(name)
	lines := topology.NewTopic(t, name+"-lines", codec.String, codec.String, topology.Partitions(2))
	more := topology.NewTopicPattern(t, "more", regexp.QuoteMeta(name)+"-more-.+", codec.String, codec.String)
	words := topology.NewTopic(t, name+"-words", codec.String, codec.String, topology.Partitions(2))
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Each(t, "split", topology.Sources(lines, more), func(ctx *topology.Context, line topology.Event[string, string]) error {
		for _, w := range wordcount.Words(line.Value) {
			words.Send(ctx, w, "")
		}
		return nil
	}, topology.Sends(words))
	topology.Each(t, "count", words, func(ctx *topology.Context, w topology.Event[string, string]) error {
		counts.Update(ctx, w.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	return t
}
