package client

import (
	"context"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// OpenConsumer opens what lies below the protocol of groups: for tests that check the model against librdkafka.
func (d *Driver) OpenConsumer(cfg kafka.GroupConfig, ev protocol.Events) protocol.Consumer {
	return newConsumer(d, cfg, ev)
}

// OpenTransactor opens what lies below the protocol of producers, as OpenConsumer does. It must be called by a coroutine.
func (d *Driver) OpenTransactor(ctx context.Context, cfg kafka.GroupConfig, topics []string) (protocol.Transactor, error) {
	return openTransactor(ctx, d, cfg, topics)
}
