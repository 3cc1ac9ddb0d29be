// Package codec turns keys and values into the bytes of Kafka records and back.
package codec

// Codec turns values of one type into bytes and back. Implementations are safe for use by many goroutines at once.
//
// A null key or value never reaches a codec: the engine keeps null and empty apart by itself.
type Codec[T any] interface {
	// Append appends the encoding of v to dst and returns the extended slice. It must not keep dst. Equal keys must have
	// equal encodings.
	Append(dst []byte, v T) ([]byte, error)
	// Decode decodes b. The result may share b's bytes, which never change.
	Decode(b []byte) (T, error)
}

// Text is what a codec may offer besides, for commands that print values and read them from a line of text. Where a
// codec offers none, JSON is used.
type Text[T any] interface {
	Format(v T) string
	Parse(s string) (T, error)
}
