package confluent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

// A session's transactions are committed whole or not at all, and a later session ends the one before.
func TestSession(t *testing.T) {
	t.Parallel()
	a, d := adminOf(t)
	ctx := t.Context()
	require.NoError(t, a.Create(ctx, kafka.TopicSpec{Name: "a", Partitions: 2}, kafka.TopicSpec{Name: "small", Partitions: 1, Config: map[string]string{"max.message.bytes": "2000"}}))
	names := []string{"a", "small"}
	pair := func(value string, size int) *kafka.Outputs {
		out := new(kafka.Outputs)
		out.Append(0, 1, 5, nil, []byte(value), kafka.AppendHeaders(nil, kafka.Header{Key: "h"}))
		out.Append(1, 0, 6, []byte("k"), make([]byte, size), nil)
		return out
	}
	first, err := a.Session(ctx, "shop-redrive")
	require.NoError(t, err)
	defer first.Close()
	require.NoError(t, first.Commit(ctx, names, pair("one", 10)))
	require.ErrorContains(t, first.Commit(ctx, names, pair("two", 5000)), "over the topic's limit of 2000")
	require.NoError(t, first.Commit(ctx, names, pair("three", 10)), "an aborted transaction ends nothing")

	second, err := a.Session(ctx, "shop-redrive")
	require.NoError(t, err)
	defer second.Close()
	require.ErrorIs(t, first.Commit(ctx, names, pair("four", 10)), kafka.ErrSuperseded)
	require.NoError(t, second.Commit(ctx, names, pair("five", 10)))

	r, err := d.OpenReader()
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	require.NoError(t, r.Assign(tpOf("a", 1), 0))
	var got []string
	for end := time.Now().Add(20 * time.Second); len(got) < 3 && time.Now().Before(end); {
		b, err := r.Poll(100 * time.Millisecond)
		require.NoError(t, err)
		if b == nil {
			continue
		}
		for i := range b.Len() {
			require.Nil(t, b.Key(i))
			got = append(got, string(b.Value(i)))
		}
	}
	require.Equal(t, []string{"one", "three", "five"}, got)
}
