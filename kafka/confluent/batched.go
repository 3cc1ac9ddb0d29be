package confluent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

// The two ways to use librdkafka.
const (
	// Public is through the public API of confluent-kafka-go: one call, and several allocations, for each record.
	Public = "public"
	// Batched is beside that API, on the same handles: a call for some thousand records. It is there on
	// Linux. All but records in and out goes through the public API here, too.
	Batched = "batched"
)

// intake brings the records of a consumer in runs. Its methods are called from the goroutine that polls the consumer; whatever
// is no record or error of a partition still comes through the consumer's Poll.
type intake interface {
	// take has the records of a partition come in here. It is called before the partition is assigned, each time.
	take(tp kafka.TopicPartition) error
	// hold keeps the records of a partition back, in librdkafka's own queue of it, which fills until it is as long as the settings let it be; release
	// lets them come, in order. Some that were on their way come after hold, too.
	hold(tp kafka.TopicPartition)
	release(tp kafka.TopicPartition)
	// leave expects nothing of a partition any more: it is taken away.
	leave(tp kafka.TopicPartition)
	// fetch waits up to the given time for records and takes so many at most. What it returns is good until done, which must follow.
	fetch(wait time.Duration, most int) []catch
	// fill moves records of a run to a batch, until that has so many records or bytes. Those below offset next are skipped; it
	// returns how many these were.
	fill(c *catch, b *kafka.Batch, next int64, most, bytes int) (repeated int)
	// done frees what was fetched.
	done()
	// close lets go of all partitions. It comes before the consumer is closed, and nothing after it.
	close()
}

// catch is a run of records of one topic-partition, or one error of it.
type catch struct {
	topic      string // not to be kept
	partition  int32
	err        rdk.ErrorCode // rdk.ErrNoError for records; rdk.ErrPartitionEOF at the end of what may be read
	offset     int64         // of an error
	text       string        // of an error
	first, n   int           // of what was fetched
	key, value []byte        // of a large record, which is alone; not to be kept
}

// fault is the error as the public API would have given it.
func (c *catch) fault() rdk.Error { return rdk.NewError(c.err, c.text, false) }

// end is the end of a partition as the public API would have given it.
func (c *catch) end() rdk.TopicPartition {
	return rdk.TopicPartition{Topic: &c.topic, Partition: c.partition, Offset: rdk.Offset(c.offset)}
}

// outlet takes the records of bundles. It is used by one goroutine at a time.
type outlet interface {
	// produce hands records of o to librdkafka in order, from the given one on, and returns how many it has taken. Without an error
	// it may not have come to the end yet.
	produce(o *kafka.Outputs, from int) (int, error)
	// close comes before the producer is closed.
	close()
}

// checkClient refuses a client that there is not, or that cannot be used as far as a look at librdkafka tells.
func checkClient(asked string) error {
	switch asked {
	case "", Public:
		return nil
	case Batched:
		return impossible(batchedFault())
	}
	return fmt.Errorf("client %q: use %s or %s, or leave out --client", asked, Public, Batched)
}

func impossible(why error) error {
	if why == nil {
		return nil
	}
	return fmt.Errorf("the batched client cannot be used: %w; leave out --client, or use --client %s", why, Public)
}

// trial is tryBatched, once in a process: the library that is linked stays what it is.
var trial = sync.OnceValue(func() error { return tryBatched(batchedFault()) })

// Client returns which client is used, Public or Batched, and, where it is not the batched one though nothing was said against that, why.
// It may be called from any goroutine, and waits for the end of the trial: some 100 ms after New, as a rule.
func (d *Driver) Client() (client string, why error) {
	if d.cfg.Client == Public {
		return Public, nil
	}
	if why := d.trial(); why != nil {
		return Public, why
	}
	return Batched, nil
}

// batched says whether to use the batched client; an error if that was asked for and cannot be.
func (d *Driver) batched() (bool, error) {
	client, why := d.Client()
	if d.cfg.Client == Batched && why != nil {
		return false, impossible(why)
	}
	d.said.Do(func() {
		if why != nil {
			d.log.Warn("the batched Kafka client cannot be used; each record goes through the public one, at several times the cost", "error", why)
			return
		}
		d.log.Info("Kafka client", "client", client)
	})
	return client == Batched, nil
}

const (
	trialTopic   = "trial"
	trialTimeout = 10 * time.Second
)

// openTrial opens a consumer with a broker of librdkafka's own, inside this process, that has the topic of the trial. It returns the broker's address.
func openTrial() (c *rdk.Consumer, broker string, err error) {
	c, err = rdk.NewConsumer(&rdk.ConfigMap{
		"test.mock.num.brokers": 1, "group.id": trialTopic, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5, "log_level": 0,
	})
	if err != nil {
		return nil, "", fmt.Errorf("open a consumer for a trial: %w", err)
	}
	topic := trialTopic // which that broker makes when it is asked about it
	m, err := c.GetMetadata(&topic, false, int(trialTimeout.Milliseconds()))
	if err == nil && len(m.Brokers) == 0 {
		err = errors.New("it tells of no broker")
	}
	if err != nil {
		closesInTime(func() { _ = c.Close() })
		return nil, "", fmt.Errorf("reach the broker of a trial: %w", err)
	}
	return c, fmt.Sprintf("%s:%d", m.Brokers[0].Host, m.Brokers[0].Port), nil
}

// tryBatched sends records through the batched client to the broker of a trial, and reads them back. If a look at librdkafka has found a fault already, nothing of it is called.
func tryBatched(fault error) error {
	if fault != nil {
		return fault
	}
	c, broker, err := openTrial()
	if err != nil {
		return err
	}
	defer closesInTime(func() { _ = c.Close() })
	want, codecs := trialRecords(), []string{"none", "lz4"} // librdkafka has what was compressed elsewhere than what was not
	for _, codec := range codecs {
		if err := trialWrite(broker, codec, want); err != nil {
			return fmt.Errorf("write in a trial: %w", err)
		}
	}
	got, err := trialRead(c, len(codecs)*want.Len())
	if err != nil {
		return fmt.Errorf("read in a trial: %w", err)
	}
	return compareTrial(got, want)
}

// compareTrial says which record was not read as it was written; each was so once with every codec.
func compareTrial(got *kafka.Batch, want *kafka.Outputs) error {
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	for i := range got.Len() {
		w := i % want.Len()
		if !same(got.Key(i), want.Key(w)) || !same(got.Value(i), want.Value(w)) || !bytes.Equal(got.RawHeaders(i), want.RawHeaders(w)) || got.Records[i].Offset != int64(i) ||
			want.Records[w].Timestamp != 0 && got.Records[i].Timestamp != want.Records[w].Timestamp {
			return fmt.Errorf("record %d of a trial was not read as it was written", i)
		}
	}
	return nil
}

// trialRecords are of all kinds: with and without a key, a value and headers, short and long, and some in a row that are given to librdkafka at once.
func trialRecords() *kafka.Outputs {
	o, long := new(kafka.Outputs), bytes.Repeat([]byte("value"), 100)
	headers := kafka.AppendHeaders(nil, kafka.Header{Key: "a", Value: []byte("1")}, kafka.Header{Key: "b"})
	o.Append(0, 0, 1_700_000_000_123, []byte("key"), []byte("value"), headers)
	o.Append(0, 0, 1_700_000_000_124, nil, []byte{}, nil)
	o.Append(0, 0, 1_700_000_000_125, []byte{}, nil, nil)
	o.Append(0, 0, 1_700_000_000_126, nil, []byte{}, headers)
	for range 8 {
		o.Append(0, 0, 0, []byte("key"), long, nil)
	}
	o.Append(0, 0, 1_700_000_000_127, []byte("key"), []byte("value"), nil)
	o.Append(0, 0, 1_700_000_000_128, []byte("key"), long, headers)
	return o
}

func trialWrite(broker, codec string, o *kafka.Outputs) error {
	p, err := rdk.NewProducer(&rdk.ConfigMap{
		"bootstrap.servers": broker, "linger.ms": 5, "compression.codec": codec, "log_level": 0, "message.timeout.ms": int(trialTimeout.Milliseconds()),
		"go.events.channel.size": 10, "go.produce.channel.size": 1,
	})
	if err != nil {
		return err
	}
	defer closesInTime(p.Close)
	out, err := openOutlet(p, []string{trialTopic})
	if err != nil {
		return err
	}
	defer out.close()
	if n, err := out.produce(o, 0); err != nil || n != o.Len() {
		return fmt.Errorf("%d of %d records were taken: %w", n, o.Len(), err)
	}
	for end := time.Now().Add(trialTimeout); p.Len() > 0 && time.Now().Before(end); {
		pause(context.Background(), time.Millisecond)
	}
	select {
	case e := <-p.Events(): // of a delivery that has failed, or of the producer
		return fmt.Errorf("%v", e)
	default:
		return nil
	}
}

func trialRead(c *rdk.Consumer, n int) (*kafka.Batch, error) {
	in, err := openIntake(c)
	if err != nil {
		return nil, err
	}
	defer in.close()
	tp := kafka.TopicPartition{Topic: trialTopic}
	if err := in.take(tp); err != nil {
		return nil, err
	}
	if err := c.Assign([]rdk.TopicPartition{{Topic: &tp.Topic}}); err != nil {
		return nil, err
	}
	b := &kafka.Batch{Topic: trialTopic}
	var faults []error
	for end := time.Now().Add(trialTimeout); b.Len() < n && time.Now().Before(end); {
		if e, ok := c.Poll(0).(rdk.Error); ok {
			faults = append(faults, e)
		}
		for _, r := range in.fetch(10*time.Millisecond, maxGather) {
			if r.err != rdk.ErrNoError {
				faults = append(faults, r.fault())
				continue
			}
			for r.n > 0 {
				in.fill(&r, b, 0, maxBatchRecords, maxBatchBytes)
			}
		}
		in.done()
	}
	if b.Len() != n {
		return nil, errors.Join(append(faults, fmt.Errorf("%d of %d records came", b.Len(), n))...)
	}
	return b, nil
}
