package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// keysShown is how many keys a fault names.
const keysShown = 3

// checkTables compares each table's changelog with its checkpoints, one partition after the other.
func (v *verify) checkTables(ctx context.Context) error {
	for _, t := range v.plan.Tables {
		state, ok := v.topics[t.Changelog.Name]
		if !ok {
			continue
		}
		if err := v.open(); err != nil {
			return err
		}
		st := v.plan.Stages[t.Stage]
		c := &tableCheck{verify: v, table: t, stage: st, changelog: state, keys: newKeyCheck(v.partitioner(st), v.partitions(st))}
		before := v.faults
		for p := range state.Partitions {
			if err := c.partition(ctx, p); err != nil {
				return fmt.Errorf("table %s/%d: %w", t.Name, p, err)
			}
		}
		if !t.Local {
			v.tellKeys("table "+t.Name, "send them through a topic by key first, or declare the table Local(); what is there goes with: "+kafka.StartOver(v.plan.Name), c.keys, t.Key, st.Sources[0])
		}
		also := ""
		if c.alike > 0 {
			also = ", and " + count(c.alike, "shard", "shards") + " of running nodes"
		}
		entries := count(c.keys.total, "key", "keys")
		if t.Split != nil {
			entries = count(c.keys.total, "element", "elements")
		}
		v.sound(before, "table "+t.Name, "%s in %s; %s agree with the changelog%s", entries,
			count(int(state.Partitions), "partition", "partitions"), count(c.agreed, "checkpoint", "checkpoints"), also)
	}
	v.checkLeftovers()
	return nil
}

// partitioner is what spreads the keys of a stage.
func (v *verify) partitioner(st *plan.Stage) kafka.Partitioner {
	if p := st.Sources[0].Partitioner; p.Hash != nil {
		return p
	}
	return kafka.Murmur2()
}

// tableCheck looks at one table.
type tableCheck struct {
	*verify
	table     *plan.Table
	stage     *plan.Stage
	changelog kafka.TopicState
	keys      *keyCheck
	agreed    int  // checkpoints
	alike     int  // shards of running nodes
	stalled   bool // a transaction was waited for in vain
}

func (c *tableCheck) partition(ctx context.Context, p int32) error {
	of := fmt.Sprintf("table %s/%d", c.table.Name, p)
	tp := kafka.TopicPartition{Topic: c.table.Changelog.Name, Partition: p}
	path := host.CheckpointFile(c.dir, c.plan.Name, c.table.Name, p)
	// The file first: what it holds by now is committed, so it is in the changelog when that is read.
	file, err := inspect(path)
	if corrupt, ok := errors.AsType[*tables.CorruptError](err); ok {
		c.wrong(of, "delete the file; a node that finds it does so by itself, and replays the changelog", "checkpoint %s is damaged: %s", path, corrupt.Err)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	starts, err := c.admin.Starts(ctx, tp)
	if err != nil {
		return err
	}
	usable := file != nil && file.Complete && c.usable(of, path, file, p)
	whole, records := &tables.Image{Current: c.table.Current}, 0
	if usable {
		file.Image.Current = c.table.Current
	}
	read := func(b *kafka.Batch) error {
		records += b.Len()
		whole.Apply(b)
		if usable {
			file.Image.ApplyFrom(b, file.Offset)
		}
		return nil
	}
	ends, err := c.admin.Ends(ctx, kafka.ReadUncommitted, tp)
	if err != nil {
		return err
	}
	if usable {
		usable = c.placed(of, path, file, starts[tp], ends[tp])
	}
	through, err := c.read(ctx, starts, ends[tp], read)
	switch {
	case err != nil:
		return err
	case whole.Err != nil:
		c.wrong(of, "run the program that can read it; or, to start over, "+kafka.StartOver(c.plan.Name), "its changelog holds what this program does not read: %v", whole.Err)
	case !through:
		c.note(of, "a transaction stays open in the changelog: what comes behind it is not compared")
	default:
		if usable {
			c.compare(of, path, whole, file.Image)
		}
		if err := c.running(ctx, of, p); err != nil {
			return err
		}
	}
	if records > 0 && !c.begun(c.stage, p) {
		c.wrong(of, "restore the offsets of group "+c.plan.Name+"; or, to start over, "+kafka.StartOver(c.plan.Name),
			"its changelog holds records, but its sources have no committed offsets: they have expired or were deleted; no node starts on that, since everything would be counted twice")
	}
	for row := range whole.All() {
		key, _ := c.table.Entry(row, nil)
		c.keys.add(p, key)
	}
	return nil
}

// read reads a partition to an end, and says whether it got there. It waits for an open transaction in the first partition
// that has one: what held that up holds up the others.
func (c *tableCheck) read(ctx context.Context, from map[kafka.TopicPartition]int64, end int64, take func(*kafka.Batch) error) (through bool, err error) {
	r := c.reading
	if c.stalled {
		for tp := range from {
			stable, err := c.admin.Ends(ctx, kafka.ReadCommitted, tp)
			if err != nil {
				return false, err
			}
			r.stable = stable[tp] < end
		}
	}
	through, err = r.through(ctx, from, take)
	c.stalled = c.stalled || !through
	return through && !r.stable, err
}

// inspect reads a copy of a checkpoint file: a node may have it open.
func inspect(path string) (_ *tables.Inspected, err error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close() //nolint:errcheck // only read
	dir, err := os.MkdirTemp("", "troupe-verify-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	to, err := os.Create(filepath.Join(dir, "copy.db"))
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return nil, err
	}
	return tables.InspectCheckpoint(to.Name())
}

// usable says whether a checkpoint is one of this partition of this table.
func (c *tableCheck) usable(of, path string, file *tables.Inspected, p int32) bool {
	want := tables.Identity{Topology: c.plan.Name, Table: c.table.Name, Partition: p, ChangelogID: c.changelog.ID, Version: c.table.Version, Expiring: c.table.TTL != nil, Stamped: c.table.Stamped}
	got := file.Identity
	if got == want {
		return true
	}
	as := got
	if as.Version, as.Expiring, as.Stamped = want.Version, want.Expiring, want.Stamped; as == want {
		c.note(of, "checkpoint %s was written by another version of the table (topology.Version, TTL, joins, Changes): a node drops it and replays", path)
		return false
	}
	if got.ChangelogID != want.ChangelogID && got.Topology == want.Topology && got.Table == want.Table && got.Partition == p {
		c.note(of, "checkpoint %s is of a changelog that was deleted since: a node drops it and replays", path)
		return false
	}
	c.wrong(of, "delete the file; a node that finds it does so by itself, and replays the changelog", "checkpoint %s is of %s, table %s/%d", path, got.Topology, got.Table, got.Partition)
	return false
}

// placed says whether a restore can go on from a checkpoint's offset.
func (c *tableCheck) placed(of, path string, file *tables.Inspected, start, end int64) bool {
	switch {
	case file.Offset > end:
		c.wrong(of, "delete the file, and find out how the changelog lost its end; a node drops the file by itself, and replays what there is",
			"checkpoint %s is of offset %d, ahead of the changelog, which ends at %d", path, file.Offset, end)
	case file.Offset < start:
		c.note(of, "checkpoint %s is of offset %d, before the changelog's start %d: a node drops it and replays", path, file.Offset, start)
	case c.outdated(file):
		c.note(of, "checkpoint %s is older than the changelog keeps deletions (delete.retention.ms): a node drops it and replays", path)
	default:
		return true
	}
	return false
}

func (c *tableCheck) outdated(file *tables.Inspected) bool {
	return time.Since(file.Written) > min(file.Kept, actors.Deletions(c.changelog))
}

// compare compares what the whole changelog says with what the checkpoint and the rest of it do.
func (c *tableCheck) compare(of, path string, log, file *tables.Image) {
	var shown []string
	n := 0
	differs := func(row []byte, what string) {
		if n++; n <= keysShown {
			name := text(c.table.Key, row)
			if key, element := c.table.Entry(row, nil); c.table.Split != nil {
				name = text(c.table.Key, key) + ": " + text(c.table.Value, element)
			}
			shown = append(shown, fmt.Sprintf("%s (%s)", name, what))
		}
	}
	for key, want := range log.All() {
		switch got, ok := file.Get(key); {
		case !ok:
			differs(key, "missing")
		case !c.same(want, got):
			differs(key, fmt.Sprintf("%s instead of %s", text(c.table.Value, got), text(c.table.Value, want)))
		}
	}
	for key := range file.All() {
		if _, ok := log.Get(key); !ok {
			differs(key, "should not be there")
		}
	}
	if n == 0 {
		c.agreed++
		return
	}
	c.wrong(of, "stop the node of this data directory, delete the file and start it again: it replays the changelog, which is the truth",
		"checkpoint %s and the changelog behind it give %s that the whole changelog does not: %s", path, count(n, "key", "keys"), strings.Join(shown, ", "))
}

// same says whether two encodings are of one value: a later version of a codec may write it in other bytes.
func (c *tableCheck) same(a, b []byte) bool {
	if bytes.Equal(a, b) || c.table.Split != nil { // a set's rows have no values
		return true
	}
	return c.table.Value.Same(a, b)
}

// checkLeftovers tells of checkpoint files that belong to nothing.
func (v *verify) checkLeftovers() {
	known := map[string]bool{}
	for _, t := range v.plan.Tables {
		for p := range v.topics[t.Changelog.Name].Partitions {
			known[host.CheckpointFile(v.dir, v.plan.Name, t.Name, p)] = true
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(host.CheckpointFile(v.dir, v.plan.Name, "t", 0)), "*.db"))
	if err != nil {
		return // a directory's name that is a pattern
	}
	for _, f := range files {
		if !known[f] {
			v.note("checkpoints", "%s belongs to no table of this version of the topology, and can be deleted", f)
		}
	}
}

// keyCheck counts keys that are in another partition than their partitioner's.
type keyCheck struct {
	partitioner kafka.Partitioner
	partitions  int32
	total       int
	astray      int
	samples     []strayKey
	fits        map[string]int // by the name of each partitioner: how many keys are where it would put them
}

type strayKey struct {
	key []byte
	at  int32
}

func newKeyCheck(p kafka.Partitioner, n int32) *keyCheck {
	return &keyCheck{partitioner: p, partitions: n, fits: map[string]int{}}
}

func (k *keyCheck) add(at int32, key []byte) {
	if k.partitions <= 0 {
		return // of a topic that is not there
	}
	k.total++
	for _, p := range kafka.Partitioners() {
		if p.Hash(key, k.partitions) == at {
			k.fits[p.Name]++
		}
	}
	if k.partitioner.Hash(key, k.partitions) == at {
		return
	}
	if k.astray++; len(k.samples) < keysShown {
		k.samples = append(k.samples, strayKey{bytes.Clone(key), at})
	}
}

// likely is the partitioner that has put all keys where they are; empty if there is none.
func (k *keyCheck) likely() string {
	for _, p := range kafka.Partitioners() {
		if k.fits[p.Name] == k.total && p.Name != k.partitioner.Name {
			return p.Name
		}
	}
	return ""
}

// tellKeys tells of keys that are in wrong partitions.
func (v *verify) tellKeys(of, mend string, k *keyCheck, format plan.Text, source *plan.Topic) {
	if k.astray == 0 {
		return
	}
	var shown []string
	for _, s := range k.samples {
		shown = append(shown, fmt.Sprintf("%s is in partition %d and belongs to %d", text(format, s.key), s.at, k.partitioner.Hash(s.key, k.partitions)))
	}
	why := ""
	if name := k.likely(); name != "" {
		why = fmt.Sprintf("; all are where the partitioner %s puts them", name)
		mend = fmt.Sprintf("if topic %s is written with the partitioner %s, declare it with topology.WithPartitioner; then %s", source.Name, name, kafka.StartOver(v.plan.Name))
	}
	v.wrong(of, mend, "%d of %s in other partitions than the partitioner %s of topic %s puts them, where lookups do not find them: %s%s",
		k.astray, count(k.total, "key is", "keys are"), k.partitioner.Name, source.Name, strings.Join(shown, ", "), why)
}

// repartitionTries is how often a partition is read again that loses its first records meanwhile: nodes delete what was read.
const repartitionTries = 5

// checkRepartition looks at the keys of repartition topics.
func (v *verify) checkRepartition(ctx context.Context) error {
	for _, t := range v.plan.Topics {
		state, ok := v.topics[t.Name]
		if !ok || t.Kind != plan.Repartition {
			continue
		}
		if err := v.open(); err != nil {
			return err
		}
		partitioner := t.Partitioner
		if partitioner.Hash == nil {
			partitioner = kafka.Murmur2()
		}
		all := newKeyCheck(partitioner, state.Partitions)
		for p := range state.Partitions {
			if err := v.repartitionKeys(ctx, kafka.TopicPartition{Topic: t.Name, Partition: p}, all); err != nil {
				return err
			}
		}
		v.tellKeys("repartition topic "+t.Name, "stop what else writes the topic; then "+kafka.StartOver(v.plan.Name), all, t.Key, t)
		if all.astray == 0 {
			v.ok("repartition topic "+t.Name, "%s in the partitions where they belong", count(all.total, "record with a key is", "records with keys are"))
		}
	}
	return nil
}

func (v *verify) repartitionKeys(ctx context.Context, tp kafka.TopicPartition, all *keyCheck) error {
	for try := 1; ; try++ {
		starts, err := v.admin.Starts(ctx, tp)
		if err != nil {
			return err
		}
		one := *all
		one.samples, one.fits = slices.Clone(all.samples), map[string]int{}
		maps.Copy(one.fits, all.fits)
		_, err = v.reading.through(ctx, starts, func(b *kafka.Batch) error {
			for i := range b.Records {
				if key := b.Key(i); key != nil {
					one.add(tp.Partition, key)
				}
			}
			return nil
		})
		if err == nil {
			*all = one
			return nil
		}
		again, err2 := v.admin.Starts(ctx, tp)
		if err2 != nil || again[tp] == starts[tp] || try == repartitionTries {
			return errors.Join(err, err2)
		}
	}
}
