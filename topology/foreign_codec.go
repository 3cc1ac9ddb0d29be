package topology

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// How the topics and the table of a foreign-key join are written.

var errNotForeign = errors.New("these bytes are not of a foreign-key join")

// appendBytes appends bytes with their length; nil stays nil.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
}

// cutBytes reads what appendBytes has written, and returns what is behind it.
func cutBytes(b []byte) (part, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	switch {
	case used <= 0 || n > uint64(len(b)-used)+1:
		return nil, nil, errNotForeign
	case n == 0:
		return nil, b[used:], nil
	}
	end := used + int(n) - 1
	return b[used:end:end], b[end:], nil
}

// subscriberCodec writes the key of a subscription so that those to one key are together.
type subscriberCodec[F, K any] struct {
	foreign codec.Codec[F]
	keys    codec.Codec[K]
}

// prefix is what all subscriptions to a key begin with.
func (c subscriberCodec[F, K]) prefix(dst []byte, f F) ([]byte, error) {
	b, err := c.foreign.Append([]byte{}, f)
	return appendBytes(dst, b), err
}

// foreignPart is the key that a subscription is to, of its own key.
func (subscriberCodec[F, K]) foreignPart(key []byte) []byte {
	part, _, _ := cutBytes(key)
	return part
}

// Append implements codec.Codec.
func (c subscriberCodec[F, K]) Append(dst []byte, v subscriber[F, K]) ([]byte, error) {
	dst, err := c.prefix(dst, v.Foreign)
	if err != nil {
		return dst, err
	}
	return c.keys.Append(dst, v.Key)
}

// Decode implements codec.Codec.
func (c subscriberCodec[F, K]) Decode(b []byte) (v subscriber[F, K], err error) {
	part, rest, err := cutBytes(b)
	if err != nil {
		return v, err
	}
	if v.Foreign, err = c.foreign.Decode(part); err == nil {
		v.Key, err = c.keys.Decode(rest)
	}
	return v, err
}

// subscriptionCodec writes a subscription as it is kept.
type subscriptionCodec struct{}

// Append implements codec.Codec.
func (subscriptionCodec) Append(dst []byte, v subscription) ([]byte, error) {
	return appendBytes(binary.AppendUvarint(dst, uint64(v.Partition)), v.Hash), nil
}

// Decode implements codec.Codec.
func (subscriptionCodec) Decode(b []byte) (subscription, error) {
	v, _, err := cutSubscription(b)
	return v, err
}

func cutSubscription(b []byte) (v subscription, rest []byte, err error) {
	p, used := binary.Uvarint(b)
	if used <= 0 || p > math.MaxInt32 {
		return v, nil, errNotForeign
	}
	v.Partition = int32(p)
	v.Hash, rest, err = cutBytes(b[used:])
	return v, rest, err
}

// subscriptionOfCodec writes a subscription on its way.
type subscriptionOfCodec[K any] struct{ keys codec.Codec[K] }

// Append implements codec.Codec.
func (c subscriptionOfCodec[K]) Append(dst []byte, v subscriptionOf[K]) ([]byte, error) {
	dst, err := subscriptionCodec{}.Append(append(dst, byte(v.What)), v.subscription)
	if err != nil {
		return dst, err
	}
	return c.keys.Append(dst, v.Key)
}

// Decode implements codec.Codec.
func (c subscriptionOfCodec[K]) Decode(b []byte) (v subscriptionOf[K], err error) {
	if len(b) == 0 || b[0] < byte(unsubscribe) || b[0] > byte(answerIfThere) {
		return v, errNotForeign
	}
	v.What = instruction(b[0])
	sub, rest, err := cutSubscription(b[1:])
	if err != nil {
		return v, err
	}
	v.subscription = sub
	v.Key, err = c.keys.Decode(rest)
	return v, err
}

// responseCodec writes an answer, with the version of the right table's codec: it may be on its way while that is upgraded.
type responseCodec[R any] struct{ spec *tables.Spec[R] }

// What an answer has behind the hash.
const (
	responseNone = iota
	responseRow
	responseQuiet
)

// Append implements codec.Codec.
func (c responseCodec[R]) Append(dst []byte, v response[R]) ([]byte, error) {
	dst = appendBytes(dst, v.Hash)
	switch {
	case v.Quiet:
		return append(dst, responseQuiet), nil
	case !v.OK:
		return append(dst, responseNone), nil
	}
	return c.spec.Codec.Append(binary.AppendUvarint(append(dst, responseRow), c.spec.Version), v.Value)
}

// Decode implements codec.Codec.
func (c responseCodec[R]) Decode(b []byte) (v response[R], err error) {
	hash, rest, err := cutBytes(b)
	if err != nil || len(rest) == 0 || rest[0] > responseQuiet {
		return v, errNotForeign
	}
	if v.Hash, v.OK, v.Quiet = hash, rest[0] == responseRow, rest[0] == responseQuiet; !v.OK {
		return v, nil
	}
	version, used := binary.Uvarint(rest[1:])
	if used <= 0 {
		return v, errNotForeign
	}
	current, err := c.spec.Current(version, rest[1+used:])
	if err == nil {
		v.Value, err = c.spec.Codec.Decode(current)
	}
	return v, err
}
