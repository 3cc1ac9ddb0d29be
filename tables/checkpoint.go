package tables

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
)

// Identity is what a checkpoint belongs to. One of another identity is dropped.
type Identity struct {
	Topology    string
	Table       string
	Partition   int32
	ChangelogID string // the changelog's topic id: another topic of the same name is another log
	Version     uint64 `json:",omitempty"` // of the codec of the values
	Expiring    bool   `json:",omitempty"` // entries are kept with the times at which they expire
	Stamped     bool   `json:",omitempty"` // rows have their times in front of their values
}

// metaKey is where a checkpoint's meta record is; pagePrefix begins the keys of pages: PREFIX/number of pages/page.
const (
	metaKey     = "meta"
	pagePrefix  = "page"
	metaVersion = 1
)

// meta says what the pages of a checkpoint are worth. It is written after them.
type meta struct {
	Version  int
	Identity Identity
	Layout   int   // number of pages: all of them are there
	Offset   int64 // of the changelog: everything before it is in the pages
	// Rounds holds for each page the round in which it was written last, as little-endian uint32: a page that is there in
	// an older version is damage too (a flipped bit in a key of the file makes one).
	Rounds  []byte
	Written int64 // milliseconds since the Unix epoch
	// Kept is for how long the changelog kept deletions then (delete.retention.ms), in milliseconds; 0: it was not noted.
	Kept int64 `json:",omitempty"`
}

// Kept says for how long the changelog kept deletions when the checkpoint was written; as long as a Duration can be where that was not noted.
func (c *Checkpoint) Kept() time.Duration {
	if ms := c.meta.Kept; ms > 0 && ms <= math.MaxInt64/int64(time.Millisecond) {
		return time.Duration(ms) * time.Millisecond
	}
	return math.MaxInt64
}

// CorruptError says that a checkpoint cannot be trusted.
type CorruptError struct {
	Path string
	Err  error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("checkpoint %s: %v", e.Path, e.Err) }
func (e *CorruptError) Unwrap() error { return e.Err }

// Checkpoint is the file that makes a shard's restarts fast. It is never the truth: one that is missing, damaged or another
// table's is dropped, and the changelog replayed from its start. One goroutine at a time may use it, and one process:
// the data directory's lock sees to that.
//
// Pages are written first and the offset later, and the file is an append-only log: what is in it up to any point is an
// old offset with pages that are as new or newer, which is as good as old pages, since a restore replays everything from
// the offset on. When the number of pages changes, the new ones are written beside the old, and the meta record switches.
type Checkpoint struct {
	path    string
	id      Identity
	log     *slog.Logger
	disk    Disk
	db      File
	meta    meta
	ok      bool   // meta holds
	round   uint32 // counts Marks
	rounds  []byte // as in meta, as of now
	writing bool   // a round of pages has begun and is not through
	end     int64  // the offset that the round is for; -1: there was no round since the last Mark
	dropped string // why the file that was there is not used
}

// OpenCheckpoint opens a shard's checkpoint, or makes it. A file that cannot be used is removed, and the reason is logged
// and kept in Dropped. It fails only if the directory cannot be written.
func OpenCheckpoint(disk Disk, path string, id Identity, log *slog.Logger) (*Checkpoint, error) {
	c := &Checkpoint{disk: disk, path: path, id: id, log: log, end: -1}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil, fmt.Errorf("checkpoint %s is a directory: move it away", path)
	}
	if err := c.open(); err != nil {
		log.Warn("checkpoint dropped: the changelog is replayed", "path", path, "error", err)
		return c, c.drop(err.Error())
	}
	return c, nil
}

func (c *Checkpoint) open() (err error) {
	if c.db, err = c.disk.Open(c.path); err != nil {
		return err
	}
	text, found := "", false
	foreign := ""
	var pages []Change
	err = c.db.Each(func(key, value string) bool {
		switch {
		case key == metaKey:
			text, found = value, true
		case !strings.HasPrefix(key, pagePrefix+"/"):
			foreign = key
		default:
			pages = append(pages, Change{Key: key, Delete: true})
		}
		return true
	})
	switch {
	case err != nil:
		return err
	case foreign != "":
		return fmt.Errorf("it holds the foreign key %.40q", foreign)
	case !found && len(pages) > 0:
		// Its first round of writing was never finished. The pages go: a later meta record must not claim them.
		crashpoint.Hit("checkpoint.unfinished")
		if err := c.db.Write(pages); err != nil {
			return err
		}
		crashpoint.Hit("checkpoint.cleared")
		return nil
	case !found:
		return nil // it is new
	}
	return c.readMeta(text)
}

func parseMeta(text string) (m meta, err error) {
	b, err := cutChecksum([]byte(text))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return m, fmt.Errorf("its meta record is damaged: %w", err)
	}
	return m, nil
}

func (c *Checkpoint) readMeta(text string) error {
	m, err := parseMeta(text)
	if err != nil {
		return err
	}
	switch {
	case m.Version != metaVersion:
		return fmt.Errorf("it has version %d, this program writes %d", m.Version, metaVersion)
	case m.Identity != c.id:
		return fmt.Errorf("it is of %+v, not of %+v", m.Identity, c.id)
	case m.Layout < minBuckets || m.Layout&(m.Layout-1) != 0 || m.Offset < 0 || len(m.Rounds) != 4*m.Layout:
		return errors.New("its meta record makes no sense")
	}
	c.meta, c.ok, c.rounds = m, true, slices.Clone(m.Rounds)
	for i := range m.Layout {
		c.round = max(c.round, binary.LittleEndian.Uint32(m.Rounds[4*i:])+1)
	}
	return nil
}

// Dropped says why a file that was there is not used; empty if there was none, or it is used.
func (c *Checkpoint) Dropped() string { return c.dropped }

// Offset returns the changelog offset from which on a restore must replay, and when that was written; ok is false if there
// is nothing to go on from.
func (c *Checkpoint) Offset() (offset int64, written time.Time, ok bool) {
	return c.meta.Offset, time.UnixMilli(c.meta.Written), c.ok
}

// Load puts the pages into an empty shard. After an error, a *CorruptError, the shard must be cleared and the checkpoint
// dropped.
func (c *Checkpoint) Load(s Shard) error {
	if !c.ok {
		return nil
	}
	p := s.pages()
	p.setLayout(c.meta.Layout)
	for bucket := range c.meta.Layout {
		if err := c.loadPage(p, bucket); err != nil {
			return &CorruptError{c.path, fmt.Errorf("page %d of %d: %w", bucket, c.meta.Layout, err)}
		}
	}
	return nil
}

func (c *Checkpoint) loadPage(p pager, bucket int) error {
	text, ok, err := c.db.Get(pageKey(c.meta.Layout, bucket))
	switch {
	case err != nil:
		return err
	case !ok:
		return errNoPage
	}
	page, err := c.openPage(bucket, []byte(text))
	if err != nil {
		return err
	}
	return p.loadPage(bucket, page)
}

// sealPage adds the round to a page; openPage checks and removes it.
func (c *Checkpoint) sealPage(page []byte) string {
	return string(appendChecksum(binary.LittleEndian.AppendUint32(page, c.round)))
}

func (c *Checkpoint) openPage(bucket int, b []byte) ([]byte, error) {
	b, err := cutChecksum(b)
	if err != nil {
		return nil, err
	}
	n := len(b) - 4
	if n < 0 {
		return nil, errPage
	}
	got, want := binary.LittleEndian.Uint32(b[n:]), binary.LittleEndian.Uint32(c.meta.Rounds[4*bucket:])
	c.round = max(c.round, got+1)
	if got < want {
		return nil, fmt.Errorf("%w: it is of round %d, round %d was written", errPage, got, want)
	}
	binary.LittleEndian.PutUint32(c.rounds[4*bucket:], got) // it may be newer than the meta record
	return b[:n], nil
}

func pageKey(layout, bucket int) string {
	return pagePrefix + "/" + strconv.Itoa(layout) + "/" + strconv.Itoa(bucket)
}

// Write writes up to maxPages pages, with committed values, and says whether there are more. Everything of the changelog
// before the offset must be committed in the shard. The pages are those that were due at the first call with this offset:
// another offset begins a new round, as does a call after an error, whose pages are due again.
func (c *Checkpoint) Write(s Shard, offset int64, maxPages int) (more bool, err error) {
	p := s.pages()
	type page struct {
		bucket int
		bytes  []byte
	}
	var due []page
	defer func() {
		if err != nil {
			c.writing, c.end = false, -1
			for _, x := range due {
				p.putBack(x.bucket)
			}
		}
	}()
	if !c.writing || offset != c.end {
		p.startRound()
		c.writing, c.end = true, offset
	}
	for range maxPages {
		bucket, bytes, ok, err := p.takePage()
		if err != nil {
			return true, err
		}
		if !ok {
			break
		}
		due = append(due, page{bucket, bytes})
	}
	if len(c.rounds) != 4*p.layout() {
		c.rounds = make([]byte, 4*p.layout())
	}
	changes := make([]Change, len(due))
	for i, x := range due {
		changes[i] = Change{Key: pageKey(p.layout(), x.bucket), Value: c.sealPage(x.bytes)}
		binary.LittleEndian.PutUint32(c.rounds[4*x.bucket:], c.round)
	}
	crashpoint.Hit("checkpoint.pages-due")
	if err := c.db.Write(changes); err != nil {
		return true, fmt.Errorf("checkpoint %s: %w", c.path, err)
	}
	crashpoint.Hit("checkpoint.pages-written")
	c.writing = p.pagesLeft() > 0
	return c.writing, nil
}

// Mark says that the pages hold everything of the changelog before the offset given to Write, which must have said that
// there are no more. now is the time before that offset was asked for, kept for how long the changelog keeps deletions.
func (c *Checkpoint) Mark(s Shard, now time.Time, kept time.Duration) error {
	p := s.pages()
	if c.writing || c.end < 0 || len(c.rounds) != 4*p.layout() {
		return fmt.Errorf("checkpoint %s: mark before all pages are written", c.path)
	}
	m := meta{
		Version: metaVersion, Identity: c.id, Layout: p.layout(), Offset: c.end,
		Rounds: slices.Clone(c.rounds), Written: now.UnixMilli(), Kept: max(kept.Milliseconds(), 1),
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	crashpoint.Hit("checkpoint.mark-due")
	if err := c.db.Write([]Change{{Key: metaKey, Value: string(appendChecksum(b))}}); err != nil {
		return fmt.Errorf("checkpoint %s: %w", c.path, err)
	}
	crashpoint.Hit("checkpoint.marked")
	c.round++
	c.end = -1
	grown := c.ok && c.meta.Layout != m.Layout
	c.meta, c.ok = m, true
	for n := minBuckets; grown && n < m.Layout; n *= 2 {
		crashpoint.Hit("checkpoint.layout-switched")
		if err := c.forget(n); err != nil {
			return err
		}
		crashpoint.Hit("checkpoint.layout-forgotten")
	}
	return nil
}

// forget deletes the pages of an older layout.
func (c *Checkpoint) forget(layout int) error {
	changes := make([]Change, layout)
	for bucket := range layout {
		changes[bucket] = Change{Key: pageKey(layout, bucket), Delete: true}
	}
	if err := c.db.Write(changes); err != nil {
		return fmt.Errorf("checkpoint %s: %w", c.path, err)
	}
	return nil
}

// Drop removes the file and begins an empty one.
func (c *Checkpoint) Drop(reason string) error { return c.drop(reason) }

func (c *Checkpoint) drop(reason string) error {
	c.dropped, c.ok, c.meta, c.round, c.rounds, c.writing, c.end = reason, false, meta{}, 0, nil, false, -1
	crashpoint.Hit("checkpoint.drop-due")
	if err := c.Close(); err != nil {
		c.log.Warn("close a dropped checkpoint", "path", c.path, "error", err)
	}
	if err := c.disk.Remove(c.path); err != nil {
		return fmt.Errorf("remove checkpoint %s: %w", c.path, err)
	}
	crashpoint.Hit("checkpoint.removed")
	if err := c.open(); err != nil {
		return fmt.Errorf("make checkpoint %s: %w; is the directory writable?", c.path, err)
	}
	crashpoint.Hit("checkpoint.made-anew")
	return nil
}

// Close closes the file. It may be called twice.
func (c *Checkpoint) Close() error {
	if c.db == nil {
		return nil
	}
	err := c.db.Close()
	c.db = nil
	return err
}
