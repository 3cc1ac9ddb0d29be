package world

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Record is a record as the oracle looks at it.
type Record struct {
	Topic      string // of what was sent
	Partition  int32
	Offset     int64
	Key, Value string
	Tombstone  bool
	At         int64 // of what was sent with a time of its own
	headers    []byte
}

// Store is what the oracle may ask the broker.
type Store interface {
	// Committed returns what a read_committed consumer sees of a topic now, by partition and offset.
	Committed(topic string) []Record
	// AtStart returns what Committed had of the watched topic when the process that runs started.
	AtStart() []Record
	// Offsets returns the committed positions of the group, sorted.
	Offsets() []kafka.Position
	// Decided returns what Offsets will once the markers on their way are written.
	Decided() []kafka.Position
	// Saw counts something that runs are to have seen, one of Sights.
	Saw(what string)
	// Seen says whether this run has seen it.
	Seen(what string) bool
}

// Oracle compares what is committed with what was sent.
type Oracle struct {
	Store
	topology string
	sent     []Record // to the topic "in", or where Case.Topic says, in order
	exits    map[string]int
}

// good is what was sent and can be processed.
func (o *Oracle) good() []Record {
	return slices.DeleteFunc(slices.Clone(o.sent), func(r Record) bool { return isBad(r.Value) })
}

// enoughExits is how many processes end with a record in hand, at the least, before it has failed for that: of the five deaths that it takes,
// some may have come from elsewhere in that very moment.
const enoughExits = 2

// found checks that no deadly record was given up before as many processes had died of it as it takes.
func (o *Oracle) found() error {
	for _, r := range o.sent {
		if strings.Contains(r.Value, deadly) && o.exits[r.Value] < enoughExits {
			return fmt.Errorf("record %s is a dead letter, and only %d processes have died of it", r.Value, o.exits[r.Value])
		}
	}
	return nil
}

// inOrder checks that a topic holds, for each key, exactly the given records in order; f makes the value of the i-th.
func (o *Oracle) inOrder(topic string, in []Record, f func(i int, value string) string) error {
	want, got := map[string][]string{}, map[string][]string{}
	for _, r := range in {
		v := r.Value
		if f != nil {
			v = f(len(want[r.Key])+1, v)
		}
		want[r.Key] = append(want[r.Key], v)
	}
	for _, r := range o.Committed(topic) {
		got[r.Key] = append(got[r.Key], r.Value)
	}
	return compare("topic "+topic, want, got)
}

func compare(what string, want, got map[string][]string) error {
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want[key] == nil {
			return fmt.Errorf("%s: key %s should have nothing and has %v", what, key, got[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		w, g := want[key], got[key]
		for i := range min(len(w), len(g)) {
			if w[i] != g[i] {
				return fmt.Errorf("%s: key %s: value %d should be %q and is %q; should be %v, is %v", what, key, i, w[i], g[i], w[i:], g[i:])
			}
		}
		if len(w) != len(g) {
			n := min(len(w), len(g))
			return fmt.Errorf("%s: key %s: should have %d values and has %d; missing %v, too many %v", what, key, len(w), len(g), w[n:], g[n:])
		}
	}
	return nil
}

// same checks that a topic holds exactly the given records, in any order.
func (o *Oracle) same(topic string, in []Record) error {
	want, got := map[string][]string{}, map[string][]string{}
	for _, r := range in {
		want[r.Key] = append(want[r.Key], r.Value)
	}
	for _, r := range o.Committed(topic) {
		got[r.Key] = append(got[r.Key], r.Value)
	}
	for _, m := range []map[string][]string{want, got} {
		for _, values := range m {
			slices.Sort(values)
		}
	}
	return compare("topic "+topic, want, got)
}

// image is what a table's changelog says, by partition.
func (o *Oracle) image(table string) map[int32]map[string]string {
	images := map[int32]map[string]string{}
	for p, im := range o.images(table, nil) {
		images[p] = map[string]string{}
		for k, v := range im.All() {
			images[p][string(k)] = string(v)
		}
	}
	return images
}

// images is the same, on top of what is there already by partition: that of a checkpoint, from its offset on.
func (o *Oracle) images(table string, on map[int32]*tables.Inspected) map[int32]*tables.Image {
	images := map[int32]*tables.Image{}
	from := map[int32]int64{}
	for p, x := range on {
		images[p], from[p] = x.Image, x.Offset
	}
	for _, r := range o.Committed(o.topology + "-" + table + "-changelog") {
		if images[r.Partition] == nil {
			images[r.Partition] = new(tables.Image)
		}
		value := []byte(r.Value)
		if r.Tombstone {
			value = nil
		}
		b := new(kafka.Batch)
		b.Append(r.Offset, 0, []byte(r.Key), value, r.headers)
		images[r.Partition].ApplyFrom(b, from[r.Partition])
	}
	return images
}

// table checks what a table's changelog holds.
func (o *Oracle) table(name string, want map[string]string) error {
	got := map[string]string{}
	for p, rows := range o.image(name) {
		for k, v := range rows {
			if _, twice := got[k]; twice {
				return fmt.Errorf("table %s: key %s is in several partitions, one of them %d", name, k, p)
			}
			got[k] = v
		}
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("table %s: should be %s and is %s", name, decoded(want), decoded(got))
	}
	return nil
}

func decoded(m map[string]string) string {
	n := map[string]int64{}
	for k, v := range m {
		if v == "" { // a row of a set
			return fmt.Sprintf("%q", slices.Sorted(maps.Keys(m)))
		}
		n[k], _ = codec.Int64.Decode([]byte(v))
	}
	return fmt.Sprint(n)
}

// sums checks the sums over all partitions of a table.
func (o *Oracle) sums(name string, want map[string]int64) error {
	got := map[string]int64{}
	for _, rows := range o.image(name) {
		for k, v := range rows {
			n, err := codec.Int64.Decode([]byte(v))
			if err != nil {
				return err
			}
			got[k] += n
		}
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("table %s: should sum up to %v and does to %v", name, want, got)
	}
	return nil
}

// zero checks that what is visible of a partition sums to nothing.
func (o *Oracle) zero(topic string) error {
	sums := map[int32]int64{}
	for _, r := range o.Committed(topic) {
		n, err := strconv.ParseInt(strings.Fields(r.Value)[0], 10, 64)
		if err != nil {
			return err
		}
		sums[r.Partition] += n
	}
	for p, n := range sums {
		if n != 0 {
			return fmt.Errorf("topic %s/%d: what is visible sums up to %d", topic, p, n)
		}
	}
	return nil
}

// firings checks that a timer has sent one record for each firing, and that the last one is that in the metadata.
func (o *Oracle) firings(topic, timer string) error {
	last := map[int32]int64{}
	for _, r := range o.Committed(topic) {
		at, err := strconv.ParseInt(strings.Fields(r.Value)[0], 10, 64)
		if err != nil {
			return err
		}
		if before, ok := last[r.Partition]; ok && at <= before {
			return fmt.Errorf("topic %s/%d, offset %d: the firing of %d comes after that of %d", topic, r.Partition, r.Offset, at, before)
		}
		last[r.Partition] = at
	}
	fired := map[int32]int64{}
	for _, p := range o.Offsets() {
		m, err := kafka.ParseMeta(p.Metadata)
		if err != nil {
			continue // a mark
		}
		if at := m.Timers[timer]; at > 0 { // else it has not fired
			fired[p.Partition] = at
		}
	}
	if !maps.Equal(last, fired) {
		return fmt.Errorf("timer %s: by topic %s it fired last at %v, by the committed offsets at %v", timer, topic, last, fired)
	}
	return nil
}

// minutes checks that a timer that is due each minute has been called for each, or has counted it as missed.
func (o *Oracle) minutes(topic string) error {
	last := int64(0)
	for _, r := range o.Committed(topic) {
		var at, missed int64
		if _, err := fmt.Sscan(r.Value, &at, &missed); err != nil {
			return err
		}
		if minute := int64(60_000); last > 0 && at != last+(missed+1)*minute {
			return fmt.Errorf("topic %s: the call of %d says that it missed %d after that of %d", topic, at, missed, last)
		}
		last = at
	}
	return nil
}

// letters checks that the dead letters are what no handler takes, or what kills processes, and nothing else, once per agent that reads it.
func (o *Oracle) letters(agents int) error {
	want, got := map[string][]string{}, map[string][]string{}
	for _, r := range o.sent {
		if isBad(r.Value) {
			for range agents {
				want[r.Key] = append(want[r.Key], r.Value)
			}
		}
	}
	for _, r := range o.Committed(o.topology + "-dead-letters") {
		got[r.Key] = append(got[r.Key], r.Value)
	}
	for _, m := range []map[string][]string{want, got} {
		for _, values := range m {
			slices.Sort(values)
		}
	}
	return compare("dead letters", want, got)
}

var errNotDone = errors.New("not everything is committed")
