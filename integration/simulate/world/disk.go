package world

import (
	"errors"
	"maps"
	"slices"

	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/tables"
)

// disk is the data directory of a node: what its checkpoints hold. It outlives the node's processes.
type disk struct {
	s       *sched.Sched
	files   map[string]*image
	old     map[string]*image // an older state of all files
	damaged bool              // bytes of its files were changed
}

// image is the content of a file: the changes written to it, in order.
type image struct {
	changes []tables.Change
	last    int // changes of the last write: a crash may tear it
}

func newDisk(s *sched.Sched) *disk { return &disk{s: s, files: map[string]*image{}} }

var (
	_ tables.Disk = (*disk)(nil)
	_ tables.File = (*file)(nil)
)

var errFull = errors.New("no space left on device")

// Open implements tables.Disk.
func (d *disk) Open(path string) (tables.File, error) {
	im := d.files[path]
	if im == nil {
		im = new(image)
		d.files[path] = im
	}
	f := &file{d: d, im: im, values: map[string]string{}}
	for _, c := range im.changes {
		f.apply(c)
	}
	return f, nil
}

// Remove implements tables.Disk.
func (d *disk) Remove(path string) error {
	delete(d.files, path)
	return nil
}

// remember keeps the files as they are, for rollBack.
func (d *disk) remember() { d.old = d.copyFiles() }

func (d *disk) copyFiles() map[string]*image {
	files := map[string]*image{}
	for path, im := range d.files {
		files[path] = &image{changes: slices.Clone(im.changes), last: im.last}
	}
	return files
}

// rollBack brings back an older state: a restored backup.
func (d *disk) rollBack() {
	if d.old != nil {
		d.files, d.old = d.old, nil
		d.remember()
	}
}

// lose deletes everything.
func (d *disk) lose() { d.files = map[string]*image{} }

// tear loses a part of the last write of each file, as a crash does.
func (d *disk) tear() {
	for _, path := range slices.Sorted(maps.Keys(d.files)) {
		im := d.files[path]
		if im.last > 0 {
			im.changes = im.changes[:len(im.changes)-d.s.Rand().IntN(im.last+1)]
			im.last = 0
		}
	}
}

// damage changes a byte of each file's values.
func (d *disk) damage() {
	d.damaged = true
	for _, path := range slices.Sorted(maps.Keys(d.files)) {
		im := d.files[path]
		if len(im.changes) == 0 {
			continue
		}
		c := &im.changes[d.s.Rand().IntN(len(im.changes))]
		if b := []byte(c.Value); len(b) > 0 {
			b[d.s.Rand().IntN(len(b))] ^= 1 << d.s.Rand().IntN(8)
			c.Value = string(b)
		}
	}
}

// file is an open file.
type file struct {
	d      *disk
	im     *image
	values map[string]string
}

func (f *file) apply(c tables.Change) {
	if c.Delete {
		delete(f.values, c.Key)
		return
	}
	f.values[c.Key] = c.Value
}

// Each implements tables.File.
func (f *file) Each(yield func(key, value string) bool) error {
	for _, k := range slices.Sorted(maps.Keys(f.values)) {
		if !yield(k, f.values[k]) {
			break
		}
	}
	return nil
}

// Get implements tables.File.
func (f *file) Get(key string) (string, bool, error) {
	v, ok := f.values[key]
	return v, ok, nil
}

// Write implements tables.File.
func (f *file) Write(changes []tables.Change) error {
	if f.d.s.Chance("checkpoint: disk full", 100) {
		return errFull
	}
	for _, c := range changes {
		f.apply(c)
	}
	const most = 4096
	if len(f.im.changes) > most { // compact, as buntdb does
		f.im.changes = f.im.changes[:0]
		for _, k := range slices.Sorted(maps.Keys(f.values)) {
			f.im.changes = append(f.im.changes, tables.Change{Key: k, Value: f.values[k]})
		}
		f.im.last = 0
		return nil
	}
	f.im.changes = append(f.im.changes, slices.Clone(changes)...)
	f.im.last = len(changes)
	return nil
}

// Close implements tables.File.
func (f *file) Close() error { return nil }
