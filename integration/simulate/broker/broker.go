// Package broker is a model of a Kafka cluster: logs, transactions of version 1, groups of the classic protocol. Requests are
// methods, executed at once and answered with Kafka's own errors. It has no goroutine, no clock of its own and nothing random:
// the same requests give the same answers. It knows nothing of connections; who calls it decides which requests and which
// answers arrive.
package broker

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// Err is an error of the protocol; empty: none.
type Err string

// Error implements error.
func (e Err) Error() string { return "broker: " + string(e) }

// The protocol's errors that matter here.
const (
	None                    Err = ""
	NotLeader               Err = "NOT_LEADER_OR_FOLLOWER"
	NotEnoughReplicas       Err = "NOT_ENOUGH_REPLICAS"
	NotCoordinator          Err = "NOT_COORDINATOR"
	CoordinatorLoading      Err = "COORDINATOR_LOAD_IN_PROGRESS"
	ConcurrentTransactions  Err = "CONCURRENT_TRANSACTIONS"
	InvalidProducerEpoch    Err = "INVALID_PRODUCER_EPOCH"
	InvalidTxnState         Err = "INVALID_TXN_STATE"
	InvalidPIDMapping       Err = "INVALID_PRODUCER_ID_MAPPING"
	OutOfOrderSequence      Err = "OUT_OF_ORDER_SEQUENCE_NUMBER"
	UnknownMemberID         Err = "UNKNOWN_MEMBER_ID"
	IllegalGeneration       Err = "ILLEGAL_GENERATION"
	RebalanceInProgress     Err = "REBALANCE_IN_PROGRESS"
	FencedInstanceID        Err = "FENCED_INSTANCE_ID"
	UnstableOffsetCommit    Err = "UNSTABLE_OFFSET_COMMIT"
	OffsetOutOfRange        Err = "OFFSET_OUT_OF_RANGE"
	UnknownTopicOrPartition Err = "UNKNOWN_TOPIC_OR_PARTITION"
	TopicExists             Err = "TOPIC_ALREADY_EXISTS"
	InvalidPartitions       Err = "INVALID_PARTITIONS"
	MessageTooLarge         Err = "MESSAGE_TOO_LARGE"
	TopicAuthorization      Err = "TOPIC_AUTHORIZATION_FAILED"
	OffsetMetadataTooLarge  Err = "OFFSET_METADATA_TOO_LARGE"
)

// or returns e as an error: nil if there is none.
func (e Err) or() error {
	if e == None {
		return nil
	}
	return e
}

// Broker is the cluster.
type Broker struct {
	now     time.Time
	topics  map[string]*topic
	names   []string // of topics, in the order of their making
	txns    map[string]*txn
	txnIDs  []string
	byPID   map[int64]*txn
	groups  map[string]*group
	nextPID int64
	nextID  int
	pending []marker
	flying  int
	denied  map[string]Err

	// DeleteRetention is delete.retention.ms of new topics.
	DeleteRetention time.Duration
	// Commits counts transactions whose commit was decided.
	Commits int
	// Inject is asked before each request: what it returns is the answer, and nothing is done. Nil: nothing is injected.
	Inject func(request string) Err
	// OnOffset is called when an offset commit takes effect, once for a transaction that has it twice: the group, and the position.
	// For invariants.
	OnOffset func(group string, pos kafka.Position)
	// OnCommit is called when a plain commit is taken, with the member that it came of. For invariants.
	OnCommit func(group string, as kafka.Member, pos kafka.Position)
}

// New makes a cluster without topics.
func New() *Broker {
	return &Broker{
		topics: map[string]*topic{}, txns: map[string]*txn{}, byPID: map[int64]*txn{}, groups: map[string]*group{},
		denied: map[string]Err{}, DeleteRetention: 24 * time.Hour,
	}
}

func (b *Broker) inject(request string) Err {
	if b.Inject == nil {
		return None
	}
	return b.Inject(request)
}

// SetNow moves the clock: transactions, sessions and rebalances time out.
func (b *Broker) SetNow(now time.Time) {
	b.now = now
	for _, id := range b.txnIDs {
		t := b.txns[id]
		if t.state == ongoing && t.timeout > 0 && now.Sub(t.began) > t.timeout {
			t.epoch++
			b.end(t, false)
		}
	}
	for _, g := range b.groups { // there is one
		g.tick()
	}
}

// Deny refuses all writes to a topic from now on, with that error: because a right was taken away, or because the topic is gone. None
// allows them again; a topic that is back has what it had.
func (b *Broker) Deny(name string, with Err) { b.denied[name] = with }

// topic is one topic.
type topic struct {
	name   string
	id     string
	config map[string]string
	parts  []*partition
}

// Create makes a topic.
func (b *Broker) Create(name string, partitions int32, config map[string]string) error {
	if e := b.inject("CreateTopics"); e != None {
		return e
	}
	if b.topics[name] != nil {
		return TopicExists
	}
	b.nextID++
	t := &topic{name: name, id: "topic-" + strconv.Itoa(b.nextID), config: map[string]string{"max.message.bytes": "1048588", "delete.retention.ms": strconv.FormatInt(b.DeleteRetention.Milliseconds(), 10)}}
	maps.Copy(t.config, config)
	b.topics[name] = t
	b.names = append(b.names, name)
	return b.grow(t, partitions).or()
}

// Grow raises the number of partitions.
func (b *Broker) Grow(name string, partitions int32) error {
	if e := b.inject("CreatePartitions"); e != None {
		return e
	}
	t := b.topics[name]
	switch {
	case t == nil:
		return UnknownTopicOrPartition
	case int(partitions) <= len(t.parts):
		return InvalidPartitions
	}
	return b.grow(t, partitions).or()
}

func (b *Broker) grow(t *topic, partitions int32) Err {
	for len(t.parts) < int(partitions) {
		t.parts = append(t.parts, &partition{topic: t, tp: kafka.TopicPartition{Topic: t.name, Partition: int32(len(t.parts))}, producers: map[int64]*producerState{}}) //nolint:gosec // small
	}
	return None
}

// Delete deletes a topic with all it holds.
func (b *Broker) Delete(name string) error {
	if e := b.inject("DeleteTopics"); e != None {
		return e
	}
	if b.topics[name] == nil {
		return UnknownTopicOrPartition
	}
	delete(b.topics, name)
	for i, n := range b.names {
		if n == name {
			b.names = append(b.names[:i:i], b.names[i+1:]...)
			break
		}
	}
	return nil
}

// Topics returns the names of all topics.
func (b *Broker) Topics() []string { return b.names }

// Describe returns a topic's state; ok is false if there is none.
func (b *Broker) Describe(name string) (kafka.TopicState, bool) {
	t := b.topics[name]
	if t == nil {
		return kafka.TopicState{}, false
	}
	return kafka.TopicState{ID: t.id, Partitions: int32(len(t.parts)), Replicas: 3, Config: t.config}, true //nolint:gosec // small
}

func (b *Broker) part(tp kafka.TopicPartition) *partition {
	t := b.topics[tp.Topic]
	if t == nil || tp.Partition < 0 || int(tp.Partition) >= len(t.parts) {
		return nil
	}
	return t.parts[tp.Partition]
}

func (t *topic) maxBytes() int {
	n, err := strconv.Atoi(t.config["max.message.bytes"])
	if err != nil {
		panic(fmt.Sprintf("broker: topic %s: %v", t.name, err)) // a bug of the simulation
	}
	return n
}
