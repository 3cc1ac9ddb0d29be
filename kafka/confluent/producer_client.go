package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

const (
	// transactionTimeoutMs is when the broker ends a transaction by itself.
	transactionTimeoutMs = 60000
	// initTimeout bounds the opening of a producer.
	initTimeout = 30 * time.Second
	// drainEvery is how often a producer looks whether all it sent is acknowledged.
	drainEvery        = 500 * time.Microsecond
	eventsChannelSize = 10000
	// resendMs is the pause before a request is sent again by a client whose closings are not counted, and slow how long a call takes
	// at least in which that has happened: the pause, less librdkafka's jitter of a fifth, and some more.
	resendMs = 100
	slow     = 70 * time.Millisecond
)

// client is a producer of librdkafka with what serves its events.
type client struct {
	*rdk.Producer
	id     string
	driver *Driver
	log    *slog.Logger
	says   *figures
	done   chan struct{} // closed when the producer is
	sent   int64         // records handed to the producer, by the caller of Commit
	// batched says that records go through an outlet: then deliveries are reported only if they failed, and those all.
	batched bool
	acked   atomic.Int64 // delivery reports without and with an error; of a plain producer, or a batched one
	failed  atomic.Int64
	why     atomic.Pointer[error] // of the last failure
	stuck   bool                  // a call has not returned: by the caller of Commit
	// closings tell which requests were sent once; nil of a plain producer, and where they cannot be counted. patience is how long one
	// waits for its answer.
	closings *closings
	patience time.Duration
}

// firstContact is how long a new transactional producer waits for a connection before it goes on without.
const firstContact = time.Second

// stuckAfter is how much longer than it was given a call of librdkafka's may take. Then the client is given up.
const stuckAfter = 5 * time.Second

// bounded makes a call into librdkafka that is to end with ctx, and ends even if that does not. The client is then never used again,
// and not closed either: something is still inside it. What the call may have done is not known.
func (c *client) bounded(ctx context.Context, what string, call func() error) error {
	left := initTimeout
	if by, ok := ctx.Deadline(); ok {
		left = time.Until(by)
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	timer := time.NewTimer(left + stuckAfter)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		c.stuck = true
		c.log.Error("the Kafka client hangs: it is left behind, and another takes its place", "id", c.id, "call", what)
		return fmt.Errorf("%s: librdkafka has not returned %v after its time was up", what, stuckAfter)
	}
}

// barrier is an event of ours among those of a producer: when it is served, all before it are.
type barrier chan struct{}

// String makes it an event.
func (barrier) String() string { return "barrier" }

// openTransactional opens a producer and so ends whatever an older one of that id has left open. The latter is what fence does too, and
// before: the broker takes some milliseconds for it, and librdkafka would ask half a second later whether it is done. Of the topics that
// will be written to, the first is asked for.
func openTransactional(ctx context.Context, d *Driver, log *slog.Logger, id string, topics []string, fence func(context.Context) error) (*client, error) {
	c, err := openClient(d, log, id, map[string]rdk.ConfigValue{"transactional.id": id})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	fenced := make(chan struct{})
	go func() {
		defer close(fenced)
		if err := fence(ctx); err != nil {
			log.Debug("the client ends the transactions of an earlier producer itself", "id", id, "error", err)
		}
	}()
	err = c.reach(ctx, topics)
	<-fenced
	if c.stuck {
		return nil, errors.Join(fmt.Errorf("open producer %s: %w", id, err), c.close())
	}
	for {
		err = c.bounded(ctx, "init transactions", func() error { return c.InitTransactions(ctx) })
		var ke rdk.Error
		if err == nil || c.stuck || !errors.As(err, &ke) || !ke.IsRetriable() || !pause(ctx, retryEvery) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open producer %s: end the transactions of an earlier one: %w", id, c.driver.who.denied(err, right("Write", kafka.OnTransactionalID, id))), c.close())
	}
	return c, nil
}

// reach waits for a while until the client has a connection to some broker. Without one, librdkafka asks for the coordinator of transactions
// half a second later, and only then. What is wrong shows in what is done next, too. It asks for one topic, or the broker would tell of all.
func (c *client) reach(ctx context.Context, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, firstContact)
	defer cancel()
	var topic *string
	if len(topics) > 0 {
		topic = &topics[0]
	}
	return c.bounded(ctx, "ask for brokers", func() error {
		_, err := c.GetMetadata(topic, false, int(firstContact.Milliseconds()))
		return err
	})
}

// openPlain opens a producer without transactions.
func openPlain(d *Driver, log *slog.Logger) (*client, error) {
	return openClient(d, log, "", map[string]rdk.ConfigValue{
		"go.delivery.reports": true,
		// What cannot be delivered is known to have failed before a commit gives up waiting.
		"message.timeout.ms": int((protocol.CommitTimeout - time.Second).Milliseconds()),
	})
}

func openClient(d *Driver, log *slog.Logger, id string, mine map[string]rdk.ConfigValue) (*client, error) {
	cm, err := d.config(roleProducer)
	if err != nil {
		return nil, err
	}
	batched, err := d.batched()
	if err != nil {
		return nil, err
	}
	own(cm, map[string]rdk.ConfigValue{
		"enable.idempotence": true, "acks": "all",
		"socket.max.fails":        1,
		"message.max.bytes":       1000000000, // sizes are checked against the topics' limits, before
		"go.events.channel.size":  eventsChannelSize,
		"go.produce.channel.size": 1, "go.batch.producer": false,
		"go.delivery.reports": batched, "go.delivery.report.fields": "none",
	})
	own(cm, mine)
	_, transactional := (*cm)["transactional.id"]
	counted := transactional && !d.timed && closingsFault(batched) == nil
	switch {
	case counted:
		delete(*cm, "bootstrap.servers") // countClosings gives them
	case transactional:
		own(cm, map[string]rdk.ConfigValue{"retry.backoff.ms": resendMs, "retry.backoff.max.ms": 10 * resendMs})
	}
	unless(cm, map[string]rdk.ConfigValue{
		"linger.ms": "1", "compression.type": "lz4", "batch.num.messages": 10000, "queue.buffering.max.messages": 1000000,
		"queue.buffering.max.kbytes": 1 << 20, "socket.timeout.ms": 10000, "retry.backoff.ms": 5, "retry.backoff.max.ms": 50,
		"statistics.interval.ms": figuresEvery,
	})
	if transactional {
		unless(cm, map[string]rdk.ConfigValue{"transaction.timeout.ms": transactionTimeoutMs})
	}
	timeout, err := strconv.Atoi(fmt.Sprint((*cm)["socket.timeout.ms"]))
	if err != nil {
		return nil, fmt.Errorf("setting socket.timeout.ms: %w", err)
	}
	p, err := rdk.NewProducer(cm)
	if err != nil {
		return nil, fmt.Errorf("open producer %s: %w", id, err)
	}
	c := &client{
		Producer: p, id: id, driver: d, says: &d.figures, log: log, done: make(chan struct{}), batched: batched,
		patience: time.Duration(timeout) * time.Millisecond,
	}
	go forward(log, p.Logs(), c.done)
	go c.serve()
	if counted {
		if c.closings, err = countClosings(p, strings.Join(d.cfg.Brokers, ",")); err != nil {
			return nil, errors.Join(fmt.Errorf("open producer %s: %w", id, err), c.close())
		}
	}
	return c, nil
}

// watch returns a function that says why requests that were sent since may have been sent a second time, over a new connection, while the
// first is held back somewhere; nil if none was.
func (c *client) watch() func() error {
	began := time.Now()
	if c.closings == nil {
		return func() error {
			if took := time.Since(began); took > slow {
				return fmt.Errorf("it took %v, and this client does not tell whether it has lost a connection", took)
			}
			return nil
		}
	}
	closed := c.closings.closed()
	return func() error {
		switch n, took := c.closings.closed()-closed, time.Since(began); {
		case n > 0:
			return fmt.Errorf("%d connections were lost in the meantime", n)
		case took >= c.patience:
			return fmt.Errorf("it took %v, longer than one request", took)
		}
		return nil
	}
}

// serve takes the producer's events; it must not stop before the producer is closed, or the producer stands still.
func (c *client) serve() {
	for ev := range c.Events() {
		switch e := ev.(type) {
		case *rdk.Message:
			if err := e.TopicPartition.Error; err != nil {
				err = c.undelivered(e.TopicPartition)
				if c.failed.Add(1) == 1 || !isPurged(err) { // what is purged is so since others have failed
					c.why.Store(&err)
				}
				continue
			}
			c.acked.Add(1)
		case rdk.Error:
			c.log.Warn("producer", "id", c.id, "error", e)
		case barrier:
			close(e)
		case *rdk.Stats:
			c.says.take(c.log, e.String())
		}
	}
}

// undelivered is why a record was not delivered.
func (c *client) undelivered(tp rdk.TopicPartition) error {
	return fmt.Errorf("topic %s, partition %d: %w", *tp.Topic, tp.Partition, c.driver.who.denied(tp.Error, right("Write", kafka.OnTopic, *tp.Topic)))
}

// drain waits until nothing that was produced is under way any more. Flush would wait for 100 ms at a time.
func (c *client) drain(ctx context.Context) error {
	for c.Len() > 0 {
		if !pause(ctx, drainEvery) {
			return fmt.Errorf("%d records are not acknowledged in time: %w", c.Len(), ctx.Err())
		}
	}
	return nil
}

// failures waits until all reports that have come are served, and returns why some records were not delivered. Those of all that was
// sent have come once drain is over: librdkafka counts a record until its report is in the channel of events, and a report until it is
// taken out. Only of a batched client.
func (c *client) failures(ctx context.Context) error {
	served := make(barrier)
	select {
	case c.Events() <- served:
	case <-ctx.Done():
		return fmt.Errorf("whether all records were delivered is not known in time: %w", ctx.Err())
	}
	<-served
	if n := c.failed.Swap(0); n > 0 {
		return fmt.Errorf("%d records were not delivered: %w", n, *c.why.Load())
	}
	return nil
}

func (c *client) close() error {
	if c.stuck {
		return fmt.Errorf("producer %s hangs and is left behind", c.id)
	}
	ok := closesInTime(c.Close)
	c.says.forget(c.String())
	close(c.done)
	if !ok {
		return fmt.Errorf("producer %s did not close within %v and is left behind", c.id, closeTimeout)
	}
	if c.closings != nil {
		c.closings.free()
	}
	return nil
}

// classify says what an error of the client or of the broker means to the protocol; one that neither has given a code for
// stays as it is, and so does one of a missing right, which is nothing that the protocol could do something about.
func classify(err error) error {
	switch code := codeOf(err); {
	case err == nil || errors.Is(err, kafka.ErrDenied):
		return err
	case isSick(err):
		return protocol.WithKind(err, protocol.Sick)
	case isFenced(err):
		return protocol.WithKind(err, protocol.Fenced)
	case code == rdk.ErrUnknownMemberID || code == rdk.ErrFencedInstanceID:
		return protocol.WithKind(err, protocol.NotMember)
	case code == rdk.ErrInconsistent:
		return protocol.WithKind(err, protocol.Inconsistent)
	case code != rdk.ErrNoError:
		return protocol.WithKind(err, protocol.Other)
	}
	return err
}

// sick marks what the broker would refuse again.
func sick(err error) error { return protocol.WithKind(err, protocol.Sick) }

// isSick says whether the broker refused something in the bundles themselves, and would again.
func isSick(err error) bool {
	if protocol.KindOf(err) == protocol.Sick {
		return true
	}
	switch codeOf(err) {
	case rdk.ErrMsgSizeTooLarge, rdk.ErrRecordListTooLarge, rdk.ErrInvalidMsgSize, rdk.ErrInvalidMsg, rdk.ErrInvalidRecord,
		rdk.ErrInvalidTimestamp, rdk.ErrUnknownTopicOrPart, rdk.ErrUnknownTopic,
		rdk.ErrUnknownPartition, rdk.ErrTopicException, rdk.ErrOffsetMetadataTooLarge, rdk.ErrInvalidCommitOffsetSize,
		rdk.ErrPolicyViolation, rdk.ErrUnsupportedForMessageFormat, rdk.ErrUnsupportedCompressionType:
		return true
	}
	return false
}

// isPurged says whether a record was given up with its transaction, and not for itself.
func isPurged(err error) bool {
	code := codeOf(err)
	return code == rdk.ErrPurgeQueue || code == rdk.ErrPurgeInflight
}

// isFenced says whether another producer has taken this one's transactional id, or the broker has forgotten it: only a new one can go on.
func isFenced(err error) bool {
	switch codeOf(err) {
	case rdk.ErrFenced, rdk.ErrProducerFenced, rdk.ErrInvalidProducerEpoch, rdk.ErrInvalidProducerIDMapping:
		return true
	}
	return false
}

// codeOf returns the first code of the client or of the broker in an error; librdkafka uses the broker's numbers.
func codeOf(err error) rdk.ErrorCode {
	if ke, ok := errors.AsType[rdk.Error](err); ok {
		return ke.Code()
	}
	if be, ok := errors.AsType[*kerr.Error](err); ok {
		return rdk.ErrorCode(be.Code)
	}
	return rdk.ErrNoError
}
