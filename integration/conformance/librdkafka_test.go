package conformance

import (
	"context"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// socketTimeout is after what the library sends a request again that is not answered.
const socketTimeout = 3 * time.Second

// librdkafka is the library itself, with the settings that matter as the engine has them.
type librdkafka struct {
	*requests
	proxy *proxy
}

func newLibrdkafka(t *testing.T, of, broker string) library {
	t.Helper()
	p := newProxy(t, broker)
	return &librdkafka{requests: newRequests(t, of, []string{p.addr()}, nil), proxy: p}
}

func (l *librdkafka) loseAnswer() (lost func() bool) {
	l.proxy.lose.Store(int32(kmsg.EndTxn))
	return l.proxy.lost.Load
}

func (l *librdkafka) holdAnswer() (held func() bool) {
	l.proxy.hold.Store(true)
	return l.loseAnswer()
}

type rdkProducer struct {
	l *librdkafka
	p *rdk.Producer
}

func (l *librdkafka) producer(id string) libProducer {
	p, err := rdk.NewProducer(&rdk.ConfigMap{
		"bootstrap.servers": l.proxy.addr(), "transactional.id": id, "go.delivery.reports": false, "retry.backoff.ms": 5, "retry.backoff.max.ms": 10, "socket.timeout.ms": int(socketTimeout.Milliseconds()),
		"log_level": 0,
	})
	require.NoError(l.t, err)
	l.t.Cleanup(p.Close)
	ctx, cancel := context.WithTimeout(l.t.Context(), askTimeout)
	defer cancel()
	require.NoError(l.t, p.InitTransactions(ctx))
	return &rdkProducer{l, p}
}

func (p *rdkProducer) write(tp kafka.TopicPartition, value string) error {
	if err := p.p.BeginTransaction(); err != nil {
		return err
	}
	err := p.p.Produce(&rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &tp.Topic, Partition: tp.Partition}, Key: []byte("k"), Value: []byte(value)}, nil)
	if err != nil {
		return err
	}
	for p.p.Flush(int(askTimeout.Milliseconds())) > 0 {
		if err := p.l.t.Context().Err(); err != nil {
			return err
		}
	}
	return nil
}

func (p *rdkProducer) commit(within time.Duration) error {
	ctx, cancel := context.WithTimeout(p.l.t.Context(), within)
	defer cancel()
	return p.p.CommitTransaction(ctx)
}

func (p *rdkProducer) abort() error {
	ctx, cancel := context.WithTimeout(p.l.t.Context(), askTimeout)
	defer cancel()
	return p.p.AbortTransaction(ctx)
}

type rdkConsumer struct {
	l      *librdkafka
	c      *rdk.Consumer
	slots  map[int32]bool
	revoke func([]int32)
	wedged bool // it unassigned what was not assigned
}

func (l *librdkafka) consumer(topic, group, instance string) libConsumer {
	l.coordinator(0, group)
	c, err := rdk.NewConsumer(&rdk.ConfigMap{
		"bootstrap.servers": l.proxy.addr(), "group.id": group, "group.instance.id": instance, "partition.assignment.strategy": "cooperative-sticky",
		"session.timeout.ms": int(sessionTimeout.Milliseconds()), "heartbeat.interval.ms": 100, "enable.auto.commit": false, "enable.auto.offset.store": false,
		"isolation.level": "read_committed", "enable.partition.eof": true, "fetch.wait.max.ms": 20, "go.application.rebalance.enable": false, "log_level": 0,
	})
	require.NoError(l.t, err)
	x := &rdkConsumer{l: l, c: c, slots: map[int32]bool{}}
	x.revoke = func([]int32) { x.unassign() }
	l.t.Cleanup(func() {
		if x.wedged { // then it may hang
			return
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = c.Close()
		}()
		select { // it was once seen to hang, in the unassignment of its last revocation
		case <-closed:
		case <-time.After(20 * time.Second):
			l.t.Logf("the consumer of %s does not close: it is left", instance)
		}
	})
	require.NoError(l.t, c.SubscribeTopics([]string{topic}, x.rebalanced))
	return x
}

func (x *rdkConsumer) rebalanced(_ *rdk.Consumer, ev rdk.Event) error {
	switch e := ev.(type) {
	case rdk.AssignedPartitions:
		for _, tp := range e.Partitions {
			x.slots[tp.Partition] = true
		}
		return x.c.IncrementalAssign(nil)
	case rdk.RevokedPartitions:
		var gone []int32
		for _, tp := range e.Partitions {
			gone = append(gone, tp.Partition)
			delete(x.slots, tp.Partition)
		}
		x.revoke(gone)
	}
	return nil
}

func (x *rdkConsumer) poll()                          { x.c.Poll(int(pollTime.Milliseconds())) }
func (x *rdkConsumer) owned() int                     { return len(x.slots) }
func (x *rdkConsumer) onRevoke(f func(slots []int32)) { x.revoke = f }

func (x *rdkConsumer) assign(tp kafka.TopicPartition, from int64) error {
	return x.c.IncrementalAssign([]rdk.TopicPartition{{Topic: &tp.Topic, Partition: tp.Partition, Offset: rdk.Offset(from)}})
}

func (x *rdkConsumer) unassign(tps ...kafka.TopicPartition) {
	var all []rdk.TopicPartition
	for _, tp := range tps {
		all = append(all, rdk.TopicPartition{Topic: &tp.Topic, Partition: tp.Partition})
	}
	err := x.c.IncrementalUnassign(all)
	x.wedged = x.wedged || err != nil
}

func (x *rdkConsumer) position(tp kafka.TopicPartition) int64 {
	at, err := x.c.Position([]rdk.TopicPartition{{Topic: &tp.Topic, Partition: tp.Partition}})
	require.NoError(x.l.t, err)
	return max(-1, int64(at[0].Offset))
}

// member reads what the Go client hides: "CGMDv2:" generation(int32, native) group\0 member\0 isNull(int8) [instance\0].
func (x *rdkConsumer) member() kafka.Member {
	md, err := x.c.GetConsumerGroupMetadata()
	require.NoError(x.l.t, err)
	b, ok := strings.CutPrefix(string(reflect.ValueOf(md).Elem().FieldByName("serialized").Bytes()), "CGMDv2:")
	require.True(x.l.t, ok)
	s := strings.Split(b[4:], "\x00")
	require.Len(x.l.t, s, 5)
	return kafka.Member{Generation: int32(binary.NativeEndian.Uint32([]byte(b[:4]))), ID: s[1], Instance: s[3]} //nolint:gosec // it is one
}
