package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

func TestSlotEntriesAreReadableJSON(t *testing.T) {
	t.Parallel()
	key, value := kafka.SlotEntry{Slot: 7, Stage: "lines,words", Partition: 2}.Encode()
	require.Equal(t, "7", string(key))
	require.JSONEq(t, `{"slot":7,"stage":"lines,words","partition":2}`, string(value))
	e, err := kafka.ParseSlotEntry(value)
	require.NoError(t, err)
	require.Equal(t, kafka.SlotEntry{Slot: 7, Stage: "lines,words", Partition: 2}, e)
}

func TestForeignRecordsAreRefused(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "{", "{}", `{"slot":1}`, `{"slot":-1,"stage":"a","partition":0}`, `{"slot":1,"stage":"a","partition":-1}`, `{"slot":99999999,"stage":"a","partition":0}`, "hello"} {
		m := kafka.NewSlotMap("t")
		require.ErrorContains(t, m.Fold(nil, []byte(value)), "slot map", value)
		require.Equal(t, []kafka.SlotEntry{{}}, m.Entries())
	}
}

func FuzzParseSlotEntry(f *testing.F) {
	f.Add([]byte(`{"slot":7,"stage":"lines","partition":2}`))
	f.Add([]byte(`{"slot":null}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := kafka.ParseSlotEntry(value)
		if err != nil {
			return
		}
		_, again := e.Encode()
		same, err := kafka.ParseSlotEntry(again)
		require.NoError(t, err)
		require.Equal(t, e, same)
	})
}

func TestTheLeaderHasSlotZero(t *testing.T) {
	t.Parallel()
	m := kafka.NewSlotMap("t")
	stage, partition, ok := m.Stage(kafka.LeaderSlot)
	require.True(t, ok)
	require.Empty(t, stage)
	require.Zero(t, partition)
	_, value := kafka.SlotEntry{Slot: 0, Stage: "a"}.Encode()
	require.NoError(t, m.Fold(nil, value))
	_, ok = m.Slot("a", 0)
	require.False(t, ok, "slot 0 is taken")
	require.Equal(t, int32(1), m.Len())
}

func TestTheFirstRecordWins(t *testing.T) {
	t.Parallel()
	m := kafka.NewSlotMap("t")
	for _, e := range []kafka.SlotEntry{{Slot: 1, Stage: "a", Partition: 0}, {Slot: 1, Stage: "b", Partition: 0}, {Slot: 2, Stage: "a", Partition: 0}, {Slot: 2, Stage: "b", Partition: 0}, {Slot: 5, Stage: "a", Partition: 1}} {
		_, value := e.Encode()
		require.NoError(t, m.Fold(nil, value))
	}
	require.Equal(t, []kafka.SlotEntry{{Slot: 0, Stage: "", Partition: 0}, {Slot: 1, Stage: "a", Partition: 0}, {Slot: 2, Stage: "b", Partition: 0}, {Slot: 5, Stage: "a", Partition: 1}}, m.Entries())
	slot, ok := m.Slot("b", 0)
	require.True(t, ok)
	require.Equal(t, int32(2), slot)
	require.Equal(t, int32(6), m.Len())
}

func TestAPlanIsOnlyEverAppended(t *testing.T) {
	t.Parallel()
	m := kafka.NewSlotMap("t")
	missing, contradictions := m.Plan([]kafka.StageSize{{"a", 2}, {"b,c", 1}})
	require.Empty(t, contradictions)
	require.Equal(t, []kafka.SlotEntry{{Slot: 1, Stage: "a", Partition: 0}, {Slot: 2, Stage: "a", Partition: 1}, {Slot: 3, Stage: "b,c", Partition: 0}}, missing)
	fold(t, m, missing...)
	missing, contradictions = m.Plan([]kafka.StageSize{{"a", 3}, {"b,c", 1}})
	require.Empty(t, contradictions)
	require.Equal(t, []kafka.SlotEntry{{Slot: 4, Stage: "a", Partition: 2}}, missing)
}

func TestContradictionsNameTheMend(t *testing.T) {
	t.Parallel()
	m := kafka.NewSlotMap("shop")
	fold(t, m, kafka.SlotEntry{Slot: 1, Stage: "a,b", Partition: 0}, kafka.SlotEntry{Slot: 2, Stage: "c", Partition: 0}, kafka.SlotEntry{Slot: 3, Stage: "c", Partition: 1}, kafka.SlotEntry{Slot: 4, Stage: "gone", Partition: 0})
	_, contradictions := m.Plan([]kafka.StageSize{{"b,x", 1}, {"a", 1}, {"c", 1}, {"new", 1}})
	require.Len(t, contradictions, 3)
	for i, part := range []string{"[b,x] reads b together", "[a] reads a together", "[c] has 1 partitions now but 2"} {
		require.ErrorContains(t, contradictions[i], part)
		require.ErrorContains(t, contradictions[i], "node reset --topology shop")
	}
}

func fold(t require.TestingT, m *kafka.SlotMap, entries ...kafka.SlotEntry) {
	for _, e := range entries {
		key, value := e.Encode()
		require.NoError(t, m.Fold(key, value))
	}
}

// TestNodesAgreeOnTheMap: whatever two nodes read of the log before they append, both end with one map, in which each
// partition of theirs has one slot, and no slot ever changes what it stands for.
func TestNodesAgreeOnTheMap(t *testing.T) {
	t.Parallel()
	stage := rapid.Custom(func(t *rapid.T) kafka.StageSize {
		return kafka.StageSize{Key: rapid.SampledFrom([]string{"a", "b", "c,d", "e"}).Draw(t, "stage"), Partitions: rapid.Int32Range(0, 4).Draw(t, "partitions")}
	})
	plans := rapid.SliceOfNDistinct(stage, 0, 4, func(s kafka.StageSize) string { return s.Key })
	rapid.Check(t, func(t *rapid.T) {
		type node struct {
			plan  []kafka.StageSize
			m     *kafka.SlotMap
			read  int
			queue []kafka.SlotEntry
		}
		var log []kafka.SlotEntry
		seen := map[int32]kafka.SlotEntry{}
		nodes := []*node{{plan: plans.Draw(t, "one"), m: kafka.NewSlotMap("t")}, {plan: plans.Draw(t, "other"), m: kafka.NewSlotMap("t")}}
		step := func(t *rapid.T, n *node, what int) {
			switch {
			case what == 0 && n.read < len(log): // reads one record
				fold(t, n.m, log[n.read])
				n.read++
				for _, e := range n.m.Entries() {
					if was, ok := seen[e.Slot]; ok {
						require.Equal(t, was, e, "a slot changed")
					}
					seen[e.Slot] = e
				}
			case what == 1 && len(n.queue) == 0: // looks what is missing, by what it has read
				n.queue, _ = n.m.Plan(n.plan)
			case what == 2 && len(n.queue) > 0: // appends
				log, n.queue = append(log, n.queue[0]), n.queue[1:]
			}
		}
		for _, move := range rapid.SliceOfN(rapid.IntRange(0, 5), 0, 200).Draw(t, "moves") {
			step(t, nodes[move%2], move/2)
		}
		for range 20 { // then both go on in turns, as SyncSlots does, until nothing is missing
			for _, n := range nodes {
				for n.read < len(log) {
					step(t, n, 0)
				}
				if n.queue == nil {
					step(t, n, 1)
				}
				for len(n.queue) > 0 {
					step(t, n, 2)
				}
				n.queue = nil
			}
		}
		require.Equal(t, nodes[0].m.Entries(), nodes[1].m.Entries())
		for _, n := range nodes {
			for _, s := range n.plan {
				for p := range s.Partitions {
					slot, ok := n.m.Slot(s.Key, p)
					require.True(t, ok, "%s/%d", s.Key, p)
					key, partition, ok := n.m.Stage(slot)
					require.True(t, ok)
					require.Equal(t, s.Key, key)
					require.Equal(t, p, partition)
				}
			}
		}
	})
}

// log is a broker with one topic, as far as SyncSlots can see.
type log struct {
	kafka.Admin
	mu         sync.Mutex
	state      *kafka.TopicState
	start      int64
	records    []kafka.SlotEntry
	onProduce  func()
	growFails  error
	lose       bool // acknowledges records and keeps none
	produced   int
	specs      []kafka.TopicSpec
	foreignRow []byte
	others     map[int][]byte // records that are no entries, by offset
}

func (l *log) Topics(context.Context, ...string) (map[string]kafka.TopicState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		return map[string]kafka.TopicState{}, nil
	}
	return map[string]kafka.TopicState{"t-slots": *l.state}, nil
}

func (l *log) Create(_ context.Context, specs ...kafka.TopicSpec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.specs = append(l.specs, specs...)
	if l.state == nil {
		l.state = &kafka.TopicState{Partitions: specs[0].Partitions, Config: specs[0].Config}
	}
	return nil
}

func (l *log) Grow(_ context.Context, _ string, n int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.growFails != nil {
		return l.growFails
	}
	if n <= l.state.Partitions {
		return errors.New("INVALID_PARTITIONS")
	}
	l.state.Partitions = n
	return nil
}

func (l *log) Starts(context.Context, ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return map[kafka.TopicPartition]int64{{Topic: "t-slots"}: l.start}, nil
}

func (l *log) Since(context.Context, int64, ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return nil, errors.New("nobody asks")
}

func (l *log) Ends(context.Context, kafka.Isolation, ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[kafka.TopicPartition]int64{{Topic: "t-slots"}: int64(len(l.records))}, nil
}

func (l *log) Produce(_ context.Context, names []string, out *kafka.Outputs) ([]int64, error) {
	if l.onProduce != nil {
		l.onProduce()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.produced += out.Len()
	for i, r := range out.Records {
		if names[r.Topic] != "t-slots" || r.Partition != 0 {
			return nil, fmt.Errorf("produced to %s/%d", names[r.Topic], r.Partition)
		}
		e, err := kafka.ParseSlotEntry(out.Value(i))
		if strings.Contains(string(out.Value(i)), "begun") {
			if l.others == nil {
				l.others = map[int][]byte{}
			}
			l.others[len(l.records)] = bytes.Clone(out.Value(i))
		} else if err != nil {
			return nil, err
		}
		if !l.lose {
			l.records = append(l.records, e)
		}
	}
	return make([]int64, out.Len()), nil
}

func (l *log) read(_ context.Context, tp kafka.TopicPartition, end int64) ([]*kafka.Batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &kafka.Batch{Topic: tp.Topic, Partition: tp.Partition}
	for i, e := range l.records[:end] {
		key, value := e.Encode()
		if other := l.others[i]; other != nil {
			value = other
		}
		if l.foreignRow != nil {
			value = l.foreignRow
		}
		b.Append(int64(i), 0, key, value, nil)
	}
	return []*kafka.Batch{b}, nil
}

func TestSyncMakesTheTopicAndTheMap(t *testing.T) {
	t.Parallel()
	l := new(log)
	stages := []kafka.StageSize{{"a", 2}, {"b", 3}}
	m, err := kafka.SyncSlots(t.Context(), l, l.read, "t", stages)
	require.NoError(t, err)
	require.Equal(t, int32(6), m.Len())
	require.Len(t, l.specs, 1)
	require.Equal(t, int32(6), l.specs[0].Partitions)
	require.Equal(t, "-1", l.specs[0].Config["retention.ms"])
	require.Equal(t, "delete", l.specs[0].Config["cleanup.policy"])

	again, err := kafka.SyncSlots(t.Context(), l, l.read, "t", stages)
	require.NoError(t, err)
	require.Equal(t, m.Entries(), again.Entries())
	require.Equal(t, 5, l.produced, "nothing is appended twice")

	_, err = kafka.SyncSlots(t.Context(), l, l.read, "t", []kafka.StageSize{{"a", 2}, {"b", 3}, {"c", 2}})
	require.NoError(t, err)
	require.Equal(t, int32(8), l.state.Partitions, "the topic grows with the map")
}

func TestSyncBesideAnotherNode(t *testing.T) {
	t.Parallel()
	l := new(log)
	once := sync.OnceFunc(func() { // another version of the topology appends between our look and ours
		l.mu.Lock()
		defer l.mu.Unlock()
		l.records = append(l.records, kafka.SlotEntry{Slot: 1, Stage: "other"}, kafka.SlotEntry{Slot: 2, Stage: "a", Partition: 1})
	})
	l.onProduce = once
	m, err := kafka.SyncSlots(t.Context(), l, l.read, "t", []kafka.StageSize{{"a", 2}})
	require.NoError(t, err)
	require.Equal(t, []kafka.SlotEntry{{Slot: 0, Stage: "", Partition: 0}, {Slot: 1, Stage: "other", Partition: 0}, {Slot: 2, Stage: "a", Partition: 1}, {Slot: 3, Stage: "a", Partition: 0}}, m.Entries())
	require.Equal(t, int32(4), l.state.Partitions)
}

func TestSyncOfManyNodesAtOnce(t *testing.T) {
	t.Parallel()
	l := new(log)
	maps := make([]*kafka.SlotMap, 8)
	errs := make([]error, len(maps))
	var all sync.WaitGroup
	for i := range maps {
		all.Go(func() {
			maps[i], errs[i] = kafka.SyncSlots(t.Context(), l, l.read, "t", []kafka.StageSize{{"a", 4}, {fmt.Sprintf("own%d", i), 1}})
		})
	}
	all.Wait()
	final, err := kafka.SyncSlots(t.Context(), l, l.read, "t", []kafka.StageSize{{"a", 4}})
	require.NoError(t, err)
	for i, m := range maps {
		require.NoError(t, errs[i])
		for _, e := range m.Entries() {
			slot, ok := final.Slot(e.Stage, e.Partition)
			require.True(t, ok)
			require.Equal(t, e.Slot, slot)
		}
		_, ok := m.Slot("a", 3)
		require.True(t, ok)
	}
	require.Equal(t, final.Len(), l.state.Partitions)
}

func TestSyncRefuses(t *testing.T) {
	t.Parallel()
	ready := func() *log {
		return &log{state: &kafka.TopicState{Partitions: 2}, records: []kafka.SlotEntry{{Slot: 1, Stage: "a,b", Partition: 0}}}
	}
	for name, c := range map[string]struct {
		broker func(*log)
		plan   kafka.StageSize
		want   string
	}{
		"a plan that contradicts":    {func(*log) {}, kafka.StageSize{Key: "a", Partitions: 1}, "node reset --topology t"},
		"records that are gone":      {func(l *log) { l.start = 1 }, kafka.StageSize{}, "node reset --topology t"},
		"a topic that forgets":       {func(l *log) { l.state.Config = map[string]string{"retention.ms": "604800000"} }, kafka.StageSize{}, "--add-config retention.ms=-1"},
		"a compacted topic":          {func(l *log) { l.state.Config = map[string]string{"cleanup.policy": "compact"} }, kafka.StageSize{}, "--add-config cleanup.policy=delete"},
		"records of others":          {func(l *log) { l.foreignRow = []byte("hello") }, kafka.StageSize{}, "another program"},
		"appends that do not come":   {func(l *log) { l.lose = true }, kafka.StageSize{Key: "c", Partitions: 1}, "another program"},
		"a topic that does not grow": {func(l *log) { l.growFails = errors.New("POLICY_VIOLATION") }, kafka.StageSize{Key: "c", Partitions: 1}, "POLICY_VIOLATION"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := ready()
			c.broker(l)
			var plan []kafka.StageSize
			if c.plan.Key != "" {
				plan = append(plan, c.plan)
			}
			_, err := kafka.SyncSlots(t.Context(), l, l.read, "t", plan)
			require.ErrorContains(t, err, c.want)
			require.True(t, strings.HasPrefix(err.Error(), "slot map of t in topic t-slots: "), err)
		})
	}
}

// TestSyncRefusesAResetThatIsNotThrough: what is left of the topology belongs together no more.
func TestSyncRefusesAResetThatIsNotThrough(t *testing.T) {
	t.Parallel()
	_, value := kafka.ResetRecord()
	l := &log{state: &kafka.TopicState{Partitions: 3}, records: []kafka.SlotEntry{{Slot: 1, Stage: "a"}}, foreignRow: value}
	_, err := kafka.SyncSlots(t.Context(), l, l.read, "t", []kafka.StageSize{{"a", 2}})
	require.ErrorIs(t, err, kafka.ErrResetBegun)
	require.ErrorContains(t, err, "run `node reset` again")
	require.Zero(t, l.produced, "nothing is appended behind it")
}

// What the map tells of topics that match patterns: those of the first start, those that are found later, with further partitions, and those that are made anew, which may be smaller.
func TestSlotsOfPatterns(t *testing.T) {
	t.Parallel()
	l := &log{}
	sync := func(sizes []kafka.StageSize, ids map[string]string) *kafka.SlotMap {
		t.Helper()
		m, err := kafka.SyncSlots(t.Context(), l, l.read, "t", sizes, kafka.SlotPattern{Name: "in", Topics: ids})
		require.NoError(t, err)
		return m
	}
	later := func(m *kafka.SlotMap, stage string, partition int32) bool {
		t.Helper()
		slot, ok := m.Slot(stage, partition)
		require.True(t, ok)
		return m.Later(slot)
	}
	first := sync([]kafka.StageSize{{"own", 1}, {"in.a", 2}}, map[string]string{"in.a": "1"})
	require.False(t, later(first, "in.a", 0) || later(first, "in.a", 1) || later(first, "own", 0))
	m := sync([]kafka.StageSize{{"own", 2}, {"in.a", 3}, {"in.b", 1}}, map[string]string{"in.a": "1", "in.b": "2"})
	require.False(t, later(m, "in.a", 0) || later(m, "own", 1), "what is no pattern's is never later")
	require.True(t, later(m, "in.a", 2) && later(m, "in.b", 0))
	m = sync([]kafka.StageSize{{"own", 2}, {"in.a", 1}}, map[string]string{"in.a": "3"})
	require.True(t, later(m, "in.a", 0), "it was made anew")
	slot, ok := m.Slot("in.a", 0)
	before, _ := first.Slot("in.a", 0)
	require.True(t, ok && slot == before, "a slot is never numbered anew")
	require.False(t, later(m, "in.a", 1), "of that nothing new is known")
	_, errs := m.Plan([]kafka.StageSize{{"in.a", 1}})
	require.Len(t, errs, 1, "without the pattern it is a topic that was deleted")

	none := &log{}
	for range 2 { // no topic matches when the pattern is read first
		_, err := kafka.SyncSlots(t.Context(), none, none.read, "t", nil, kafka.SlotPattern{Name: "in"})
		require.NoError(t, err)
	}
	m, err := kafka.SyncSlots(t.Context(), none, none.read, "t", []kafka.StageSize{{"in.a", 1}}, kafka.SlotPattern{Name: "in", Topics: map[string]string{"in.a": ""}})
	require.NoError(t, err)
	require.True(t, later(m, "in.a", 0))
}
