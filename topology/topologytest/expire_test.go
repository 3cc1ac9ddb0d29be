package topologytest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// tombstones is how many deletions the changelog of the bench's table has.
func tombstones(d *topologytest.Driver) (n int) {
	for _, b := range d.Records("test-table-changelog") {
		for i := range b.Records {
			if b.Value(i) == nil {
				n++
			}
		}
	}
	return n
}

// counted counts each record into its row, which a value "for D" lets expire after a time of its own, and a "!" fails.
func counted(b bench) func(ctxOf, event) error {
	return func(ctx ctxOf, ev event) error {
		if ev.Value == "look" {
			n, ok, err := b.table.Get(ctx, ev.Key)
			b.out.Send(ctx, ev.Key, fmt.Sprint(n, ok))
			return err
		}
		if d, ok := strings.CutPrefix(ev.Value, "for "); ok {
			after, err := time.ParseDuration(d)
			b.table.SetTTL(ctx, ev.Key, 100, after)
			return err
		}
		b.table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		n, ok, err := b.table.Get(ctx, ev.Key)
		b.out.Send(ctx, ev.Key, fmt.Sprint(n, ok))
		if strings.HasSuffix(ev.Value, "!") {
			return errors.New("after all not")
		}
		return err
	}
}

func TestEntriesExpireByEventTime(t *testing.T) {
	t.Parallel()
	b := newBench(topology.TTL(time.Minute, topology.EventTime))
	d := each(t, b, counted(b))
	start := d.Now()
	at := func(after time.Duration, value string) string {
		t.Helper()
		before := len(values(d, b.out))
		topologytest.PipeAt(d, b.in, start.Add(after), "k", value)
		if all := values(d, b.out); len(all) > before {
			return all[before]
		}
		return ""
	}
	require.Equal(t, "1 true", at(0, "a"))
	require.Equal(t, "2 true", at(59*time.Second, "a"))
	require.Equal(t, "2 true", at(time.Minute+58*time.Second, "look"))
	d.Advance(time.Hour) // of another clock
	require.Equal(t, map[string]int64{"k": 2}, topologytest.Table(d, b.table))
	require.Zero(t, tombstones(d))
	require.Equal(t, "0 false", at(time.Minute+59*time.Second, "look"))
	require.Empty(t, topologytest.Table(d, b.table))
	require.Equal(t, 1, tombstones(d), "what is not seen any more is gone")
	// A late record writes what has expired already; the time is known after a crash.
	d.Crash()
	require.Equal(t, "0 false", at(30*time.Second, "a"))
	require.Equal(t, "1 true", at(2*time.Minute, "a"))
	require.Equal(t, "1 true", at(10*time.Second, "look"))
	// A record that fails has not come.
	at(time.Hour, "b!")
	require.NotEmpty(t, d.Failures())
	require.Equal(t, "1 true", at(2*time.Minute, "look"))
	// A time of its own, and the table's again.
	at(2*time.Minute, "for 1s")
	require.Equal(t, "100 true", at(2*time.Minute+999*time.Millisecond, "look"))
	d.Crash()
	require.Equal(t, map[string]int64{"k": 100}, topologytest.Table(d, b.table))
	require.Equal(t, "0 false", at(2*time.Minute+time.Second, "look"))
	d.Crash()
	require.Empty(t, topologytest.Table(d, b.table))
}

func TestEntriesExpireByWallTime(t *testing.T) {
	t.Parallel()
	b := newBench(topology.TTL(time.Minute, topology.WallTime), topology.Ordered())
	d := each(t, b, counted(b))
	pipe(d, b.in, "a", "a")
	d.Advance(59 * time.Second)
	pipe(d, b.in, "look", "a")
	d.Crash()
	d.Advance(59 * time.Second)
	pipe(d, b.in, "look")
	require.Zero(t, tombstones(d))
	d.Advance(time.Second) // nothing comes: the partition deletes it for itself
	require.Empty(t, topologytest.Table(d, b.table))
	require.Equal(t, 1, tombstones(d))
	pipe(d, b.in, "look", "a")
	require.Equal(t, []string{"1 true", "2 true", "2 true", "3 true", "3 true", "0 false", "1 true"}, values(d, b.out))
	pipe(d, b.in, "for 10m")
	d.Advance(9 * time.Minute)
	require.Equal(t, map[string]int64{"k": 100}, topologytest.Table(d, b.table))
	d.Advance(time.Minute)
	require.Empty(t, topologytest.Table(d, b.table))
	d.Crash()
	require.Empty(t, topologytest.Table(d, b.table))
}

func TestSetTTLNeedsATTL(t *testing.T) {
	t.Parallel()
	b := newBench()
	d := each(t, b, func(ctx ctxOf, ev event) error { b.table.SetTTL(ctx, ev.Key, 1, time.Second); return nil })
	pipe(d, b.in, "bad")
	requireLetter(t, d, "bad", "1", "set table table: table table does not let entries expire: declare it with topology.TTL")
}

func TestSetElementsExpire(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	set := topology.NewSetTable(topo, "set", codec.String, codec.String, topology.TTL(0, topology.EventTime))
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev event) error {
		if ev.Value == "stays" {
			set.Add(ctx, ev.Key, ev.Value)
		} else {
			set.AddTTL(ctx, ev.Key, ev.Value, time.Second)
		}
		return nil
	}, topology.Writes(set))
	d := one(t, topo)
	pipe(d, in, "stays", "goes")
	require.Equal(t, map[string][]string{"k": {"goes", "stays"}}, topologytest.Set(d, set))
	d.Advance(time.Hour)
	pipe(d, in, "new")
	require.Equal(t, map[string][]string{"k": {"new", "stays"}}, topologytest.Set(d, set))
}

// An index sees a turn's own writes, loses what a failed record did, and is there after a crash.
func TestIndex(t *testing.T) {
	t.Parallel()
	type order struct{ Customer, State string }
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.JSON[order]())
	ask := topology.NewTopic(topo, "ask", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	orders := topology.NewTable(topo, "orders", codec.String, codec.JSON[order]())
	byState := topology.NewIndex(orders, "state", func(_ string, o order) string { return o.State }, codec.String)
	byCustomer := topology.NewIndex(orders, "customer", func(_ string, o order) string {
		if o.Customer == "" {
			panic("nobody's order")
		}
		return o.Customer
	}, codec.String)
	answer := func(ctx ctxOf, state string) {
		var all []string
		for key, o := range byState.Lookup(ctx, state) {
			all = append(all, key+" of "+o.Customer)
		}
		out.Send(ctx, "", strings.Join(all, ", "))
	}
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev topology.Event[string, order]) error {
		if ev.Value.State == "gone" {
			orders.Delete(ctx, ev.Key)
		} else {
			orders.Set(ctx, ev.Key, ev.Value)
		}
		answer(ctx, ev.Value.State)
		if strings.HasSuffix(ev.Key, "!") {
			return errors.New("after all not")
		}
		return nil
	}, topology.Writes(orders), topology.Sends(out))
	topology.Each(topo, "ask", ask, func(ctx ctxOf, ev event) error {
		n := 0
		for range byCustomer.Lookup(ctx, ev.Key) {
			n++
		}
		answer(ctx, ev.Value)
		out.Send(ctx, "", fmt.Sprint(n))
		return nil
	}, topology.Reads(orders), topology.Sends(out))
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	put := func(key, customer, state string) { topologytest.Pipe(d, in, key, order{customer, state}) }
	put("1", "ada", "new")
	put("2", "bob", "new")
	put("3!", "eve", "new")
	put("1", "ada", "paid")
	put("4", "", "new")
	require.Len(t, letters(d), 2)
	put("5", "ada", "new")
	put("2", "bob", "gone")
	require.Equal(t, []string{"1 of ada", "1 of ada, 2 of bob", "1 of ada", "2 of bob, 5 of ada", ""}, values(d, out))
	d.Crash()
	topologytest.Pipe(d, ask, "ada", "new")
	require.Equal(t, []string{"5 of ada", "2"}, values(d, out)[5:])
	text, err := topology.Describe(must(topo.Plan()), "text")
	require.NoError(t, err)
	require.Contains(t, text, "order, index state, index customer), changelog")
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// account is what the values of one version of a topology are.
func account[V any](values codec.Codec[V], add func(V, int64) V, opts ...topology.TableOption) (*topology.Topology, *topology.Topic[string, int64], *topology.Table[string, V]) {
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	table := topology.NewTable(topo, "table", codec.String, values, opts...)
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev topology.Event[string, int64]) error {
		table.Update(ctx, ev.Key, func(v V, _ bool) (V, error) { return add(v, ev.Value), nil })
		return nil
	}, topology.Writes(table))
	return topo, in, table
}

// balance is an amount that has come to have a currency.
type balance struct {
	Amount   int64
	Currency string
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	plain := func() (*topology.Topology, *topology.Topic[string, int64], *topology.Table[string, int64]) {
		return account(codec.Int64, func(n, by int64) int64 { return n + by })
	}
	inCents := topology.Migrate(0, codec.Int64, func(n int64) (int64, error) {
		if n < 0 {
			return 0, errors.New("a debt")
		}
		return 100 * n, nil
	})
	withCurrency := func(opts ...topology.TableOption) (*topology.Topology, *topology.Topic[string, int64], *topology.Table[string, *balance]) {
		return account(codec.JSON[*balance](), func(b *balance, by int64) *balance {
			if b == nil {
				b = &balance{Currency: "EUR"}
			}
			return &balance{b.Amount + by, b.Currency}
		}, opts...)
	}
	topo, in, _ := plain()
	d := topologytest.New(t, topo)
	for _, k := range []string{"a", "b", "c"} {
		topologytest.Pipe(d, in, k, 1)
	}

	topo, in, cents := account(codec.Int64, func(n, by int64) int64 { return n + by }, topology.Version(1), inCents)
	require.NoError(t, d.Upgrade(topo))
	require.Equal(t, map[string]int64{"a": 100, "b": 100, "c": 100}, topologytest.Table(d, cents))
	topologytest.Pipe(d, in, "b", 5)
	topologytest.Pipe(d, in, "c", 5)
	d.Crash()
	require.Equal(t, map[string]int64{"a": 100, "b": 105, "c": 105}, topologytest.Table(d, cents), "each is read as what it is")

	// From both older versions at once, into values that are kept encoded.
	steps := []topology.TableOption{
		topology.Version(2),
		topology.Migrate(0, codec.Int64, func(n int64) (*balance, error) { return &balance{100 * n, "old"}, nil }),
		topology.Migrate(1, codec.Int64, func(n int64) (*balance, error) { return &balance{n, "mid"}, nil }),
	}
	topo, in, now := withCurrency(steps...)
	require.NoError(t, d.Upgrade(topo))
	topologytest.Pipe(d, in, "c", 1)
	topologytest.Pipe(d, in, "d", 1)
	d.Crash()
	require.Equal(t, map[string]*balance{"a": {100, "old"}, "b": {105, "mid"}, "c": {106, "mid"}, "d": {1, "EUR"}}, topologytest.Table(d, now))

	// What cannot be read is refused, and named: a migration that is missing, a program that is too old, of before there were versions.
	topo, _, _ = withCurrency(steps[:2]...)
	require.ErrorContains(t, d.Upgrade(topo), "table table holds values of version 1 of its codec, and this program declares version 2: declare topology.Migrate from version 1")
	topo, _, _ = plain()
	require.ErrorContains(t, d.Upgrade(topo), "table table holds values of version 1 of its codec, and this program declares version 0: run the program that declares topology.Version(1)")
	topo, _, _ = withCurrency(append(steps[2:], topology.Version(2), topology.Migrate(0, codec.Int64, func(int64) (*balance, error) { panic("no idea") }))...)
	require.ErrorContains(t, d.Upgrade(topo), "table table: migrate a value from version 0: panic: no idea")
}
