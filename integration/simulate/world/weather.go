package world

import (
	"strings"

	"github.com/troupe-stream/troupe/integration/simulate/sched"
)

// weather is which faults a run has more of than others, and which fewer.
type weather struct {
	boost  func(name string) int  // how many times as often; nil: nothing is more often
	burst  func(name string) int  // the same, soon after another fault: the second meets what the first has left
	counts func(name string) bool // after which faults; nil: all
	hasty  bool                   // a slot is not waited for for long, and nodes come one by one
}

// doubts are the faults that leave open for long what became of a commit.
var doubts = []string{"coordinator lost after EndTxn", "answer late: EndTxn", "coordinator lost after InitProducerId", "answer late: InitProducerId"}

// weathers are those that a run may have.
var weathers = []weather{
	{},
	{boost: func(name string) int { return 1 + 2*has(name, "node:", "process ") }},
	{boost: func(name string) int { return 1 + 4*has(name, "request ", "answer ", "coordinator ") }},
	{boost: func(name string) int { return 1 + 5*has(name, "EndTxn", "TxnOffsetCommit", "marker", "client:") }},
	{boost: func(name string) int {
		return 1 + 2*has(name, "node:", "process", "disk:", "request ", "answer ", "marker")
	}},
	{boost: func(name string) int { // of those who take slots and give them up
		return 1 + 7*has(name, "OffsetFetch", "OffsetCommit", "JoinGroup", "SyncGroup", "Heartbeat", "client:") + 2*has(name, "node:")
	}},
	{hasty: true, boost: func(name string) int { // of outcomes that stay unknown while slots move
		if has(name, "killed", "paused", "clock", "twin") > 0 { // who is killed all the time commits little
			return 0
		}
		return 1 + 39*has(name, doubts...)
	}, counts: func(name string) bool { return has(name, doubts...) > 0 }, burst: func(name string) int { return 1 + 59*has(name, "node: added") }},
}

// weatherOf chooses the weather of a run. In half of the runs faults come in bursts.
func weatherOf(s *sched.Sched) weather {
	w := weathers[min(s.Rand().IntN(len(weathers)+1), len(weathers)-1)] // the last one twice as often: it has the rarest harvest
	bursts := s.Rand().IntN(2) == 0
	if bursts && w.burst == nil {
		w.burst = func(name string) int { return 1 + 4*has(name, "node:", "process") }
	}
	s.Boost, s.Counts = w.boost, w.counts
	if w.burst != nil {
		s.Burst = func(name string) int {
			if s.SinceFault() < 80 {
				return w.burst(name)
			}
			return 1
		}
	}
	return w
}

func has(name string, parts ...string) int {
	for _, p := range parts {
		if strings.Contains(name, p) {
			return 1
		}
	}
	return 0
}
