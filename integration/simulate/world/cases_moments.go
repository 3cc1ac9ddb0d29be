package world

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// moments has timers in event time, which records, some of them late, set, replace and cancel, and which set each other again. They and the
// records of a partition have one order, and everything that is done is told in it.
func moments() *Case {
	return &Case{
		Name: "moments",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("moments")
			in, told := topicOf(t, "in"), topicOf(t, "told")
			tallies := topology.NewTable(t, "tallies", codec.String, codec.Int64)
			timers := topology.NewTimers(t, "alarms", codec.String, codec.String, topology.EventTime)
			topology.Each(t, "set", in, func(ctx *topology.Context, e event) error {
				value := strings.TrimSuffix(e.Value, poison)
				if after, ok := pauseOf(value); ok {
					timers.After(ctx, e.Key, time.Duration(after)*time.Millisecond, value)
				} else {
					timers.Cancel(ctx, e.Key)
				}
				told.Send(ctx, e.Key, "record "+e.Value, topology.ToPartition(ctx.Partition()))
				tallies.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + 1, h.Fate("update", e.Value) })
				return h.Turn(ctx, "set", e.Value)
			}, topology.Writes(timers, tallies), topology.Sends(told))
			topology.OnTimer(t, "alarm", timers, func(ctx *topology.Context, x topology.Timer[string, string]) error {
				told.Send(ctx, x.Key, fmt.Sprintf("call %s %d", x.Payload, x.Due.UnixMilli()), topology.ToPartition(ctx.Partition()))
				if again, ok := nextMoment(x.Payload); ok {
					timers.After(ctx, x.Key, momentPause*time.Millisecond, again)
				}
				tallies.Update(ctx, x.Key, func(n int64, _ bool) (int64, error) { return n + 1000, h.Fate("tally", x.Payload) })
				return h.Turn(ctx, "alarm", x.Payload)
			}, topology.Writes(timers, tallies), topology.Sends(told), topology.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1}))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, value = someInput(r, i)
			return key, fmt.Sprintf("%d/%s", r.IntN(10)*200-300, value) // one in ten has passed
		},
		At: func(r *rand.Rand, i int) int64 {
			at := int64(1_700_000_000_000 + i*100)
			if r.IntN(4) == 0 {
				at -= r.Int64N(1000)
			}
			return at
		},
		Done:  allCalled,
		Check: checkMoments,
	}
}

// momentPause is after how many milliseconds a timer is due that another has set.
const momentPause = 150

// pauseOf is after how many milliseconds the timer of a record is due; some records set none.
func pauseOf(value string) (after int64, ok bool) {
	text, _, _ := strings.Cut(value, "/")
	after, _ = strconv.ParseInt(text, 10, 64)
	return after, after != 300
}

// nextMoment is what a timer sets when it is called: one in two does, twice.
func nextMoment(payload string) (string, bool) {
	return payload + ".", len(strings.TrimRight(payload, "."))%2 == 0 && !strings.HasSuffix(payload, "..")
}

// allCalled says whether no timer is pending that is due by the time of its partition.
func allCalled(o *Oracle) bool {
	now := map[int32]int64{}
	for _, r := range o.good() {
		now[r.Partition] = max(now[r.Partition], r.At)
	}
	for p, rows := range o.image("alarms") {
		for _, b := range rows {
			if x, err := (tables.TimerCodec{}).Decode([]byte(b)); err != nil || x.Due <= now[p] {
				return false
			}
		}
	}
	return true
}

// checkMoments goes through the records of each partition, and calls after each of them what is due by then.
func checkMoments(o *Oracle) error {
	type moment struct {
		due     int64
		payload string
	}
	type part struct {
		pending map[string]moment
		now     int64
	}
	parts, tallies, want := map[int32]*part{}, map[string]int64{}, map[string][]string{}
	for _, r := range o.good() {
		p := parts[r.Partition]
		if p == nil {
			p = &part{pending: map[string]moment{}}
			parts[r.Partition] = p
		}
		tell := func(key, format string, args ...any) {
			at := fmt.Sprint("partition ", r.Partition)
			want[at] = append(want[at], key+": "+fmt.Sprintf(format, args...))
		}
		tell(r.Key, "record %s", r.Value)
		tallies[r.Key]++
		delete(p.pending, r.Key)
		if after, ok := pauseOf(r.Value); ok {
			p.pending[r.Key] = moment{r.At + after, r.Value}
		}
		for p.now = max(p.now, r.At); len(p.pending) > 0; {
			key := slices.MinFunc(slices.Collect(maps.Keys(p.pending)), func(a, b string) int {
				return cmp.Or(cmp.Compare(p.pending[a].due, p.pending[b].due), cmp.Compare(a, b))
			})
			x := p.pending[key]
			if x.due > p.now {
				break
			}
			delete(p.pending, key)
			tell(key, "call %s %d", x.payload, x.due)
			tallies[key] += 1000
			o.Saw(sawMoment)
			if again, ok := nextMoment(x.payload); ok {
				p.pending[key] = moment{x.due + momentPause, again}
			}
		}
	}
	got := map[string][]string{}
	for _, r := range o.Committed("told") {
		at := fmt.Sprint("partition ", r.Partition)
		got[at] = append(got[at], r.Key+": "+r.Value)
	}
	if err := compare("topic told", want, got); err != nil {
		return err
	}
	left := map[string]string{}
	for _, p := range parts {
		for key, x := range p.pending {
			left[key] = fmt.Sprintf("%d %s", x.due, x.payload)
		}
	}
	is := map[string]string{}
	for key, b := range o.pending() {
		x, err := tables.TimerCodec{}.Decode([]byte(b))
		if err != nil {
			return err
		}
		is[key] = fmt.Sprintf("%d %s", x.Due, x.Payload)
	}
	if !maps.Equal(left, is) {
		return fmt.Errorf("pending are %v, and should be %v", is, left)
	}
	return o.table("tallies", encoded(tallies))
}
