package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// The brokers' own topics that a commit depends on.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// leastOffsetsRetention is how long a broker must keep offsets for a running node's to be safe: it commits idle ones again
// every refreshEvery, and may be away for a while.
const leastOffsetsRetention = 2 * refreshEvery

// leastDeletions is how long deletions must stay in a changelog so that nobody is warned: many times what a restore takes.
const leastDeletions = time.Hour

// Dangers returns the settings of the brokers and of a plan's topics that endanger what is promised, each in one line
// with its mend. unseen says what could not be looked at, because the brokers do not let this client see it; empty if
// nothing.
func Dangers(ctx context.Context, p *plan.Plan, admin kafka.Operator) (dangers []string, unseen string, err error) {
	brokers, err := admin.Brokers(ctx)
	if err != nil {
		return nil, "", err
	}
	var names []string
	for _, t := range p.Topics {
		names = append(names, t.Name)
	}
	have, err := admin.Topics(ctx, names...)
	if err != nil {
		return nil, "", err
	}
	x := &settingsCheck{plan: p, brokers: brokers, topics: have}
	hidden := x.broker()
	// The brokers' own may be hidden, and are not there before the first commit.
	for _, name := range []string{offsetsTopic, transactionsTopic} {
		own, err := admin.Topics(ctx, name)
		switch {
		case ctx.Err() != nil:
			return nil, "", err
		case err != nil:
			hidden = append(hidden, "topic "+name)
		default:
			maps.Copy(x.topics, own)
		}
	}
	x.replication()
	x.retention()
	if len(hidden) > 0 {
		unseen = fmt.Sprintf("the brokers do not show this client the settings of %s; allow DescribeConfigs on the cluster and Describe on these topics, or check them by hand", strings.Join(hidden, ", "))
	}
	return x.found, unseen, nil
}

// settingsCheck gathers dangers.
type settingsCheck struct {
	plan    *plan.Plan
	brokers []kafka.BrokerState
	topics  map[string]kafka.TopicState
	found   []string
}

func (x *settingsCheck) danger(format string, args ...any) {
	x.found = append(x.found, fmt.Sprintf(format, args...))
}

// broker checks settings of the brokers, and returns those that do not show theirs.
func (x *settingsCheck) broker() (hidden []string) {
	retention, longest, small := map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, b := range x.brokers {
		id := strconv.Itoa(int(b.ID))
		if b.Config == nil {
			hidden = append(hidden, "broker "+id)
			continue
		}
		if s := b.Config["offsets.retention.minutes"]; s != "" && time.Duration(atoi(s, 1<<30))*time.Minute < leastOffsetsRetention {
			retention[s] = append(retention[s], id)
		}
		if s := b.Config["offset.metadata.max.bytes"]; s != "" && atoi(s, 1<<30) < kafka.MaxMetadata {
			small[s] = append(small[s], id)
		}
		if s := b.Config["transaction.max.timeout.ms"]; s != "" && time.Duration(atoi(s, 1<<30))*time.Millisecond < kafka.TransactionTimeout {
			longest[s] = append(longest[s], id)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(small)) {
		x.danger("brokers %s keep offset.metadata.max.bytes=%s beside a committed offset, and nodes count on %d: records that are done out of order may end a node; set it to that or more",
			strings.Join(small[s], ", "), s, kafka.MaxMetadata)
	}
	for _, s := range slices.Sorted(maps.Keys(retention)) {
		x.danger("brokers %s forget offsets after offsets.retention.minutes=%s: those of idle partitions are committed again every %d hours only, and tables without offsets are refused; set it to %d or more, better to 10080 (7 days)",
			strings.Join(retention[s], ", "), s, int(refreshEvery.Hours()), int(leastOffsetsRetention.Minutes()))
	}
	for _, s := range slices.Sorted(maps.Keys(longest)) {
		x.danger("brokers %s refuse transactions of more than transaction.max.timeout.ms=%s, and a node's have %d: set it to that or more",
			strings.Join(longest[s], ", "), s, kafka.TransactionTimeout.Milliseconds())
	}
	return hidden
}

// replication checks what the death of one of several brokers would do.
func (x *settingsCheck) replication() {
	single, unsafe, tight, unclean := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for name, t := range x.topics {
		inSync := int32(atoi(t.Config["min.insync.replicas"], -1)) // -1: not shown
		switch {
		case t.Replicas <= 1 && len(x.brokers) > 1:
			single[name] = true
		case t.Replicas <= 1:
			continue
		case inSync >= 0 && inSync < 2:
			unsafe[name] = true
		case inSync >= t.Replicas:
			tight[name] = true
		}
		if t.Config["unclean.leader.election.enable"] == "true" && t.Replicas > 1 {
			unclean[name] = true
		}
	}
	for _, d := range []struct {
		topics map[string]bool
		text   string
	}{
		{single, "topics %s have one replica on several brokers: the death of one broker loses what was acknowledged; give them 3 with `kafka-reassign-partitions.sh`"},
		{unsafe, "topics %s take writes that a single broker has (min.insync.replicas below 2): its death loses what was acknowledged; set min.insync.replicas=2 with `kafka-configs.sh --alter --entity-type topics`"},
		{tight, "topics %s have as many min.insync.replicas as replicas: when one broker is away, nothing can be written; give them 3 replicas with min.insync.replicas=2"},
		{unclean, "topics %s may elect a leader that has not all that was acknowledged (unclean.leader.election.enable=true): set it to false with `kafka-configs.sh --alter --entity-type topics`"},
	} {
		if len(d.topics) > 0 {
			x.danger(d.text, strings.Join(slices.Sorted(maps.Keys(d.topics)), ", "))
		}
	}
}

// retention checks what time and size would delete of topics that must keep all.
func (x *settingsCheck) retention() {
	for _, t := range x.plan.Topics {
		have, ok := x.topics[t.Name]
		if ok && t.Global && have.Config["cleanup.policy"] != "" && !strings.Contains(have.Config["cleanup.policy"], "compact") {
			x.danger("topic %s has cleanup.policy=%s, and a global table is a copy of it: a node that starts later does not see what has been deleted by then; %s",
				t.Name, have.Config["cleanup.policy"], mendOf(&plan.Topic{Name: t.Name, Kind: plan.Changelog}, ""))
		}
		keep := Deletions(have)
		if ok && t.Global && keep < leastDeletions {
			x.danger("topic %s forgets deletions after delete.retention.ms=%d, and a global table is a copy of it: one that is read for longer, or is cut off from Kafka for longer, misses some; %s",
				t.Name, keep.Milliseconds(), mending(t.Name, "delete.retention.ms=86400000"))
		}
		if !ok || t.Kind == plan.External || t.Kind == plan.Slots || t.Kind == plan.Replies { // the slots topic is refused if it does not keep all; replies expire
			continue
		}
		if t.Kind == plan.Changelog && keep < leastDeletions {
			x.danger("topic %s forgets deletions after delete.retention.ms=%d: checkpoints that are older are not used, and a restore that takes longer is refused; %s",
				t.Name, keep.Milliseconds(), mending(t.Name, "delete.retention.ms=86400000"))
		}
		policy := have.Config["cleanup.policy"]
		if t.Kind != plan.Changelog && strings.Contains(policy, "compact") {
			x.danger("topic %s has cleanup.policy=%s: records that were not read yet give way to later ones of their key; set it to delete", t.Name, policy)
		}
		if !strings.Contains(policy, "delete") || t.Kind == plan.DeadLetters {
			continue
		}
		for _, name := range []string{"retention.ms", "retention.bytes"} {
			if s := have.Config[name]; s != "" && s != "-1" {
				x.danger("topic %s deletes records by %s=%s: %s; %s", t.Name, name, s, lostBy(t.Kind), mendOf(t, name))
			}
		}
	}
}

func lostBy(k plan.Kind) string {
	if k == plan.Changelog {
		return "entries of its table that do not change are lost"
	}
	return "those that were not read yet are lost"
}

func mendOf(t *plan.Topic, name string) string {
	config := name + "=-1"
	if t.Kind == plan.Changelog {
		config = "cleanup.policy=compact"
	}
	return mending(t.Name, config)
}

func mending(topic, config string) string {
	return fmt.Sprintf("set `kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s`", topic, config)
}

// heed warns of dangers, or refuses to start.
func (n *Node) heed(ctx context.Context, p *plan.Plan, admin kafka.Admin) error {
	operator, ok := admin.(kafka.Operator)
	if !ok {
		return nil // of a simulated cluster, which has no settings
	}
	dangers, unseen, err := Dangers(ctx, p, operator)
	if err != nil {
		return fmt.Errorf("look at the brokers' settings: %w", err)
	}
	if unseen != "" {
		n.log.Info("settings not checked", "error", unseen)
	}
	if !n.cfg.Strict {
		for _, d := range dangers {
			n.log.Warn("a setting endangers what is promised; --strict refuses it", "danger", d)
		}
		return nil
	}
	var faults []error
	for _, d := range dangers {
		faults = append(faults, errors.New(d))
	}
	if len(faults) > 0 {
		return fmt.Errorf("settings endanger what is promised, and --strict refuses them: %w", errors.Join(faults...))
	}
	return nil
}
