//go:build integration

package crashpoints

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/integration/proxy"
	"github.com/troupe-stream/troupe/integration/realkafka"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

// bench is what all trials have in common.
type bench struct {
	brokers string
	binary  string
	client  *kgo.Client
	admin   kafka.Admin
	lanes   chan *proxy.Proxy // ways to the broker that can be cut, for one trial at a time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	binary, err := nodes.BuildPackage(t.Context(), t.TempDir(), "integration/crashpoints/node", "-tags", "crashpoints")
	require.NoError(t, err)
	lanes := make([]*proxy.Proxy, atOnce)
	addrs := make([][]string, atOnce)
	for i := range lanes {
		lanes[i], err = proxy.Listen()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, lanes[i].Close()) })
		addrs[i] = []string{lanes[i].Addr()}
	}
	k, err := realkafka.StartConfig(t.Context(), t.TempDir(), realkafka.Config{Lanes: addrs, Properties: map[string]string{
		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"allow.everyone.if.no.acl.found": "true",
		"log.segment.delete.delay.ms":    "1000",
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	b := &bench{brokers: strings.Join(k.Brokers(), ","), binary: binary, lanes: make(chan *proxy.Proxy, atOnce)}
	for i, p := range lanes {
		p.Forward(k.Lane(i)[0])
		b.lanes <- p
	}
	t.Logf("on Kafka %s at %s", realkafka.Version, b.brokers)
	b.client, err = kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(100*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(b.client.Close)
	driver, err := confluent.New(confluent.Config{Brokers: k.Brokers()})
	require.NoError(t, err)
	b.admin, err = driver.OpenAdmin()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.admin.Close()) })
	return b
}

// await waits for a channel to be closed.
func await(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deserted waits until the broker knows of no member any more.
func (x *trial) deserted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, _, err := x.admin.Members(ctx, x.name)
		if err == nil && n == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("group %s still has %d members: %w", x.name, n, errors.Join(ctx.Err(), err))
		}
	}
}

// configure sets a topic's setting.
func (b *bench) configure(ctx context.Context, topic, name, value string) error {
	rq := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Op, c.Value = name, kmsg.IncrementalAlterConfigOpSet, &value
	r.Configs = append(r.Configs, c)
	rq.Resources = append(rq.Resources, r)
	answer, err := rq.RequestWith(ctx, b.client)
	if err != nil {
		return fmt.Errorf("configure %s: %w", topic, err)
	}
	return kerr.ErrorForCode(answer.Resources[0].ErrorCode)
}

// deny denies everyone to write a topic, until allow.
func (b *bench) deny(ctx context.Context, topic string) error {
	rq := kmsg.NewPtrCreateACLsRequest()
	c := kmsg.NewCreateACLsRequestCreation()
	c.ResourceType, c.ResourceName, c.ResourcePatternType = kmsg.ACLResourceTypeTopic, topic, kmsg.ACLResourcePatternTypeLiteral
	c.Principal, c.Host, c.Operation, c.PermissionType = "User:*", "*", kmsg.ACLOperationWrite, kmsg.ACLPermissionTypeDeny
	rq.Creations = append(rq.Creations, c)
	all := c // without it, a topic with a rule is closed to whom the rule does not name
	all.Operation, all.PermissionType = kmsg.ACLOperationAll, kmsg.ACLPermissionTypeAllow
	rq.Creations = append(rq.Creations, all)
	answer, err := rq.RequestWith(ctx, b.client)
	if err != nil {
		return fmt.Errorf("deny %s: %w", topic, err)
	}
	return errors.Join(kerr.ErrorForCode(answer.Results[0].ErrorCode), kerr.ErrorForCode(answer.Results[1].ErrorCode))
}

func (b *bench) allow(ctx context.Context, topic string) error {
	rq := kmsg.NewPtrDeleteACLsRequest()
	f := kmsg.NewDeleteACLsRequestFilter()
	f.ResourceType, f.ResourceName, f.ResourcePatternType = kmsg.ACLResourceTypeTopic, &topic, kmsg.ACLResourcePatternTypeLiteral
	f.Operation, f.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	rq.Filters = append(rq.Filters, f)
	answer, err := rq.RequestWith(ctx, b.client)
	if err != nil {
		return fmt.Errorf("allow %s: %w", topic, err)
	}
	return kerr.ErrorForCode(answer.Results[0].ErrorCode)
}

// remove deletes all of a trial's topics.
func (x *trial) remove(ctx context.Context) error {
	all := []string{x.name + "-lines", x.name + "-words", x.name + "-counts-changelog", x.name + "-slots"}
	if have, err := x.admin.Topics(ctx, x.more()); err != nil {
		return err
	} else if len(have) > 0 {
		all = append(all, x.more())
	}
	return x.admin.Delete(ctx, all...)
}
