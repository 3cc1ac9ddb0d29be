package tables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
)

const (
	minBuckets = 16  // pages of an empty table
	pageFill   = 256 // entries of a page, on average, at which the number of pages is doubled
)

// castagnoli is the polynomial of pages' checksums and of the hash that spreads keys over pages.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// discard returns outputs that nobody will look at.
func discard() *kafka.Outputs { return new(kafka.Outputs) }

// buckets spreads entries over the pages of a checkpoint, by the hashes of their keys, and knows which pages have changed
// since they were written.
type buckets struct {
	lists      [][]int32
	dirty      []bool
	dirtyCount int
	round      []bool // pages that were dirty when the round of writing began and are not written yet
	left       int    // of them
	next       int    // where the search for one goes on
}

func (b *buckets) reset(n int) {
	writing := b.left > 0
	b.lists, b.dirty, b.round, b.left, b.next = make([][]int32, n), make([]bool, n), make([]bool, n), 0, 0
	b.touchAll()
	if writing {
		b.startRound()
	}
}

// startRound begins a round of writing: of the pages that are dirty now. Those that become so meanwhile are for the next,
// else a busy table's round would never end.
func (b *buckets) startRound() {
	copy(b.round, b.dirty)
	b.left, b.next = b.dirtyCount, 0
}

func (b *buckets) touchAll() {
	for i := range b.dirty {
		b.dirty[i] = true
	}
	b.dirtyCount = len(b.dirty)
}

func (b *buckets) clean() {
	clear(b.dirty)
	b.dirtyCount = 0
}

func (b *buckets) of(hash uint32) int { return int(hash) & (len(b.lists) - 1) }

func (b *buckets) add(i int32, hash uint32) {
	n := b.of(hash)
	b.lists[n] = append(b.lists[n], i)
}

func (b *buckets) remove(i int32, hash uint32) {
	n := b.of(hash)
	at := slices.Index(b.lists[n], i)
	last := len(b.lists[n]) - 1
	b.lists[n][at] = b.lists[n][last]
	b.lists[n] = b.lists[n][:last]
}

// touch makes the page of a hash due.
func (b *buckets) touch(hash uint32) {
	if n := b.of(hash); !b.dirty[n] {
		b.dirty[n] = true
		b.dirtyCount++
	}
}

func (b *buckets) full(entries int) bool { return entries > len(b.lists)*pageFill }

// grow doubles the number of pages; all become due.
func (b *buckets) grow(entries func(yield func(i int32, hash uint32))) {
	b.reset(len(b.lists) * 2)
	entries(b.add)
}

// take returns a page of the round, and makes it not due; -1 if there is none left.
func (b *buckets) take() int {
	if b.left == 0 {
		return -1
	}
	for !b.round[b.next] {
		b.next++
	}
	b.round[b.next], b.dirty[b.next] = false, false
	b.left--
	b.dirtyCount--
	return b.next
}

// pager gives checkpoints access to the pages of a shard.
type pager interface {
	// layout is the number of pages.
	layout() int
	// setLayout makes an empty shard have that many pages, none of them due.
	setLayout(n int)
	// startRound begins a round of writing: of the pages that are due now. pagesLeft is how many of them are not taken yet.
	startRound()
	pagesLeft() int
	// takePage returns a page of the round with the committed values of its keys; ok is false if none is left.
	takePage() (bucket int, page []byte, ok bool, err error)
	// putBack makes a page due again: it could not be written.
	putBack(bucket int)
	// touchAll makes all pages due.
	touchAll()
	// loadPage takes over the entries of a page.
	loadPage(bucket int, page []byte) error
}

func (s *ShardOf[V]) pages() pager { return s }

func (s *ShardOf[V]) layout() int { return len(s.buckets.lists) }

func (s *ShardOf[V]) setLayout(n int) {
	s.buckets.reset(n)
	s.buckets.clean()
}

func (s *ShardOf[V]) touchAll() { s.buckets.touchAll() }

func (s *ShardOf[V]) startRound() { s.buckets.startRound() }

func (s *ShardOf[V]) pagesLeft() int { return s.buckets.left }

func (s *ShardOf[V]) putBack(bucket int) {
	if !s.buckets.dirty[bucket] {
		s.buckets.dirty[bucket] = true
		s.buckets.dirtyCount++
	}
}

// A page is: version (1 byte), number of pages, own number, number of entries (uvarints), then for each entry the length of
// its key, the key, the length of its value, the value; at the end a CRC-32C of all before it, little-endian.
const pageVersion = 1

var (
	errPage   = errors.New("page is damaged")
	errNoPage = errors.New("it is missing")
)

func (s *ShardOf[V]) takePage() (int, []byte, bool, error) {
	bucket := s.buckets.take()
	if bucket < 0 {
		return 0, nil, false, nil
	}
	var body []byte
	n := 0
	for _, i := range s.buckets.lists[bucket] {
		v, enc, live := s.committedOf(i)
		if !live {
			continue
		}
		key := s.key(i)
		if !s.encoded {
			var err error
			if s.scratch, err = s.spec.Codec.Append(s.scratch[:0], v); err != nil {
				s.putBack(bucket)
				return 0, nil, false, s.unencodable(key, err)
			}
			enc = s.scratch
		}
		if s.ttl != nil {
			at, _ := s.ttl.get(key, true)
			s.marked = append(binary.AppendVarint(s.marked[:0], at), enc...)
			enc = s.marked
		}
		n++
		body = binary.AppendUvarint(body, uint64(len(key)))
		body = append(body, key...)
		body = binary.AppendUvarint(body, uint64(len(enc)))
		body = append(body, enc...)
	}
	page := append(make([]byte, 0, len(body)+32), pageVersion)
	page = binary.AppendUvarint(page, uint64(len(s.buckets.lists)))
	page = binary.AppendUvarint(page, uint64(bucket))
	page = binary.AppendUvarint(page, uint64(n))
	page = append(page, body...)
	return bucket, appendChecksum(page), true, nil
}

// unencodable says that a value that is committed does not encode.
func (s *ShardOf[V]) unencodable(key string, err error) error {
	return fmt.Errorf("encode the value of table %s, %w: %w", s.spec.Name, redact.Quote("a key", "key %q", key), redact.Of(err))
}

// misplaced says that a page holds a key that belongs into another.
func misplaced(key []byte, page int) error {
	return fmt.Errorf("%w: %w is of page %d", errPage, redact.Quote("a key", "key %q", key), page)
}

func (s *ShardOf[V]) loadPage(bucket int, page []byte) error {
	return readPage(page, s.layout(), bucket, func(key, value []byte) error {
		if got := s.buckets.of(crc32.Checksum(key, castagnoli)); got != bucket {
			return misplaced(key, got)
		}
		expires, value, err := cutExpiry(value, s.ttl != nil)
		if err != nil {
			return err
		}
		s.loading = true
		err = s.load(key, value, expires)
		if s.loading = false; err != nil {
			return err
		}
		s.buckets.dirty[bucket] = false
		s.buckets.dirtyCount = 0
		return nil
	})
}

// cutExpiry takes what is before the values of a table whose entries expire: when they do, 0 for never.
func cutExpiry(value []byte, expiring bool) (int64, []byte, error) {
	if !expiring {
		return 0, value, nil
	}
	at, n := binary.Varint(value)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: an entry without a time to expire", errPage)
	}
	return at, value[n:], nil
}

func appendChecksum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// cutChecksum checks and removes what appendChecksum added.
func cutChecksum(b []byte) ([]byte, error) {
	n := len(b) - 4
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errPage)
	}
	return b[:n], nil
}

// readPage checks a page and yields its entries, which share its bytes.
func readPage(page []byte, layout, bucket int, yield func(key, value []byte) error) error {
	b, err := cutChecksum(page)
	if err != nil {
		return err
	}
	if len(b) == 0 || b[0] != pageVersion {
		return fmt.Errorf("%w: it has another version", errPage)
	}
	b = b[1:]
	var head [3]uint64
	for i := range head {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			return errPage
		}
		head[i], b = n, b[k:]
	}
	if head[0] != uint64(layout) || head[1] != uint64(bucket) {
		return fmt.Errorf("%w: it is page %d of %d, not %d of %d", errPage, head[1], head[0], bucket, layout)
	}
	for range head[2] {
		var field [2][]byte
		for i := range field {
			n, k := binary.Uvarint(b)
			if k <= 0 || n > uint64(len(b)-k) {
				return errPage
			}
			field[i], b = b[k:k+int(n):k+int(n)], b[k+int(n):]
		}
		if err := yield(field[0], field[1]); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errPage, len(b))
	}
	return nil
}
