package command

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// whereIs finds the partition of a key, and another one.
func whereIs(key string) (here, elsewhere int32) {
	here = kafka.Murmur2().Hash([]byte(key), 4)
	return here, (here + 1) % 4
}

func int64Bytes(t *testing.T, n int64) []byte {
	t.Helper()
	b, err := codec.Int64.Append(nil, n)
	require.NoError(t, err)
	return b
}

// forge writes a checkpoint with entries of its own, of some offset.
func (s state) forge(partition int32, id func(*tables.Identity), offset int64, entries map[string]int64) {
	s.t.Helper()
	want := tables.Identity{Topology: "wordcount", Table: "counts", Partition: partition}
	s.change(func(ctx context.Context, admin kafka.Operator) error {
		states, err := admin.Topics(ctx, changelog)
		want.ChangelogID = states[changelog].ID
		return err
	})
	if id != nil {
		id(&want)
	}
	path := host.CheckpointFile(s.dir, "wordcount", "counts", partition)
	require.NoError(s.t, os.Remove(path))
	c, err := tables.OpenCheckpoint(tables.Files{}, path, want, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	spec := &tables.Spec[int64]{Name: "counts", Codec: codec.Int64}
	shard := tables.New(spec, tables.Config{Table: "counts"})
	ops := tables.NewOps(spec)
	for k, v := range entries {
		require.NoError(s.t, ops.Set([]byte(k), v))
	}
	require.NoError(s.t, shard.Apply(1, ops, nil))
	require.NoError(s.t, shard.Seal(1, new(kafka.Outputs)))
	shard.Committed(1)
	more, err := c.Write(shard, offset, 1000)
	require.NoError(s.t, err)
	require.False(s.t, more)
	require.NoError(s.t, c.Mark(shard, time.Now(), 24*time.Hour))
	require.NoError(s.t, c.Close())
}

// TestVerifySound: nothing is wrong with a topology that has run, whether nodes run or not.
func TestVerifySound(t *testing.T) {
	t.Parallel()
	s := ran(t)
	out := s.verified(exitClean)
	require.Contains(t, out, "ok     slot map: 9 slots, for every partition of every stage\n")
	require.Contains(t, out, "ok     offsets: 9 of 9 partitions have one")
	require.Contains(t, out, "ok     table counts: 17 keys in 4 partitions; 4 checkpoints agree with the changelog\n")
	require.NotContains(t, out, "note")

	r := s.run("verify", "--format", "json")
	require.Zero(t, r.code, r.err)
	for line := range strings.Lines(r.out) {
		var v verified
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		require.Equal(t, "ok", v.Result)
	}

	s.start()
	require.Contains(t, s.verified(exitClean), "ok     marks: 1 member, every slot is marked as its owner's")

	empty := state{t, t.TempDir()}
	out = empty.verified(exitFailed)
	require.Contains(t, out, "wrong  topics: topic lines does not exist\n       mend: make it, or start a node with --create-topics\n")
	require.Contains(t, out, "note   topics: the topology has none of its own here")
}

// TestVerifyTakesItsOwnCheckpoints: a checkpoint as a node writes it is its table's, whatever the table is declared with.
func TestVerifyTakesItsOwnCheckpoints(t *testing.T) {
	t.Parallel()
	topo := topology.New("shop")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	out := topology.NewTopic(topo, "out", codec.String, codec.Int64)
	last := topology.TableFrom(topo, "last", in, topology.Version(2))
	topology.To(topology.ToStream(last), out)
	p, err := topo.Plan()
	require.NoError(t, err)
	c := tableCheck{verify: &verify{plan: p}, table: p.Tables[0]}
	id := tables.Identity{Topology: "shop", Table: "last", Version: 2, Stamped: true}
	require.True(t, c.usable("", "", &tables.Inspected{Identity: id}, 0))
}

// TestVerifyFinds: each fault that is made by hand is found, with its mend.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	origin := ran(t)
	at, elsewhere := whereIs("be")
	checkpoint := func(s state) string { return host.CheckpointFile(s.dir, "wordcount", "counts", at) }
	seq := func(agents map[string]kafka.Ahead) string { return kafka.Meta{Seq: 3, Agents: agents}.Encode() }
	for name, c := range map[string]struct {
		spoil func(s state)
		note  bool // not a fault
		want  []string
	}{
		"damaged checkpoint": {func(s state) {
			file, err := os.ReadFile(checkpoint(s))
			require.NoError(t, err)
			file[strings.Index(string(file), "be")] ^= 4
			require.NoError(t, os.WriteFile(checkpoint(s), file, 0o600))
		}, false, []string{"counts-" + string('0'+at) + ".db is damaged: page ", "mend: delete the file"}},
		"checkpoint that differs": {func(s state) {
			tp, end := kafka.TopicPartition{Topic: changelog, Partition: at}, int64(0)
			s.change(func(ctx context.Context, admin kafka.Operator) error {
				ends, err := admin.Ends(ctx, kafka.ReadUncommitted, tp)
				end = ends[tp]
				return err
			})
			s.forge(at, nil, end, map[string]int64{"be": 7, "ghost": 1})
		}, false, []string{"that the whole changelog does not", "be (7 instead of 2)", "mend: stop the node"}},
		"checkpoint behind, that the changelog mends": {
			func(s state) { s.forge(at, nil, 0, map[string]int64{"be": 7}) }, true,
			[]string{"4 checkpoints agree"},
		},
		"checkpoint ahead": {
			func(s state) { s.forge(at, nil, 1<<40, nil) }, false,
			[]string{"is of offset 1099511627776, ahead of the changelog", "mend: "},
		},
		"checkpoint of another table": {
			func(s state) { s.forge(at, func(id *tables.Identity) { id.Table = "sums" }, 0, nil) }, false,
			[]string{"is of wordcount, table sums/", "mend: delete the file"},
		},
		"checkpoint of a changelog that is gone": {
			func(s state) { s.forge(at, func(id *tables.Identity) { id.ChangelogID = "gone" }, 0, nil) }, true,
			[]string{"is of a changelog that was deleted since"},
		},
		"checkpoint of a table that was followed": {
			func(s state) { s.forge(at, func(id *tables.Identity) { id.Stamped = true }, 0, nil) }, true,
			[]string{"was written by another version of the table (topology.Version, TTL, joins, Changes)"},
		},
		"checkpoint of no table": {func(s state) {
			require.NoError(t, os.WriteFile(strings.Replace(checkpoint(s), "counts", "sums", 1), nil, 0o600))
		}, true, []string{"belongs to no table"}},
		"key in the wrong partition": {func(s state) { s.put(changelog, elsewhere, []byte("be"), int64Bytes(t, 5)) }, false, []string{
			"1 of 18 keys are in other partitions than the partitioner murmur2 of topic words puts them", "be is in partition", "mend: send them through a topic by key",
		}},
		"offsets deleted": {func(s state) {
			s.change(func(ctx context.Context, admin kafka.Operator) error { return admin.DeleteGroup(ctx, "wordcount") })
		}, false, []string{"its changelog holds records, but its sources have no committed offsets", "mend: restore the offsets of group wordcount", "node reset --topology wordcount"}},
		"offset beyond the log": {func(s state) { s.commit("words", at, 1<<40, seq(map[string]kafka.Ahead{"count": {}})) }, false, []string{"offset 1099511627776 is committed, but the log ends at", "mend: if the topic was made anew"}},
		"records deleted unread": {func(s state) {
			s.change(func(ctx context.Context, admin kafka.Operator) error {
				return admin.DeleteRecords(ctx, map[kafka.TopicPartition]int64{{Topic: "words", Partition: at}: 1})
			})
			s.commit("words", at, 0, seq(map[string]kafka.Ahead{"count": {}}))
		}, false, []string{"but the log begins at 1: 1 records were deleted before they were read", "longer retention.ms"}},
		"metadata of another program": {func(s state) { s.commit("words", at, 1, "x y z") }, false, []string{"metadata \"x y z\" of a committed offset", "mend: stop what else commits"}},
		"reset by another program":    {func(s state) { s.commit("words", at, 1, "") }, true, []string{"was committed by another program"}},
		"progress beyond the log": {
			func(s state) {
				s.commit("words", at, 1, seq(map[string]kafka.Ahead{"count": {Beyond: []int64{1 << 30, 1<<30 + 1}}}))
			}, false,
			[]string{"agent count is through with records up to offset", "mend: "},
		},
		"ranges out of order": {
			func(s state) { s.commit("words", at, 0, seq(map[string]kafka.Ahead{"count": {Beyond: []int64{1, 1}}})) }, false,
			[]string{"agent count is through with ranges that are not in order"},
		},
		"agent that is gone": {
			func(s state) { s.commit("words", at, 1, seq(map[string]kafka.Ahead{"count": {}, "sum": {}})) }, true,
			[]string{"progress of agent sum, which this version of the topology does not have"},
		},
		"agent that was renamed": {
			func(s state) { s.commit("words", at, 1, seq(map[string]kafka.Ahead{"counter": {}})) }, false,
			[]string{"progress of agent counter, which the topology does not have, and none of count", "give it its old name"},
		},
		"mark of a node that died":  {func(s state) { s.commit("wordcount-slots", 3, 0, "ghost/1") }, true, []string{"slots 3 are marked as those of node ghost, which is no member"}},
		"mark of another program":   {func(s state) { s.commit("wordcount-slots", 3, 0, "hello") }, false, []string{`slot 3: mark "hello" of a slot`, "mend: stop what else commits"}},
		"reset that is not through": {func(s state) { k, v := kafka.ResetRecord(); s.put("wordcount-slots", 0, k, v) }, false, []string{"a reset of the topology was begun", "node reset --topology wordcount"}},
		"foreign record in the map": {func(s state) { s.put("wordcount-slots", 0, nil, []byte("hello")) }, false, []string{"slot map: topic wordcount-slots, offset", "mend: stop what else writes"}},
		"slot of another stage": {func(s state) {
			k, v := kafka.SlotEntry{Slot: 20, Stage: "lines,words"}.Encode()
			s.put("wordcount-slots", 0, k, v)
		}, false, []string{"two versions of the topology could both own it", "has 9 partitions, but the map has 21 slots"}},
		"topic that has grown": {func(s state) {
			s.change(func(ctx context.Context, admin kafka.Operator) error { return admin.Grow(ctx, "words", 6) })
		}, false, []string{"changelog wordcount-counts-changelog has 4 partitions and its table's source words has 6"}},
		"topic that is gone": {func(s state) {
			s.change(func(ctx context.Context, admin kafka.Operator) error { return admin.Delete(ctx, "lines") })
		}, false, []string{"topic lines does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := origin.clone(t)
			c.spoil(s)
			code := exitFailed
			if c.note {
				code = exitClean
			}
			out := s.verified(code)
			require.NotContains(t, out, "%!", "a message that is put together wrongly")
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
		})
	}
}

// TestVerifyMarks: a slot that its member has not marked as its own is found.
func TestVerifyMarks(t *testing.T) {
	t.Parallel()
	slot := func(n int32) kafka.TopicPartition {
		return kafka.TopicPartition{Topic: "wordcount-slots", Partition: n}
	}
	v := &verify{plan: wordcount(), group: kafka.GroupState{Stable: true, Members: []kafka.GroupMember{
		{ID: "a-1", Instance: "a", Assigned: []kafka.TopicPartition{slot(0), slot(1), slot(2), slot(3)}},
	}}}
	marks := map[int32]string{0: "a/1", 1: "b/1", 2: "a/2 over b/1", 3: "released"}
	found := v.astray(marks)
	require.Len(t, found, 3)
	require.Equal(t, `is given to member a, but its mark is "b/1"`, found[1])
	v.group.Stable = false
	require.Empty(t, v.astray(marks), "in a rebalance nothing can be said")
}

// TestVerifySequences: the sources of a slot that were not committed together are found.
func TestVerifySequences(t *testing.T) {
	t.Parallel()
	st := &plan.Stage{Key: "lines,numbers", Sources: []*plan.Topic{{Name: "lines"}, {Name: "numbers"}}}
	look := func(lines, numbers int64) (out string, faults int) {
		var b buffer
		v := &verify{cli: &cli{app: &App{Out: &b}}, plan: wordcount(), topics: map[string]kafka.TopicState{"lines": {Partitions: 1}}}
		v.committed = map[kafka.TopicPartition]kafka.Position{}
		metas := map[kafka.TopicPartition]kafka.Meta{}
		for tp, seq := range map[kafka.TopicPartition]int64{tp0: lines, tp2: numbers} {
			v.committed[tp] = kafka.Position{TopicPartition: tp, Offset: seq}
			if seq >= 0 {
				metas[tp] = kafka.Meta{Seq: seq}
			}
		}
		v.checkSeqs(st, metas)
		return b.String(), v.faults
	}
	for _, c := range []struct {
		lines, numbers int64
		want           string
	}{
		{4, 4, ""},
		{0, 4, ""}, // lines begins where a reset has said
		{-1, -1, ""},
		{4, 5, "its sources' offsets are of different bundles (lines of bundle 4; numbers of bundle 5)"},
		{-1, 5, "lines has no committed offset, but the slot's other sources have"},
	} {
		out, faults := look(c.lines, c.numbers)
		require.Contains(t, out, c.want)
		require.Equal(t, c.want != "", faults > 0, out)
	}
}

// TestVerifyNamesThePartitioner that has put all keys where they are.
func TestVerifyNamesThePartitioner(t *testing.T) {
	t.Parallel()
	for _, p := range kafka.Partitioners() {
		k := newKeyCheck(kafka.Murmur2(), 4)
		for key := range strings.FieldsSeq(counted) {
			k.add(p.Hash([]byte(key), 4), []byte(key))
		}
		if p.Name == "murmur2" {
			require.Zero(t, k.astray)
			continue
		}
		require.Positive(t, k.astray)
		require.Equal(t, p.Name, k.likely())
		k.add((p.Hash([]byte("one more"), 4)+1)%4, []byte("one more"))
		require.Empty(t, k.likely(), "one key that does not fit is enough")
	}
}
