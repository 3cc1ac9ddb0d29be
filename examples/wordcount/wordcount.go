// Package wordcount counts words: the smallest topology that has everything, a stateless agent, a topic between two
// stages, and a table that survives crashes with counts that stay right.
package wordcount

import (
	"strings"
	"unicode"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Topology counts the words of the topic lines in the table counts. The topic words, keyed by word, lies between: it brings all
// occurrences of a word to one partition.
func Topology() *topology.Topology {
	t := topology.New("wordcount")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)

	topology.Agent(t, "split", lines, func(ctx *topology.Context, in topology.Stream[string, string]) error {
		for line := range in.All() {
			for _, w := range Words(line.Value) {
				words.Send(ctx, w, "")
			}
		}
		return nil
	}, topology.Sends(words))
	topology.Each(t, "count", words, func(ctx *topology.Context, w topology.Event[string, string]) error {
		counts.Update(ctx, w.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	return t
}

// Words returns the words of a line in order: runs of Unicode letters and digits, in lower case.
func Words(line string) []string {
	words := strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, w := range words {
		words[i] = strings.ToLower(w)
	}
	return words
}
