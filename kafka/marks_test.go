package kafka_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

func TestMarksReadWhatTheyWrite(t *testing.T) {
	t.Parallel()
	a, b := kafka.Owner{Instance: "A", Nonce: "1"}, kafka.Owner{Instance: "B.x_-", Nonce: "2"}
	for text, want := range map[string]kafka.Mark{
		"":                 {},
		"released":         kafka.Released(),
		"A/1":              {Owners: []kafka.Owner{a}},
		"B.x_-/2 over A/1": {Owners: []kafka.Owner{b, a}},
	} {
		got, err := kafka.ParseMark(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
}

func TestMarksOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "/", "A/", "/1", "A/1 over ", " over A/1", "A/1 over released", "A/1/2", "A b/1", "Released", "A/1 over  over B/2"} {
		_, err := kafka.ParseMark(text)
		require.ErrorContains(t, err, "instance/nonce", text)
	}
}

func TestTakingNamesEachInstanceOnce(t *testing.T) {
	t.Parallel()
	a1, a2 := kafka.Owner{Instance: "A", Nonce: "1"}, kafka.Owner{Instance: "A", Nonce: "2"}
	b := kafka.Owner{Instance: "B", Nonce: "1"}
	require.Equal(t, "A/1", kafka.Mark{}.TakenBy(a1).String())
	require.Equal(t, "A/1", kafka.Released().TakenBy(a1).String())
	byB := kafka.Mark{}.TakenBy(a1).TakenBy(b)
	require.Equal(t, "B/1 over A/1", byB.String())
	require.Equal(t, byB, byB.TakenBy(b), "a take that is tried again")
	require.Equal(t, "A/2 over B/1", byB.TakenBy(a2).String(), "the older process of A is named by A's newer one")
}

func TestWhoseMark(t *testing.T) {
	t.Parallel()
	a1, a2 := kafka.Owner{Instance: "A", Nonce: "1"}, kafka.Owner{Instance: "A", Nonce: "2"}
	b := kafka.Owner{Instance: "B", Nonce: "1"}
	require.True(t, kafka.Mark{}.TakenBy(a1).IsOf(a1))
	require.False(t, kafka.Mark{}.TakenBy(a1).IsOf(a2))
	require.False(t, kafka.Mark{}.TakenBy(b).TakenBy(a1).IsOf(a1), "not yet")
	twin, ok := kafka.Mark{}.TakenBy(a2).TakenBy(b).Twin(a1)
	require.True(t, ok)
	require.Equal(t, a2, twin)
	_, ok = kafka.Mark{}.TakenBy(a1).TakenBy(b).Twin(a1)
	require.False(t, ok)
}

func TestOwnersAreChecked(t *testing.T) {
	t.Parallel()
	require.NoError(t, kafka.Owner{Instance: "node-1", Nonce: "AB12"}.Validate())
	require.ErrorContains(t, kafka.Owner{Nonce: "1"}.Validate(), "instance id")
	require.ErrorContains(t, kafka.Owner{Instance: "a/b", Nonce: "1"}.Validate(), `"a/b"`)
	require.ErrorContains(t, kafka.Owner{Instance: "a", Nonce: "1 over"}.Validate(), "nonce")
	require.Error(t, kafka.Owner{Instance: strings.Repeat("x", 250), Nonce: "1"}.Validate())
}

func FuzzParseMark(f *testing.F) {
	for _, s := range []string{"", "released", "A/1", "B/2 over A/1", " over ", "A/1 over released", "é/1", "A/1 trying 0 0 x@5 y@7", "B/2 over A/1 suspects 2 4 x@5", "released suspects 1 0 x@1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := kafka.ParseMark(text)
		if err != nil {
			return
		}
		require.Equal(t, text, m.String(), "a mark that is read is written the same")
		me := kafka.Owner{Instance: "me", Nonce: "1"}
		again, err := kafka.ParseMark(m.TakenBy(me).String())
		require.NoError(t, err)
		require.Equal(t, m.TakenBy(me), again)
	})
}
