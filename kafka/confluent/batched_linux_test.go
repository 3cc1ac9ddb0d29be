package confluent

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent/internal/cmem"
)

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
// are read, at least; 10000000 takes minutes. It is not parallel: others' clients would be counted.
func TestMemoryOfCStays(t *testing.T) {
	if cmem.InUse() < 0 {
		t.Skip("this C library does not tell")
	}
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
	for range 5 {
		round()
	}
	before, most := cmem.InUse(), int64(0)
	rounds := (total + each - 1) / each
	for range rounds {
		round()
		most = max(most, cmem.InUse())
	}
	t.Logf("%d records read in %d assignments, %d written: C had %d bytes, and has %d, at most %d", rounds*each, rounds, 1000*rounds, before, cmem.InUse(), most)
	// What librdkafka holds at a moment goes up and down by what it has fetched, some MB here; a leak of one byte per record would show in
	// the long run only, of one message per thousand records here.
	require.Less(t, most, before+16<<20)
}
