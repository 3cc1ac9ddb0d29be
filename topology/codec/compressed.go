package codec

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression is how Compressed compresses.
type Compression uint8

// The compressions.
const (
	Zstd Compression = iota // small: for large values that are kept
	S2                      // fast: a block of S2, which Snappy readers do not take
)

// maxInflated is what compressed bytes may grow to: a few of them can stand for gigabytes.
const maxInflated = 64 << 20

// Compressed returns a codec that compresses what another one writes, value by value. It pays for values of some hundred bytes and more
// that hold text; Kafka's own compression of batches does better where values are small and alike. What grows to more than 64 MiB is
// refused, written or read.
//
// Equal values have equal bytes in one build of a program only, so Plan refuses it for keys.
func Compressed[T any](inner Codec[T], with Compression) Codec[T] {
	c := compressed[T]{inner: inner, with: with}
	switch {
	case inner == nil:
		c.fault = errors.New("there is no codec to compress what it writes: pass one, such as codec.JSON[T]()")
	case with > S2:
		c.fault = fmt.Errorf("there is no compression %d: use codec.Zstd or codec.S2", with)
	}
	if with == Zstd {
		c.zstd = sync.OnceValues(newZstd)
	}
	c.pool = &sync.Pool{New: func() any { return new([]byte) }}
	return c
}

type compressed[T any] struct {
	inner Codec[T]
	with  Compression
	fault error
	zstd  func() (zstdPair, error)
	pool  *sync.Pool // of *[]byte: what the inner codec has written
}

// zstdPair is what any number of goroutines compress with at once.
type zstdPair struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newZstd() (p zstdPair, err error) {
	if p.enc, err = zstd.NewWriter(nil, zstd.WithLowerEncoderMem(true)); err != nil {
		return p, err
	}
	p.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxInflated), zstd.WithDecoderConcurrency(0))
	return p, err
}

// Unwrap implements Wrapper.
func (c compressed[T]) Unwrap() Codec[T] { return c.inner }

// Check implements Checker.
func (c compressed[T]) Check() error { return c.fault }

// CheckKey implements KeyChecker.
func (compressed[T]) CheckKey() error {
	return errors.New("equal values may be compressed to other bytes in another build of the program")
}

func (c compressed[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.fault != nil {
		return dst, c.fault
	}
	buf := c.pool.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in it
	defer c.pool.Put(buf)
	plain, err := c.inner.Append((*buf)[:0], v)
	if err != nil {
		return dst, err
	}
	*buf = plain
	if len(plain) > maxInflated {
		return dst, fmt.Errorf("a value of %d bytes: at most %d are compressed", len(plain), maxInflated)
	}
	if c.with == S2 {
		n := len(dst)
		dst = append(dst, make([]byte, s2.MaxEncodedLen(len(plain)))...)
		return dst[:n+len(s2.Encode(dst[n:], plain))], nil
	}
	z, err := c.zstd()
	if err != nil {
		return dst, err
	}
	return z.enc.EncodeAll(plain, dst), nil
}

func (c compressed[T]) Decode(b []byte) (v T, err error) {
	if c.fault != nil {
		return v, c.fault
	}
	plain, err := c.inflate(b)
	if err != nil {
		return v, fmt.Errorf("inflate: %w", err)
	}
	return c.inner.Decode(plain) // the bytes are its own
}

func (c compressed[T]) inflate(b []byte) ([]byte, error) {
	if c.with == S2 {
		n, err := s2.DecodedLen(b)
		if err != nil {
			return nil, err
		}
		if n > maxInflated {
			return nil, fmt.Errorf("%d bytes stand for %d: at most %d are read", len(b), n, maxInflated)
		}
		return s2.Decode(nil, b)
	}
	z, err := c.zstd()
	if err != nil {
		return nil, err
	}
	return z.dec.DecodeAll(b, nil)
}
