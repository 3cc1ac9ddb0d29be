package topologytest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// orders name their customers: the rest of a left row is its value. Those that name "-" name nobody.
type orders struct {
	topo             *topology.Topology
	left, right, out *topology.Topic[string, string]
	joined           *topology.Table[string, string]
}

func customerOf(_, order string) (string, bool) { return order[:1], order[0] != '-' }

func newOrders(outer bool, opts ...topology.TopicOption) *orders {
	x := &orders{topo: topology.New("test")}
	x.left = topology.NewTopic(x.topo, "left", codec.String, codec.String, opts...)
	x.right = topology.NewTopic(x.topo, "right", codec.String, codec.String)
	x.out = topology.NewTopic(x.topo, "out", codec.String, codec.String)
	x.joined = topology.NewTable(x.topo, "joined", codec.String, codec.String)
	lefts, rights := topology.TableFrom(x.topo, "lefts", x.left), topology.TableFrom(x.topo, "rights", x.right)
	if outer {
		topology.LeftJoinForeign(lefts, rights, x.joined, customerOf, besideLeft)
	} else {
		topology.JoinForeign(lefts, rights, x.joined, customerOf, beside)
	}
	topology.To(topology.ToStream(x.joined), x.out)
	return x
}

// put pipes a row, or a tombstone for an empty value, and returns what has come of it.
func (x *orders) put(d *topologytest.Driver, topic, key, value string) (all []string) {
	before := len(topologytest.Read(d, x.out))
	var v []byte
	if value != "" {
		v = []byte(value)
	}
	d.PipeRaw(topic, d.PartitionOf(topic, []byte(key)), d.Now(), []byte(key), v)
	for _, ev := range topologytest.Read(d, x.out)[before:] {
		if ev.NullValue {
			all = append(all, ev.Key+" null")
		} else {
			all = append(all, ev.Key+" "+ev.Value)
		}
	}
	return all
}

// SEMANTICS 7, foreign key, inner: what each kind of change of either side makes, and what it does not.
func TestForeignKeyJoin(t *testing.T) {
	t.Parallel()
	x := newOrders(false)
	d := topologytest.New(t, x.topo, topologytest.Partitions(1))
	for i, s := range []struct {
		topic, key, value string
		makes             []string
	}{
		{"left", "1", "a1", nil}, // new, nobody there: nothing
		{"right", "a", "A", []string{"1 a1+A"}},
		{"left", "2", "a2", []string{"2 a2+A"}},
		{"right", "a", "B", []string{"1 a1+B", "2 a2+B"}}, // all who have subscribed, in the order of their keys
		{"left", "1", "a3", []string{"1 a3+B"}},
		{"left", "1", "b1", []string{"1 null"}}, // another key, which is not there
		{"left", "1", "b2", nil},                // the same key, which is not there still
		{"right", "a", "", []string{"2 null"}},  // 1 has unsubscribed
		{"left", "1", "", []string{"1 null"}},   // needless: it is not known that it had not joined
		{"left", "1", "", nil},                  // it was not there
		{"left", "2", "-", []string{"2 null"}},
		{"left", "2", "-2", nil},
		{"left", "2", "a9", nil},
		{"right", "a", "C", []string{"2 a9+C"}},
	} {
		require.Equal(t, s.makes, x.put(d, s.topic, s.key, s.value), "%d: %+v", i, s)
	}
	require.Empty(t, d.Failures())
}

// SEMANTICS 7, foreign key, left: each left row has a result; one that names nobody is joined with null.
func TestForeignKeyLeftJoin(t *testing.T) {
	t.Parallel()
	x := newOrders(true)
	d := topologytest.New(t, x.topo, topologytest.Partitions(1))
	for i, s := range []struct {
		topic, key, value string
		makes             []string
	}{
		{"left", "1", "a1", []string{"1 a1+none"}},
		{"right", "a", "A", []string{"1 a1+A"}},
		{"left", "1", "-", []string{"1 -+none"}},
		{"right", "a", "B", nil},
		{"left", "1", "a2", []string{"1 a2+B"}},
		{"left", "1", "b1", []string{"1 b1+none"}},
		{"right", "a", "", nil},
		{"left", "1", "", []string{"1 null"}},
		{"left", "1", "", nil},
	} {
		require.Equal(t, s.makes, x.put(d, s.topic, s.key, s.value), "%d: %+v", i, s)
	}
	require.Empty(t, d.Failures())
}

// SEMANTICS 7: an answer to what the left row is not any more is dropped. Here one comes twice, as if it had been on its way for long.
func TestStaleForeignKeyResponseIsDropped(t *testing.T) {
	t.Parallel()
	x := newOrders(false)
	d := topologytest.New(t, x.topo, topologytest.Partitions(1))
	x.put(d, "right", "a", "A")
	require.Equal(t, []string{"1 a1+A"}, x.put(d, "left", "1", "a1"))
	const responses = "test-joined-responses-repartition"
	old := d.Records(responses)[0].Value(0)
	require.Equal(t, []string{"1 a1+A"}, x.put(d, responses, "1", string(old)), "it is what the row is")
	require.Equal(t, []string{"1 a2+A"}, x.put(d, "left", "1", "a2"))
	require.Empty(t, x.put(d, responses, "1", string(old)))
	x.put(d, "left", "1", "")
	require.Empty(t, x.put(d, responses, "1", string(old)))
	require.Empty(t, topologytest.Table(d, x.joined))
	require.Empty(t, d.Failures())
}

// Both tables are spread each in its own way, whatever partitioners and numbers of partitions, and lose their memory between any two records.
func TestForeignKeyJoinOfManyPartitions(t *testing.T) {
	t.Parallel()
	x := newOrders(true, topology.Partitions(5), topology.WithPartitioner(kafka.CRC32()))
	d := topologytest.New(t, x.topo, topologytest.Partitions(3))
	for i := range 60 {
		if i%3 == 0 {
			x.put(d, "right", string(rune('a'+i%7)), fmt.Sprint("R", i))
		} else {
			x.put(d, "left", fmt.Sprint(i%20), fmt.Sprintf("%c%d", 'a'+i%5, i))
		}
		if i%10 == 0 {
			d.Crash()
		}
	}
	require.Empty(t, d.Failures())
	want, rights := map[string]string{}, topologytest.Table(d, topology.TableOf[string, string](x.topo, "rights"))
	for k, v := range topologytest.Table(d, topology.TableOf[string, string](x.topo, "lefts")) {
		r, ok := rights[v[:1]]
		want[k] = besideLeft(v, r, ok)
	}
	require.Equal(t, want, topologytest.Table(d, x.joined))
	require.Len(t, d.Records("test-joined-responses-repartition"), 5)
	require.Len(t, d.Records("test-joined-subscriptions-repartition"), 3)
}

// A function that panics fails the record at hand alone, in either stage.
func TestForeignKeyJoinThatPanics(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	left, right := topology.NewTopic(topo, "left", codec.String, codec.String), topology.NewTopic(topo, "right", codec.String, codec.String)
	lefts, rights := topology.TableFrom(topo, "lefts", left), topology.TableFrom(topo, "rights", right)
	joined := topology.NewTable(topo, "joined", codec.String, codec.String)
	topology.JoinForeign(lefts, rights, joined, func(_, l string) (string, bool) {
		if l == "bad" {
			panic("bad key")
		}
		return "k", true
	}, func(l, r string) string {
		if r == "bad" {
			panic("bad join")
		}
		return beside(l, r)
	})
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	pipe(d, right, "r1")
	pipe(d, left, "l1", "bad")
	requireLetter(t, d, "bad", "4", "bad key")
	require.Equal(t, map[string]string{"k": "l1"}, topologytest.Table(d, lefts))
	pipe(d, right, "bad") // it is good for the right table: the answer meets its end
	require.Len(t, d.Failures(), 8)
	require.Equal(t, map[string]string{"k": "l1+r1"}, topologytest.Table(d, joined))
	pipe(d, right, "r2")
	require.Equal(t, map[string]string{"k": "l1+r2"}, topologytest.Table(d, joined))
}

// What cannot be joined is refused, with the mend.
func TestFaultsOfForeignKeyJoins(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	own := topology.NewTable(p.topo, "own", codec.String, codec.String, topology.Local())
	old := topology.NewTable(p.topo, "old", codec.String, codec.String, topology.Version(2), topology.Migrate(1, codec.String, func(s string) (string, error) { return s, nil }))
	topology.Each(p.topo, "fill", p.left, func(*topology.Context, event) error { return nil }, topology.Writes(own, old))
	topology.JoinForeign[string, string, string, string, string](left, right, joined, nil, nil)
	topology.JoinForeign(own, right, joined, customerOf, beside, topology.Named("local"))
	topology.LeftJoinForeign(old, right, joined, customerOf, besideLeft, topology.Named("older"))
	topology.JoinForeign(joined, right, left, customerOf, beside, topology.Named("round"))
	_, err := p.topo.Plan()
	require.ErrorContains(t, err, "JoinForeign of tables lefts and rights into joined lacks a function: pass both")
	require.ErrorContains(t, err, "table own is Local")
	require.ErrorContains(t, err, "rows of table old may be of another version")
	require.ErrorContains(t, err, "records go round in a loop")
}

// An answer that crosses a change of its left row is dropped, and a result that it would have taken away must not stay: here the answer that brings
// it back stands for the one that came too late.
func TestForeignKeyJoinTakesBackWhatCrossingAnswersLeave(t *testing.T) {
	t.Parallel()
	x := newOrders(false)
	d := topologytest.New(t, x.topo, topologytest.Partitions(1))
	const responses = "test-joined-responses-repartition"
	x.put(d, "right", "a", "A")
	x.put(d, "left", "1", "a1")
	old := string(d.Records(responses)[0].Value(0))
	for _, next := range []string{"a2", "-"} { // the same key, which is not there; none
		require.Equal(t, []string{"1 null"}, x.put(d, "right", "a", ""))
		require.Equal(t, []string{"1 a1+A"}, x.put(d, responses, "1", old))
		require.Equal(t, []string{"1 null"}, x.put(d, "left", "1", next), next)
		x.put(d, "left", "1", "a1")
		x.put(d, "right", "a", "A")
	}
	require.Empty(t, d.Failures())
}
