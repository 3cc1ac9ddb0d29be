package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// compact makes brokers roll and compact changelogs as soon as anything is written, for a while.
func compact(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	if !r.compacting.TryLock() {
		return "", errBusy
	}
	defer r.compacting.Unlock()
	before := r.cluster.cleaned()
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := r.cluster.configure(whole, changelogs(), map[string]string{
		"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "1000",
	})
	if err != nil {
		return "", err
	}
	pause(ctx, between(rng, 5*time.Second, 12*time.Second))
	after := r.cluster.cleaned()
	err = r.cluster.configure(whole, changelogs(), map[string]string{
		"segment.ms": "", "min.cleanable.dirty.ratio": "", "max.compaction.lag.ms": "",
	})
	return fmt.Sprintf("the cleaners' checkpoints of changelogs went on by %d offsets in all replicas", after-before), err
}

// cleaned sums up how far the brokers' cleaners are with changelogs.
func (c *cluster) cleaned() (sum int64) {
	for i := range brokers {
		text, err := os.ReadFile(filepath.Join(c.kafka.DataDir(i), "cleaner-offset-checkpoint"))
		if err != nil {
			continue // nothing was compacted yet
		}
		for line := range strings.Lines(string(text)) {
			var topic string
			var partition, offset int64
			if n, _ := fmt.Sscan(line, &topic, &partition, &offset); n == 3 && strings.HasSuffix(topic, "-changelog") {
				sum += offset
			}
		}
	}
	return sum
}

// whileDead kills a node, does something to its data directory, and starts it again.
func (r *run) whileDead(rng *rand.Rand, do func(m *member) (string, error)) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	if err := m.end(false); err != nil {
		return m.name, err
	}
	what, err := do(m)
	return m.name + what, errors.Join(err, m.start())
}

func dataDeleted(_ context.Context, r *run, rng *rand.Rand) (string, error) {
	return r.whileDead(rng, func(m *member) (string, error) { return "", os.RemoveAll(m.dir) })
}

// dataOlder kills a node twice: the first time its data is copied, the second time the copy comes back.
func dataOlder(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	older := m.dir + ".older"
	defer os.RemoveAll(older) //nolint:errcheck // a copy that stays does no harm
	// Its data may have been deleted just before, and not be there again yet.
	err = errors.Join(m.end(false), os.MkdirAll(m.dir, 0o750), os.CopyFS(older, os.DirFS(m.dir)), m.start())
	if err != nil {
		return m.name, err
	}
	d := between(rng, 5*time.Second, 12*time.Second)
	pause(ctx, d)
	return fmt.Sprintf("%s, by %s", m.name, d.Round(time.Second)),
		errors.Join(m.end(false), os.RemoveAll(m.dir), os.Rename(older, m.dir), m.start())
}

// dataDamaged flips bits in a node's checkpoints, or cuts them short.
func dataDamaged(_ context.Context, r *run, rng *rand.Rand) (string, error) {
	return r.whileDead(rng, func(m *member) (string, error) {
		n := 0
		err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".db") {
				return err
			}
			n++
			return damage(path, rng)
		})
		return fmt.Sprintf(", %d files", n), err
	})
}

func damage(path string, rng *rand.Rand) error {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return err
	}
	if rng.IntN(3) == 0 {
		return os.Truncate(path, rng.Int64N(int64(len(b))))
	}
	for range 1 + rng.IntN(20) {
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	}
	return os.WriteFile(path, b, 0o600)
}

// diskFull forbids a running node to make any file longer, for a while: its writes fail as they do on a full disk, though
// with EFBIG. No special rights are needed for that.
func diskFull(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	p, _ := m.now()
	if err := limitFiles(p.Pid(), 1); err != nil {
		if !p.Running() {
			return "", errBusy
		}
		return m.name, err
	}
	d := between(rng, 4*time.Second, 12*time.Second)
	pause(ctx, d)
	err = limitFiles(p.Pid(), -1)
	if !p.Running() {
		err = nil // it is in the list of those that ended by themselves
	}
	return fmt.Sprintf("%s for %s", m.name, d.Round(time.Millisecond)), err
}
