package world

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// grouped keeps the last record of each key in a table, whose rows move between groups: they are counted, and their numbers added up.
func grouped() *Case {
	return &Case{
		Name: "grouped",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("grouped")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			rows := topology.NewTable(t, "rows", codec.String, codec.String)
			counts, sums := topology.NewTable(t, "counts", codec.String, codec.Int64), topology.NewTable(t, "sums", codec.String, codec.Int64)
			topology.Each(t, "keep", in, func(ctx *topology.Context, e event) error {
				if strings.HasSuffix(e.Value, deleted) {
					rows.Delete(ctx, e.Key)
				} else {
					rows.Set(ctx, e.Key, e.Value)
				}
				return h.Turn(ctx, "keep", e.Value)
			}, topology.Writes(rows))
			groups := topology.GroupTable(rows, func(key, value string) (string, int64, bool) {
				fated(h, "group", key+" "+value)
				return groupOf(value)
			}, codec.Int64)
			topology.CountRows(groups, counts)
			topology.AggregateRows(
				groups, sums, func() int64 { return 0 },
				func(sum, n int64) int64 { fated(h, "add", fmt.Sprint(n)); return sum + n },
				func(sum, n int64) (int64, bool) { fated(h, "subtract", fmt.Sprint(n)); return sum - n, sum != n },
			)
			topology.To(topology.Map(topology.ToStream(counts), func(n int64) string { return fmt.Sprint(n) }), out)
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, value = someInput(r, i)
			if !isBad(value) && r.IntN(4) == 0 {
				value += deleted
			}
			return key, value
		},
		Check: checkGrouped,
	}
}

// fated fails a function that returns no error.
func fated(h *Hooks, where, what string) {
	if err := h.Fate(where, what); err != nil {
		panic(err)
	}
}

// groupOf is the group that a row is in, and its number, which is positive. Some are in none.
func groupOf(value string) (group string, n int64, ok bool) {
	i, err := strconv.ParseInt(strings.TrimPrefix(value, "r"), 10, 64)
	return fmt.Sprintf("g%d", i%3), i + 1, err == nil && i%5 > 0
}

// checkGrouped folds what was sent. Changes of one row come to a group in order, so that a group never has less than it should; those of
// different rows come in any order. Each of them changes the count by one, or by nothing if the group stays.
func checkGrouped(o *Oracle) error {
	rows, counts, sums := map[string]string{}, map[string]int64{}, map[string]int64{}
	for _, r := range o.good() {
		if strings.HasSuffix(r.Value, deleted) {
			delete(rows, r.Key)
			continue
		}
		rows[r.Key] = r.Value
		if group, _, ok := groupOf(r.Value); ok {
			counts[group] += 0 // it has had a row
		}
	}
	for _, value := range rows {
		if group, n, ok := groupOf(value); ok {
			counts[group]++
			sums[group] += n
		}
	}
	if err := o.table("rows", rows); err != nil {
		return err
	}
	if err := o.table("counts", encoded(counts)); err != nil {
		return err
	}
	now := map[string]int64{}
	for _, r := range o.Committed("out") {
		n, err := strconv.ParseInt(r.Value, 10, 64)
		if before := now[r.Key]; err != nil || n < 0 || n < before-1 || n > before+1 {
			return fmt.Errorf("out/%d@%d: group %s has %s rows, and had %d: %w", r.Partition, r.Offset, r.Key, r.Value, before, err)
		}
		now[r.Key] = n
	}
	for group, n := range counts {
		if now[group] != n {
			return fmt.Errorf("topic out: group %s has %d rows at the end, should have %d", group, now[group], n)
		}
	}
	return o.table("sums", encoded(sums))
}
