package actors_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// with returns the lines that contain a text.
func (l *lines) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			all = append(all, line)
		}
	}
	return all
}

// Many failures are ten lines and a sum.
func TestNodeLogsStorm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	log := new(lines)
	w.logs = log
	topo := echo("storm", func(_ string) error { return topology.Permanent(errors.New("no such customer")) }, fine)
	n := w.node(t.TempDir(), topo)
	const many = 300
	values := make([]string, many)
	for i := range values {
		values[i] = strconv.Itoa(i)
	}
	w.send("in", values...)
	w.read("storm-dead-letters", many)
	w.stop(n)
	given, sum := 0, 0
	for _, line := range log.with("record given up") {
		if _, count, ok := strings.Cut(line, " count="); ok {
			require.Contains(t, line, `msg="the same again: record given up: written to the dead letters"`)
			k, err := strconv.Atoi(strings.Fields(count)[0])
			require.NoError(t, err)
			sum += k
			continue
		}
		given++
	}
	require.GreaterOrEqual(t, given, 10)
	require.Less(t, given, many, "nothing was summed up")
	require.Equal(t, many, given+sum, "all are counted")
}

// Values are in the log only when asked for.
func TestNodeLogsValues(t *testing.T) {
	t.Parallel()
	type card struct{ Number int8 }
	for _, values := range []bool{false, true} {
		t.Run(fmt.Sprint(values), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "in")
			log := new(lines)
			w.logs, w.values = log, values
			topo := topology.New("cards")
			in := topology.NewTopic(topo, "in", codec.String, codec.JSON[card]())
			topology.Each(topo, "pay", in, func(*topology.Context, topology.Event[string, card]) error {
				return topology.Permanent(errors.New("the bank is closed"))
			})
			n := w.node(t.TempDir(), topo)
			w.send("in", `{"Number":4711}`, `{"Number":47}`)
			w.read("cards-dead-letters", 2)
			w.stop(n)
			decode := log.with("offset=0")
			require.Len(t, decode, 1)
			require.Contains(t, decode[0], "decode the value of in/0@0")
			require.Equal(t, values, strings.Contains(decode[0], "4711"), decode[0])
			require.Contains(t, log.with("offset=1")[0], "the bank is closed")
			require.Equal(t, values, len(log.with(`value="{\"Number\":47}"`)) > 0)
			require.Equal(t, values, len(log.with("key=")) > 0)
		})
	}
}

// So it is with what a node ends with.
func TestNodeEndsWithoutValues(t *testing.T) {
	t.Parallel()
	type card struct{ Number int8 }
	for _, values := range []bool{false, true} {
		t.Run(fmt.Sprint(values), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "in")
			w.values = values
			topo := topology.New("cards")
			in := topology.NewTopic(topo, "in", codec.String, codec.JSON[card]())
			topology.Each(topo, "pay", in, func(*topology.Context, topology.Event[string, card]) error { return nil },
				topology.OnFailure(topology.Policy{Then: topology.StopNode}))
			n := w.node(t.TempDir(), topo)
			w.send("in", `{"Number":4711}`)
			require.Eventually(t, func() bool { return n.Err() != nil }, patience, tick)
			w.ends = n.Err()
			require.ErrorContains(t, n.Err(), "the policy of agent pay ends the node: in/0@0 failed: decode the value of in/0@0")
			require.ErrorAs(t, n.Err(), new(*topology.DecodeError))
			require.Equal(t, values, strings.Contains(n.Err().Error(), "4711"))
		})
	}
}

// What a codec says of an entry of a table may quote it, as its key may tell whose it is: neither is in the log, nor shown, unless asked for.
func TestNodeLogsNoEntries(t *testing.T) {
	t.Parallel()
	type card struct{ Number int8 }
	for _, values := range []bool{false, true} {
		t.Run(fmt.Sprint(values), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "in")
			log := new(lines)
			w.logs, w.values = log, values
			topo := topology.New("cards")
			in := topology.NewTopic(topo, "in", codec.String, codec.String)
			last := topology.NewTable(topo, "last", codec.String, codec.JSON[card]())
			topology.Each(topo, "pay", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
				last.Set(ctx, ev.Key, card{})
				return nil
			}, topology.Writes(last))
			first := w.node(t.TempDir(), topo)
			w.send("in", "a")
			w.read("cards-last-changelog", 1)
			w.stop(first)
			require.NoError(t, w.client().ProduceSync(t.Context(), &kgo.Record{
				Topic: "cards-last-changelog", Key: []byte("ada"), Value: []byte(`{"Number":4711}`),
			}).FirstErr())
			n := w.node(t.TempDir(), topo)
			require.Eventually(t, func() bool { return stopped(n)[0] != "" }, patience, tick)
			broke := log.with("partition broke")
			require.Contains(t, broke[0], "table last")
			told := strings.Join(append(broke, append(log.with("cannot be rebuilt"), stopped(n)[0])...), "\n")
			for _, secret := range []string{"4711", "ada"} {
				require.Equal(t, values, strings.Contains(told, secret), told)
			}
		})
	}
}

// planted is a key, and part of a value, that is looked for in logs.
const planted = "ada-4711"

// account is a value without references: shards keep it as it is, and encode it when they write.
type account struct{ Sum int64 }

// moody is a codec that refuses, quoting, once it is told to.
type moody struct{ refuses *atomic.Bool }

func (m moody) Append(dst []byte, a account) ([]byte, error) {
	if m.refuses.Load() {
		return nil, fmt.Errorf("no account of %s has %d", planted, a.Sum)
	}
	return strconv.AppendInt(dst, a.Sum, 10), nil
}

func (moody) Decode(b []byte) (account, error) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return account{n}, err
}

// ofNobody refuses the planted key.
type ofNobody string

// Validate implements what topics and tables ask values for.
func (o ofNobody) Validate() error {
	if o == planted {
		return fmt.Errorf("%s is nobody", string(o))
	}
	return nil
}

// Wherever errors quote keys or values, the whole log has neither, unless they are asked for.
func TestNodeLogsNothingQuoted(t *testing.T) {
	t.Parallel()
	type event = topology.Event[string, string]
	for name, run := range map[string]func(w *world, topo *topology.Topology, in *topology.Topic[string, string]){
		"a key of another partition": func(w *world, topo *topology.Topology, in *topology.Topic[string, string]) {
			table := topology.NewTable(topo, "table", codec.String, codec.Int64)
			topology.Each(topo, "agent", in, func(ctx *topology.Context, _ event) error {
				for i := range 10 {
					table.Set(ctx, planted+strconv.Itoa(i), 1)
				}
				return nil
			}, topology.Writes(table))
			w.giveUp(topo)
		},
		"a value that does not encode": func(w *world, topo *topology.Topology, in *topology.Topic[string, string]) {
			no := &atomic.Bool{}
			no.Store(true)
			out := topology.NewTopic(topo, "out", codec.String, codec.Codec[account](moody{no}))
			topology.Each(topo, "agent", in, func(ctx *topology.Context, ev event) error {
				out.Send(ctx, ev.Key, account{})
				return nil
			}, topology.Sends(out))
			w.giveUp(topo)
		},
		"a value that is not valid": func(w *world, topo *topology.Topology, in *topology.Topic[string, string]) {
			table := topology.NewTable(topo, "table", codec.String, codec.JSON[ofNobody](), topology.Local())
			topology.Each(topo, "agent", in, func(ctx *topology.Context, _ event) error {
				table.Update(ctx, "k", func(ofNobody, bool) (ofNobody, error) { return planted, nil })
				return nil
			}, topology.Writes(table))
			w.giveUp(topo)
		},
		"a value that does not encode in a table": func(w *world, topo *topology.Topology, in *topology.Topic[string, string]) {
			no := &atomic.Bool{}
			no.Store(true)
			table := topology.NewTable(topo, "table", codec.String, codec.Codec[account](moody{no}), topology.Local())
			topology.Each(topo, "agent", in, func(ctx *topology.Context, _ event) error {
				table.Update(ctx, planted, func(a account, _ bool) (account, error) { return a, nil })
				return nil
			}, topology.Writes(table))
			w.giveUp(topo)
		},
		"a checkpoint that cannot be written": func(w *world, topo *topology.Topology, in *topology.Topic[string, string]) {
			no := &atomic.Bool{}
			table := topology.NewTable(topo, "table", codec.String, codec.Codec[account](moody{no}), topology.Local())
			topology.Each(topo, "agent", in, func(ctx *topology.Context, _ event) error {
				table.Set(ctx, planted, account{7})
				return nil
			}, topology.Writes(table))
			n := w.node(w.t.TempDir(), topo)
			w.send("in", "x")
			w.read("quoted-table-changelog", 1)
			no.Store(true)
			w.stop(n)
			require.Len(w.t, w.logs.(*lines).with("last checkpoint not written"), 1) //nolint:forcetypeassert // it is
		},
		"a migration that fails": func(w *world, topo *topology.Topology, in *topology.Topic[string, string]) {
			old := topology.New("quoted")
			oldIn := topology.NewTopic(old, "in", codec.String, codec.String)
			was := topology.NewTable(old, "table", codec.String, codec.Int64, topology.Local())
			topology.Each(old, "agent", oldIn, func(ctx *topology.Context, _ event) error {
				was.Set(ctx, planted, 7)
				return nil
			}, topology.Writes(was))
			n := w.node(w.t.TempDir(), old)
			w.send("in", "x")
			w.read("quoted-table-changelog", 1)
			w.stop(n)
			table := topology.NewTable(topo, "table", codec.String, codec.String, topology.Local(), topology.Version(1),
				topology.Migrate(0, codec.Int64, func(n int64) (string, error) { return "", fmt.Errorf("%s has %d", planted, n) }))
			topology.Each(topo, "agent", in, func(*topology.Context, event) error { return nil }, topology.Writes(table))
			n = w.node(w.t.TempDir(), topo)
			require.Eventually(w.t, func() bool { return len(stopped(n)) > 0 }, patience, tick)
			for _, why := range stopped(n) {
				require.Equal(w.t, w.values, strings.Contains(why, planted), why)
			}
			w.stop(n)
		},
	} {
		for _, values := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", ", values), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 2, "in", "out")
				log := new(lines)
				w.logs, w.values = log, values
				topo := topology.New("quoted")
				run(w, topo, topology.NewTopic(topo, "in", codec.String, codec.String))
				require.Equal(t, values, len(log.with(planted)) > 0, "%v", log.with(planted))
				require.Equal(t, !values, len(log.with("a key"))+len(log.with("may quote")) > 0, "it says that there is more")
			})
		}
	}
}

// giveUp runs a topology called quoted until it has given up a record.
func (w *world) giveUp(topo *topology.Topology) {
	w.t.Helper()
	n := w.node(w.t.TempDir(), topo)
	w.send("in", "x")
	w.read("quoted-dead-letters", 1)
	w.stop(n)
}
