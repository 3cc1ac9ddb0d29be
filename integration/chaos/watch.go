package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// watch takes the lines of one process of a node: it writes them to the node's log, with the time, and notes what they tell.
type watch struct {
	log io.Writer

	mu      sync.Mutex
	started time.Time            // of the process
	joined  time.Time            // when it said "started"
	first   time.Time            // its first commit of any topology
	last    time.Time            // its last one
	commits int64                // so far
	owned   map[string]time.Time // topology/stage/partition: when it began to run
	granted []grant
	held    map[string]int // slots that it has now, by topology
	lost    int            // slots, as it says itself
	rest    []byte
}

// grant is an assignment of slots by a group, and when the last of them ran.
type grant struct {
	group   string
	at      time.Time
	slots   int
	running int
	done    time.Time
}

var (
	attribute = regexp.MustCompile(`(\w+)=("[^"]*"|\S+)`)
	slotList  = regexp.MustCompile(`\d+`)
)

// Write implements io.Writer for a proc.Process: whole lines with the name before them.
func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		w.line(string(line), time.Now())
		w.rest = append([]byte(nil), rest...)
	}
}

func (w *watch) line(line string, now time.Time) {
	_, text, _ := strings.Cut(line, ": ")
	if moment, ok := strings.CutPrefix(text, "trace "); ok {
		if strings.HasPrefix(moment, "commit.committed ") {
			w.commits++
			if w.last = now; w.first.IsZero() {
				w.first = now
			}
		}
		return // some hundred lines a second
	}
	_, _ = fmt.Fprintf(w.log, "%s %s\n", now.Format("15:04:05.000"), line) // a test's log
	if text == "started" {
		w.joined = now
		return
	}
	switch {
	case strings.Contains(text, `msg="partition running"`):
		x := attributes(text)
		w.owned[x["topology"]+"/"+x["stage"]+"/"+x["partition"]] = now
		for i := range w.granted {
			if g := &w.granted[i]; g.group == x["topology"] && g.running < g.slots {
				if g.running++; g.running == g.slots {
					g.done = now
				}
				break
			}
		}
	case strings.Contains(text, `msg="slots assigned"`):
		x := attributes(text)
		if n := slotsIn(x); n > 0 {
			w.held[x["topology"]] += n
			w.granted = append(w.granted, grant{group: x["topology"], at: now, slots: n})
		}
	case strings.Contains(text, `msg="slots revoked"`):
		x := attributes(text)
		w.taken(x["topology"], slotsIn(x))
	case strings.Contains(text, `msg="slots lost"`):
		x := attributes(text)
		w.lost += slotsIn(x)
		w.taken(x["topology"], slotsIn(x))
	}
}

// taken notes that slots of a group are away again: what was granted and does not run yet may be among them, and is not measured.
func (w *watch) taken(group string, slots int) {
	if w.held[group] -= slots; w.held[group] <= 0 {
		delete(w.held, group)
	}
	w.granted = slices.DeleteFunc(w.granted, func(g grant) bool { return g.group == group && g.running < g.slots })
}

// attributes of a line of the log; where a name comes twice, the last counts.
func attributes(text string) map[string]string {
	out := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(text, -1) {
		out[m[1]] = strings.Trim(m[2], `"`)
	}
	return out
}

// slotsIn is how many slots are among the attributes.
func slotsIn(x map[string]string) int { return len(slotList.FindAllString(x["slots"], -1)) }

// committed is how many transactions the process has committed, and when the first and the last.
func (w *watch) committed() (n int64, first, last time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.commits, w.first, w.last
}

// grants returns a copy of the assignments since a moment.
func (w *watch) grants(since time.Time) []grant {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []grant
	for _, g := range w.granted {
		if g.at.After(since) {
			out = append(out, g)
		}
	}
	return out
}

// holds returns the groups of which the process has slots now.
func (w *watch) holds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.held))
}

// running returns which partitions began to run since a moment.
func (w *watch) running(since time.Time) map[string]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]time.Time{}
	for k, at := range w.owned {
		if at.After(since) {
			out[k] = at
		}
	}
	return out
}

// hasStarted says whether the process has said so.
func (w *watch) hasStarted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.joined.IsZero()
}
