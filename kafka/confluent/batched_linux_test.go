package confluent

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// TestAllThatIsAskedForIsLookedFor: no function is declared that a look at librdkafka leaves out, nor called without being declared.
func TestAllThatIsAskedForIsLookedFor(t *testing.T) {
	t.Parallel()
	names := func(pattern string, files ...string) (all []string) {
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
				all = append(all, string(m[1]))
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	declared := names(`(?m)^TRP_WEAK .*?\b(rd_kafka_\w+)\(`, "batched_linux.h", "closings_linux.h")
	require.Greater(t, len(declared), 20)
	require.Equal(t, declared, names(`(?m)^\tTRP_NEEDS\((\w+)\);$`, "batched_linux.c", "closings_linux.c"))
	require.Subset(t, declared, names(`C\.(rd_kafka_\w+)\(`, "batched_linux.go", "closings_linux.go"))
	require.True(t, tells(), "what is missing reads as NULL")
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

func batchedOf(t *testing.T, in intake) *batchedIntake {
	t.Helper()
	b, is := in.(*batchedIntake)
	require.True(t, is)
	return b
}

// batchedReaderOf is a reader of a driver with the batched client, and its intake.
func batchedReaderOf(t *testing.T, d *Driver) (*reader, *batchedIntake) {
	t.Helper()
	r, is := readerOf(t, d).(*reader)
	require.True(t, is)
	return r, batchedOf(t, r.in)
}

// A partition that is taken away is not looked after any more, even if nothing has come of it, or it was held back.
func TestAPartitionThatWasTakenAwayIsLeft(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Brokers: cluster(t, 2).ListenAddrs(), Client: Batched})
	require.NoError(t, err)
	r, read := batchedReaderOf(t, d)
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	require.NoError(t, r.Assign(tpOf("a", 1), 0))
	require.Len(t, read.young, 2)
	require.NoError(t, r.Remove(tpOf("a", 0)))
	require.NotContains(t, read.young, tpOf("a", 0))

	c, err := openConsumer(d, kafka.GroupConfig{Group: "g", Instance: "A", Nonce: "1"}, d.log, nil)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	a0, a1 := tpOf("a", 0), tpOf("a", 1)
	require.NoError(t, c.Assign([]kafka.Position{{TopicPartition: a0}, {TopicPartition: a1}}))
	taken := batchedOf(t, c.in)
	require.Len(t, taken.young, 2)
	require.NoError(t, c.Pause([]kafka.TopicPartition{a0}))
	require.True(t, c.parts[a0].held)
	require.NoError(t, c.Unassign([]kafka.TopicPartition{a0, a1}))
	require.Empty(t, taken.young)
}

// TestArenasAreFew: with cmem.Bound the clients of a process make hardly any arenas beyond those that are there, without it as many as glibc allows. Each case has a process of its own, this test itself.
func TestArenasAreFew(t *testing.T) {
	const role = "TROUPE_TEST_ARENAS"
	if cmem.Arenas() == 0 {
		t.Skip("the C library is not glibc")
	}
	switch os.Getenv(role) {
	case "":
		t.Parallel()
		for _, which := range []string{"bound", "free"} {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestArenasAreFew$", "-test.count=1")
			cmd.Env = append(os.Environ(), role+"="+which, "TROUPE_CLIENT="+Batched)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		return
	case "bound":
		cmem.Bound()
	}
	allowed := max(cmem.Arenas(), cmem.Most()) + 2 // those that are there stay, and threads may be about to make some
	d, err := New(Config{Brokers: cluster(t, 4).ListenAddrs(), Client: Batched})
	require.NoError(t, err)
	for range 4 {
		r := readerOf(t, d)
		for p := range int32(4) {
			require.NoError(t, r.Assign(tpOf("a", p), 0))
		}
		ends := map[int32]bool{}
		pollUntil(t, r, func(b *kafka.Batch) bool { ends[b.Partition] = true; return len(ends) == 4 })
	}
	t.Logf("%d arenas, %d allowed", cmem.Arenas(), allowed)
	if os.Getenv(role) == "bound" {
		require.LessOrEqual(t, cmem.Arenas(), allowed)
	} else {
		require.Greater(t, cmem.Arenas(), allowed)
	}
}

// TestAFetchIsBoundedInBytes: what one fetch brings is bounded by its bytes, too, those of headers and of large values included.
func TestAFetchIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	long := make([]byte, 100_000)
	t.Run("headers", func(t *testing.T) {
		boundedInBytes(t, &kgo.Record{Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: long}}})
	})
	t.Run("values", func(t *testing.T) { boundedInBytes(t, &kgo.Record{Value: long}) })
}

func boundedInBytes(t *testing.T, x *kgo.Record) {
	t.Helper()
	const records, size, most = 600, 100_000, 16 << 20 // of the C code
	c := cluster(t, 1)
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: Batched})
	require.NoError(t, err)
	cl := kafkaClient(t, c)
	for range records {
		r := *x
		r.Topic = "a"
		require.NoError(t, cl.ProduceSync(t.Context(), &r).FirstErr())
	}
	var asked atomic.Int64 // from which offset on
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if f, is := req.(*kmsg.FetchRequest); is && len(f.Topics) > 0 {
			asked.Store(f.Topics[0].Partitions[0].FetchOffset)
		}
		return nil, nil, false
	})
	r, in := batchedReaderOf(t, d)
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	n, fetches := 0, 0
	for end := time.Now().Add(patience); n < records; {
		require.True(t, time.Now().Before(end))
		before := n
		for _, run := range in.fetch(100*time.Millisecond, maxGather) {
			if run.err == rdk.ErrNoError {
				n += run.n
			}
		}
		if n > 0 {
			fetches++
			require.Less(t, int(in.c.arena_len), most+2*size)
			require.Less(t, (n-before)*size, most+2*size)
			require.Eventually(t, func() bool { return asked.Load() == records }, patience, time.Millisecond) // all the rest waits in librdkafka
		}
		in.done()
	}
	require.Equal(t, records, n)
	require.GreaterOrEqual(t, fetches, records*size/most)
}
