package command

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// A set table is shown by its keys and elements, however its rows are framed.
func TestSetTablesAreShown(t *testing.T) {
	t.Parallel()
	topo := topology.New("chat")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	members := topology.NewSetTable(topo, "members", codec.String, codec.Int64)
	topology.Each(topo, "join", in, func(ctx *topology.Context, e topology.Event[string, int64]) error {
		members.Add(ctx, e.Key, e.Value)
		return nil
	}, topology.Writes(members))
	p, err := topo.Plan()
	require.NoError(t, err)
	b := &kafka.Batch{Topic: "chat-members-changelog"}
	add := func(room string, who int64, value []byte) {
		row := append([]byte{byte(len(room))}, room...)
		row, err := codec.Int64.Append(row, who)
		require.NoError(t, err)
		b.Append(int64(b.Len()), 0, row, value, nil)
	}
	add("b", 3, []byte{})
	add("b", 7, []byte{})
	add("a", 3, []byte{})
	add("a", 7, []byte{})
	add("a", 3, nil)
	table, image, shown := p.Tables[0], tableImage{}, &bytes.Buffer{}
	require.NoError(t, image.take(table)(b))
	require.NoError(t, newChanges(shown, table, false).print(b))
	require.Equal(t, "b\t3\nb\t7\na\t3\na\t7\na\t3 (deleted)\n", shown.String())
	get := func(format string, keys ...string) (string, error) {
		var out bytes.Buffer
		c := &cli{app: &App{Out: &out}}
		err := c.printKeys(table, image, format, keys)
		return out.String(), err
	}
	out, err := get("tsv", "b", "a")
	require.NoError(t, err)
	require.Equal(t, "b\t3\nb\t7\na\t7\n", out)
	out, err = get("table", "a")
	require.NoError(t, err)
	require.Equal(t, "KEY  ELEMENT\na    7\n", out)
	out, err = get("table", "c")
	require.EqualError(t, err, `table members has no key "c"`)
	require.Empty(t, out, "no heading of nothing")
	out, err = get("json", "a")
	require.NoError(t, err)
	require.JSONEq(t, `[{"key": "a", "element": 7}]`, out)
	_, err = get("tsv", "c")
	require.EqualError(t, err, `table members has no key "c"`)
}

// A global table has no entries of its own to show: the command says where they are.
func TestGlobalTablesAreTopics(t *testing.T) {
	t.Parallel()
	topo := topology.New("shop")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	all := topology.NewGlobalTable(topo, "all", topology.NewTopic(topo, "catalog", codec.String, codec.Int64))
	topology.Each(topo, "look", in, func(*topology.Context, topology.Event[string, int64]) error { return nil }, topology.Reads(all))
	p, err := topo.Plan()
	require.NoError(t, err)
	_, err = tableOf(p, "all")
	require.EqualError(t, err, "all is a global table, a copy of topic catalog: look at that with tail catalog --once")
	_, err = tableOf(p, "al")
	require.EqualError(t, err, `unknown table "al": there is none`)
}

// A channel is no topic that somebody could send to: the command says so, and what to use.
func TestChannelsAreInMemory(t *testing.T) {
	t.Parallel()
	topo := topology.New("shop")
	in, out := topology.NewTopic(topo, "in", codec.String, codec.Int64), topology.NewTopic(topo, "out", codec.String, codec.Int64)
	pipe := topology.NewChannel[string, int64](topo, "pipe")
	nothing := func(*topology.Context, topology.Event[string, int64]) error { return nil }
	topology.Each(topo, "feed", in, nothing, topology.Sends(pipe))
	topology.Each(topo, "read", pipe, nothing, topology.Sends(out))
	p, err := topo.Plan()
	require.NoError(t, err)
	_, err = topicOf(p, "pipe")
	require.EqualError(t, err, `"pipe" is a channel, in memory between agents: nothing from outside gets into it: define it with topology.Puts, or use a topic that the topology reads, such as in`)
	_, err = (&cli{}).openFeed(p, "pipe=file")
	require.ErrorContains(t, err, `--feed: "pipe" is a channel`)
}

// A channel that takes records from outside is sent and fed to by its name; the topic behind it is internal.
func TestChannelsThatTakeRecords(t *testing.T) {
	t.Parallel()
	topo := topology.New("shop")
	pipe := topology.NewChannel[string, int64](topo, "pipe", topology.Puts(codec.String, codec.Int64))
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Each(topo, "read", pipe, func(ctx *topology.Context, e topology.Event[string, int64]) error {
		counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + e.Value, nil })
		return nil
	}, topology.Writes(counts))
	p, err := topo.Plan()
	require.NoError(t, err)
	require.Equal(t, []string{"pipe"}, externalNames(p))
	require.Equal(t, []string{"pipe"}, sourceNames(p))
	_, err = (&cli{}).openFeed(p, "shop-pipe-puts=file")
	require.ErrorContains(t, err, `topic "shop-pipe-puts" is internal to the topology`)

	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "taps.tsv")
	require.NoError(t, os.WriteFile(file, []byte("ann\t1\nbob\t2\nann\t3\n"), 0o600))
	at := func(args ...string) result {
		return runWith(t.Context(), nil, []Topology{topo}, append(args, "--topology", "shop", "--data-dir", dir)...)
	}
	r := at("--feed", "pipe="+file, "--feed-keyed", "--drain", "--http", "off")
	require.Zero(t, r.code, r.err)
	r = at("scan", "counts", "--format", "tsv")
	require.Zero(t, r.code, r.err)
	require.Equal(t, "ann\t4\nbob\t2\n", r.out)
}

// The faults of a topology are a line each, with their number; one alone is told in one line.
func TestFaultsAreLines(t *testing.T) {
	t.Parallel()
	say := func(topo *topology.Topology) string {
		var errs bytes.Buffer
		app := &App{Name: "node", Topologies: []Topology{topo}, In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: &errs}
		require.Equal(t, exitFailed, app.Run(t.Context(), []string{"describe"}))
		return errs.String()
	}
	topo := topology.New("faulty")
	require.Equal(t, "node: topology faulty cannot run: topology faulty has no agents: nothing would happen\n", say(topo))
	topology.NewTable(topo, "totals", codec.String, codec.Int64)
	require.Equal(t, `node: topology faulty cannot run: it has 2 faults
  topology faulty has no agents: nothing would happen
  table totals is written by no agent: declare topology.Writes(totals) where it is, or remove it
`, say(topo))
}
