package topologytest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// payment refuses to be negative.
type payment struct {
	Amount int    `json:"amount"`
	Card   string `json:"card" troupe:"secret"`
}

func (p payment) Validate() error {
	if p.Amount < 0 {
		return errors.New("the amount is negative")
	}
	return nil
}

type paymentEvent = topology.Event[string, payment]

// codecsOfPayments are codecs whose values are asked all the same.
func codecsOfPayments() map[string]codec.Codec[payment] {
	return map[string]codec.Codec[payment]{
		"json": codec.JSON[payment](), "strict": codec.JSONWith[payment](codec.JSONOptions{Strict: true}), "cbor": codec.CBOR[payment](),
		"compressed": codec.Compressed(codec.JSON[payment](), codec.Zstd),
	}
}

func TestInvalidValuesAreNotRead(t *testing.T) {
	t.Parallel()
	for name, c := range codecsOfPayments() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topo := topology.New("test")
			in := topology.NewTopic(topo, "in", codec.String, c)
			sum := 0
			topology.Each(topo, "agent", in, func(_ ctxOf, ev paymentEvent) error { sum += ev.Value.Amount; return nil })
			d := one(t, topo)
			topologytest.Pipe(d, in, "k", payment{Amount: 20})
			bad, err := c.Append(nil, payment{Amount: -1})
			require.NoError(t, err)
			d.PipeRaw("in", 0, d.Now(), []byte("k"), bad)
			topologytest.Pipe(d, in, "k", payment{Amount: 3})
			require.Equal(t, 23, sum)
			l := requireLetter(t, d, string(bad), "1", "decode the value of in/0@1 as topologytest_test.payment: it is not valid: the amount is negative")
			require.Equal(t, "decode", l.headers["troupe.step"])

			_, _, err = in.Encode("k", payment{Amount: -1})
			require.ErrorContains(t, err, "topic in: encode the value: it is not valid")
		})
	}
}

func TestInvalidValuesAreNotWritten(t *testing.T) {
	t.Parallel()
	for name, c := range codecsOfPayments() {
		for way, says := range map[string]string{
			"send": "send to topic out: encode the value as topologytest_test.payment: it is not valid: the amount is negative", "set": "set table table: encode the value: it is not valid",
			"update": "table table, key \"k\": it is not valid", "row": "it is not valid",
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				topo := topology.New("test")
				in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
				out := topology.NewTopic(topo, "out", codec.String, c)
				table := topology.NewTable(topo, "table", codec.String, c)
				if way == "row" {
					topology.EachRow(topo, "agent", in, table, func(_ ctxOf, ev topology.Event[string, int64], row *topology.Row[payment]) error {
						row.Set(payment{Amount: int(ev.Value)})
						return nil
					}, topology.Sends(out))
				} else {
					topology.Each(topo, "agent", in, func(ctx ctxOf, ev topology.Event[string, int64]) error {
						p := payment{Amount: int(ev.Value)}
						switch way {
						case "send":
							out.Send(ctx, ev.Key, p)
						case "set":
							table.Set(ctx, ev.Key, p)
						case "update":
							table.Update(ctx, ev.Key, func(payment, bool) (payment, error) { return p, nil })
						}
						return nil
					}, topology.Sends(out), topology.Writes(table))
				}
				d := one(t, topo)
				for _, n := range []int64{1, -1, 2} {
					topologytest.Pipe(d, in, "k", n)
				}
				requireLetter(t, d, "\xff\xff\xff\xff\xff\xff\xff\xff", "1", says)
				if way == "send" {
					require.Len(t, topologytest.Read(d, out), 2)
				} else {
					require.Equal(t, map[string]payment{"k": {Amount: 2}}, topologytest.Table(d, table))
				}
				d.Crash()
				require.Len(t, letters(d), 1)
			})
		}
	}
}

// outage is a codec that needs something which is not to be had now.
type outage struct{ err *error }

func (o outage) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), *o.err }
func (o outage) Decode(b []byte) (string, error)             { return string(b), *o.err }

// A codec's outage holds the record back: it is no dead letter.
func TestACodecsOutageIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"in", "out", "table"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			down := topology.Unavailable(errors.New("the registry is down"))
			var fine error
			codecs := map[string]codec.Codec[string]{"in": outage{&fine}, "out": outage{&fine}, "table": outage{&fine}}
			codecs[where] = outage{&down}
			topo := topology.New("test")
			in := topology.NewTopic(topo, "in", codec.String, codecs["in"])
			out := topology.NewTopic(topo, "out", codec.String, codecs["out"])
			table := topology.NewTable(topo, "table", codec.String, codecs["table"])
			topology.Each(topo, "agent", in, func(ctx ctxOf, ev event) error {
				out.Send(ctx, ev.Key, ev.Value)
				table.Set(ctx, ev.Key, ev.Value)
				return nil
			}, topology.Sends(out), topology.Writes(table))
			d := topologytest.New(t, topo, topologytest.Partitions(1), topologytest.WithBackoff())
			d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("v"))
			for range 10 {
				d.Advance(10 * time.Second)
			}
			require.Empty(t, letters(d))
			require.NotEmpty(t, d.Failures())
			require.ErrorContains(t, d.Failures()[0], "the registry is down")
			down = nil
			d.Advance(10 * time.Second)
			require.Empty(t, letters(d))
			require.Equal(t, []string{"v"}, values(d, out))
		})
	}
}

// Keys whose bytes may change are refused, where keys are written.
func TestKeysThatAreNotDeterministic(t *testing.T) {
	t.Parallel()
	type key = *wrapperspb.StringValue
	build := func(c codec.Codec[key]) error {
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", c, codec.String)
		out := topology.NewTopic(topo, "out", c, codec.String)
		table := topology.NewTable(topo, "table", c, codec.String)
		topology.Each(topo, "agent", in, func(_ ctxOf, _ topology.Event[key, string]) error { return nil }, topology.Sends(out), topology.Writes(table))
		_, err := topo.Plan()
		return err
	}
	err := build(codec.Proto[key]())
	require.ErrorContains(t, err, "topic out is sent to, and the codec of its keys cannot be used for keys: equal Protobuf messages may have other bytes in another build of the program; use another one")
	require.ErrorContains(t, err, "table table: the codec of its keys cannot be used for keys")
	require.NotContains(t, err.Error(), "topic in ", "they are read only")
	require.NoError(t, build(codec.ForKeys(codec.Proto[key]())))

	topo := topology.New("test")
	topology.NewTopic(topo, "in", codec.String, codec.Compressed[string](nil, codec.Zstd))
	_, err = topo.Plan()
	require.ErrorContains(t, err, "topic in: the codec of its values: there is no codec to compress what it writes")
}

// What commands and logs show has no secrets, and values are still told apart.
func TestSecretsInThePlan(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.JSON[payment]())
	topology.Each(topo, "agent", in, func(ctxOf, paymentEvent) error { return nil })
	p, err := topo.Plan()
	require.NoError(t, err)
	text := p.Topics[0].Value
	s, err := text.Format([]byte(`{"amount":1,"card":"4111"}`))
	require.NoError(t, err)
	require.Equal(t, `{"amount":1,"card":"***"}`, s)
	s, err = text.Format([]byte(`{"amount":-1,"card":"4111"}`))
	require.NoError(t, err)
	require.Equal(t, `{"amount":-1,"card":"***"}`, s, "what is not valid can be looked at")
	require.True(t, text.Secrets)
	require.False(t, p.Topics[0].Key.Secrets)
	require.True(t, text.Same([]byte(`{"amount":1,"card":"4111"}`), []byte(`{"card":"4111","amount":1}`)))
	require.False(t, text.Same([]byte(`{"amount":1,"card":"4111"}`), []byte(`{"amount":1,"card":"4112"}`)))
	require.False(t, text.Same([]byte(`{`), []byte(`{`)))
	_, err = text.Parse(`{"amount":-1}`)
	require.ErrorContains(t, err, "it is not valid")
	b, err := text.Parse(`{"amount":1,"card":"4111"}`)
	require.NoError(t, err)
	require.Contains(t, string(b), "4111")
}
