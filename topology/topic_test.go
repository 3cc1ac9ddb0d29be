package topology_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

type texts = *topology.Topic[string, string]

// sending runs an agent over one record in partition 2 of 4, of time 1000, and returns what came of it.
func sending(t *testing.T, fn func(ctx ctxOf, out texts), opts ...topology.TopicOption) (*node, error) {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String, opts...)
	topology.Each(topo, "each", in, func(ctx ctxOf, _ event) error { fn(ctx, out); return nil }, topology.Sends(out))
	n := newNode(t, topo, 4, 2)
	_, err := n.run("each", record{key: "k"})
	return n, err
}

func TestSendNullAndEmpty(t *testing.T) {
	t.Parallel()
	n, err := sending(t, func(ctx ctxOf, out texts) {
		to := topology.ToPartition(3)
		out.Send(ctx, "", "", to)
		out.Send(ctx, "k", "v", to, topology.NullKey())
		out.Send(ctx, "k", "v", to, topology.NullValue())
		out.Delete(ctx, "k", to)
		out.Send(ctx, "", "", to, topology.NullKey(), topology.NullValue())
	})
	require.NoError(t, err)
	require.Equal(t, []string{"=@3", "null=v@3", "k=null@3", "k=null@3", "null=null@3"}, n.sent("out"))
}

func TestDeleteLeavesItsOptionsAlone(t *testing.T) {
	t.Parallel()
	n, err := sending(t, func(ctx ctxOf, out texts) {
		opts := make([]topology.SendOption, 0, 4)
		opts = append(opts, topology.ToPartition(0))
		out.Delete(ctx, "k", opts...)
		out.Send(ctx, "k", "v", append(opts, topology.ToPartition(1))...)
	})
	require.NoError(t, err)
	require.Equal(t, []string{"k=null@0", "k=v@1"}, n.sent("out"))
}

func TestSendToThePartitionOfTheKey(t *testing.T) {
	t.Parallel()
	keys := []string{"", "a", "b", "hello", "κλειδί"}
	for _, p := range kafka.Partitioners() {
		n, err := sending(t, func(ctx ctxOf, out texts) {
			for _, k := range keys {
				out.Send(ctx, k, "")
			}
		}, topology.WithPartitioner(p))
		require.NoError(t, err)
		for i, k := range keys {
			require.Equal(t, p.Hash([]byte(k), 4), n.out.Records[i].Partition, "%s of %q", p.Name, k)
		}
	}
}

// Records without a key are spread evenly, though each run of records, and each partition, begins anew.
func TestSendWithoutAKeySpreads(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Each(topo, "each", in, func(ctx ctxOf, _ event) error { out.Send(ctx, "", "", topology.NullKey()); return nil }, topology.Sends(out))
	n := newNode(t, topo, 4, 2)
	a := n.agent("each")
	program := a.Program()
	for range 8 {
		_, err := n.drive(a, program, n.batch(a, record{}))
		require.NoError(t, err)
	}
	var at []int32
	for _, r := range n.out.Records {
		at = append(at, r.Partition)
	}
	require.Equal(t, []int32{2, 3, 0, 1, 2, 3, 0, 1}, at)
}

func TestSendTimeAndHeaders(t *testing.T) {
	t.Parallel()
	n, err := sending(t, func(ctx ctxOf, out texts) {
		out.Send(ctx, "k", "")
		out.Send(ctx, "k", "", topology.WithTimestamp(time.UnixMilli(77)))
		out.Send(ctx, "k", "", topology.WithHeaders(kafka.Header{Key: "a", Value: []byte{}}), topology.WithHeaders(kafka.Header{Key: "b"}))
	})
	require.NoError(t, err)
	require.EqualValues(t, 1000, n.out.Records[0].Timestamp, "the record's")
	require.EqualValues(t, 77, n.out.Records[1].Timestamp)
	require.Equal(t, []kafka.Header{{Key: "a", Value: []byte{}}, {Key: "b"}}, slices.Collect(n.out.Headers(2)))
}

// A record of a format without times passes none on: brokers refuse what is before the epoch.
func TestSendOfARecordWithoutATime(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.To(topology.From(in), out)
	n := newNode(t, topo, 1, 0)
	_, err := n.run("to-out", record{key: "k", at: -1})
	require.NoError(t, err)
	require.Zero(t, n.out.Records[0].Timestamp)
}

func TestSendErrorsFailTheRecord(t *testing.T) {
	t.Parallel()
	for want, fn := range map[string]func(ctx ctxOf, out texts){
		"agent each sends a record of 1002 bytes to topic out, which takes records of at most 900: raise its max.message.bytes": func(ctx ctxOf, out texts) {
			out.Send(ctx, "kk", strings.Repeat("v", 1000))
		},
		"a record of 908 bytes": func(ctx ctxOf, out texts) {
			out.Send(ctx, "", "", topology.WithHeaders(kafka.Header{Key: "h", Value: make([]byte, 904)}))
		},
		"sends to partition 4 of topic out, which has the partitions 0 to 3":     func(ctx ctxOf, out texts) { out.Send(ctx, "", "", topology.ToPartition(4)) },
		"sends to partition -1 of topic out":                                     func(ctx ctxOf, out texts) { out.Send(ctx, "", "", topology.ToPartition(-1)) },
		"with the time 0001-01-01T00:00:00Z: it must be after the Unix epoch":    func(ctx ctxOf, out texts) { out.Send(ctx, "", "", topology.WithTimestamp(time.Time{})) },
		"with the time 1970-01-01T00:00:00Z: it must be after the Unix epoch":    func(ctx ctxOf, out texts) { out.Send(ctx, "", "", topology.WithTimestamp(time.UnixMilli(0))) },
		"agent each sends to partition 9 of topic out, which has the partitions": func(ctx ctxOf, out texts) { out.Delete(ctx, "", topology.ToPartition(9)); out.Send(ctx, "fine", "") },
	} {
		n, err := sending(t, fn)
		require.ErrorContains(t, err, want)
		var lasting interface{ Permanent() bool }
		require.ErrorAs(t, err, &lasting, "trying again would not help")
		require.True(t, lasting.Permanent())
		require.Empty(t, n.sent("out"))
	}
}

func TestSendUpToTheLimit(t *testing.T) {
	t.Parallel()
	n, err := sending(t, func(ctx ctxOf, out texts) { out.Send(ctx, "k", strings.Repeat("v", 899)) })
	require.NoError(t, err)
	require.Len(t, n.sent("out"), 1)
}

var errPicky = errors.New("too picky")

// picky is a codec that refuses to write "bad".
type picky struct{}

func (picky) Append(dst []byte, v string) ([]byte, error) {
	if v == "bad" {
		return nil, errPicky
	}
	return append(dst, v...), nil
}

func (picky) Decode(b []byte) (string, error) {
	if string(b) == "bad" {
		return "", errPicky
	}
	return string(b), nil
}

func TestCodecErrorsFailTheRecord(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", picky{}, codec.String)
	out := topology.NewTopic(topo, "out", picky{}, picky{})
	table := topology.NewTable(topo, "table", picky{}, picky{}, topology.Ordered(), topology.Local())
	var fn func(ctxOf)
	topology.Each(topo, "each", in, func(ctx ctxOf, _ topology.Event[string, string]) error { fn(ctx); return nil }, topology.Sends(out), topology.Writes(table))
	n := newNode(t, topo, 1, 0)
	for want, f := range map[string]func(ctxOf){
		"send to topic out: encode the key as string":   func(ctx ctxOf) { out.Send(ctx, "bad", "") },
		"send to topic out: encode the value as string": func(ctx ctxOf) { out.Send(ctx, "", "bad") },
		"table table: encode the key":                   func(ctx ctxOf) { table.Set(ctx, "bad", "") },
		"table table: encode the key: too picky":        func(ctx ctxOf) { table.Get(ctx, "bad") }, //nolint:errcheck // it fails the record
		"table table: encode the keys of a range":       func(ctx ctxOf) { table.Range(ctx, "a", "bad")(nil) },
		"table table: encode a prefix":                  func(ctx ctxOf) { table.Prefix(ctx, "bad")(nil) },
	} {
		fn = f
		_, err := n.run("each", record{key: "k"})
		require.ErrorIs(t, err, errPicky, want)
		require.ErrorContains(t, err, want)
	}
	_, err := n.run("each", record{key: "bad"})
	require.ErrorIs(t, err, errPicky)
	_, _, toolErr := out.Encode("bad", "")
	require.EqualError(t, toolErr, "topic out: encode the key: too picky")
	_, _, toolErr = out.Encode("", "bad")
	require.EqualError(t, toolErr, "topic out: encode the value: too picky")
	format := n.plan.Topics[1].Key
	_, toolErr = format.Format([]byte("bad"))
	require.ErrorIs(t, toolErr, errPicky)
	_, toolErr = format.Parse("{")
	require.Error(t, toolErr, "a codec without a text form is shown as JSON")
	require.EqualError(t, err, "decode the key of in/0@100 as string: too picky")
}

func TestTools(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	topic := topology.NewTopic(topo, "in", codec.String, codec.Int32)
	table := topology.NewTable(topo, "table", codec.Int32, codec.String)
	k, v, err := topic.Encode("", 7)
	require.NoError(t, err)
	require.NotNil(t, k)
	b := &kafka.Batch{Topic: "in"}
	b.Append(3, 4, k, v, nil)
	ev, err := topic.Decode(b, 0)
	require.NoError(t, err)
	require.EqualValues(t, 7, ev.Value)
	require.EqualValues(t, 3, ev.Offset())
	k, err = table.EncodeKey(nil, 9)
	require.NoError(t, err)
	key, err := table.DecodeKey(k)
	require.NoError(t, err)
	require.EqualValues(t, 9, key)
	require.Equal(t, "in", topic.Name())
	require.Equal(t, "table", table.Name())
	require.Equal(t, "test", topo.Name())
	require.Same(t, topic, topology.TopicOf[string, int32](topo, "in"))
	require.Same(t, table, topology.TableOf[int32, string](topo, "table"))
	require.PanicsWithValue(t, "topology: topology test has no topic out: there are in", func() { topology.TopicOf[string, int32](topo, "out") })
	require.PanicsWithValue(t, "topology: topology test has no table in: there are table", func() { topology.TableOf[string, int32](topo, "in") })
	require.Panics(t, func() { topology.TopicOf[string, int64](topo, "in") })
	require.Panics(t, func() { topology.TableOf[int32, int64](topo, "table") })
}
