package confluent

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/troupe-stream/troupe/internal/cmem"
	"github.com/troupe-stream/troupe/kafka"
)

func TestALibraryThatLacksSomethingIsRefused(t *testing.T) {
	t.Parallel()
	require.NoError(t, faultOf("", oldestVersion))
	require.NoError(t, faultOf("", beforeVersion-1))
	require.EqualError(t, faultOf("rd_kafka_queue_forward", 0), "the librdkafka of this program has no rd_kafka_queue_forward")
	for _, version := range []int{oldestVersion - 1, beforeVersion} {
		require.ErrorContains(t, faultOf("", version), fmt.Sprintf("has the version %#08x: it must be 0x020d02ff or later, and before 0x03000000", version))
	}
}

// Whatever else a client of another version looks like, nothing is called with a pointer that is none.
func TestAHandleIsFoundOrRefused(t *testing.T) {
	t.Parallel()
	for _, other := range []fmt.Stringer{&noHandle{}, &flatHandle{}, &otherHandle{}} {
		_, err := handleOf(other)
		require.ErrorContains(t, err, "keeps its handle of librdkafka elsewhere", "%T", other)
	}
	p, err := rdk.NewProducer(&rdk.ConfigMap{"go.logs.channel.enable": true})
	require.NoError(t, err)
	defer p.Close()
	_, err = handleOf(p)
	require.NoError(t, err)
	_, err = handleOf(&renamed{p})
	require.Error(t, err)
}

type (
	noHandle    struct{ handle int }
	flatHandle  struct{ handle struct{ other *int } }
	otherHandle struct{ handle struct{ rk *int } }
	renamed     struct{ *rdk.Producer }
)

func (h *noHandle) String() string    { return fmt.Sprint(h.handle) }
func (h *flatHandle) String() string  { return fmt.Sprint(h.handle.other) }
func (h *otherHandle) String() string { return fmt.Sprint(h.handle.rk) }
func (h *renamed) String() string     { return "another" }

// TestMemoryOfCStays reads, assigns anew and writes again and again and looks at what C's heap holds. TROUPE_LONG is how many records
// are read, at least; 10000000 takes some twenty seconds. It is not parallel: others' clients would be counted.
func TestMemoryOfCStays(t *testing.T) {
	inUse(t)
	const each = 20_000
	total := 400_000
	if s := os.Getenv("TROUPE_LONG"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		total = n
	}
	a, d := adminOf(t, kfake.SeedTopics(2, "a", "out"))
	out := new(kafka.Outputs)
	for i := range each {
		out.Append(0, int32(i%2), 0, fmt.Appendf(nil, "%d", i), make([]byte, 100), kafka.AppendHeaders(nil, kafka.Header{Key: "h", Value: make([]byte, 20)}))
	}
	_, err := a.Produce(t.Context(), []string{"a"}, out)
	require.NoError(t, err)
	r := readerOf(t, d)
	p := plainOf(t, d, "out")
	small := new(kafka.Outputs)
	for i := range 1000 {
		small.Append(0, int32(i%2), 0, out.Key(i), out.Value(i), out.RawHeaders(i))
	}
	round := func() {
		seen := map[int32]int64{}
		for part := range int32(2) { // anew each time: as in a rebalance
			require.NoError(t, r.Assign(tpOf("a", part), 0))
		}
		pollUntil(t, r, func(b *kafka.Batch) bool {
			seen[b.Partition] = b.Next
			return seen[0] == each/2 && seen[1] == each/2
		})
		require.NoError(t, send(p, t.Context(), []*kafka.Outputs{small}))
	}
	rounds := (total + each - 1) / each
	t.Logf("%d records read in %d assignments, %d written", rounds*each, 2*rounds, 1000*rounds)
	// What librdkafka holds at a moment goes up and down by what it has fetched, some MB here. A leak of 20 bytes for a record is more than
	// that with 400,000 records, one of a byte with 10 million.
	memoryStays(t, 5, rounds, 4<<20, func(int) { round() })
}

// inUse is what C has in use, in bytes. It skips the test where the C library does not tell.
func inUse(t *testing.T) int64 {
	t.Helper()
	f, ok := cmem.Read()
	if !ok {
		t.Skip("this C library does not tell")
	}
	return f.Used
}

// memoryStays does something so many times and looks at C's heap after each, once it has been done some times to begin with: from the first half to the
// second the most that C has in use grows by less than slack bytes, and by less than 16 MiB from before.
func memoryStays(t *testing.T, warm, rounds int, slack int64, round func(i int)) {
	t.Helper()
	for i := range warm {
		round(i)
	}
	before := inUse(t)
	var most [2]int64
	for i := range rounds {
		round(warm + i)
		half := &most[2*i/rounds]
		*half = max(*half, inUse(t))
	}
	t.Logf("C had %d bytes, at most %d in the first half and %d in the second", before, most[0], most[1])
	require.Less(t, most[1], most[0]+slack)
	require.Less(t, max(most[0], most[1]), before+16<<20)
}

// TestMemoryOfCStaysInRebalances has a second node come and go while records pass, and looks at what C's heap holds: half of the partitions move each
// time, there and back. With TROUPE_LONG they do so 500 times, in some twenty minutes. It is not parallel: others' clients would be counted.
func TestMemoryOfCStaysInRebalances(t *testing.T) {
	inUse(t)
	const each, warm = 100, 2
	rounds := 4
	if os.Getenv("TROUPE_LONG") != "" {
		rounds = 500
	}
	c := cluster(t, 4)
	d, cl := driver(t, c), kafkaClient(t, c)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	a.await("A owns all", a.owns(0, 1, 2, 3))
	memoryStays(t, warm, rounds, 1<<20, func(i int) {
		b := open(t, d, kafka.GroupConfig{Instance: "B", Nonce: strconv.Itoa(i)}, oneSource).start()
		b.await("B owns two", func() bool { return len(b.slots) == 2 })
		fillBy(t, cl, "a", 4, i*each, each)
		b.stop()
		a.await("A owns all again", a.owns(0, 1, 2, 3))
	})
	exactly(t, c, 4, (warm+rounds)*each)
}

// TestAllocationsOfTheBatchedClient: what a thousand records cost on their way into librdkafka and out of it, besides the batch that they are put into. The
// broker is librdkafka's own, whose memory is C's. It is not parallel: the counters are of the whole process.
func TestAllocationsOfTheBatchedClient(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector, which short tests are run with, allocates")
	}
	const each, times = 1000, 40
	c, broker, err := openTrial()
	require.NoError(t, err)
	defer closesInTime(func() { _ = c.Close() })
	p, err := rdk.NewProducer(&rdk.ConfigMap{"bootstrap.servers": broker, "log_level": 0, "go.delivery.reports": false})
	require.NoError(t, err)
	defer closesInTime(p.Close)
	out, err := openOutlet(p, []string{trialTopic})
	require.NoError(t, err)
	defer out.close()
	o := new(kafka.Outputs)
	for i := range each {
		o.Append(0, 0, 0, fmt.Appendf(nil, "key-%016d", i), []byte("12345678"), nil)
	}
	written := testing.AllocsPerRun(times, func() {
		for from := 0; from < each; {
			n, err := out.produce(o, from)
			require.NoError(t, err)
			from += n
		}
	})
	require.Zero(t, p.Flush(int(trialTimeout.Milliseconds())))

	in, err := openIntake(c)
	require.NoError(t, err)
	defer in.close()
	tp := kafka.TopicPartition{Topic: trialTopic}
	require.NoError(t, in.take(tp))
	require.NoError(t, c.Assign([]rdk.TopicPartition{{Topic: &tp.Topic}}))
	b := &kafka.Batch{Topic: trialTopic, Records: make([]kafka.Record, 0, maxGather), Arena: make([]byte, 0, 28*maxGather)}
	read := testing.AllocsPerRun(times, func() {
		for n := 0; n < each; {
			runs := in.fetch(time.Second, each-n)
			for _, r := range runs {
				require.Equal(t, rdk.ErrNoError, r.err)
				for b.Records, b.Arena = b.Records[:0], b.Arena[:0]; r.n > 0; {
					in.fill(&r, b, 0, maxBatchRecords, maxBatchBytes)
				}
				n += b.Len()
			}
			in.done()
		}
	})
	t.Logf("a thousand records: %g allocations to write them, %g to read them", written, read)
	require.LessOrEqual(t, written, 1.0)
	require.LessOrEqual(t, read, 10.0)
}

// TestMemoryOfCStaysOverCommits commits again and again and looks at what C's heap holds. With TROUPE_LONG it commits 20,000 times. It is not parallel:
// others' clients would be counted.
func TestMemoryOfCStaysOverCommits(t *testing.T) {
	inUse(t)
	commits := 400
	if os.Getenv("TROUPE_LONG") != "" {
		commits = 20_000
	}
	c := cluster(t, 1)
	d, cl := driver(t, c), kafkaClient(t, c)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	a.await("A owns it", a.owns(0))
	memoryStays(t, 100, commits, 1<<20, func(i int) {
		fillBy(t, cl, "a", 1, i, 1)
		a.await("it is committed", func() bool { return a.outcomes[kafka.Committed] > i })
	})
}

// A partition that is taken away is not looked after any more, even if nothing has come of it.
func TestAPartitionThatWasTakenAwayIsLeft(t *testing.T) {
	t.Parallel()
	_, d := adminOf(t, kfake.SeedTopics(2, "a"))
	r, is := readerOf(t, d).(*reader)
	require.True(t, is)
	in, is := r.in.(*batchedIntake)
	require.True(t, is)
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	require.NoError(t, r.Assign(tpOf("a", 1), 0))
	require.Len(t, in.young, 2)
	require.NoError(t, r.Remove(tpOf("a", 0)))
	require.NotContains(t, in.young, tpOf("a", 0))
}
