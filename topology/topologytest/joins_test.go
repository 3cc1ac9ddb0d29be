package topologytest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// pairs is a topology with topics left and right, whose joins go to out.
type pairs struct {
	topo             *topology.Topology
	left, right, out *topology.Topic[string, string]
}

func newPairs() *pairs {
	p := newSingle()
	p.right = topology.NewTopic(p.topo, "right", codec.String, codec.String)
	return p
}

// newSingle is newPairs without the topic right.
func newSingle() *pairs {
	p := &pairs{topo: topology.New("test")}
	p.left = topology.NewTopic(p.topo, "left", codec.String, codec.String)
	p.out = topology.NewTopic(p.topo, "out", codec.String, codec.String)
	return p
}

// tables reads both topics as tables, and makes one for their join.
func (p *pairs) tables() (left, right, joined *topology.Table[string, string]) {
	joined = topology.NewTable(p.topo, "joined", codec.String, codec.String)
	topology.To(topology.ToStream(joined), p.out)
	return topology.TableFrom(p.topo, "lefts", p.left), topology.TableFrom(p.topo, "rights", p.right), joined
}

// step is a record of the key k, and what it must make: value@time, null for a tombstone.
type step struct {
	topic string
	value string // "": null
	at    int64
	makes []string
}

// run pipes records and compares what each of them makes.
func (p *pairs) run(t *testing.T, steps ...step) *topologytest.Driver {
	t.Helper()
	d := topologytest.New(t, p.topo, topologytest.Partitions(1))
	seen := 0
	for i, s := range steps {
		var value []byte
		if s.value != "" {
			value = []byte(s.value)
		}
		d.PipeRaw(s.topic, 0, time.UnixMilli(s.at), []byte("k"), value)
		var got []string
		b := d.Records("out")[0]
		for ; seen < len(b.Records); seen++ {
			text := "null"
			if v := b.Value(seen); v != nil {
				text = string(v)
			}
			got = append(got, fmt.Sprintf("%s@%d", text, b.Records[seen].Timestamp))
		}
		require.Equal(t, s.makes, got, "record %d: %+v", i, s)
	}
	require.Empty(t, d.Failures())
	return d
}

func beside(l, r string) string { return l + "+" + r }

func besideLeft(l, r string, ok bool) string {
	if !ok {
		return l + "+none"
	}
	return beside(l, r)
}

func besideOuter(l string, hasLeft bool, r string, hasRight bool) string {
	if !hasLeft {
		return "none+" + r
	}
	return besideLeft(l, r, hasRight)
}

// SEMANTICS 1: the result of a stream-table join has the stream record's time. SEMANTICS 7: updates of the table emit nothing.
func TestStreamTableJoin(t *testing.T) {
	t.Parallel()
	p := newPairs()
	topology.To(topology.Join(topology.From(p.left), topology.TableFrom(p.topo, "rights", p.right), beside), p.out)
	p.run(
		t,
		step{"left", "l1", 5, nil},
		step{"right", "r1", 9, nil},
		step{"left", "l2", 3, []string{"l2+r1@3"}},
		step{"right", "r2", 2, nil}, // the order is that of the topic, not of time
		step{"left", "l3", 4, []string{"l3+r2@4"}},
		step{"right", "", 1, nil},
		step{"left", "l4", 6, nil},
	)
}

// SEMANTICS 1: null values are skipped on stream inputs of joins, null keys too but for a left join (KIP-962).
func TestNullsOfStreamTableJoins(t *testing.T) {
	t.Parallel()
	for left, want := range map[bool][]string{false: nil, true: {"l2+none"}} {
		p := newPairs()
		rights := topology.TableFrom(p.topo, "rights", p.right)
		if left {
			topology.To(topology.LeftJoin(topology.From(p.left), rights, besideLeft), p.out)
		} else {
			topology.To(topology.Join(topology.From(p.left), rights, beside), p.out)
		}
		d := topologytest.New(t, p.topo, topologytest.Partitions(1))
		d.PipeRaw("right", 0, time.UnixMilli(1), nil, []byte("r"))
		d.PipeRaw("right", 0, time.UnixMilli(1), []byte("k"), []byte("r"))
		d.PipeRaw("left", 0, time.UnixMilli(1), []byte("k"), nil)
		d.PipeRaw("left", 0, time.UnixMilli(1), nil, nil)
		d.PipeRaw("left", 0, time.UnixMilli(1), nil, []byte("l2"))
		var got []string
		for _, ev := range topologytest.Read(d, p.out) {
			require.True(t, ev.NullKey)
			got = append(got, ev.Value)
		}
		require.Equal(t, want, got, "left %v", left)
		require.Empty(t, d.Failures())
	}
}

// SEMANTICS 7: the inner join of tables emits nothing while the other side is missing, a tombstone when it loses a row that had one; the
// later time of both; in the order of offsets, so that time can go back.
func TestTableTableJoin(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	topology.JoinTables(left, right, joined, beside)
	d := p.run(
		t,
		step{"left", "l1", 5, nil},
		step{"left", "", 6, nil},
		step{"left", "l2", 7, nil},
		step{"right", "r1", 3, []string{"l2+r1@7"}},
		step{"right", "r2", 9, []string{"l2+r2@9"}},
		step{"left", "l3", 8, []string{"l3+r2@9"}},
		step{"right", "r3", 1, []string{"l3+r3@8"}},
		step{"left", "", 2, []string{"null@2"}},
		step{"left", "", 3, []string{"null@3"}},
		step{"right", "", 4, nil},
	)
	require.Empty(t, topologytest.Table(d, joined))
}

// SEMANTICS 7: the left join emits on every change while the left side has a value, and a tombstone when it loses it.
func TestTableTableLeftJoin(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	topology.LeftJoinTables(left, right, joined, besideLeft)
	d := p.run(
		t,
		step{"right", "r1", 5, nil},
		step{"right", "", 6, nil},
		step{"left", "", 6, nil}, // the result was and stays null
		step{"left", "l1", 4, []string{"l1+none@4"}},
		step{"right", "r2", 3, []string{"l1+r2@4"}},
		step{"right", "", 9, []string{"l1+none@9"}},
		step{"left", "", 8, []string{"null@8"}},
		step{"left", "l2", 1, []string{"l2+none@1"}},
	)
	require.Equal(t, map[string]string{"k": "l2+none"}, topologytest.Table(d, joined))
}

// SEMANTICS 7: the outer join emits for either side, a tombstone when both are gone.
func TestTableTableOuterJoin(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	topology.OuterJoinTables(left, right, joined, besideOuter)
	d := p.run(
		t,
		step{"right", "r1", 5, []string{"none+r1@5"}},
		step{"left", "l1", 4, []string{"l1+r1@5"}},
		step{"right", "", 6, []string{"l1+none@6"}},
		step{"left", "", 3, []string{"null@3"}},
		step{"left", "", 3, nil},
		step{"left", "l2", 3, []string{"l2+none@3"}},
	)
	d.Crash()
	require.Equal(t, map[string]string{"k": "l2+none"}, topologytest.Table(d, joined))
}

// SEMANTICS 1: the time of a result is that of the newest record in it, per key, through crashes.
func TestTimeOfAggregations(t *testing.T) {
	t.Parallel()
	p := newPairs()
	sums := topology.NewTable(p.topo, "sums", codec.String, codec.String)
	topology.Reduce(topology.GroupByKey(topology.From(p.left)), sums, func(x, y string) string { return x + y })
	topology.To(topology.ToStream(sums), p.out)
	topology.To(topology.From(p.right), p.out)
	d := p.run(t, step{"left", "a", 9, []string{"a@9"}}, step{"left", "b", 5, []string{"ab@9"}})
	d.Crash()
	d.PipeRaw("left", 0, time.UnixMilli(3), []byte("k"), []byte("c"))
	b := d.Records("out")[0]
	require.Equal(t, int64(9), b.Records[2].Timestamp)
	require.Equal(t, "abc", string(b.Value(2)))
}

// What agents write by hand is followed too, old and new.
func TestChangesOfATableThatAgentsWrite(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	table := topology.NewTable(topo, "table", codec.String, codec.JSON[[]string]())
	topology.Each(topo, "write", in, func(ctx *topology.Context, ev event) error {
		switch ev.Value {
		case "delete":
			table.Delete(ctx, ev.Key)
		case "update":
			table.Update(ctx, ev.Key, func(old []string, _ bool) ([]string, error) { return append(old, "updated"), nil })
		default:
			list := []string{ev.Value}
			table.Set(ctx, ev.Key, list)
			list[0] = "changed after Set"
		}
		got, ok, err := table.Get(ctx, ev.Key)
		_, _ = got, ok
		return err
	}, topology.Writes(table))
	topology.EachRow(topo, "row", topology.NewTopic(topo, "rows", codec.String, codec.String), table, func(_ *topology.Context, ev event, row *topology.Row[[]string]) error {
		if ev.Value != "look" {
			row.Set([]string{ev.Value})
		}
		return nil
	})
	topology.To(topology.Map(topology.Changes(table), func(c topology.Change[[]string]) string {
		return fmt.Sprintf("%v %v → %v %v", c.Old, !c.NullOld, c.New, !c.NullNew)
	}), out)
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	pipe(d, in, "x", "update", "delete", "delete")
	rows := topology.TopicOf[string, string](topo, "rows")
	pipe(d, rows, "look", "row")
	require.Empty(t, d.Failures())
	require.Equal(t, []string{
		"[] false → [x] true", "[x] true → [x updated] true", "[x updated] true → [] false", "[] false → [] false", "[] false → [row] true",
	}, values(d, out))
}

// A function of a join that panics does so inside the shards: its record alone is given up, and what it has done in all of them is undone.
func TestJoinThatPanics(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	topology.JoinTables(left, right, joined, func(l, r string) string {
		if l == "bad" {
			panic("bad join")
		}
		return beside(l, r)
	})
	d := topologytest.New(t, p.topo, topologytest.Partitions(1))
	pipe(d, p.right, "r")
	pipe(d, p.left, "l1", "bad")
	pipe(d, p.right, "r2")
	require.Equal(t, map[string]string{"k": "l1+r2"}, topologytest.Table(d, joined))
	require.Equal(t, map[string]string{"k": "l1"}, topologytest.Table(d, left))
	require.Equal(t, []string{"l1+r", "l1+r2"}, values(d, p.out))
	requireLetter(t, d, "bad", "4", "bad join")
}

// What cannot be joined is refused, with the mend.
func TestFaultsOfJoins(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	topology.JoinTables(left, left, joined, beside)
	topology.JoinTables[string, string, string, string](left, right, joined, nil)
	topology.JoinTables(joined, right, left, beside)
	_, err := p.topo.Plan()
	require.ErrorContains(t, err, "JoinTables joins table lefts with itself")
	require.ErrorContains(t, err, "JoinTables of tables lefts and rights into joined has no function: pass one")
	require.ErrorContains(t, err, "the changes of table lefts come back to it")
}
