//go:build !linux

package confluent

import rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

// closings counts the connections that a producer has closed: on Linux only.
type closings struct{}

func closingsFault(bool) error { return batchedFault() }

func countClosings(*rdk.Producer, string) (*closings, error) { return nil, batchedFault() }

func (*closings) closed() int64 { return 0 }

func (*closings) free() {}
