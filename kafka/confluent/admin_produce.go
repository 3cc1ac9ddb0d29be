package confluent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// defaultLimit is max.message.bytes where nobody has set it.
	defaultLimit = 1048588
	// largestLimit is what fits into one request beside its frame.
	largestLimit = 90 << 20
	// overhead is what a batch and one record in it need beside the record's own bytes, at most.
	overhead = 100
	// faultsShown is how many records that failed an error names.
	faultsShown = 5
)

// limit is the largest batch that a topic takes.
func (a *admin) limit(topic string) int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n, ok := a.limits[topic]; ok {
		return n
	}
	return defaultLimit
}

// Produce writes records outside any transaction and returns their offsets in order, once all replicas have them. Records
// of one partition are written in order. On an error some may have been written; the offset of one that was not is -1.
func (a *admin) Produce(ctx context.Context, names []string, out *kafka.Outputs) ([]int64, error) {
	if err := a.learnLimits(ctx, names, out); err != nil {
		return nil, err
	}
	return a.produce(ctx, a.raw.Client, names, out)
}

// produce writes records with a client, and waits for all.
func (a *admin) produce(ctx context.Context, raw *kgo.Client, names []string, out *kafka.Outputs) ([]int64, error) {
	offsets := make([]int64, out.Len())
	faults := make([]error, out.Len())
	var pending sync.WaitGroup
	for i, r := range out.Records {
		offsets[i] = -1
		topic := names[r.Topic]
		if faults[i] = a.checkSize(topic, out, i); faults[i] != nil {
			continue
		}
		if faults[i] = checkTime(topic, r.Timestamp); faults[i] != nil {
			continue
		}
		rec := &kgo.Record{Topic: topic, Partition: r.Partition, Key: out.Key(i), Value: out.Value(i)}
		if r.Timestamp != 0 {
			rec.Timestamp = time.UnixMilli(r.Timestamp)
		}
		for h := range out.Headers(i) {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		pending.Add(1)
		raw.Produce(ctx, rec, func(r *kgo.Record, err error) {
			defer pending.Done()
			if err != nil {
				faults[i] = err
				return
			}
			offsets[i] = r.Offset
		})
	}
	pending.Wait() // each record's end comes by ctx at the latest
	return offsets, a.joinFaults(names, out, faults)
}

// compression is what batches are compressed with: as the producer does.
func compression(settings map[string]string) kgo.CompressionCodec {
	name := settings["compression.type"]
	if name == "" {
		name = settings["compression.codec"]
	}
	switch name {
	case "none":
		return kgo.NoCompression()
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.Lz4Compression()
}

// checkSize refuses a record that the topic would.
func (a *admin) checkSize(topic string, out *kafka.Outputs, i int) error {
	if out.Size(i)+overhead > int(a.limit(topic)) {
		return kerr.MessageTooLarge
	}
	return nil
}

func (a *admin) joinFaults(names []string, out *kafka.Outputs, faults []error) error {
	var shown []error
	n := 0
	for i, err := range faults {
		if err == nil {
			continue
		}
		if n++; n > faultsShown {
			continue
		}
		r := out.Records[i]
		topic := names[r.Topic]
		err = a.driver.who.denied(err, right("Write", kafka.OnTopic, topic))
		if errors.Is(err, kerr.MessageTooLarge) {
			err = fmt.Errorf("%d bytes are over the topic's limit of %d (max.message.bytes): %w", out.Size(i), a.limit(topic), err)
		}
		shown = append(shown, fmt.Errorf("produce record %d to %s/%d: %w", i, topic, r.Partition, err))
	}
	if n > faultsShown {
		shown = append(shown, fmt.Errorf("and %d more of %d records", n-faultsShown, len(faults)))
	}
	return errors.Join(shown...)
}

// learnLimits asks for max.message.bytes of the topics in out that it is not known of yet.
func (a *admin) learnLimits(ctx context.Context, names []string, out *kafka.Outputs) error {
	rq := kmsg.NewPtrDescribeConfigsRequest()
	asked := map[string]bool{}
	for i, r := range out.Records {
		if r.Topic < 0 || int(r.Topic) >= len(names) {
			return fmt.Errorf("produce record %d: its topic is number %d of %d", i, r.Topic, len(names))
		}
		name := names[r.Topic]
		a.mu.Lock()
		_, known := a.limits[name]
		a.mu.Unlock()
		if known || asked[name] {
			continue
		}
		asked[name] = true
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName, res.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{"max.message.bytes"}
		rq.Resources = append(rq.Resources, res)
	}
	if len(asked) == 0 {
		return nil
	}
	return a.retry(ctx, func(ctx context.Context) error {
		r, err := rq.RequestWith(ctx, a.raw.Client) // where it is denied, that is known below
		if err != nil {
			return fmt.Errorf("limits of topics: %w", err)
		}
		for _, x := range r.Resources {
			err := kerr.ErrorForCode(x.ErrorCode)
			if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
				continue // producing may be allowed all the same
			}
			if err != nil {
				return fmt.Errorf("limit of topic %s: %w", x.ResourceName, err)
			}
			a.setLimit(x)
		}
		return nil
	})
}

func (a *admin) setLimit(x kmsg.DescribeConfigsResponseResource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range x.Configs {
		if c.Name != "max.message.bytes" || c.Value == nil {
			continue
		}
		if n, err := strconv.ParseInt(*c.Value, 10, 64); err == nil && n > 0 {
			a.limits[x.ResourceName] = int32(min(n, largestLimit))
		}
	}
}
