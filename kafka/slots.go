package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxSlots bounds the numbers of slots: far more than a group can have, far less than a foreign record could ask for.
const maxSlots = 1 << 20

// LeaderSlot is the slot that every topology has; its owner is the topology's leader. Its stage key is empty.
const LeaderSlot int32 = 0

// SlotsTopic returns the name of a topology's slots topic: the group's subscription, with one partition per slot, and in
// partition 0 the records of the slot map.
func SlotsTopic(topology string) string { return topology + "-slots" }

// StageSize is a stage of a plan as the slot map sees it.
type StageSize struct {
	Key        string // the names of its sources, sorted, joined by commas
	Partitions int32
}

// SlotEntry gives a slot to a partition of a stage.
type SlotEntry struct {
	Slot      int32  `json:"slot"`
	Stage     string `json:"stage"`
	Partition int32  `json:"partition"`
	// Pattern is set where the stage is a topic that matches one, and Topic is its id then; empty where the brokers have none.
	Pattern string `json:"pattern,omitempty"`
	Topic   string `json:"topic,omitempty"`
	// Later says that the partition was found when the pattern had been read before: agents without a committed offset read it from its beginning.
	Later bool `json:"later,omitempty"`
}

// SlotPattern is a pattern of a plan as the slot map sees it: its name, and the topics that match now, which are stages of their own, with their ids.
type SlotPattern struct {
	Name   string
	Topics map[string]string
}

// begun returns the record that says that a pattern is read from now on: what the map does not know of by then is new.
func begun(pattern string) (key, value []byte) {
	value, err := json.Marshal(struct {
		Begun string `json:"begun"`
	}{pattern})
	if err != nil {
		panic(fmt.Sprintf("kafka: a string cannot fail to encode: %v", err)) // a bug here
	}
	return []byte("begun " + pattern), value
}

// parseBegun reads a record that begun made; empty for another.
func parseBegun(value []byte) string {
	var raw struct {
		Begun string `json:"begun"`
	}
	if json.Unmarshal(value, &raw) != nil {
		return ""
	}
	return raw.Begun
}

// Encode returns the record of the slots topic that holds the entry: as key the slot's number, as value JSON.
func (e SlotEntry) Encode() (key, value []byte) {
	value, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("kafka: a slot entry of plain fields cannot fail to encode: %v", err)) // a bug here
	}
	return strconv.AppendInt(nil, int64(e.Slot), 10), value
}

// ParseSlotEntry reads a record that SlotEntry.Encode made. The value alone counts; the key is for readers.
func ParseSlotEntry(value []byte) (SlotEntry, error) {
	var raw struct {
		Slot      *int32  `json:"slot"`
		Stage     *string `json:"stage"`
		Partition *int32  `json:"partition"`
		Pattern   string  `json:"pattern"`
		Topic     string  `json:"topic"`
		Later     bool    `json:"later"`
	}
	if err := json.Unmarshal(value, &raw); err != nil {
		return SlotEntry{}, fmt.Errorf("record %q of the slot map: %w", shorten(value), err)
	}
	if raw.Slot == nil || raw.Stage == nil || raw.Partition == nil || *raw.Slot < 0 || *raw.Slot >= maxSlots || *raw.Partition < 0 {
		return SlotEntry{}, fmt.Errorf("record %q of the slot map: it needs a slot from 0 to %d, a stage, and a partition not below 0", shorten(value), maxSlots-1)
	}
	return SlotEntry{*raw.Slot, *raw.Stage, *raw.Partition, raw.Pattern, raw.Topic, raw.Later}, nil
}

// resetBegun is the value of the record that a reset of a topology writes into its slot map before it deletes anything.
const resetBegun = `{"reset":"begun"}`

// ErrResetBegun says that a reset of a topology was begun and is not through: what is left of it belongs together no
// more, so no node may start on it.
var ErrResetBegun = errors.New("a reset of the topology was begun and is not through: run `node reset` again, which goes on where it was")

// ResetRecord returns the record that keeps nodes from starting while a topology is reset.
func ResetRecord() (key, value []byte) { return []byte("reset"), []byte(resetBegun) }

func shorten(b []byte) []byte { return b[:min(len(b), 200)] }

// stagePartition is what a slot stands for.
type stagePartition struct {
	stage     string
	partition int32
}

// SlotMap says which partition of which stage each slot of a topology stands for. It is folded from the records in
// partition 0 of the slots topic, in the order of their offsets, and only ever grows: the first record of a slot, and
// the first of a partition of a stage, wins, and one that comes too late for either is ignored. So every node that has
// read the same records has the same map, whoever wrote them. A SlotMap has one owner at a time.
type SlotMap struct {
	topology string
	slots    map[int32]stagePartition
	numbers  map[stagePartition]int32
	size     int32             // one more than the highest slot
	begun    map[string]bool   // patterns
	matched  map[int32]matched // slots of topics that match patterns
}

// matched is what the map knows of a partition of a topic that matches a pattern.
type matched struct {
	topic string // its id
	later bool
}

// NewSlotMap returns the map of a topology without records: slot 0, the leader's, alone.
func NewSlotMap(topology string) *SlotMap {
	leader := stagePartition{}
	return &SlotMap{
		topology: topology,
		slots:    map[int32]stagePartition{LeaderSlot: leader},
		numbers:  map[stagePartition]int32{leader: LeaderSlot},
		size:     LeaderSlot + 1,
		begun:    map[string]bool{},
		matched:  map[int32]matched{},
	}
}

// Fold adds the next record of the topic. A record that is none of a slot map's is an error and changes nothing; that of
// a reset is ErrResetBegun.
func (m *SlotMap) Fold(_, value []byte) error {
	if string(value) == resetBegun {
		return ErrResetBegun
	}
	if name := parseBegun(value); name != "" {
		m.begun[name] = true
		return nil
	}
	e, err := ParseSlotEntry(value)
	if err != nil {
		return err
	}
	sp := stagePartition{e.Stage, e.Partition}
	if have, taken := m.slots[e.Slot]; taken {
		if have == sp && e.Pattern != "" && m.matched[e.Slot].topic != e.Topic { // a topic that was made anew
			m.matched[e.Slot] = matched{e.Topic, e.Later}
		}
		return nil
	}
	if _, placed := m.numbers[sp]; placed {
		return nil
	}
	m.slots[e.Slot], m.numbers[sp] = sp, e.Slot
	m.size = max(m.size, e.Slot+1)
	if e.Pattern != "" {
		m.matched[e.Slot] = matched{e.Topic, e.Later}
	}
	return nil
}

// Later says whether what a slot stands for is a partition of a topic that was found by its pattern after that had been read before, or was made
// anew since: an agent without a committed offset reads it from its beginning.
func (m *SlotMap) Later(slot int32) bool { return m.matched[slot].later }

// unbegun are those patterns that the map does not know yet.
func (m *SlotMap) unbegun(patterns []SlotPattern) (names []string) {
	for _, p := range patterns {
		if !m.begun[p.Name] {
			names = append(names, p.Name)
		}
	}
	return names
}

// Plan returns the entries that are missing from the map for the stages to have a slot for each of their partitions, and
// what speaks against running these stages beside those in the map. With contradictions, nothing may be appended.
//
// A stage of the map that none of ours overlaps is left alone: another version of the topology may have it still, and
// its slots stand for nothing in this plan.
//
// A stage that is a topic of a pattern may have fewer partitions than in the map, since the topic may have been made anew: the other slots stand for nothing.
func (m *SlotMap) Plan(stages []StageSize, patterns ...SlotPattern) (missing []SlotEntry, contradictions []error) {
	of := map[string]SlotPattern{}
	for _, p := range patterns {
		for topic := range p.Topics {
			of[topic] = p
		}
	}
	contradictions = m.contradictions(stages, of)
	next := m.size
	for _, s := range stages {
		pattern, id := of[s.Key].Name, of[s.Key].Topics[s.Key]
		for p := range s.Partitions {
			e := SlotEntry{Slot: next, Stage: s.Key, Partition: p, Pattern: pattern, Topic: id, Later: m.begun[pattern]}
			slot, ok := m.numbers[stagePartition{s.Key, p}]
			if before, known := m.matched[slot]; ok && known && pattern != "" && before.topic != id { // it was made anew
				e.Slot, e.Later = slot, true
				missing = append(missing, e)
			}
			if !ok {
				missing = append(missing, e)
				next++
			}
		}
	}
	return missing, contradictions
}

func (m *SlotMap) contradictions(stages []StageSize, of map[string]SlotPattern) (errs []error) {
	sizes := map[string]int32{}
	for sp := range m.numbers {
		sizes[sp.stage] = max(sizes[sp.stage], sp.partition+1)
	}
	live := make([]string, 0, len(sizes))
	for key := range sizes {
		live = append(live, key)
	}
	slices.Sort(live)
	for _, s := range stages {
		for _, key := range live {
			switch shared := overlap(s.Key, key); {
			case s.Key == key && sizes[key] > s.Partitions && of[key].Name == "":
				errs = append(errs, fmt.Errorf("stage [%s] has %d partitions now but %d in the slot map of %s: a topic was deleted or made anew; %s",
					s.Key, s.Partitions, sizes[key], m.topology, StartOver(m.topology)))
			case s.Key != key && len(shared) > 0:
				errs = append(errs, fmt.Errorf("stage [%s] reads %s together, but the slot map of %s has it in stage [%s]: two versions of the topology could both own it; %s",
					s.Key, strings.Join(shared, " and "), m.topology, key, StartOver(m.topology)))
			}
		}
	}
	return errs
}

// overlap returns the sources that two stage keys share.
func overlap(a, b string) (shared []string) {
	if a == "" || b == "" {
		return nil
	}
	other := strings.Split(b, ",")
	for source := range strings.SplitSeq(a, ",") {
		if slices.Contains(other, source) {
			shared = append(shared, source)
		}
	}
	return shared
}

// Stage returns what a slot stands for; ok is false for a slot that the map does not name.
func (m *SlotMap) Stage(slot int32) (stage string, partition int32, ok bool) {
	sp, ok := m.slots[slot]
	return sp.stage, sp.partition, ok
}

// Slot returns the slot of a partition of a stage.
func (m *SlotMap) Slot(stage string, partition int32) (slot int32, ok bool) {
	slot, ok = m.numbers[stagePartition{stage, partition}]
	return slot, ok
}

// Len is how many partitions the slots topic needs: one more than the highest slot that stands for something.
func (m *SlotMap) Len() int32 { return m.size }

// Entries returns the map in the order of its slots, the leader's included.
func (m *SlotMap) Entries() []SlotEntry {
	entries := make([]SlotEntry, 0, len(m.slots))
	for slot, sp := range m.slots {
		entries = append(entries, SlotEntry{Slot: slot, Stage: sp.stage, Partition: sp.partition})
	}
	slices.SortFunc(entries, func(a, b SlotEntry) int { return int(a.Slot) - int(b.Slot) })
	return entries
}
