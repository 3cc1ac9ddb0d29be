// Package topology is what users write: topics, tables and the agents, operators, timers and tasks between them.
//
//	t := topology.New("wordcount")
//	words := topology.NewTopic(t, "words", codec.String, codec.String)
//	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
//	topology.Each(t, "count", words, func(ctx *topology.Context, w topology.Event[string, string]) error {
//		counts.Update(ctx, w.Key, func(n int64, ok bool) (int64, error) { return n + 1, nil })
//		return nil
//	}, topology.Writes(counts))
//
// A topology is defined once, by one goroutine, and checked whole by [Topology.Plan]; afterwards it is immutable. What a
// handler asks for (sends, table writes) is held back until it returns without an error, and then committed with the offset
// of its record, all or nothing.
package topology
