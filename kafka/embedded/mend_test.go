package embedded

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawBatch makes a batch of two records' offsets, of a transaction.
func rawBatch(offset, producer int64) []byte {
	b := kmsg.RecordBatch{
		FirstOffset: offset, PartitionLeaderEpoch: 3, Magic: 2, Attributes: transactional, LastOffsetDelta: 1,
		ProducerID: producer, ProducerEpoch: 7, NumRecords: 2, Records: []byte("records"),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[lengthAt:], uint32(len(raw)-lengthAt-4))
	binary.BigEndian.PutUint32(raw[crcAt:], crc32.Checksum(raw[crcFrom:], castagnoli()))
	return raw
}

// write makes a partition of one segment.
func write(t *testing.T, segment, index []byte) (data, path string) {
	t.Helper()
	data = t.TempDir()
	folder := filepath.Join(data, "partitions", "a-0")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	path = filepath.Join(folder, "0")
	require.NoError(t, os.WriteFile(path+".dat", segment, 0o600))
	require.NoError(t, os.WriteFile(path+".idx", index, 0o600))
	return data, path
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestMendEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	first, second := rawBatch(0, 11), rawBatch(2, 12)
	for name, c := range map[string]struct {
		segment, index []byte
		torn           int64
	}{
		"whole":                  {join(first, second), join(indexOf(3, 0, true), indexOf(3, 0, true)), 0},
		"a batch is torn":        {join(first, second, rawBatch(4, 13)[:65]), join(indexOf(3, 0, true), indexOf(3, 0, true)), 65},
		"a batch is not indexed": {join(first, second), indexOf(3, 0, true), 0},
		"an index entry is torn": {join(first, second), join(indexOf(3, 0, true), indexOf(3, 0, true)[:8]), 0},
		"an entry too many":      {join(first, second), join(indexOf(3, 0, true), indexOf(3, 0, true), indexOf(3, 0, true)), 0},
		"no index at all":        {join(first, second), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, path := write(t, c.segment, c.index)
			m, err := mend(data)
			require.NoError(t, err)
			require.Equal(t, mending{aborted: 2, torn: c.torn}, m)
			segment, err := os.ReadFile(path + ".dat")
			require.NoError(t, err)
			rest, ok := segment[len(first)+len(second):], false
			require.Equal(t, join(first, second), segment[:len(first)+len(second)])
			for i, producer := range []int64{11, 12} {
				var size int
				size, ok = batchAt(rest)
				require.True(t, ok)
				var b kmsg.RecordBatch
				require.NoError(t, b.ReadFrom(rest[:size]))
				require.Equal(t, int64(4+i), b.FirstOffset)
				require.Equal(t, producer, b.ProducerID)
				require.Equal(t, int16(7), b.ProducerEpoch)
				require.Equal(t, int16(transactional|control), b.Attributes)
				var r kmsg.Record
				require.NoError(t, r.ReadFrom(b.Records))
				require.Equal(t, []byte{0, 0, 0, 0}, r.Key, "version 0, abort")
				rest = rest[size:]
			}
			require.Empty(t, rest)
			index, err := os.ReadFile(path + ".idx")
			require.NoError(t, err)
			require.Len(t, index, 4*indexEntry)
			again, err := mend(data)
			require.NoError(t, err)
			require.False(t, again.any(), "once is enough")
		})
	}
}

func TestMendLeavesAnOrderlyStopAlone(t *testing.T) {
	t.Parallel()
	data, path := write(t, rawBatch(0, 11), indexOf(3, 0, true))
	require.NoError(t, os.WriteFile(filepath.Join(data, sessionFile), nil, 0o600))
	m, err := mend(data)
	require.NoError(t, err)
	require.False(t, m.any())
	segment, err := os.ReadFile(path + ".dat")
	require.NoError(t, err)
	require.Equal(t, rawBatch(0, 11), segment)
	none, err := mend(t.TempDir())
	require.NoError(t, err)
	require.False(t, none.any())
}

func FuzzMend(f *testing.F) {
	f.Add(join(rawBatch(0, 11), rawBatch(2, 12)), indexOf(3, 0, true), frame([]byte(`{"type":"init","pid":1,"txid":"x"}`)))
	f.Add(rawBatch(0, 11)[:40], []byte{1}, []byte{3, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, segment, index, pids []byte) {
		data, _ := write(t, segment, index)
		require.NoError(t, os.WriteFile(filepath.Join(data, pidsFile), pids, 0o600))
		_, err := mend(data)
		require.NoError(t, err)
		again, err := mend(data)
		require.NoError(t, err)
		require.False(t, again.any(), "once is enough")
	})
}
