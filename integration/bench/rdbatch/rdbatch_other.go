//go:build !linux

// Package rdbatch reads and writes whole batches through the librdkafka handle of a client; on Linux alone.
package rdbatch

import (
	"errors"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

var errOther = errors.New("batches through librdkafka's handle are for Linux alone")

// Meta is the fixed-size part of one message.
type Meta struct {
	Offset           int64
	Partition        int32
	KeyLen, ValueLen int32
	Err              int32
}

// Reader reads what a consumer is assigned.
type Reader struct{}

// NewReader says that there is none here.
func NewReader(*kafka.Consumer, int) (*Reader, error) { return nil, errOther }

// Read returns nothing.
func (*Reader) Read(int) ([]Meta, []byte) { return nil, nil }

// Close does nothing.
func (*Reader) Close() {}

// Writer writes to one topic.
type Writer struct{}

// NewWriter says that there is none here.
func NewWriter(*kafka.Producer, string) (*Writer, error) { return nil, errOther }

// Write says that there is none here.
func (*Writer) Write([]Meta, []byte) error { return errOther }

// Close does nothing.
func (*Writer) Close() {}
