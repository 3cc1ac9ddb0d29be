package conformance

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

const (
	askTimeout = 20 * time.Second
	passEvery  = 5 * time.Millisecond
	// Of all members of groups.
	sessionTimeout   = 3 * time.Second
	rebalanceTimeout = 2 * time.Second
)

// requests is a cluster of one broker that is spoken to by raw requests.
type requests struct {
	t       *testing.T
	of      string
	brokers []string
	raw     *kgo.Client
	cleaner func() // nil: it does it by itself
	asked   map[string]bool
}

// newRequests connects one script to a cluster.
func newRequests(t *testing.T, of string, brokers []string, compact func()) *requests {
	t.Helper()
	return &requests{t: t, of: of, brokers: brokers, raw: connect(t, brokers), cleaner: compact, asked: map[string]bool{}}
}

// connect makes a client that speaks the versions of librdkafka 2.15 where they matter, and those without topic ids.
func connect(t *testing.T, brokers []string) *kgo.Client {
	t.Helper()
	v := kversion.Stable()
	for key, version := range map[kmsg.Key]int16{
		kmsg.Produce: 10, kmsg.Fetch: 12, kmsg.OffsetCommit: 9, kmsg.OffsetFetch: 9, kmsg.JoinGroup: 5, kmsg.SyncGroup: 3, kmsg.Heartbeat: 3,
		kmsg.InitProducerID: 4, kmsg.AddPartitionsToTxn: 0, kmsg.AddOffsetsToTxn: 0, kmsg.TxnOffsetCommit: 3, kmsg.EndTxn: 1,
	} {
		v.SetMaxKeyVersion(key.Int16(), version)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MaxVersions(v))
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// send sends a request to the broker, and nothing is sent again.
func send[R kmsg.Response](ctx context.Context, cl *kgo.Client, rq kmsg.Request) (R, error) {
	var none R
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := cl.SeedBrokers()[0].Request(ctx, rq)
	if err != nil {
		return none, err
	}
	return r.(R), nil //nolint:forcetypeassert // the answer to the request
}

// ask sends a request until the broker is there for it, and ends the test if it does not come through.
func ask[R kmsg.Response](c *requests, rq kmsg.Request, code func(R) int16) (R, error) {
	c.t.Helper()
	deadline := time.Now().Add(askTimeout)
	for {
		r, err := send[R](c.t.Context(), c.raw, rq)
		require.NoError(c.t, err)
		e := kerr.ErrorForCode(code(r))
		switch {
		case e == nil:
			return r, nil
		case time.Now().After(deadline), !notThereYet(e):
			return r, errOf(e)
		}
		c.pass()
	}
}

// notThereYet says whether an error is of a broker that does not yet lead what it will lead in a moment.
func notThereYet(err error) bool {
	return slices.Contains([]error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotLeaderForPartition}, err)
}

// errOf is an error of the protocol by its name.
func errOf(err error) error {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return broker.Err(e.Message)
	}
	return err
}

func (c *requests) name() string { return c.of }

func (c *requests) timeouts() (session, rebalance time.Duration) {
	return sessionTimeout, rebalanceTimeout
}

func (c *requests) clock() time.Time { return time.Now() }

func (c *requests) pass() {
	select {
	case <-time.After(passEvery):
	case <-c.t.Context().Done():
	}
}

// coordinator makes the broker find the coordinator of a key, and so make the topic that it needs.
func (c *requests) coordinator(kind int8, key string) {
	c.t.Helper()
	if c.asked[key] {
		return
	}
	rq := kmsg.NewPtrFindCoordinatorRequest()
	rq.CoordinatorType, rq.CoordinatorKey, rq.CoordinatorKeys = kind, key, []string{key}
	_, err := ask(c, rq, func(r *kmsg.FindCoordinatorResponse) int16 {
		if len(r.Coordinators) > 0 {
			return r.Coordinators[0].ErrorCode
		}
		return r.ErrorCode
	})
	require.NoError(c.t, err)
	c.asked[key] = true
}

func (c *requests) create(topic string, partitions int32, config map[string]string) error {
	rq := kmsg.NewPtrCreateTopicsRequest()
	x := kmsg.NewCreateTopicsRequestTopic()
	x.Topic, x.NumPartitions, x.ReplicationFactor = topic, partitions, 1
	for k, v := range config {
		y := kmsg.NewCreateTopicsRequestTopicConfig()
		y.Name, y.Value = k, &v
		x.Configs = append(x.Configs, y)
	}
	rq.Topics, rq.TimeoutMillis = append(rq.Topics, x), 10_000
	_, err := ask(c, rq, func(r *kmsg.CreateTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	if err != nil {
		return err
	}
	for p := range partitions { // it is known a little later
		deadline := time.Now().Add(askTimeout)
		for {
			_, err := c.end(kafka.TopicPartition{Topic: topic, Partition: p}, kafka.ReadUncommitted)
			if err == nil {
				break
			}
			require.True(c.t, time.Now().Before(deadline), err)
			c.pass()
		}
	}
	return nil
}

func (c *requests) end(tp kafka.TopicPartition, level kafka.Isolation) (int64, error) {
	return c.offset(tp, -1, level)
}

func (c *requests) start(tp kafka.TopicPartition) (int64, error) {
	return c.offset(tp, -2, kafka.ReadUncommitted)
}

// offset asks for the offset of a moment: -1 for the end, -2 for the start.
func (c *requests) offset(tp kafka.TopicPartition, at int64, level kafka.Isolation) (int64, error) {
	rq := kmsg.NewPtrListOffsetsRequest()
	rq.IsolationLevel = isolation(level)
	x, y := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	y.Partition, y.Timestamp = tp.Partition, at
	x.Topic, x.Partitions = tp.Topic, append(x.Partitions, y)
	rq.Topics = append(rq.Topics, x)
	r, err := ask(c, rq, func(r *kmsg.ListOffsetsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return r.Topics[0].Partitions[0].Offset, err
}

func isolation(level kafka.Isolation) int8 {
	if level == kafka.ReadCommitted {
		return 1
	}
	return 0
}

func (c *requests) deleteRecords(tp kafka.TopicPartition, before int64) error {
	rq := kmsg.NewPtrDeleteRecordsRequest()
	x, y := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	y.Partition, y.Offset = tp.Partition, before
	x.Topic, x.Partitions = tp.Topic, append(x.Partitions, y)
	rq.Topics, rq.TimeoutMillis = append(rq.Topics, x), 10_000
	_, err := ask(c, rq, func(r *kmsg.DeleteRecordsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

func (c *requests) compact(kafka.TopicPartition) {
	if c.cleaner != nil {
		c.cleaner()
	}
}
