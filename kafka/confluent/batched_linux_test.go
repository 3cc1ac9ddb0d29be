package confluent

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/internal/allocs"
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

// long says whether tests of memory are to take minutes, as in a step of .ci/run.
func long() bool { return os.Getenv("TROUPE_LONG") != "" }

// TestMemoryOfCStays reads, assigns anew and writes again and again and looks at what C's heap holds: with TROUPE_LONG, over 10 million records.
func TestMemoryOfCStays(t *testing.T) {
	if !alone(t) {
		return
	}
	const each = 20_000
	total := 400_000
	if long() {
		total = 10_000_000
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
	round()
	kept := held()
	require.Equal(t, underTest == Batched, kept > 0)
	t.Logf("%d records read in %d assignments, %d written", rounds*each, 2*rounds, 1000*rounds)
	memoryStays(t, 5, rounds, func(int) {
		round()
		require.Equal(t, kept, held(), "handles of librdkafka, which are held between two fetches")
	})
}

// alone runs the test at hand in a process of its own, where nobody else's clients are counted, nor what glibc's threads keep of freed memory for
// themselves (tcache): it says true there. It skips the test where the C library does not tell what it has in use.
func alone(t *testing.T) bool {
	t.Helper()
	if _, ok := cmem.Read(); !ok {
		t.Skip("this C library does not tell")
	}
	if os.Getenv(aloneVar) != "" {
		t.Cleanup(func() { require.Zero(t, held(), "handles of librdkafka, when all that the test has opened is closed") })
		return true
	}
	t.Parallel()
	tuned := "glibc.malloc.tcache_count=0"
	if set := os.Getenv("GLIBC_TUNABLES"); set != "" {
		tuned = set + ":" + tuned
	}
	t.Logf("%s", again(t, "GLIBC_TUNABLES="+tuned))
	return false
}

// memoryStays does something so many times and looks at C's heap after each, once it has been done some times to begin with: the least that C has in
// use in the second half is what it was in the first, but for chance. A leak of n bytes for each round makes a difference of n times half of the rounds.
func memoryStays(t *testing.T, warm, rounds int, round func(i int)) {
	t.Helper()
	const chance = 16 << 10 // the clients' threads are at work meanwhile
	inUse := func() int64 {
		f, ok := cmem.Read()
		require.True(t, ok)
		return f.Used
	}
	for i := range warm {
		round(i)
	}
	before := inUse()
	used := make([]int64, rounds)
	for i := range used {
		round(warm + i)
		used[i] = inUse()
	}
	first, second := used[:rounds/2], used[rounds/2:]
	t.Logf("C had %d bytes, then %d to %d in the first half of %d rounds and %d to %d in the second", before, slices.Min(first), slices.Max(first), rounds, slices.Min(second), slices.Max(second))
	require.Less(t, slices.Min(second), slices.Min(first)+chance)
}

// TestMemoryOfCStaysInRebalances has a second node come and go while records pass, and looks at what C's heap holds: half of the partitions move each
// time, there and back, in three rebalances. With TROUPE_LONG there are a thousand, of many groups at once, since most of a rebalance's time is librdkafka's
// waiting.
func TestMemoryOfCStaysInRebalances(t *testing.T) {
	if !alone(t) {
		return
	}
	const partitions, each, warm, perRound = 4, 100, 2, 3
	groups, rounds := 1, 6
	if long() {
		groups, rounds = 14, 24
	}
	type cast struct {
		c  *kfake.Cluster
		d  *Driver
		cl *kgo.Client
		a  *node
	}
	casts := make([]cast, groups)
	for i := range casts {
		x := &casts[i]
		x.c = cluster(t, partitions)
		x.d, x.cl = driver(t, x.c), kafkaClient(t, x.c)
		x.a = open(t, x.d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
		x.a.await("A owns all", x.a.owns(0, 1, 2, 3))
	}
	round := func(x *cast, i int) {
		b := open(t, x.d, kafka.GroupConfig{Instance: "B", Nonce: strconv.Itoa(i)}, oneSource).start()
		b.await("B owns two", func() bool { return len(b.slots) == 2 })
		fillBy(t, x.cl, "a", partitions, i*each, each)
		b.stop()
		x.a.await("A owns all again", x.a.owns(0, 1, 2, 3))
		exactly(t, x.c, partitions, (i+1)*each) // nothing is under way
	}
	var kept int64
	memoryStays(t, warm, rounds, func(i int) {
		var all sync.WaitGroup
		for j := range casts {
			all.Go(func() { round(&casts[j], i) })
		}
		all.Wait()
		if i < warm { // a topic's handle is made with the first record
			kept = held()
		}
		require.Equal(t, kept, held(), "handles of librdkafka")
	})
	t.Logf("%d rebalances", groups*rounds*perRound)
	for j := range casts {
		casts[j].a.mu.Lock()
		require.GreaterOrEqual(t, len(casts[j].a.grants), partitions+2*(warm+rounds))
		casts[j].a.mu.Unlock()
	}
}

// TestAllocationsOfTheBatchedClient: what a thousand records cost on their way into librdkafka and out of it, besides the batch that they are put into. The
// broker is librdkafka's own, whose memory is C's. It is not parallel: the counters are of the whole process.
func TestAllocationsOfTheBatchedClient(t *testing.T) {
	if allocs.Raced {
		t.Skip("the race detector allocates")
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
	written, writtenSize := allocs.PerRun(times, func() {
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
	end := time.Now().Add(patience)
	read, readSize := allocs.PerRun(times, func() {
		for n := 0; n < each; {
			require.True(t, time.Now().Before(end), "%d of %d records have come", n, each)
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
	t.Logf("a thousand records: %g allocations, %g bytes to write them, %g and %g to read them", written, writtenSize, read, readSize)
	require.LessOrEqual(t, written, 2.0)
	require.LessOrEqual(t, writtenSize, 500.0)
	require.LessOrEqual(t, read, 2.0)
	require.LessOrEqual(t, readSize, 500.0)
}

// TestMemoryOfCStaysOverCommits commits again and again and looks at what C's heap holds. With TROUPE_LONG it commits 10,000 times.
func TestMemoryOfCStaysOverCommits(t *testing.T) {
	if !alone(t) {
		return
	}
	commits := 400
	if long() {
		commits = 10_000
	}
	c := cluster(t, 1)
	d, cl := driver(t, c), kafkaClient(t, c)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	a.await("A owns it", a.owns(0))
	memoryStays(t, 100, commits, func(i int) {
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
			again(t, role+"="+which, "TROUPE_CLIENT="+Batched)
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
