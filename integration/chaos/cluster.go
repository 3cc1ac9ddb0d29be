package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-stream/troupe/integration/proxy"
	"github.com/troupe-stream/troupe/integration/realkafka"
)

const (
	// brokers is how many there are: topics are replicated to all, and written with two in sync.
	brokers = 3
	// partitions is how many each topic of the load has.
	partitions = 6
)

// cluster is the brokers, and for every node a proxy before each of them.
type cluster struct {
	kafka  *realkafka.Kafka
	lanes  [][]*proxy.Proxy // by lane, by broker
	client *kgo.Client      // of the command itself, past the proxies
	mu     sync.Mutex       // held while brokers are started or stopped
}

// startCluster starts three brokers with as many lanes.
func startCluster(ctx context.Context, dir string, lanes int) (_ *cluster, err error) {
	c := new(cluster)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	addrs := make([][]string, lanes)
	for l := range lanes {
		row := make([]*proxy.Proxy, brokers)
		c.lanes = append(c.lanes, row)
		for b := range brokers {
			if row[b], err = proxy.Listen(); err != nil {
				return nil, err
			}
			addrs[l] = append(addrs[l], row[b].Addr())
		}
	}
	c.kafka, err = realkafka.StartConfig(ctx, filepath.Join(dir, "kafka"), realkafka.Config{
		Brokers: brokers, Lanes: addrs,
		Properties: map[string]string{
			"log.cleaner.backoff.ms": "1000", "num.partitions": strconv.Itoa(partitions), "num.network.threads": "1",
			// Deletions go from changelogs in a run: after this long, when they are compacted again. It is no part of the fault that compacts: one that
			// lowers it, and raises it again, takes deletions that checkpoints need, and a node that did not run meanwhile cannot tell.
			"log.cleaner.delete.retention.ms": "20000",
			// A broker that is gone is noticed soon, and its partitions led by another.
			"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "1000", "replica.lag.time.max.ms": "6000",
			"transaction.abort.timed.out.transaction.cleanup.interval.ms": "2000",
		},
	})
	if err != nil {
		return nil, err
	}
	for l, row := range c.lanes {
		for b, p := range row {
			p.Forward(c.kafka.Lane(l)[b])
		}
	}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetFetch), 9) // later ones want topic ids
	c.client, err = kgo.NewClient(kgo.MaxVersions(versions), kgo.SeedBrokers(c.kafka.Brokers()...), kgo.ClientID("chaos"), kgo.MetadataMinAge(200*time.Millisecond))
	return c, err
}

func (c *cluster) close() error {
	var errs []error
	if c.client != nil {
		c.client.Close()
	}
	for _, row := range c.lanes {
		for _, p := range row {
			if p != nil {
				errs = append(errs, p.Close())
			}
		}
	}
	if c.kafka != nil {
		errs = append(errs, c.kafka.Stop(context.Background()))
	}
	return errors.Join(errs...)
}

// addrs are the brokers as a node on a lane reaches them.
func (c *cluster) addrs(lane int) string {
	var out []string
	for _, p := range c.lanes[lane] {
		out = append(out, p.Addr())
	}
	return strings.Join(out, ",")
}

// heal ends everything that the proxies do.
func (c *cluster) heal() {
	for _, row := range c.lanes {
		for _, p := range row {
			p.Heal()
		}
	}
}

// createTopics makes the topics that the load writes and the nodes write to.
func (c *cluster) createTopics(ctx context.Context, names ...string) error {
	rq := kmsg.NewPtrCreateTopicsRequest()
	rq.TimeoutMillis = 30000
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, brokers
		rq.Topics = append(rq.Topics, t)
	}
	answer, err := rq.RequestWith(ctx, c.client)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for _, t := range answer.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("create topic %s: %w", t.Topic, err)
		}
	}
	return nil
}

// configure changes settings of topics; an empty value resets one.
func (c *cluster) configure(ctx context.Context, topics []string, values map[string]string) error {
	rq := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, topic := range topics {
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		for name, value := range values {
			x := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			x.Name, x.Op = name, kmsg.IncrementalAlterConfigOpSet
			if value == "" {
				x.Op = kmsg.IncrementalAlterConfigOpDelete
			} else {
				x.Value = new(value)
			}
			r.Configs = append(r.Configs, x)
		}
		rq.Resources = append(rq.Resources, r)
	}
	answer, err := rq.RequestWith(ctx, c.client)
	if err != nil {
		return fmt.Errorf("configure %s: %w", strings.Join(topics, ", "), err)
	}
	for _, r := range answer.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("configure %s: %w", r.ResourceName, err)
		}
	}
	return nil
}

// pause waits; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
