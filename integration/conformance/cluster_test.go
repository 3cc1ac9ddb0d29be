package conformance

import (
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// cluster is a Kafka cluster at the level of protocol requests. Errors of the protocol are a broker.Err, with the name that
// Kafka has for it; whatever else goes wrong ends the test. Methods may be used by one goroutine.
type cluster interface {
	name() string
	create(topic string, partitions int32, config map[string]string) error
	// initProducer asks once: CONCURRENT_TRANSACTIONS is an answer.
	initProducer(id string, timeout time.Duration) (broker.Producer, error)
	addPartitions(p broker.Producer, tps ...kafka.TopicPartition) error
	// produce appends a batch, inside a transaction if p has an id, and not idempotent if it has none.
	produce(p broker.Producer, tp kafka.TopicPartition, seq int32, records ...record) error
	addOffsets(p broker.Producer, group string) error
	txnCommit(p broker.Producer, group string, as kafka.Member, positions ...kafka.Position) error
	endTxn(p broker.Producer, commit bool) error

	// fetch reads what is there from an offset on, and says at which offset a client goes on.
	fetch(tp kafka.TopicPartition, from int64, level kafka.Isolation) (found []record, next int64, err error)
	end(tp kafka.TopicPartition, level kafka.Isolation) (int64, error)
	start(tp kafka.TopicPartition) (int64, error)
	deleteRecords(tp kafka.TopicPartition, before int64) error
	// compact asks for a compaction of what can be compacted; a cluster that does it by itself may ignore it.
	compact(tp kafka.TopicPartition)

	commit(group string, as kafka.Member, positions ...kafka.Position) error
	committed(group string, stable bool, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error)

	// join sends a JoinGroup with what the member says it owns. The first member of a rebalance leads it. A dynamic member
	// gets its id by the way. answered does not block: ok is false as long as the rebalance is not complete.
	join(group string, as kafka.Member, owned []int32) (answered func() (joined, bool))
	// sync sends a SyncGroup, with assignments of members by id from the leader.
	sync(group string, as kafka.Member, assignment map[string][]int32) (answered func() (synced, bool))
	heartbeat(group string, as kafka.Member) error
	leave(group string, as kafka.Member) error
	members(group string) int
	// timeouts are those of all members.
	timeouts() (session, rebalance time.Duration)

	// pass lets some time go by, in which markers are written, sessions and transactions time out, and logs are compacted.
	pass()
	// clock is the time that passes.
	clock() time.Time
}

// record is one record of a log.
type record struct {
	offset     int64
	key, value string
	null       bool // the value is null: a tombstone
}

// joined is the answer to a JoinGroup.
type joined struct {
	member kafka.Member // as it is now
	leader bool
	// members are all of the group by their instance, or their id if they have none; for others than the leader it is empty.
	members map[string]string
	err     error
}

// synced is the answer to a SyncGroup.
type synced struct {
	slots []int32
	err   error
}
