package confluent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// callTimeout bounds every call of an admin whose context is not bounded tighter.
	callTimeout = 30 * time.Second
	// brokerTimeout is what the broker is told to give a change of topics.
	brokerTimeout = 15 * time.Second
	// unknownFor is how long a topic that the broker does not know is asked for again: one made just now may not have
	// reached every broker.
	unknownFor = 2 * time.Second
	// awayFor is how long a broker that cannot be reached is asked for again: the others elect another leader meanwhile.
	awayFor = 10 * time.Second
	// internalPrefix begins the names of topics that belong to brokers and their tools.
	internalPrefix = "__"
)

// admin implements kafka.Operator with requests of the protocol. Its methods may be called from any goroutine.
type admin struct {
	driver *Driver
	raw    *requester

	mu     sync.Mutex
	limits map[string]int32 // max.message.bytes of topics that were produced to
}

var (
	_ kafka.Operator = (*admin)(nil)
	_ kafka.Rights   = (*admin)(nil)
)

// openAdmin opens an admin once a broker answers, which it waits ten seconds for.
func openAdmin(ctx context.Context, d *Driver) (kafka.Operator, error) {
	if err := checkBrokers(d.cfg.Brokers); err != nil {
		return nil, err
	}
	a := &admin{driver: d, limits: map[string]int32{}}
	raw, err := rawClient(d.cfg.Brokers, d.cfg.Settings, d.cfg.ClientID,
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytesFn(a.limit),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(compression(d.cfg.Settings)), kgo.AllowIdempotentProduceCancellation(), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	if err := d.reach(ctx, raw); err != nil {
		raw.Close()
		return nil, err
	}
	a.raw = &requester{raw, d.who}
	return a, nil
}

// Close closes the connections. Calls under way end with an error.
func (a *admin) Close() error {
	a.raw.Close()
	return nil
}

// Topics returns the state of those of the named topics that exist.
func (a *admin) Topics(ctx context.Context, names ...string) (map[string]kafka.TopicState, error) {
	if len(names) == 0 {
		return map[string]kafka.TopicState{}, nil
	}
	var states map[string]kafka.TopicState
	err := a.retry(ctx, func(ctx context.Context) (err error) {
		states, err = a.describe(ctx, names)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("describe topics %s: %w", strings.Join(names, ", "), err)
	}
	return states, nil
}

func (a *admin) describe(ctx context.Context, names []string) (map[string]kafka.TopicState, error) {
	meta, err := a.metadata(ctx, names)
	if err != nil {
		return nil, err
	}
	states := map[string]kafka.TopicState{}
	rq := kmsg.NewPtrDescribeConfigsRequest()
	for _, t := range meta.Topics {
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			continue
		case err != nil && !errors.Is(err, kerr.LeaderNotAvailable):
			return nil, fmt.Errorf("topic %s: %w", *t.Topic, err)
		}
		x := kafka.TopicState{Partitions: int32(len(t.Partitions)), Config: map[string]string{}}
		if t.TopicID != ([16]byte{}) {
			x.ID = fmt.Sprintf("%x", t.TopicID)
		}
		if len(t.Partitions) > 0 {
			x.Replicas = int32(len(t.Partitions[0].Replicas))
		}
		states[*t.Topic] = x
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, *t.Topic
		rq.Resources = append(rq.Resources, res)
	}
	if len(states) == 0 {
		return states, nil
	}
	configs, err := rq.RequestWith(ctx, a.raw)
	if err != nil {
		return nil, err
	}
	for _, r := range configs.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); errors.Is(err, kerr.UnknownTopicOrPartition) {
			delete(states, r.ResourceName) // deleted meanwhile
			continue
		} else if err != nil {
			return nil, fmt.Errorf("settings of topic %s: %w", r.ResourceName, err)
		}
		for _, c := range r.Configs {
			if c.Value != nil {
				states[r.ResourceName].Config[c.Name] = *c.Value
			}
		}
	}
	return states, nil
}

// metadata asks for the named topics, or for all if names is nil.
func (a *admin) metadata(ctx context.Context, names []string) (*kmsg.MetadataResponse, error) {
	r, err := metadataRequest(names).RequestWith(ctx, a.raw)
	if err != nil {
		return nil, err
	}
	for _, t := range r.Topics {
		if t.Topic == nil {
			return nil, errors.New("the broker answers with a topic that has no name")
		}
	}
	return r, nil
}

func metadataRequest(names []string) *kmsg.MetadataRequest {
	rq := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = new(name)
		rq.Topics = append(rq.Topics, t)
	}
	return rq
}

// AllTopics returns the names of all topics but the brokers' own.
func (a *admin) AllTopics(ctx context.Context) ([]string, error) {
	var names []string
	err := a.retry(ctx, func(ctx context.Context) error {
		names = nil
		meta, err := a.metadata(ctx, nil)
		if err != nil {
			return err
		}
		for _, t := range meta.Topics {
			if !t.IsInternal && !strings.HasPrefix(*t.Topic, internalPrefix) {
				names = append(names, *t.Topic)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	return names, nil
}

// Create makes topics and waits until all their partitions have leaders. One that exists is left as it is.
func (a *admin) Create(ctx context.Context, specs ...kafka.TopicSpec) error {
	if len(specs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rq := kmsg.NewPtrCreateTopicsRequest()
	rq.TimeoutMillis = int32(brokerTimeout.Milliseconds())
	made := map[string]int32{}
	for _, s := range specs {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.Name, -1, -1
		if s.Partitions > 0 {
			t.NumPartitions = s.Partitions
		}
		if s.Replicas > 0 {
			t.ReplicationFactor = int16(s.Replicas)
		}
		for name, value := range s.Config {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = name, new(value)
			t.Configs = append(t.Configs, c)
		}
		rq.Topics = append(rq.Topics, t)
		made[s.Name] = 0
	}
	r, err := rq.RequestWith(ctx, a.raw)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	var faults []error
	for _, t := range r.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			faults = append(faults, fmt.Errorf("create topic %s: %w", t.Topic, withText(err, t.ErrorMessage)))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return a.awaitLeaders(ctx, made)
}

// Grow raises a topic's number of partitions and waits until the new ones have leaders.
func (a *admin) Grow(ctx context.Context, topic string, partitions int32) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, partitions
	rq := kmsg.NewPtrCreatePartitionsRequest()
	rq.TimeoutMillis = int32(brokerTimeout.Milliseconds())
	rq.Topics = append(rq.Topics, t)
	r, err := rq.RequestWith(ctx, a.raw)
	if err != nil {
		return fmt.Errorf("grow topic %s to %d partitions: %w", topic, partitions, err)
	}
	for _, x := range r.Topics {
		if err := kerr.ErrorForCode(x.ErrorCode); err != nil {
			return fmt.Errorf("grow topic %s to %d partitions: %w", topic, partitions, withText(err, x.ErrorMessage))
		}
	}
	return a.awaitLeaders(ctx, map[string]int32{topic: partitions})
}

// Delete deletes topics and waits until the broker shows them no more: one made anew at once must be a new one.
func (a *admin) Delete(ctx context.Context, topics ...string) error {
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rq := kmsg.NewPtrDeleteTopicsRequest()
	rq.TimeoutMillis = int32(brokerTimeout.Milliseconds())
	rq.TopicNames = topics
	for _, name := range topics {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = new(name)
		rq.Topics = append(rq.Topics, t)
	}
	r, err := rq.RequestWith(ctx, a.raw)
	if err != nil {
		return fmt.Errorf("delete topics %s: %w", strings.Join(topics, ", "), err)
	}
	var faults []error
	for i, t := range r.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			name := topics[min(i, len(topics)-1)]
			if t.Topic != nil {
				name = *t.Topic
			}
			faults = append(faults, fmt.Errorf("delete topic %s: %w", name, withText(err, t.ErrorMessage)))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return a.await(ctx, "topics to be deleted", func(ctx context.Context) (bool, error) {
		meta, err := a.metadata(ctx, topics)
		if err != nil {
			return false, err
		}
		for _, t := range meta.Topics {
			if !errors.Is(kerr.ErrorForCode(t.ErrorCode), kerr.UnknownTopicOrPartition) {
				return false, nil
			}
		}
		return true, nil
	})
}

// awaitLeaders waits until topics have at least so many partitions, each with a leader.
func (a *admin) awaitLeaders(ctx context.Context, least map[string]int32) error {
	names := make([]string, 0, len(least))
	for name := range least {
		names = append(names, name)
	}
	return a.await(ctx, "leaders of "+strings.Join(names, ", "), func(ctx context.Context) (bool, error) {
		meta, err := a.metadata(ctx, names)
		if err != nil {
			return false, err
		}
		// Each broker learns of a topic in its own time, and the next question may go to any of them.
		for _, b := range a.raw.DiscoveredBrokers() {
			if !led(meta, least) {
				return false, nil
			}
			if other, err := a.metadataOf(ctx, b, names); err == nil { // else it is away, and is not asked next either
				meta = other
			}
		}
		return led(meta, least), nil
	})
}

// led says whether topics have so many partitions, each with a leader.
func led(meta *kmsg.MetadataResponse, least map[string]int32) bool {
	for _, t := range meta.Topics {
		if t.ErrorCode != 0 || t.Topic == nil || int32(len(t.Partitions)) < least[*t.Topic] {
			return false
		}
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || p.Leader < 0 {
				return false
			}
		}
	}
	return true
}

// metadataOf asks one broker, for a moment.
func (a *admin) metadataOf(ctx context.Context, b *kgo.Broker, names []string) (*kmsg.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := b.Request(ctx, metadataRequest(names))
	if err != nil {
		return nil, err
	}
	return r.(*kmsg.MetadataResponse), nil
}

// await asks until the answer is yes or ctx ends.
func (a *admin) await(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		ok, err := done(ctx)
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil && !kerr.IsRetriable(err) {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

// retry calls f until it succeeds, fails for good, or ctx ends. A topic that is unknown stays so for two seconds at most, a broker that
// cannot be reached for ten.
func (a *admin) retry(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := f(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case isUnreachable(err):
			if time.Since(began) > awayFor {
				return err
			}
		case !kerr.IsRetriable(err):
			return err
		case errors.Is(err, kerr.UnknownTopicOrPartition) && time.Since(began) > unknownFor:
			return err
		}
		if !pause(ctx, wait) {
			return err
		}
	}
}

// isUnreachable says whether one broker could not be reached, or has closed the connection.
func isUnreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF)
}

// withText adds what the broker says beside an error code.
func withText(err error, text *string) error {
	if text == nil || *text == "" || strings.Contains(err.Error(), *text) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, *text)
}
