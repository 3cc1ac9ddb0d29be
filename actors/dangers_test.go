package actors_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
	"github.com/troupe-stream/troupe/topology/plan"
)

// settingsAdmin is a cluster that has settings and nothing else.
type settingsAdmin struct {
	kafka.Operator
	brokers []kafka.BrokerState
	topics  map[string]kafka.TopicState
	hidden  string // a topic that may not be described
}

func (a *settingsAdmin) Brokers(context.Context) ([]kafka.BrokerState, error) { return a.brokers, nil }

func (a *settingsAdmin) Topics(_ context.Context, names ...string) (map[string]kafka.TopicState, error) {
	out := map[string]kafka.TopicState{}
	for _, n := range names {
		if n == a.hidden {
			return nil, errors.New("TOPIC_AUTHORIZATION_FAILED")
		}
		if s, ok := a.topics[n]; ok {
			out[n] = s
		}
	}
	return out, nil
}

// wordcountOn is a cluster with a number of brokers on which everything is as it should be.
func wordcountOn(t *testing.T, brokers int) (*plan.Plan, *settingsAdmin) {
	t.Helper()
	p, err := wordcount.Topology().Plan()
	require.NoError(t, err)
	a := &settingsAdmin{topics: map[string]kafka.TopicState{}}
	for i := range brokers {
		a.brokers = append(a.brokers, kafka.BrokerState{ID: int32(i), Config: map[string]string{
			"offsets.retention.minutes": "10080", "transaction.max.timeout.ms": "900000",
		}})
	}
	replicas := min(int32(brokers), 3)
	good := map[string]string{"min.insync.replicas": "2", "unclean.leader.election.enable": "false", "retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
	for _, topic := range p.Topics {
		config := maps.Clone(good)
		switch topic.Kind {
		case plan.Changelog:
			config["cleanup.policy"] = "compact"
		case plan.External:
			config["retention.ms"] = "604800000" // by time, as users want it
		default:
		}
		a.topics[topic.Name] = kafka.TopicState{Partitions: 4, Replicas: replicas, Config: config}
	}
	for _, name := range []string{"__consumer_offsets", "__transaction_state"} {
		config := maps.Clone(good)
		config["cleanup.policy"] = "compact"
		a.topics[name] = kafka.TopicState{Partitions: 50, Replicas: replicas, Config: config}
	}
	return p, a
}

// TestDangers finds each setting that endangers what is promised, and says how to mend it.
func TestDangers(t *testing.T) {
	t.Parallel()
	for _, brokers := range []int{1, 3} {
		p, a := wordcountOn(t, brokers)
		found, unseen, err := actors.Dangers(t.Context(), p, a)
		require.NoError(t, err)
		require.Empty(t, found, "nothing endangers %d brokers", brokers)
		require.Empty(t, unseen)
	}
	set := func(a *settingsAdmin, topic, name, value string) { a.topics[topic].Config[name] = value }
	for name, c := range map[string]struct {
		spoil func(a *settingsAdmin)
		want  []string // in the only danger
	}{
		"one replica": {func(a *settingsAdmin) {
			for _, n := range []string{"lines", "__consumer_offsets"} {
				x := a.topics[n]
				x.Replicas = 1
				a.topics[n] = x
			}
		}, []string{"topics __consumer_offsets, lines have one replica", "kafka-reassign-partitions.sh"}},
		"one in sync": {func(a *settingsAdmin) { set(a, "words", "min.insync.replicas", "1") }, []string{"topics words take writes that a single broker has", "min.insync.replicas=2"}},
		"all in sync": {func(a *settingsAdmin) { set(a, "__transaction_state", "min.insync.replicas", "3") }, []string{"topics __transaction_state have as many min.insync.replicas as replicas", "3 replicas"}},
		"unclean":     {func(a *settingsAdmin) { set(a, "lines", "unclean.leader.election.enable", "true") }, []string{"topics lines may elect a leader", "set it to false"}},
		"offsets forgotten": {func(a *settingsAdmin) { a.brokers[1].Config["offsets.retention.minutes"] = "60" }, []string{
			"brokers 1 forget offsets after offsets.retention.minutes=60", "set it to 1440 or more",
		}},
		"short transactions": {func(a *settingsAdmin) { a.brokers[2].Config["transaction.max.timeout.ms"] = "30000" }, []string{
			"brokers 2 refuse transactions of more than transaction.max.timeout.ms=30000", "60000",
		}},
		"little metadata": {func(a *settingsAdmin) { a.brokers[0].Config["offset.metadata.max.bytes"] = "1024" }, []string{
			"offset.metadata.max.bytes=1024", "count on 4096",
		}},
		"changelog by time": {func(a *settingsAdmin) {
			set(a, "wordcount-counts-changelog", "cleanup.policy", "compact,delete")
			set(a, "wordcount-counts-changelog", "retention.ms", "86400000")
		}, []string{"topic wordcount-counts-changelog deletes records by retention.ms=86400000", "entries of its table", "cleanup.policy=compact`"}},
		"deletions forgotten": {func(a *settingsAdmin) { set(a, "wordcount-counts-changelog", "delete.retention.ms", "60000") }, []string{
			"topic wordcount-counts-changelog forgets deletions after delete.retention.ms=60000", "a restore that takes longer is refused", "delete.retention.ms=86400000`",
		}},
		"leader topic by size": {func(a *settingsAdmin) { set(a, "wordcount-leader", "retention.bytes", "1000") }, []string{"topic wordcount-leader deletes records by retention.bytes=1000", "retention.bytes=-1`"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, a := wordcountOn(t, 3)
			c.spoil(a)
			found, _, err := actors.Dangers(t.Context(), p, a)
			require.NoError(t, err)
			require.Len(t, found, 1)
			require.NotContains(t, found[0], "\n")
			for _, w := range c.want {
				require.Contains(t, found[0], w)
			}
		})
	}
}

// TestDangersOfDeletions: those of changelogs and of global tables' topics must stay for longer than they take to be read; of others nobody asks.
func TestDangersOfDeletions(t *testing.T) {
	t.Parallel()
	p := &plan.Plan{Name: "t", Topics: []*plan.Topic{{Name: "t-x-changelog", Kind: plan.Changelog}, {Name: "rates", Kind: plan.External, Global: true}, {Name: "in", Kind: plan.External}}}
	found := func(keep string) []string {
		a := &settingsAdmin{topics: map[string]kafka.TopicState{}}
		for _, x := range p.Topics {
			a.topics[x.Name] = kafka.TopicState{Partitions: 1, Replicas: 1, Config: map[string]string{"cleanup.policy": "compact", "delete.retention.ms": keep}}
		}
		found, _, err := actors.Dangers(t.Context(), p, a)
		require.NoError(t, err)
		return found
	}
	for _, enough := range []string{"3600000", "9223372036854775807", "-1", ""} {
		require.Empty(t, found(enough), enough)
	}
	for _, little := range []string{"3599999", "0"} {
		require.Len(t, found(little), 2, little)
	}
	require.Contains(t, found("60000")[0], "topic t-x-changelog forgets deletions after delete.retention.ms=60000: checkpoints")
	require.Contains(t, found("60000")[1], "topic rates forgets deletions after delete.retention.ms=60000, and a global table is a copy of it")
}

// TestDangersOfRepartitionTopics: what was not read yet must be kept, whatever time it takes.
func TestDangersOfRepartitionTopics(t *testing.T) {
	t.Parallel()
	p := &plan.Plan{Name: "t", Topics: []*plan.Topic{{Name: "t-r-repartition", Kind: plan.Repartition}}}
	a := &settingsAdmin{topics: map[string]kafka.TopicState{"t-r-repartition": {Partitions: 1, Replicas: 1, Config: map[string]string{
		"cleanup.policy": "compact,delete", "retention.ms": "1000", "retention.bytes": "-1",
	}}}}
	found, _, err := actors.Dangers(t.Context(), p, a)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Contains(t, found[0], "topic t-r-repartition has cleanup.policy=compact,delete")
	require.Contains(t, found[1], "topic t-r-repartition deletes records by retention.ms=1000: those that were not read yet are lost")
}

// TestDangersHidden: what this client may not see is told, not passed over.
func TestDangersHidden(t *testing.T) {
	t.Parallel()
	p, a := wordcountOn(t, 3)
	a.brokers[1].Config, a.hidden = nil, "__transaction_state"
	found, unseen, err := actors.Dangers(t.Context(), p, a)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Contains(t, unseen, "settings of broker 1, topic __transaction_state")
}

// TestStrict: a node warns of a dangerous setting, and with Strict refuses to start.
func TestStrict(t *testing.T) {
	t.Parallel()
	start := func(strict bool, config map[string]string) (string, error) {
		config["group.initial.rebalance.delay.ms"] = "0"
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(config))
		require.NoError(t, err)
		defer c.Close()
		d, err := confluent.New(confluent.Config{Brokers: c.ListenAddrs()})
		require.NoError(t, err)
		p, err := wordcount.Topology().Plan()
		require.NoError(t, err)
		var log bytes.Buffer
		n, err := actors.NewNode(p, d, actors.Config{
			DataDir: t.TempDir(), Instance: "me", Nonce: "1", CreateTopics: true, Strict: strict,
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err = n.Start(ctx)
		if err == nil {
			require.NoError(t, n.Stop(ctx))
		}
		return log.String(), err
	}
	log, err := start(true, map[string]string{})
	require.NoError(t, err, "one broker endangers nothing that it could keep")
	require.NotContains(t, log, "offsets.retention.minutes")

	short := map[string]string{"offsets.retention.minutes": "60"}
	log, err = start(false, short)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(log, "brokers 0 forget offsets after offsets.retention.minutes=60"))
	_, err = start(true, short)
	require.ErrorContains(t, err, "settings endanger what is promised, and --strict refuses them: brokers 0 forget offsets")
}
