package tables

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/buntdb"
)

// Inspected is what is in a checkpoint file.
type Inspected struct {
	// Complete is false for a file whose first round of writing was never finished: it is as if it were not there.
	Complete bool
	Identity Identity
	Offset   int64         // everything of the changelog before it is in Image
	Written  time.Time     // when that was noted
	Kept     time.Duration // see Checkpoint.Kept
	// Image holds the pages' entries; applying the changelog from Offset on makes it the table as of the changelog's end.
	Image *Image
}

// InspectCheckpoint reads a checkpoint file whole, checks everything in it that can be checked by itself, and changes
// nothing but what buntdb changes in any file that it opens: so give it a copy of a file that another process may have
// open. A copy made at any moment is sound, since the file is only appended to, or replaced whole. A file that cannot be
// trusted is a *CorruptError.
func InspectCheckpoint(path string) (*Inspected, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	text, pages, err := contents(path)
	if err != nil {
		return nil, &CorruptError{path, err}
	}
	return inspect(path, text, pages)
}

// InspectFile is InspectCheckpoint for a file of any Disk.
func InspectFile(path string, f File) (*Inspected, error) {
	text, pages := "", map[string]string{}
	err := f.Each(func(key, value string) bool {
		if key == metaKey {
			text = value
		} else {
			pages[key] = value
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return inspect(path, text, pages)
}

func inspect(path, text string, pages map[string]string) (*Inspected, error) {
	fail := func(err error) (*Inspected, error) { return nil, &CorruptError{path, err} }
	if text == "" {
		return &Inspected{Image: new(Image)}, nil
	}
	m, err := parseMeta(text)
	if err != nil {
		return fail(err)
	}
	c := &Checkpoint{path: path, id: m.Identity} // whose it is, is for the caller to judge
	if err := c.readMeta(text); err != nil {
		return fail(err)
	}
	x := &Inspected{Complete: true, Identity: c.id, Offset: c.meta.Offset, Written: time.UnixMilli(c.meta.Written), Kept: c.Kept(), Image: new(Image)}
	for bucket := range c.meta.Layout {
		page, ok := pages[pageKey(c.meta.Layout, bucket)]
		if !ok {
			return fail(fmt.Errorf("page %d of %d is missing", bucket, c.meta.Layout))
		}
		if err := c.inspectPage(x.Image, bucket, page); err != nil {
			return fail(fmt.Errorf("page %d of %d: %w", bucket, c.meta.Layout, err))
		}
	}
	return x, nil
}

// contents returns the meta record of a file, empty if there is none, and the pages.
func contents(path string) (metaText string, pages map[string]string, err error) {
	if err := checkFile(path); err != nil {
		return "", nil, err
	}
	db, err := buntdb.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("not a readable file of buntdb: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	pages = map[string]string{}
	foreign := ""
	err = db.View(func(tx *buntdb.Tx) error {
		return tx.Ascend("", func(key, value string) bool {
			switch {
			case key == metaKey:
				metaText = value
			case strings.HasPrefix(key, pagePrefix+"/"):
				pages[key] = value
			default:
				foreign = key
			}
			return true
		})
	})
	if err == nil && foreign != "" {
		err = fmt.Errorf("it holds the foreign key %s", strconv.Quote(foreign[:min(len(foreign), 40)]))
	}
	return metaText, pages, err
}

// inspectPage puts the entries of a page into an image.
func (c *Checkpoint) inspectPage(m *Image, bucket int, text string) error {
	page, err := c.openPage(bucket, []byte(text))
	if err != nil {
		return err
	}
	return readPage(page, c.meta.Layout, bucket, func(key, value []byte) error {
		if got := int(crc32.Checksum(key, castagnoli)) & (c.meta.Layout - 1); got != bucket {
			return misplaced(key, got)
		}
		_, value, err := cutExpiry(value, c.id.Expiring)
		if err != nil {
			return err
		}
		if c.id.Stamped && len(value) >= stampSize {
			value = value[stampSize:]
		}
		m.put(key, value)
		return nil
	})
}
