package tables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidwall/buntdb"
)

// Disk is where checkpoints are kept: Files, but in a simulation.
type Disk interface {
	// Open opens a file, or makes it, with the directories above it. An error says why it cannot be read.
	Open(path string) (File, error)
	// Remove removes a file; one that is not there is no error.
	Remove(path string) error
}

// File is a small store of keys and values. Writes keep their order: after a crash it holds what it held after some
// earlier change. One goroutine at a time may use it.
type File interface {
	Each(yield func(key, value string) bool) error
	Get(key string) (value string, ok bool, err error)
	Write(changes []Change) error
	Close() error
}

// Change sets a key, or deletes it.
type Change struct {
	Key, Value string
	Delete     bool
}

// Files is the Disk of real files, made by buntdb.
type Files struct{}

// Open implements Disk. A file that buntdb would trip over is refused.
func (Files) Open(path string) (File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := checkFile(path); err != nil {
		return nil, err
	}
	db, err := buntdb.Open(path)
	if err != nil {
		return nil, fmt.Errorf("not a readable file of buntdb: %w", err)
	}
	return buntFile{db}, nil
}

// Remove implements Disk.
func (Files) Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

type buntFile struct{ db *buntdb.DB }

func (f buntFile) Each(yield func(key, value string) bool) error {
	return f.db.View(func(tx *buntdb.Tx) error { return tx.Ascend("", yield) })
}

func (f buntFile) Get(key string) (value string, ok bool, err error) {
	err = f.db.View(func(tx *buntdb.Tx) error {
		value, err = tx.Get(key)
		return err
	})
	if errors.Is(err, buntdb.ErrNotFound) {
		return "", false, nil
	}
	return value, err == nil, err
}

func (f buntFile) Write(changes []Change) error {
	return f.db.Update(func(tx *buntdb.Tx) error {
		for _, c := range changes {
			var err error
			if c.Delete {
				_, err = tx.Delete(c.Key)
			} else {
				_, _, err = tx.Set(c.Key, c.Value, nil)
			}
			if err != nil && !errors.Is(err, buntdb.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

func (f buntFile) Close() error { return f.db.Close() }
