package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// The codecs of plain types. Numbers are big-endian, as Kafka's own serializers write them; they do not sort by their bytes
// where they are negative. Of floats as keys: 0 and -0 are equal, and have two encodings.
var (
	String  Codec[string]  = stringCodec{}
	Bytes   Codec[[]byte]  = bytesCodec{}
	Int64   Codec[int64]   = int64Codec{}
	Int32   Codec[int32]   = int32Codec{}
	Float64 Codec[float64] = float64Codec{}
)

type stringCodec struct{}

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

func (stringCodec) Decode(b []byte) (string, error) {
	if len(b) == 0 {
		return "", nil
	}
	return unsafe.String(&b[0], len(b)), nil // the bytes never change
}

func (stringCodec) Format(v string) string         { return v }
func (stringCodec) Parse(s string) (string, error) { return s, nil }

type bytesCodec struct{}

func (bytesCodec) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

// Decode makes a copy in the form that the compiler has a short way for.
func (bytesCodec) Decode(b []byte) ([]byte, error) {
	v := make([]byte, len(b))
	copy(v, b)
	return v, nil
}

// base64Mark stands before bytes that are written in base64.
const base64Mark = "base64:"

// Format returns the bytes as text if they are, else in base64 with a mark before it.
func (bytesCodec) Format(v []byte) string {
	if utf8.Valid(v) && !bytes.HasPrefix(v, []byte(base64Mark)) {
		return string(v)
	}
	return base64Mark + base64.StdEncoding.EncodeToString(v)
}

func (bytesCodec) Parse(s string) ([]byte, error) {
	text, ok := strings.CutPrefix(s, base64Mark)
	if !ok {
		return []byte(s), nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not base64: %w", s, err)
	}
	return b, nil
}

func size(b []byte, want int, name string) error {
	if len(b) != want {
		return fmt.Errorf("%s has %d bytes, got %d: was it written with another codec?", name, want, len(b))
	}
	return nil
}

// parsed names the type that a text could not be read as.
func parsed[T any](v T, err error, s, name string) (T, error) {
	if err != nil {
		return v, fmt.Errorf("%q is not %s: %w", s, name, errors.Unwrap(err)) // strconv's own message repeats the text
	}
	return v, nil
}

type int64Codec struct{}

func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (int64Codec) Decode(b []byte) (int64, error) {
	if err := size(b, 8, "an int64"); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func (int64Codec) Format(v int64) string { return strconv.FormatInt(v, 10) }

func (int64Codec) Parse(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	return parsed(n, err, s, "an int64")
}

type int32Codec struct{}

func (int32Codec) Append(dst []byte, v int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
}

func (int32Codec) Decode(b []byte) (int32, error) {
	if err := size(b, 4, "an int32"); err != nil {
		return 0, err
	}
	return int32(binary.BigEndian.Uint32(b)), nil
}

func (int32Codec) Format(v int32) string { return strconv.FormatInt(int64(v), 10) }

func (int32Codec) Parse(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	return parsed(int32(n), err, s, "an int32")
}

type float64Codec struct{}

func (float64Codec) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

func (float64Codec) Decode(b []byte) (float64, error) {
	if err := size(b, 8, "a float64"); err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

func (float64Codec) Format(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func (float64Codec) Parse(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	return parsed(f, err, s, "a float64")
}
