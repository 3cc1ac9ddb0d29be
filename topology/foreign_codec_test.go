package topology

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// reread checks that what a codec decodes it writes and decodes again as the same, and that it refuses the rest without a panic.
func reread[T any](t *testing.T, c codec.Codec[T], b []byte) {
	t.Helper()
	v, err := c.Decode(b)
	if err != nil {
		return
	}
	again, err := c.Append(nil, v)
	require.NoError(t, err)
	w, err := c.Decode(again)
	require.NoError(t, err)
	require.Equal(t, v, w)
}

// FuzzInternalCodecs decodes anything as what internal topics and tables hold.
func FuzzInternalCodecs(f *testing.F) {
	for _, b := range []string{"", "\x00", "\x03\x02ab", "\x02x", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x03\x05\x00k", "\x02ak", "\x11\x00", "\x00\x01\x00v", "\x00\x02", "\x00\x01\x02v"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		reread[Change[string]](t, changeCodec[string]{values: codec.String}, b)
		reread[subscriber[string, string]](t, subscriberCodec[string, string]{codec.String, codec.String}, b)
		reread[subscription](t, subscriptionCodec{}, b)
		reread[subscriptionOf[string]](t, subscriptionOfCodec[string]{codec.String}, b)
		reread[response[string]](t, responseCodec[string]{&tables.Spec[string]{Name: "right", Codec: codec.String}}, b)
	})
}

// An answer of a version before is read by the table's migration.
func TestResponsesOfAnotherVersion(t *testing.T) {
	t.Parallel()
	before := responseCodec[string]{&tables.Spec[string]{Name: "right", Codec: codec.String, Version: 1}}
	b, err := before.Append(nil, response[string]{Hash: []byte("h"), Value: "old", OK: true})
	require.NoError(t, err)
	now := responseCodec[string]{&tables.Spec[string]{Name: "right", Codec: codec.String, Version: 2, Migrate: map[uint64]func([]byte) (string, error){
		1: func(b []byte) (string, error) { return "migrated " + string(b), nil },
	}}}
	x, err := now.Decode(b)
	require.NoError(t, err)
	require.Equal(t, response[string]{Hash: []byte("h"), Value: "migrated old", OK: true}, x)
}
