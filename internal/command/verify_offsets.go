package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// stableWait is how long offsets may be held back by open transactions: those of nodes that live end within a moment.
const stableWait = 10 * time.Second

// checkOffsets looks whether committed offsets are within their logs, and their metadata makes sense.
func (v *verify) checkOffsets(ctx context.Context) error {
	before := v.faults
	ctx, cancel := asked(ctx)
	defer cancel()
	var tps []kafka.TopicPartition
	for _, st := range v.plan.Stages {
		for _, t := range st.Sources {
			for p := range v.topics[t.Name].Partitions {
				tps = append(tps, kafka.TopicPartition{Topic: t.Name, Partition: p})
			}
		}
	}
	// In this order: starts grow up to what is committed at the most, ends from it on.
	starts, err := v.admin.Starts(ctx, tps...)
	if err != nil {
		return err
	}
	stable, stop := context.WithTimeout(ctx, stableWait)
	committed, err := v.admin.CommittedOffsets(stable, v.plan.Name, tps...)
	stop()
	if errors.Is(err, kafka.ErrOpenTransaction) {
		v.wrong("offsets", "start a node, or wait for a minute, and run again", "%s", err)
		return nil
	}
	if err != nil {
		return err
	}
	ends, err := v.admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	if err != nil {
		return err
	}
	v.committed = committed
	n := 0
	metas := map[kafka.TopicPartition]kafka.Meta{}
	for _, tp := range tps {
		if committed[tp].Offset < 0 {
			continue
		}
		n++
		if m, ok := v.checkOffset(committed[tp], starts[tp], ends[tp]); ok {
			metas[tp] = m
		}
	}
	for _, st := range v.plan.Stages {
		v.checkSeqs(st, metas)
		for _, t := range st.Sources {
			v.checkAgents(st, t, metas)
		}
	}
	v.sound(before, "offsets", "%d of %d partitions have one, within their logs, with metadata that agrees", n, len(tps))
	return nil
}

// checkOffset looks at one committed offset. ok is false if its metadata says nothing.
func (v *verify) checkOffset(pos kafka.Position, start, end int64) (m kafka.Meta, ok bool) {
	at := fmt.Sprintf("%s/%d", pos.Topic, pos.Partition)
	switch {
	case pos.Offset > end:
		v.wrong("offsets", "if the topic was made anew: "+kafka.StartOver(v.plan.Name),
			"%s: offset %d is committed, but the log ends at %d: records were lost, or the topic was made anew", at, pos.Offset, end)
	case pos.Offset < start:
		v.wrong("offsets", fmt.Sprintf("give topic %s a longer retention.ms; to go on without them, kafka-consumer-groups.sh --reset-offsets --to-earliest for this partition, with all nodes stopped", pos.Topic),
			"%s: offset %d is committed, but the log begins at %d: %d records were deleted before they were read", at, pos.Offset, start, start-pos.Offset)
	}
	m, err := kafka.ParseMeta(pos.Metadata)
	if err != nil {
		v.wrong("offsets", "stop what else commits to group "+v.plan.Name+"; then "+kafka.StartOver(v.plan.Name), "%s: %s", at, err)
		return m, false
	}
	if pos.Metadata == "" {
		v.note("offsets", "%s: offset %d was committed by another program, such as kafka-consumer-groups.sh --reset-offsets: tables hold what was read before that", at, pos.Offset)
		return m, false
	}
	for _, name := range slices.Sorted(maps.Keys(m.Agents)) {
		if why := impossible(m.Agents[name], pos.Offset, end); why != "" {
			v.wrong("offsets", kafka.StartOver(v.plan.Name), "%s: agent %s is %s", at, name, why)
		}
	}
	return m, true
}

// impossible says what cannot be in how far an agent is beyond a committed offset; empty if nothing.
func impossible(a kafka.Ahead, offset, end int64) string {
	last := a.UpTo
	for i := 0; i+1 < len(a.Beyond); i += 2 {
		from, to := a.Beyond[i], a.Beyond[i+1]
		if from <= last || to <= from {
			return fmt.Sprintf("through with ranges that are not in order: %v", a.Beyond)
		}
		last = to
	}
	if offset+last > end {
		return fmt.Sprintf("through with records up to offset %d, but the log ends at %d", offset+last, end)
	}
	return ""
}

// checkSeqs looks whether the sources of each slot were committed together: they always are.
func (v *verify) checkSeqs(st *plan.Stage, metas map[kafka.TopicPartition]kafka.Meta) {
	for p := range v.partitions(st) {
		seqs, none := map[int64][]string{}, []string(nil)
		for _, t := range st.Sources {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: p}
			switch m, ok := metas[tp]; {
			case ok && m.Seq == 0: // where a reset has it begin
			case ok:
				seqs[m.Seq] = append(seqs[m.Seq], t.Name)
			case v.committed[tp].Offset < 0:
				none = append(none, t.Name)
			}
		}
		slot := fmt.Sprintf("%s/%d", st.Key, p)
		if len(seqs) > 1 {
			var parts []string
			for _, seq := range slices.Sorted(maps.Keys(seqs)) {
				parts = append(parts, fmt.Sprintf("%s of bundle %d", strings.Join(seqs[seq], ", "), seq))
			}
			v.wrong("offsets", kafka.StartOver(v.plan.Name), "%s: its sources' offsets are of different bundles (%s), but are always committed together", slot, strings.Join(parts, "; "))
		}
		if len(seqs) > 0 && len(none) > 0 {
			v.wrong("offsets", kafka.StartOver(v.plan.Name), "%s: %s has no committed offset, but the slot's other sources have: they are always committed together", slot, strings.Join(none, ", "))
		}
	}
}

// checkAgents compares the agents in the metadata of a topic with those of the topology.
func (v *verify) checkAgents(st *plan.Stage, t *plan.Topic, metas map[kafka.TopicPartition]kafka.Meta) {
	ours, fresh, strangers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, a := range st.Agents {
		if a.Source == t {
			ours[a.Of] = true
		}
	}
	for tp, m := range metas {
		if tp.Topic != t.Name {
			continue
		}
		for name := range ours {
			if _, known := m.Agents[name]; !known && len(m.Agents) > 0 {
				fresh[name] = true
			}
		}
		for name := range m.Agents {
			if !ours[name] {
				strangers[name] = true
			}
		}
	}
	theirs, new := strings.Join(slices.Sorted(maps.Keys(strangers)), ", "), strings.Join(slices.Sorted(maps.Keys(fresh)), ", ")
	switch {
	case theirs != "" && new != "":
		v.wrong("offsets", "if an agent was renamed, give it its old name again; else none: the next commit forgets the old ones",
			"topic %s: the offsets hold the progress of agent %s, which the topology does not have, and none of %s: a renamed agent would read the topic from where it declares to start, and do everything twice", t.Name, theirs, new)
	case theirs != "":
		v.note("offsets", "topic %s: the offsets hold the progress of agent %s, which this version of the topology does not have: its next commit forgets it", t.Name, theirs)
	case new != "":
		v.note("offsets", "topic %s: agent %s is new and begins where it declares to start", t.Name, new)
	}
}

// begun says whether a partition of a stage has a committed offset. It is true where they are not known.
func (v *verify) begun(st *plan.Stage, partition int32) bool {
	if v.committed == nil {
		return true
	}
	return slices.ContainsFunc(st.Sources, func(t *plan.Topic) bool {
		return v.committed[kafka.TopicPartition{Topic: t.Name, Partition: partition}].Offset >= 0
	})
}
