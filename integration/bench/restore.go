package main

import (
	"context"
	"fmt"
	"os"
)

// Sizes of tables. An entry's key has 20 bytes and its value eight.
const (
	million    = 1_000_000
	entryBytes = 28
	gibibyte   = 1073.741824 // in millions of bytes
)

// restoreSuite brings a table of a million entries back on a node without files.
func restoreSuite(s settings) suite {
	x := restoreOf(s, min(million, max(s.records/2, 1000)))
	x.name, x.title = "restore", "Restore of a table, and its memory"
	slow := gokaPlain.sharing(1) // memory would say nothing with fewer entries
	slow.most = 1
	x.contenders = append(ourVariants(s), streamsEOS.sharing(1), slow)
	for _, c := range ourVariants(s) {
		x.targets = append(x.targets, alone("memory", c, 250), alone("entry", c, 60))
	}
	return x
}

// largeSuite does so with ten million entries.
func largeSuite(s settings) suite {
	slow := streamsEOS.sharing(1)
	slow.most = 1
	x := restoreOf(s, large(s))
	x.name, x.title, x.most = "restore-10m", fmt.Sprintf("Restore of a table of %d entries", large(s)), 2
	for _, c := range ourVariants(s) {
		if c.variant == exactlyOnce {
			x.contenders = append(x.contenders, c)
			x.targets = append(x.targets, alone("peak", c, 2*gibibyte), alone("entry", c, 60))
		}
	}
	x.contenders = append(x.contenders, slow)
	return x
}

// large is how many keys the largest tables have: ten million, if that many records are worth the time.
func large(s settings) int {
	if s.records == 0 {
		return 10 * million
	}
	return min(10*million, s.records*5/2)
}

func restoreOf(s settings, keys int) suite {
	x := suite{
		text: fmt.Sprintf("A contender that has counted one record for each of %d keys is started without its files: from the first partition that is restored to the last (goka: from its start). "+
			"Kafka Streams restores a changelog that the benchmark has written as it would have. Memory is what the process has resident then, with everything, and "+
			"at the most; the bytes for an entry are what lives of Go's heap, without its key and value of %d bytes. Checked: as many entries are there as there are keys, where a contender can tell; Kafka Streams tells what it has read, which may be up to a twentieth more.", keys, entryBytes),
		metrics: []metric{
			{Key: "cpu", Title: "M entries per CPU-second", Digits: 3},
			{Key: "clock", Title: "M entries/s by the clock", Digits: 3},
			{Key: "memory", Title: "resident MB", Less: true, Digits: 0},
			{Key: "peak", Title: "most MB resident", Less: true, Digits: 0},
			{Key: "entry", Title: "bytes of live heap for an entry beside key and value", Less: true, Digits: 0},
			{Key: "gc", Title: "% of CPU for garbage collection", Less: true, Digits: 1},
			{Key: "pause", Title: "longest pause of a collection in ms", Less: true, Digits: 2},
		},
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			n := keys / c.share
			return b.restore(ctx, c, j, source{kind: uniform, records: n, keys: n})
		},
	}
	for _, c := range ourVariants(s) {
		if c.variant == exactlyOnce {
			x.targets = append(x.targets, target{"cpu", c, streamsEOS, 2}, target{"clock", c, streamsEOS, 1})
		}
	}
	return x
}

// restore lets a contender bring back the counts of a source, from the changelog that it has written itself, in this round or one before.
func (b *bench) restore(ctx context.Context, c contender, j job, src source) (sample, error) {
	id := c.slug() + " " + src.topic()
	if b.counted[id] == "" {
		var err error
		if c.kind == kindStreams {
			err = b.written(ctx, c, j, src)
		} else {
			_, err = b.count(ctx, c, j, src)
		}
		if err != nil {
			return nil, err
		}
		b.counted[id] = j.Name
	}
	j.Name, j.Task, j.Source, j.Records = b.counted[id], taskRestore, src.topic(), src.records
	m, err := b.programs.run(ctx, c, j)
	if err != nil {
		return nil, err
	}
	most := src.keys
	if c.kind == kindStreams { // which tells what it has read: batches twice that it reads again after a rebalance
		most += most / 20
	}
	if n, ok := m.Figures["restored"]; ok && (int(n) < src.keys || int(n) > most) {
		return nil, fmt.Errorf("wrong result: %.0f entries are restored of %d", n, src.keys)
	}
	x := m.sample(0)
	x.perEntry(src)
	return x, os.RemoveAll(j.Dir)
}

// perEntry adds what an entry of a table takes beside its key and value.
func (x sample) perEntry(src source) {
	if heap, ok := x["heap"]; ok {
		x["entry"] = heap/float64(min(src.records, src.keys)) - entryBytes
	}
}

// written writes Kafka Streams' changelog, with a source that has nothing to say.
func (b *bench) written(ctx context.Context, c contender, j job, src source) error {
	none := src
	none.records = 0
	if err := b.cluster.fill(ctx, none); err != nil {
		return err
	}
	return b.cluster.changelog(ctx, src, c.changelog(j.Name))
}
