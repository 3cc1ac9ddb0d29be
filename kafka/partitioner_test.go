package kafka_test

import (
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

// positive of a hash as Java's Utils.toPositive has it.
func positive(h int32) int32 { return int32(uint32(h) & 0x7fffffff) }

func TestMurmur2IsJavas(t *testing.T) {
	t.Parallel()
	for key, hash := range map[string]int32{ // from Kafka's UtilsTest.testMurmur2
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		for _, n := range []int32{1, 2, 7, 100, 1<<31 - 1} {
			require.Equal(t, positive(hash)%n, kafka.Murmur2().Hash([]byte(key), n), "%s of %d", key, n)
		}
	}
}

func TestCRC32IsLibrdkafkas(t *testing.T) {
	t.Parallel()
	// The check value of CRC-32/ISO-HDLC, and the empty input.
	require.Equal(t, int32(0xCBF43926%1000), kafka.CRC32().Hash([]byte("123456789"), 1000))
	require.Equal(t, int32(0), kafka.CRC32().Hash(nil, 1000))
}

func TestFNV1aIsSaramas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		n := rapid.Int32Range(1, 1<<31-1).Draw(t, "n")
		h := fnv.New32a()
		_, _ = h.Write(key)
		want := int32(h.Sum32()) % n
		if want < 0 {
			want = -want
		}
		require.Equal(t, want, kafka.FNV1a().Hash(key, n))
	})
}

func TestPartitionsAreInRange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		n := rapid.Int32Range(1, 1<<31-1).Draw(t, "n")
		for _, p := range kafka.Partitioners() {
			got := p.Hash(key, n)
			require.True(t, got >= 0 && got < n, "%s: %d of %d", p.Name, got, n)
			require.Equal(t, got, p.Hash(key, n))
		}
	})
}

func TestPartitionersHaveNames(t *testing.T) {
	t.Parallel()
	for _, p := range kafka.Partitioners() {
		got, ok := kafka.PartitionerNamed(p.Name)
		require.True(t, ok)
		require.Equal(t, p.Name, got.Name)
	}
	p, ok := kafka.PartitionerNamed("")
	require.True(t, ok)
	require.Equal(t, "murmur2", p.Name)
	p, ok = kafka.PartitionerNamed("CRC32")
	require.True(t, ok)
	require.Equal(t, "crc32", p.Name)
	_, ok = kafka.PartitionerNamed("random")
	require.False(t, ok)
}
