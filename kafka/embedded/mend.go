package embedded

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker's log, as kfake keeps it: a folder for each partition, in it segments (N.dat: record batches as on the wire)
// and for each an index (N.idx: 15 bytes for each batch). A transaction that was open when the broker was killed has
// batches there but no marker behind them. kfake takes it for aborted when it starts, but writes that down nowhere:
// consumers see no marker, and take later transactions of the same producer for aborted too; and after a second kill, a
// commit of a later transaction of that producer commits the dead one with it. So the markers are written here, before
// kfake starts.

const (
	// sessionFile is there after an orderly stop only: open transactions go on.
	sessionFile = "session_state.json"
	pidsFile    = "pids.log"
	snapshot    = "snapshot.json"

	indexEntry    = 15
	indexVersion  = 1
	frameVersion  = 1
	batchHeader   = 61 // bytes of a batch before its records
	lengthAt      = 8  // where a batch has its length, which counts from lengthAt+4 on
	crcAt         = 17
	crcFrom       = 21
	transactional = 0x10
	control       = 0x20
)

// mending is what was found and mended.
type mending struct {
	aborted int   // transactions that were open, counted once for each partition
	torn    int64 // bytes at the ends of logs that were no whole batch
}

func (m mending) any() bool { return m.aborted > 0 || m.torn > 0 }

// mend mends what a broker that was killed left in its data directory. After an orderly stop there is nothing to do.
func mend(data string) (m mending, err error) {
	if _, err := os.Stat(filepath.Join(data, sessionFile)); err == nil || !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	folders, err := filepath.Glob(filepath.Join(data, "partitions", "*"))
	if err != nil {
		return m, err
	}
	for _, folder := range folders {
		if err := m.partition(folder); err != nil {
			return m, fmt.Errorf("%s: %w", filepath.Base(folder), err)
		}
	}
	return m, forgetOutcomes(filepath.Join(data, pidsFile))
}

// open is a transaction without a marker.
type open struct {
	producer int64
	epoch    int16
}

// partition ends the transactions that are open in one partition.
func (m *mending) partition(folder string) error {
	bases, err := segments(folder)
	if err != nil || len(bases) == 0 {
		return err
	}
	var p partitionLog
	for _, base := range bases {
		torn, err := p.readSegment(filepath.Join(folder, strconv.FormatInt(base, 10)))
		if err != nil {
			return err
		}
		m.torn += torn
	}
	if len(p.active) == 0 {
		return nil
	}
	// kfake believes a snapshot if the segments have the sizes it names. Those will not be, but it costs nothing to be sure.
	if err := os.Remove(filepath.Join(folder, snapshot)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	m.aborted += len(p.active)
	return p.abort(filepath.Join(folder, strconv.FormatInt(bases[len(bases)-1], 10)))
}

// segments returns the first offsets of a partition's segments, in order.
func segments(folder string) (bases []int64, err error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".dat"); ok {
			if base, err := strconv.ParseInt(name, 10, 64); err == nil {
				bases = append(bases, base)
			}
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// partitionLog is what a partition's segments say when they are read from the beginning.
type partitionLog struct {
	next   int64           // the offset behind the last batch
	epoch  int32           // of the leader, in the last batch
	active map[int64]int16 // producers with a transaction open, and their epochs
}

// readSegment goes through a segment's batches, cuts off what is no whole batch behind them, and brings its index in step.
func (p *partitionLog) readSegment(path string) (torn int64, err error) {
	raw, err := os.ReadFile(path + ".dat")
	if err != nil {
		return 0, err
	}
	index, err := os.ReadFile(path + ".idx")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	was := len(index)
	at, n := 0, 0
	for {
		size, ok := batchAt(raw[at:])
		if !ok {
			break
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw[at : at+size]); err != nil {
			break // kfake stops there too
		}
		if len(index) < (n+1)*indexEntry { // killed between the two writes
			index = append(index[:n*indexEntry], indexOf(b.PartitionLeaderEpoch, b.MaxTimestamp, b.Attributes&transactional != 0 && b.Attributes&control == 0)...)
		}
		p.batch(&b, index[(n+1)*indexEntry-1]&1 != 0)
		at += size
		n++
	}
	if torn = int64(len(raw) - at); torn > 0 {
		if err := os.Truncate(path+".dat", int64(at)); err != nil {
			return 0, err
		}
	}
	if was != n*indexEntry {
		return torn, os.WriteFile(path+".idx", index[:n*indexEntry], 0o600)
	}
	return torn, nil
}

// batchAt says how long the batch at the beginning of raw is, if it is there whole.
func batchAt(raw []byte) (size int, ok bool) {
	if len(raw) < batchHeader {
		return 0, false
	}
	length := binary.BigEndian.Uint32(raw[lengthAt:])
	if length < batchHeader-lengthAt-4 || uint64(length)+lengthAt+4 > uint64(len(raw)) {
		return 0, false
	}
	size = int(length) + lengthAt + 4
	return size, crc32.Checksum(raw[crcFrom:size], castagnoli()) == binary.BigEndian.Uint32(raw[crcAt:])
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// batch follows which transactions are open.
func (p *partitionLog) batch(b *kmsg.RecordBatch, inTransaction bool) {
	p.next, p.epoch = b.FirstOffset+int64(b.LastOffsetDelta)+1, b.PartitionLeaderEpoch
	switch {
	case b.Attributes&control != 0:
		delete(p.active, b.ProducerID)
	case inTransaction:
		if p.active == nil {
			p.active = map[int64]int16{}
		}
		p.active[b.ProducerID] = b.ProducerEpoch
	}
}

// abort appends an abort marker for each open transaction.
func (p *partitionLog) abort(path string) error {
	var batches, index []byte
	for _, producer := range slices.Sorted(maps.Keys(p.active)) {
		b := marker(open{producer, p.active[producer]}, p.next, p.epoch, time.Now().UnixMilli())
		batches = append(batches, b...)
		index = append(index, indexOf(p.epoch, 0, false)...)
		p.next++
	}
	// Segment first: what has no index entry is given one by the next start.
	return cmp.Or(appendTo(path+".dat", batches), appendTo(path+".idx", index))
}

// marker makes the batch that aborts a transaction.
func marker(t open, offset int64, leaderEpoch int32, now int64) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	r := kmsg.Record{Key: key.AppendTo(nil), Value: new(kmsg.EndTxnMarker).AppendTo(nil)}
	r.Length = int32(len(r.AppendTo(nil)) - 1) // less the length of the length itself, which is one byte
	b := kmsg.RecordBatch{
		FirstOffset: offset, PartitionLeaderEpoch: leaderEpoch, Magic: 2, Attributes: transactional | control,
		FirstTimestamp: now, MaxTimestamp: now, ProducerID: t.producer, ProducerEpoch: t.epoch,
		FirstSequence: -1, NumRecords: 1, Records: r.AppendTo(nil),
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[lengthAt:], uint32(len(raw)-lengthAt-4))
	binary.BigEndian.PutUint32(raw[crcAt:], crc32.Checksum(raw[crcFrom:], castagnoli()))
	return raw
}

// indexOf makes an index entry: version, checksum, leader epoch, largest timestamp before, whether in a transaction.
func indexOf(epoch int32, timestamp int64, inTransaction bool) []byte {
	e := make([]byte, indexEntry)
	e[0] = indexVersion
	binary.LittleEndian.PutUint32(e[2:], uint32(epoch))
	binary.LittleEndian.PutUint64(e[6:], uint64(timestamp))
	if inTransaction {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli()))
	return e
}

// producerEntry is an entry of pids.log: JSON in a frame.
type producerEntry struct {
	Type    string `json:"type"`
	PID     int64  `json:"pid"`
	Epoch   int16  `json:"epoch"`
	TxID    string `json:"txid,omitempty"`
	Timeout int32  `json:"timeout,omitempty"`
	Commit  *bool  `json:"commit,omitempty"`
}

// forgetOutcomes makes the broker forget that the last transaction of each producer was committed. kfake answers a
// commit outside a transaction with success if the one before was committed, for a client that asks twice: a client
// that outlived the broker and asks to commit what was aborted here would be told that it is committed. Now it is told
// that there is no such transaction, and finds out by itself.
func forgetOutcomes(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	last := map[int64]producerEntry{}
	at := 0
	for {
		body, size, ok := frameAt(raw[at:])
		if !ok {
			break
		}
		var e producerEntry
		if err := json.Unmarshal(body, &e); err == nil {
			if e.Type != "init" { // what an entry does not say is as it was
				e.TxID = last[e.PID].TxID
				e.Commit = cmp.Or(e.Commit, last[e.PID].Commit)
			}
			last[e.PID] = e
		}
		at += size
	}
	if at < len(raw) { // what is appended behind a torn entry would not be read
		if err := os.Truncate(path, int64(at)); err != nil {
			return err
		}
	}
	var entries []byte
	for _, pid := range slices.Sorted(maps.Keys(last)) {
		e := last[pid]
		if e.TxID == "" || e.Commit == nil || !*e.Commit {
			continue
		}
		aborted := false
		body, err := json.Marshal(producerEntry{Type: "endtx", PID: pid, Epoch: e.Epoch, Commit: &aborted})
		if err != nil {
			return err
		}
		entries = append(entries, frame(body)...)
	}
	return appendTo(path, entries)
}

// frameAt returns the entry at the beginning of raw: length, CRC-32C and version, then the entry.
func frameAt(raw []byte) (body []byte, size int, ok bool) {
	if len(raw) < 10 {
		return nil, 0, false
	}
	length := binary.LittleEndian.Uint32(raw)
	if length < 2 || uint64(length)+8 > uint64(len(raw)) {
		return nil, 0, false
	}
	size = int(length) + 8
	if crc32.Checksum(raw[8:size], castagnoli()) != binary.LittleEndian.Uint32(raw[4:]) {
		return nil, 0, false
	}
	return raw[10:size], size, true
}

func frame(body []byte) []byte {
	f := make([]byte, 10, 10+len(body))
	binary.LittleEndian.PutUint32(f, uint32(2+len(body)))
	binary.LittleEndian.PutUint16(f[8:], frameVersion)
	f = append(f, body...)
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum(f[8:], castagnoli()))
	return f
}

// appendTo appends to a file and syncs it.
func appendTo(path string, more []byte) error {
	if len(more) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(more)
	return errors.Join(err, f.Sync(), f.Close())
}
