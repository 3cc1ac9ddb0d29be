package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// TestMain looks for goroutines that stay. Those of buntdb and of the actor library notice within a second or two that they
// are to end.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		left := goleak.IgnoreAnyFunction("github.com/troupe-stream/troupe/kafka/confluent.closesInTime.func1") // see the tests of actors
		err := goleak.Find(left)
		for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); {
			err = goleak.Find(left)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// fakeTopology is a topology whose plan is made by hand.
type fakeTopology struct {
	p   *plan.Plan
	err error
}

func (f fakeTopology) Name() string { return f.p.Name }

func (f fakeTopology) Plan() (*plan.Plan, error) { return f.p, f.err }

var stringText = plan.Text{
	Type:   "string",
	Format: func(b []byte) (string, error) { return string(b), nil },
	Parse:  func(s string) ([]byte, error) { return []byte(s), nil },
}

// digits are numbers as text, for a codec that can fail.
var digits = plan.Text{
	Type:   "int64",
	Format: func(b []byte) (string, error) { n, err := strconv.Atoi(string(b)); return strconv.Itoa(n), err },
	Parse:  func(s string) ([]byte, error) { n, err := strconv.Atoi(s); return []byte(strconv.Itoa(n)), err },
}

// wordcount is a plan like that of the example, enough for commands.
func wordcount() *plan.Plan {
	first := kafka.Partitioner{Name: "first byte", Hash: func(k []byte, n int32) int32 {
		if len(k) == 0 {
			return 0
		}
		return int32(k[0]) % n
	}}
	topics := []*plan.Topic{
		{Name: "lines", Kind: plan.External, Partitions: 2, Key: stringText, Value: stringText, Source: true, Partitioner: first},
		{Name: "numbers", Kind: plan.External, Partitions: 2, Key: stringText, Value: digits, Source: true, Partitioner: first},
		{Name: "wordcount-counts-changelog", Kind: plan.Changelog, Partitions: 2, Key: stringText, Value: digits, Partitioner: first},
	}
	for i, t := range topics {
		t.ID = int32(i)
	}
	return &plan.Plan{Name: "wordcount", Topics: topics, Tables: []*plan.Table{{Name: "counts", Changelog: topics[2], Key: stringText, Value: digits}}}
}

// result is what a command left behind.
type result struct {
	code     int
	out, err string
}

// run runs a command line in this process.
func run(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return runWith(t.Context(), env, []Topology{fakeTopology{p: wordcount()}, fakeTopology{p: &plan.Plan{Name: "audit"}}}, args...)
}

func runWith(ctx context.Context, env []string, topologies []Topology, args ...string) result {
	var out, errs buffer
	app := &App{Name: "node", Topologies: topologies, In: strings.NewReader(""), Out: &out, Err: &errs, Environ: env}
	code := app.Run(ctx, args)
	return result{code, out.String(), errs.String()}
}

// buffer is a stream that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fakeAdmin answers from fields; what is not set is not asked for.
type fakeAdmin struct {
	kafka.Operator
	topics    map[string]kafka.TopicState
	produced  []fakeRecord
	produce   func(context.Context) error
	members   int
	unstable  bool
	committed map[kafka.TopicPartition]int64
	stable    map[kafka.TopicPartition]int64
	ends      map[kafka.TopicPartition]int64
	looked    func(f *fakeAdmin)
}

type fakeRecord struct {
	topic      string
	partition  int32
	key, value []byte
}

func (f *fakeAdmin) Topics(_ context.Context, names ...string) (map[string]kafka.TopicState, error) {
	out := map[string]kafka.TopicState{}
	for _, n := range names {
		if s, ok := f.topics[n]; ok {
			out[n] = s
		}
	}
	return out, nil
}

func (f *fakeAdmin) Produce(ctx context.Context, names []string, o *kafka.Outputs) ([]int64, error) {
	if f.produce != nil {
		if err := f.produce(ctx); err != nil {
			return nil, err
		}
	}
	offsets := make([]int64, o.Len())
	for i, r := range o.Records {
		offsets[i] = int64(len(f.produced))
		f.produced = append(f.produced, fakeRecord{names[r.Topic], r.Partition, bytes.Clone(o.Key(i)), bytes.Clone(o.Value(i))})
	}
	return offsets, nil
}

func (f *fakeAdmin) Members(context.Context, string) (int, bool, error) {
	if f.looked != nil {
		f.looked(f)
	}
	return f.members, !f.unstable, nil
}

func (f *fakeAdmin) CommittedOffsets(_ context.Context, _ string, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	out := map[kafka.TopicPartition]kafka.Position{}
	for _, tp := range tps {
		if n, ok := f.committed[tp]; ok {
			out[tp] = kafka.Position{TopicPartition: tp, Offset: n}
		}
	}
	return out, nil
}

func (f *fakeAdmin) Ends(_ context.Context, level kafka.Isolation, _ ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	if level == kafka.ReadCommitted {
		return f.stable, nil
	}
	return f.ends, nil
}

func (f *fakeAdmin) Starts(_ context.Context, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	out := map[kafka.TopicPartition]int64{}
	for _, tp := range tps {
		out[tp] = 0
	}
	return out, nil
}

func (f *fakeAdmin) Since(context.Context, int64, ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return nil, errors.New("nobody asks")
}

// oneLineOf requires that a command said one line on its error stream and nothing else.
func oneLineOf(t *testing.T, r result) string {
	t.Helper()
	require.Empty(t, r.out)
	require.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
	require.True(t, strings.HasPrefix(r.err, "node: "), r.err)
	return strings.TrimSpace(r.err)
}
