package world

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// durable has records that set, replace and cancel timers, which set each other again. Everything that is done to a timer is told in one
// topic, so that what is committed says in which order: each one that is set is called once, or replaced, or cancelled, and at the end
// none is left. How often calls fail in the handler and inside a table is up to luck; some are poison.
func durable() *Case {
	return &Case{
		Name: "durable", Letters: true, Busy: 2,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("durable")
			in, told := topicOf(t, "in"), topicOf(t, "told")
			tallies := topology.NewTable(t, "tallies", codec.String, codec.Int64)
			timers := topology.NewTimers(t, "alarms", codec.String, codec.String)
			tell := func(ctx *topology.Context, key, format string, args ...any) {
				told.Send(ctx, key, fmt.Sprintf(format, args...), topology.ToPartition(ctx.Partition()))
			}
			topology.Each(t, "set", in, func(ctx *topology.Context, e event) error {
				n, _, err := tallies.Get(ctx, e.Key)
				if err != nil {
					return err
				}
				if strings.HasPrefix(e.Value, "cancel") {
					timers.Cancel(ctx, e.Key)
					tell(ctx, e.Key, "cancel %s", e.Value)
				} else {
					due := h.s.Now().Add(time.Duration(h.s.Rand().IntN(3000)) * time.Millisecond)
					timers.At(ctx, e.Key, due, e.Value)
					tell(ctx, e.Key, "set %s %d", e.Value, due.UnixMilli())
				}
				value := strings.TrimSuffix(e.Value, poison) // that is for the timer
				tallies.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n, h.Fate("update", value) })
				err = h.Turn(ctx, "set", value)
				tallies.Set(ctx, e.Key, n) // a call beside this would be lost
				return err
			}, topology.Writes(timers, tallies), topology.Sends(told))
			topology.OnTimer(t, "alarm", timers, func(ctx *topology.Context, x topology.Timer[string, string]) error {
				tell(ctx, x.Key, "call %s %d", x.Payload, x.Due.UnixMilli())
				n, _, err := tallies.Get(ctx, x.Key)
				if err != nil {
					return err
				}
				tallies.Set(ctx, x.Key, n+1)
				if strings.HasSuffix(x.Payload, ".") && strings.Count(x.Payload, ".") < 3 {
					due := x.Due.Add(200 * time.Millisecond)
					timers.At(ctx, x.Key, due, x.Payload+".")
					tell(ctx, x.Key, "set %s. %d", x.Payload, due.UnixMilli())
				}
				if strings.Contains(x.Payload, poison) {
					return errPoison
				}
				tallies.Update(ctx, x.Key, func(n int64, _ bool) (int64, error) { return n, h.Fate("tally", x.Payload) })
				return h.Turn(ctx, "alarm", x.Payload)
			}, topology.Writes(timers, tallies), topology.Sends(told), topology.OnFailure(topology.Policy{Attempts: 3*maxBadLuck + 1}))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			switch r.IntN(6) {
			case 0:
				return word(r, 40), fmt.Sprintf("cancel%d", i)
			case 1:
				return word(r, 40), fmt.Sprintf("r%d.", i)
			case 2:
				if r.IntN(10) == 0 {
					return word(r, 40), fmt.Sprintf("r%d%s", i, poison)
				}
			}
			return word(r, 40), fmt.Sprintf("r%d", i)
		},
		Done:  func(o *Oracle) bool { return len(o.pending()) == 0 },
		Check: checkDurable,
	}
}

// pending are the timers that the changelog says are pending, by key.
func (o *Oracle) pending() map[string]string {
	all := map[string]string{}
	for _, rows := range o.image("alarms") {
		maps.Copy(all, rows)
	}
	return all
}

// toldTimer is a timer that is pending, as it was told.
type toldTimer struct {
	partition int32
	payload   string
	due       int64
}

func checkDurable(o *Oracle) error {
	if left := o.pending(); len(left) > 0 {
		return fmt.Errorf("timers are left: %v", left)
	}
	letters := map[string]int{}
	for _, r := range o.Committed(o.topology + "-dead-letters") {
		if letters[r.Value]++; letters[r.Value] > 1 || !strings.Contains(r.Value, poison) {
			return fmt.Errorf("%s is a dead letter, %d times", r.Value, letters[r.Value])
		}
	}
	pending, calls, done := map[string]toldTimer{}, map[string]int64{}, map[string][]string{}
	for _, r := range o.Committed("told") {
		f := strings.Fields(r.Value)
		due := int64(0)
		if len(f) > 2 {
			due, _ = strconv.ParseInt(f[2], 10, 64)
		}
		was, is := pending[r.Key]
		if !strings.HasSuffix(f[1], "..") && f[0] != "call" {
			done[r.Key] = append(done[r.Key], f[1])
		}
		switch f[0] {
		case "set":
			pending[r.Key] = toldTimer{r.Partition, f[1], due}
		case "cancel":
			delete(pending, r.Key)
		case "call":
			if !is || was.payload != f[1] || was.due != due {
				return fmt.Errorf("told/%d@%d: key %s: the call of %s at %d, and pending is %v", r.Partition, r.Offset, r.Key, f[1], due, was)
			}
			for k, x := range pending {
				if x.partition == r.Partition && letters[x.payload] == 0 && (x.due < due || x.due == due && k < r.Key) {
					return fmt.Errorf("told/%d@%d: key %s: the call of %s at %d comes before that of %s at %d", r.Partition, r.Offset, r.Key, f[1], due, x.payload, x.due)
				}
			}
			delete(pending, r.Key)
			calls[r.Key]++
			o.Saw(sawCalled)
		}
	}
	for k, x := range pending {
		if letters[x.payload] != 1 {
			return fmt.Errorf("key %s: the timer %s was never called", k, x.payload)
		}
	}
	want := map[string][]string{}
	for _, r := range o.sent {
		want[r.Key] = append(want[r.Key], r.Value)
		if _, ok := calls[r.Key]; !ok {
			calls[r.Key] = 0 // the row of what was set
		}
	}
	if err := compare("what was set", want, done); err != nil {
		return err
	}
	return o.table("tallies", encoded(calls))
}
