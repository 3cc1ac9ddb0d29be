package kafka_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

func aFailure(t *rapid.T, name string) kafka.Failure {
	text := rapid.StringN(0, 40, -1)
	return kafka.Failure{
		Topic: text.Draw(t, name+" topic"), Partition: rapid.Int32Min(0).Draw(t, name+" partition"), Offset: rapid.Int64Min(0).Draw(t, name+" offset"),
		Agent: text.Draw(t, name+" agent"), Step: kafka.StepHandler, Attempts: rapid.IntRange(0, 1e6).Draw(t, name+" attempts"),
		Error: text.Draw(t, name+" error"), Node: text.Draw(t, name+" node"),
		Time: time.Unix(0, rapid.Int64Range(0, 1<<60).Draw(t, name+" time")).UTC(),
	}
}

// A letter comes back as it was written, and the record's own headers, other letters' among them, unchanged.
func TestLetterComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := kafka.Letter{Failure: aFailure(t, "it")}
		l.Stack = rapid.StringN(0, 100, -1).Draw(t, "stack")
		for range rapid.IntRange(0, 3).Draw(t, "past") {
			l.History = append(l.History, aFailure(t, "past"))
		}
		var own []byte
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			own = kafka.AppendHeaders(own, kafka.Header{Key: rapid.SampledFrom([]string{"a", "troupe.topic", "troupe.error", ""}).Draw(t, "name"), Value: rapid.SampledFrom([][]byte{nil, {}, []byte("x")}).Draw(t, "value")})
		}
		raw, err := l.Append(append([]byte(nil), own...), len(own), 0)
		require.NoError(t, err)
		got, rest, ok, err := kafka.ParseLetter(raw)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, string(own), string(rest))
		require.Equal(t, l, got)
	})
}

// However long stack, error and history are, a letter fits its topic if the record does.
func TestLetterFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size, limit := rapid.IntRange(0, 40_000).Draw(t, "size"), rapid.IntRange(1000, 30_000).Draw(t, "limit")
		l := kafka.Letter{Failure: kafka.Failure{Topic: "orders", Agent: "pay", Step: kafka.StepHandler, Attempts: 4, Time: time.Unix(1, 0).UTC()}}
		l.Error = strings.Repeat("é", rapid.IntRange(0, 20_000).Draw(t, "error"))
		l.Stack = strings.Repeat("s", rapid.IntRange(0, 20_000).Draw(t, "stack"))
		for range rapid.IntRange(0, 30).Draw(t, "past") {
			l.History = append(l.History, kafka.Failure{Error: strings.Repeat("h", 3000), Stack: "gone"})
		}
		raw, err := l.Append(nil, size, limit)
		if err != nil {
			require.ErrorIs(t, err, kafka.ErrLetterTooLarge)
			require.Greater(t, size+1000, limit, "a bare letter is small")
			return
		}
		require.LessOrEqual(t, size+len(raw), limit)
		got, _, _, err := kafka.ParseLetter(raw)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(got.Error))
		require.LessOrEqual(t, len(got.Stack), 8<<10)
		if got.Error != l.Error && len(l.Error) <= 8<<10 {
			require.Empty(t, got.Stack, "the stack is cut first")
		}
		for _, f := range got.History {
			require.Empty(t, f.Stack)
			require.LessOrEqual(t, len(f.Error), 1<<10)
		}
	})
}

// A record is known as redriven only in the topic that it was redriven into; a trimmed batch knows it still.
func TestRedriveComesBack(t *testing.T) {
	t.Parallel()
	l := kafka.Letter{Failure: kafka.Failure{Topic: "orders", Partition: 3, Offset: 9, Agent: "pay", Attempts: 4, Error: "no", Stack: "stack", Time: time.Unix(1, 0).UTC()}}
	l.History = []kafka.Failure{{Topic: "orders", Partition: 3, Offset: 2, Agent: "pay", Attempts: 2, Error: "before", Time: time.Unix(0, 5).UTC(), Letter: "0@1"}}
	own := kafka.AppendHeaders(nil, kafka.Header{Key: "mine"}, kafka.Header{Key: "x", Value: []byte("troupe.redrive")})
	raw := kafka.NewRedrive("shop", l, kafka.Place{Offset: 17}).Append(append([]byte(nil), own...), 0, 0)

	rest, r := kafka.ParseRedrive(raw)
	require.Equal(t, own, rest)
	require.Equal(t, "shop", r.Topology)
	require.Equal(t, 6, r.Attempts)
	require.Equal(t, "0@17", r.Letter)
	require.Len(t, r.History, 2)
	require.Equal(t, "before", r.History[0].Error)
	require.Equal(t, "0@17", r.History[1].Letter)
	require.Empty(t, r.History[1].Stack)

	b := &kafka.Batch{Topic: "orders", Partition: 3}
	b.Append(10, 0, nil, nil, own)
	require.False(t, b.HasRedriven(), "a value is no header")
	b.Append(11, 0, nil, nil, raw)
	require.True(t, b.HasRedriven())
	require.Nil(t, b.Redriven(0))
	require.Equal(t, r, b.Redriven(1))
	trimmed := *b
	trimmed.Records = b.Records[1:]
	require.Equal(t, r, trimmed.Redriven(0))

	other := &kafka.Batch{Topic: "words"}
	other.Append(0, 0, nil, nil, raw)
	require.Nil(t, other.Redriven(0), "copied into another topic it means nothing")

	long := kafka.NewRedrive("shop", l, kafka.Place{Offset: 17}).Append(nil, 900, 1700)
	_, r = kafka.ParseRedrive(long)
	require.Len(t, r.History, 1, "the oldest is left out where it does not fit")
	require.Equal(t, 6, r.Attempts)
}

func TestPlacesAndReceipts(t *testing.T) {
	t.Parallel()
	p, err := kafka.ParsePlace("2@17")
	require.NoError(t, err)
	require.Equal(t, kafka.Place{Partition: 2, Offset: 17}, p)
	for _, bad := range []string{"", "17", "@", "a@1", "1@b", "-1@2", "1@-2", "1@2@3"} {
		_, err := kafka.ParsePlace(bad)
		require.ErrorContains(t, err, "PARTITION@OFFSET", bad)
	}
	want := kafka.Receipt{Letter: "2@17", Done: kafka.ReceiptDropped, Time: time.Unix(3, 4).UTC()}
	got, ok, err := kafka.ParseReceipt(want.Headers())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, want, got)
	_, ok, err = kafka.ParseReceipt(kafka.AppendHeaders(nil, kafka.Header{Key: "troupe.receipt", Value: []byte("{")}))
	require.True(t, ok)
	require.Error(t, err)
	_, ok, _ = kafka.ParseReceipt(kafka.AppendHeaders(nil, kafka.Header{Key: "x"}))
	require.False(t, ok)
}
