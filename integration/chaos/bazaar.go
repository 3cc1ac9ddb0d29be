package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology/codec"
)

// tollWithin bounds how old the last call of the leader's timer may be where everything has caught up.
const tollWithin = 10 * time.Second

// bazaar is what the topology of that name was given and has told, and what it should have told. All records of a good are in one partition, so each is folded when it is
// read.
type bazaar struct {
	want, got map[string]map[string][]work.Deal // by what they tell of, and key
	tariffs   map[string][]int64
	stand     map[string]int64  // the last lot of each good
	recent    map[int32]*memory // by partition of lots
	moves     map[string]int64  // what goods that come to a hall, leave it and stay in it do to it
	sacks     map[string]sack   // that were put into the channel
}

// sack is a record that was put into the channel from outside; without an answer it may have been taken or not.
type sack struct {
	id       int64
	answered bool
}

// memory is how often goods were sold of late, as a partition's time goes on.
type memory struct {
	now  int64 // Unix milliseconds
	rows map[string]remembered
}

type remembered struct{ n, until int64 }

func newBazaar() bazaar {
	return bazaar{
		want: map[string]map[string][]work.Deal{}, got: map[string]map[string][]work.Deal{}, tariffs: map[string][]int64{},
		stand: map[string]int64{}, recent: map[int32]*memory{}, moves: map[string]int64{}, sacks: map[string]sack{},
	}
}

// take takes a record of one of its topics.
func (b *bazaar) take(r *kgo.Record) error {
	key := string(r.Key)
	switch r.Topic {
	case "deals":
		var d work.Deal
		if err := json.Unmarshal(r.Value, &d); err != nil {
			return err
		}
		tell(b.got, key, d)
		return nil
	case "lots":
		var lot work.Lot
		if err := json.Unmarshal(r.Value, &lot); err != nil {
			return err
		}
		b.lot(key, lot, r.Partition, r.Timestamp.UnixMilli())
		return nil
	}
	id, err := codec.Int64.Decode(r.Value)
	if err != nil {
		return err
	}
	switch r.Topic {
	case "tariffs":
		b.tariffs[key] = append(b.tariffs[key], id)
	case "pleas":
		tell(b.want, key, work.Deal{What: work.Judged, ID: id})
	default: // a caravan's
		tell(b.want, r.Topic+" "+key, work.Deal{What: work.Arrived, ID: id})
	}
	return nil
}

func tell(all map[string]map[string][]work.Deal, key string, d work.Deal) {
	if all[d.What] == nil {
		all[d.What] = map[string][]work.Deal{}
	}
	all[d.What][key] = append(all[d.What][key], d)
}

// lot folds a lot. Which tariff is seen with it is up to the nodes, within bounds: see seen.
func (b *bazaar) lot(good string, lot work.Lot, partition int32, at int64) {
	for _, what := range []string{work.Tagged, work.Looked} {
		tell(b.want, good, work.Deal{What: what, ID: lot.ID, N: lot.Tariff})
	}
	tell(b.want, good, work.Deal{What: work.Unloaded, ID: lot.ID})
	if work.Pleads(lot.ID) {
		tell(b.want, good, work.Deal{What: work.Pleaded, ID: lot.ID, N: work.Judgement(lot.ID)})
	}
	m := b.recent[partition]
	if m == nil {
		m = &memory{rows: map[string]remembered{}}
		b.recent[partition] = m
	}
	n, found := m.sold(good, at)
	tell(b.want, good, work.Deal{What: work.Kept, ID: lot.ID, N: n, Found: found})
	b.move(good, lot.ID)
}

// sold remembers that a good was sold. It says how often that was of late, and how many goods were sold as often.
func (m *memory) sold(good string, at int64) (n, found int64) {
	m.now = max(m.now, at)
	m.forget()
	n = m.rows[good].n + 1
	m.rows[good] = remembered{n, at + work.Forget.Milliseconds()}
	m.forget() // what comes late may be over already
	for _, x := range m.rows {
		if x.n == n {
			found++
		}
	}
	return n, found
}

func (m *memory) forget() {
	maps.DeleteFunc(m.rows, func(_ string, x remembered) bool { return x.until <= m.now })
}

// move notes what a good does to halls that was where its last lot says.
func (b *bazaar) move(good string, id int64) {
	last, has := b.stand[good]
	b.stand[good] = id
	old, was := work.HallOf(last)
	was = was && has
	hall, is := work.HallOf(id)
	if was && is && old == hall {
		b.moves[moved(hall, 0, id-last)]++
		return
	}
	if was {
		b.moves[moved(old, -1, -last)]++
	}
	if is {
		b.moves[moved(hall, 1, id)]++
	}
}

func moved(hall string, n, sum int64) string { return fmt.Sprintf("%s %+d %+d", hall, n, sum) }

// walked is what has been done to halls, as it was told.
func (b *bazaar) walked() map[string]int64 {
	out := map[string]int64{}
	for hall, told := range b.got[work.Crowded] {
		var before work.Deal
		for _, d := range told {
			out[moved(hall, d.N-before.N, d.ID-before.ID)]++
			before = d
		}
	}
	return out
}

// left says what comes later than the records that cause it are done, and has not come yet: what was put into the channel, and what goes through the internal topic. The leader's timer goes on.
func (b *bazaar) left() string {
	if w, g := total(b.moves), size(b.got[work.Crowded]); g < w {
		return fmt.Sprintf("the halls have told of %d of %d changes", g, w)
	}
	for key, s := range b.sacks {
		if s.answered && len(b.got[work.Unloaded][key]) == 0 {
			return fmt.Sprintf("%s was put into the channel, and is not unloaded", key)
		}
	}
	tolls := b.got[work.Toll][work.Toll]
	if len(tolls) == 0 {
		return "the leader's timer was never called"
	}
	if ago := time.Since(time.UnixMilli(tolls[len(tolls)-1].ID)); ago > tollWithin {
		return fmt.Sprintf("the last call of the leader's timer was due %s ago", ago.Round(time.Millisecond))
	}
	return ""
}

func total(counts map[string]int64) (n int) {
	for _, x := range counts {
		n += int(x)
	}
	return n
}

// compare compares what was told with what should have been.
func (b *bazaar) compare(v *verdict) {
	for _, what := range []string{work.Kept, work.Judged, work.Pleaded, work.Arrived} {
		lists(v, "deals "+what, b.want[what], b.got[what])
	}
	lists(v, "deals "+work.Unloaded, b.unloaded(), b.got[work.Unloaded])
	b.seen(v, work.Tagged)
	b.seen(v, work.Looked)
	v.counts("deals "+work.Crowded, b.moves, b.walked())
	calls(v, work.Toll, b.got[work.Toll][work.Toll], work.TollEach)
	calls(v, work.Bell, b.got[work.Bell][work.Bell], work.BellEach)
}

// unloaded is what should have come out of sacks. A sack that was put without an answer may be there, once.
func (b *bazaar) unloaded() map[string][]work.Deal {
	want := map[string][]work.Deal{}
	maps.Copy(want, b.want[work.Unloaded])
	for key, s := range b.sacks {
		if s.answered || len(b.got[work.Unloaded][key]) > 0 {
			want[key] = []work.Deal{{What: work.Unloaded, ID: s.id}}
		}
	}
	return want
}

// seen compares lots with which tariffs were seen. Each of those is one that was written. What is joined is a table, in which nothing goes back; the copy of a node may be
// older than that of the one before, and is not older than the lot says.
func (b *bazaar) seen(v *verdict, what string) {
	lots := func(all map[string][]work.Deal) map[string][]int64 {
		out := map[string][]int64{}
		for good, told := range all {
			for _, d := range told {
				out[good] = append(out[good], d.ID)
			}
		}
		return out
	}
	lists(v, "deals "+what, lots(b.want[what]), lots(b.got[what]))
	for good, told := range b.got[what] {
		least := int64(0)
		for i, d := range told {
			if want := b.want[what][good]; what == work.Looked && i < len(want) {
				least = want[i].N
			}
			if d.N < least || !slices.Contains(b.tariffs[good], d.N) {
				v.Wrong++
				v.say("deals %s: lot %d of %s with the tariff %d, not %d or a later one of %v", what, d.ID, good, d.N, least, b.tariffs[good])
			}
			if what == work.Tagged {
				least = d.N
			}
		}
	}
}

// calls checks that each call of a timer begins where the one before ends: what was missed between them is counted.
func calls(v *verdict, what string, told []work.Deal, each time.Duration) {
	for i, d := range told {
		v.Compared++
		if i == 0 {
			continue
		}
		due := told[i-1].ID + (d.N+1)*each.Milliseconds()
		if due == d.ID {
			continue
		}
		if d.ID < due {
			v.Doubled++
		} else {
			v.Lost++
		}
		v.say("deals %s: the call of %d says that it missed %d after that of %d", what, d.ID, d.N, told[i-1].ID)
	}
}

// holds is what its tables should hold.
func (b *bazaar) holds() []contents {
	tariff, recent, crowd := map[string]int64{}, map[string]int64{}, map[string]work.Hall{}
	for good, all := range b.tariffs {
		tariff[good] = all[len(all)-1]
	}
	for _, m := range b.recent {
		for good, x := range m.rows {
			recent[good] = x.n
		}
	}
	for _, id := range b.stand {
		if hall, ok := work.HallOf(id); ok {
			h := crowd[hall]
			crowd[hall] = work.Hall{N: h.N + 1, Sum: h.Sum + id}
		}
	}
	return []contents{
		numbers("tariff", tariff), numbers("recent", recent), numbers("stand", maps.Clone(b.stand)),
		structs("halls", crowd), numbers("judgements", lengths(b.want[work.Judged])),
	}
}

// sack notes a sack that is put, or was.
func (a *audit) sack(key string, s sack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bazaar.sacks[key] = s
}

// traded says in a few words what the topology has had to do.
func (a *audit) traded() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := &a.bazaar
	answered := 0
	for _, s := range b.sacks {
		if s.answered {
			answered++
		}
	}
	return fmt.Sprintf("%d lots, %d pleas, %d sacks (%d without an answer), %d caravans, %d calls of the leader's timers", size(b.want[work.Tagged]), size(b.want[work.Judged]),
		len(b.sacks), len(b.sacks)-answered, 1+len(a.made["bazaar"]), size(b.got[work.Toll])+size(b.got[work.Bell]))
}
