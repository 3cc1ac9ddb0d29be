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

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// defaultPartitions is how many partitions a topic gets that says nothing about it.
const defaultPartitions = 4

// defaultMaxBytes is the broker's default of max.message.bytes.
const defaultMaxBytes = 1048588

// topics is what a node has found out about the topics of its plan.
type topics struct {
	env       *plan.Env
	ids       map[string]string
	stage     []int32 // partitions by stage
	deletions *deletions
}

// checkTopics makes the topics that are missing and checks those that exist; every fault is reported.
func checkTopics(ctx context.Context, p *plan.Plan, admin kafka.Admin, create bool) (*topics, error) {
	names := make([]string, 0, len(p.Topics))
	for _, t := range p.Topics {
		names = append(names, t.Name)
	}
	have, err := admin.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	specs, faults := missing(p, have, create)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if len(specs) > 0 {
		crashpoint.Hit("create.topics-missing")
		if err := admin.Create(ctx, specs...); err != nil {
			return nil, err
		}
		crashpoint.Hit("create.topics-made")
		if have, err = admin.Topics(ctx, names...); err != nil {
			return nil, err
		}
	}
	return found(p, have)
}

// missing lists the topics to make; external ones are a fault unless they are to be made.
func missing(p *plan.Plan, have map[string]kafka.TopicState, create bool) (specs []kafka.TopicSpec, faults []error) {
	count := map[string]int32{}
	for name, t := range have {
		count[name] = t.Partitions
	}
	var absent []string
	for _, t := range p.Topics {
		if t.Kind != plan.External || count[t.Name] > 0 {
			continue
		}
		if !create || t.Pattern != nil && !t.Sink && !t.Global { // one of the latter was there just now
			absent = append(absent, t.Name)
			continue
		}
		n := partitionsOf(p, t, count)
		count[t.Name] = n
		specs = append(specs, kafka.TopicSpec{Name: t.Name, Partitions: n, Config: t.Config})
	}
	if len(absent) > 0 {
		return nil, []error{fmt.Errorf("topics %s do not exist: make them, or let the node make them with --create-topics", strings.Join(absent, ", "))}
	}
	for _, t := range p.Topics {
		if t.Kind == plan.External || t.Kind == plan.Slots || count[t.Name] > 0 {
			continue // the slot map makes its own
		}
		n := max(t.Partitions, 1)
		switch t.Kind {
		case plan.Repartition:
			n = partitionsOf(p, t, count)
		case plan.Changelog:
			for _, tb := range p.Tables {
				if tb.Changelog == t {
					n = partitionsOf(p, p.Stages[tb.Stage].Sources[0], count)
				}
			}
		default:
		}
		count[t.Name] = n
		config := maps.Clone(t.Config)
		if t.Kind == plan.DeadLetters { // a letter is its record and some headers more
			if config == nil {
				config = map[string]string{}
			}
			config["max.message.bytes"] = strconv.Itoa(letterBytes(p, have))
		}
		specs = append(specs, kafka.TopicSpec{Name: t.Name, Partitions: n, Config: config})
	}
	return specs, nil
}

// partitionsOf is how many partitions a topic is made with: what it asks for, or what it is co-partitioned with has.
func partitionsOf(p *plan.Plan, t *plan.Topic, count map[string]int32) int32 {
	if t.Partitions > 0 {
		return t.Partitions
	}
	if t.Like != nil {
		return max(count[t.Like.Name], partitionsOf(p, t.Like, count))
	}
	if t.LikePattern != nil {
		most := int32(0)
		for _, name := range matched(p, t.LikePattern) {
			most = max(most, count[name])
		}
		if most > 0 {
			return most
		}
	}
	for _, st := range p.Stages {
		if !slices.Contains(st.Sources, t) {
			continue
		}
		for _, other := range st.Sources {
			if n := max(count[other.Name], other.Partitions); n > 0 {
				return n
			}
		}
	}
	return defaultPartitions
}

func letterBytes(p *plan.Plan, have map[string]kafka.TopicState) int {
	most := defaultMaxBytes
	for _, t := range p.Topics {
		if t.Source {
			most = max(most, maxBytes(have[t.Name]), atoi(t.Config["max.message.bytes"], 0))
		}
	}
	return most + 64<<10
}

func maxBytes(t kafka.TopicState) int { return atoi(t.Config["max.message.bytes"], defaultMaxBytes) }

func atoi(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return otherwise
}

// found checks the topics that exist and gathers what the node needs to know of them.
func found(p *plan.Plan, have map[string]kafka.TopicState) (*topics, error) {
	top := &topics{
		env: &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))},
		ids: map[string]string{}, stage: make([]int32, len(p.Stages)), deletions: newDeletions(),
	}
	top.deletions.note(time.Time{}, have)
	var faults []error
	for _, t := range p.Topics {
		x, ok := have[t.Name]
		if !ok {
			if t.Kind != plan.Slots {
				faults = append(faults, fmt.Errorf("topic %s does not exist, though it was made just now; is the cluster healthy?", t.Name))
			}
			continue
		}
		top.env.Partitions[t.ID], top.env.MaxBytes[t.ID], top.ids[t.Name] = x.Partitions, int32(maxBytes(x)), x.ID
	}
	return top, errors.Join(append(faults, top.check(p, have)...)...)
}

// TopicFaults returns what is wrong with those topics of a plan that exist: each fault with its mend.
func TopicFaults(p *plan.Plan, have map[string]kafka.TopicState) []error {
	top := &topics{env: &plan.Env{Partitions: make([]int32, len(p.Topics))}, stage: make([]int32, len(p.Stages))}
	for _, t := range p.Topics {
		top.env.Partitions[t.ID] = have[t.Name].Partitions
	}
	return top.check(p, have)
}

// check checks topics that exist.
func (top *topics) check(p *plan.Plan, have map[string]kafka.TopicState) (faults []error) {
	for _, t := range p.Topics {
		x := have[t.Name]
		if t.Kind == plan.Changelog && !strings.Contains(x.Config["cleanup.policy"], "compact") && len(x.Config) > 0 {
			faults = append(faults, fmt.Errorf("changelog %s has cleanup.policy=%s: records would be deleted, and tables lost; mend it with "+
				"`kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config cleanup.policy=compact`", t.Name, x.Config["cleanup.policy"], t.Name))
		}
	}
	for _, t := range p.Topics {
		if n := have[t.Name].Partitions; t.Kind == plan.Repartition && t.Partitions > 0 && n > 0 && n != t.Partitions {
			faults = append(faults, fmt.Errorf("topic %s has %d partitions and topology.Repartition says %d: the records in it are spread over as many as it has; go back to %d, or give the step another name, or, to start over, %s",
				t.Name, n, t.Partitions, n, kafka.StartOver(p.Name)))
		}
	}
	for i, st := range p.Stages {
		faults = append(faults, top.checkStage(p, i, st)...)
	}
	return faults
}

// checkStage checks that what must be co-partitioned is.
func (top *topics) checkStage(p *plan.Plan, i int, st *plan.Stage) (faults []error) {
	for _, t := range st.Sources {
		n := top.env.Partitions[t.ID]
		if top.stage[i] == 0 {
			top.stage[i] = n
		}
		if n != top.stage[i] && n > 0 {
			faults = append(faults, fmt.Errorf("topics %s and %s feed one stage and have %d and %d partitions: they must have as many; send one of them through a topic that has, or GroupBy",
				st.Sources[0].Name, t.Name, top.stage[i], n))
		}
	}
	for _, tb := range st.Tables {
		if n := top.env.Partitions[tb.Changelog.ID]; n != top.stage[i] && n > 0 && top.stage[i] > 0 {
			faults = append(faults, fmt.Errorf("changelog %s has %d partitions and its table's source %s has %d: a table cannot change its number of partitions; "+
				"to start over, %s", tb.Changelog.Name, n, st.Sources[0].Name, top.stage[i], kafka.StartOver(p.Name)))
		}
	}
	return faults
}

// changed says whether a topic was deleted or has another number of partitions than when the node started. That the broker
// does not answer is no change. For how long changelogs keep deletions is noted. moved are those that match patterns, which is no fault.
func (top *topics) changed(ctx context.Context, now time.Time, p *plan.Plan, admin kafka.Admin) (moved []string, err error) {
	names := make([]string, 0, len(p.Topics))
	for _, t := range p.Topics {
		names = append(names, t.Name)
	}
	have, err := admin.Topics(ctx, names...)
	if errors.Is(err, kafka.ErrDenied) {
		return nil, err
	}
	if err != nil {
		return nil, nil //nolint:nilerr // the clients report that the broker is away, and wait for it
	}
	top.deletions.note(now, have)
	var faults []error
	for _, t := range p.Topics {
		x, ok := have[t.Name]
		was := top.env.Partitions[t.ID]
		switch {
		case t.Kind == plan.Slots || was == 0:
		case t.Pattern != nil && !t.Sink && !t.Global:
			if !ok || top.ids[t.Name] != x.ID || x.Partitions != was {
				moved = append(moved, t.Name)
			}
		case !ok || top.ids[t.Name] != x.ID:
			faults = append(faults, fmt.Errorf("topic %s was deleted under the running node; make it again and restart, or, to start over, %s", t.Name, kafka.StartOver(p.Name)))
		case x.Partitions != was && (t.Source || t.Kind == plan.Changelog):
			faults = append(faults, fmt.Errorf("topic %s has %d partitions now and had %d: keys go elsewhere, tables would be wrong; to start over, %s",
				t.Name, x.Partitions, was, kafka.StartOver(p.Name)))
		case x.Partitions != was && t.Global:
			faults = append(faults, fmt.Errorf("topic %s has %d partitions now and had %d, and a global table is a copy of it: restart the node, and write its keys anew, since they go elsewhere now",
				t.Name, x.Partitions, was))
		}
	}
	return moved, errors.Join(faults...)
}

// findSlots brings the slot map up to date.
func findSlots(ctx context.Context, p *plan.Plan, admin kafka.Admin, reader kafka.Reader, top *topics) (*slotTable, error) {
	var sizes []kafka.StageSize
	for i, st := range p.Stages {
		if i > 0 {
			sizes = append(sizes, kafka.StageSize{Key: st.Key, Partitions: top.stage[i]})
		}
	}
	read := func(ctx context.Context, tp kafka.TopicPartition, end int64) ([]*kafka.Batch, error) {
		return kafka.ReadAll(ctx, reader, tp, 0, end)
	}
	m, err := kafka.SyncSlots(ctx, admin, read, p.Name, sizes, slotPatterns(p, top.ids)...)
	if err != nil {
		return nil, err
	}
	t := &slotTable{stages: map[int32]*plan.Stage{0: p.Stages[0]}, numbers: map[int32]int32{0: 0}, later: map[int32]bool{}}
	for i, st := range p.Stages {
		for n := range top.stage[i] {
			if i == 0 {
				continue
			}
			slot, ok := m.Slot(st.Key, n)
			if !ok {
				return nil, fmt.Errorf("slot map of %s: %s/%d has no slot", p.Name, st.Key, n)
			}
			t.stages[slot], t.numbers[slot], t.later[slot] = st, n, m.Later(slot)
		}
	}
	return t, nil
}
