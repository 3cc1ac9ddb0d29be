package actors

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology/plan"
)

// answerWithin is how long a partition may take to answer those who look; one that does not is shown as busy.
const answerWithin = 700 * time.Millisecond // less than the second that probes are used to wait

// What those who look ask the root.
type (
	inspectNode struct{}                         // for a status.Node
	inspectTree struct{}                         // for a status.Tree
	resumeParts struct{ wanted []status.Wanted } // for []status.Resumed; nil: all that are stopped
	// digestShard asks for the status.Digest of a shard.
	digestShard struct {
		table     string
		partition int32
	}
	// joinedGroup comes from the group: who this node is there, and the slots that it has been granted, taken or not.
	joinedGroup struct {
		member string
		slots  []int32
	}
)

// asked is a slot whose partition is asked something.
type asked struct {
	slot int32
	pid  *actor.PID
}

// ask asks partitions at once, and hands on what they answered, in their order; nil for those that did not in time. then is
// called beside the actors.
func (r *root) ask(all []asked, q any, then func([]any)) {
	answers := make([]any, len(all))
	if len(all) == 0 {
		r.site.ground.Go(func() { then(answers) })
		return
	}
	var mu sync.Mutex
	left := len(all)
	for i, x := range all {
		r.site.ground.Go(func() {
			answer, err := r.site.ground.Ask(x.pid, q, answerWithin)
			mu.Lock()
			if err == nil {
				answers[i] = answer
			}
			left--
			last := left == 0
			mu.Unlock()
			if last {
				then(answers)
			}
		})
	}
}

// owned lists the slots with a partition that runs, and those without.
func (r *root) owned() (with []asked, without []int32) {
	for _, slot := range slices.Sorted(maps.Keys(r.parts)) {
		if o := r.parts[slot]; o.pid != nil {
			with = append(with, asked{slot, o.pid})
		} else {
			without = append(without, slot)
		}
	}
	return with, without
}

// bare is the status of a partition that does not speak for itself.
func (r *root) bare(slot int32, state, why string) status.Partition {
	p := status.Partition{Stage: stageName(r.slots.stages[slot]), Partition: r.slots.numbers[slot], State: state, Why: why, Lag: -1}
	if o := r.parts[slot]; o != nil {
		p.Incarnation = o.grant.Incarnation
	}
	return p
}

// noAnswer is why a partition is shown as busy.
var noAnswer = fmt.Sprintf("it has not answered for %v", answerWithin)

// inspect answers with what the node is about.
func (r *root) inspect(c actor.Context) {
	st := status.Node{Member: r.member, Partitions: []status.Partition{}}
	for slot, stage := range r.slots.stages {
		if stage != nil {
			st.All = append(st.All, status.Name(stageName(stage), r.slots.numbers[slot]))
		}
	}
	slices.Sort(st.All)
	with, without := r.owned()
	for _, slot := range without {
		if why := r.parts[slot].why; why != nil {
			st.Partitions = append(st.Partitions, r.bare(slot, status.Stopped, errorText(why, r.site.values)))
		} else {
			st.Partitions = append(st.Partitions, r.bare(slot, status.Restoring, "it is looked up where its sources begin and end"))
		}
	}
	for _, slot := range r.granted {
		if r.parts[slot] == nil && r.slots.stages[slot] != nil {
			st.Partitions = append(st.Partitions, r.bare(slot, status.Restoring, "its slot is being taken"))
		}
	}
	unanswered := make([]status.Partition, len(with))
	for i, x := range with {
		unanswered[i] = r.bare(x.slot, status.Busy, noAnswer)
	}
	errs, joined, g, to := slices.Clone(r.errs), !r.joined.IsZero(), r.site.ground, c.Sender()
	if len(r.granted) == 0 && r.site.ground.Now().Sub(r.joined) < noneWithin {
		joined = false
	}
	all := make([]asked, 0, len(with)+1)
	all = append(all, with...)
	if r.globalsPID != nil {
		all = append(all, asked{pid: r.globalsPID})
	}
	r.ask(all, partitionQuery{}, func(answers []any) {
		for i, x := range answers[:len(with)] {
			p, ok := x.(status.Partition)
			if !ok {
				p = unanswered[i]
			}
			st.Partitions = append(st.Partitions, p)
		}
		if len(answers) > len(with) {
			st.Globals, _ = answers[len(with)].([]status.Global)
		}
		summarize(&st, errs, joined)
		g.Send(to, st)
	})
}

// summarize says of a node what its partitions say of themselves.
func summarize(st *status.Node, errs failures, joined bool) {
	slices.SortFunc(st.Partitions, func(a, b status.Partition) int {
		if a.Stage != b.Stage {
			if a.Stage < b.Stage {
				return -1
			}
			return 1
		}
		return int(a.Partition - b.Partition)
	})
	st.LastErrors = append(st.LastErrors, errs...)
	var waits []string
	for _, p := range st.Partitions {
		st.Rates.In, st.Rates.Out = st.Rates.In+p.Rates.In, st.Rates.Out+p.Rates.Out
		st.LastErrors = append(st.LastErrors, p.LastErrors...)
		if p.State == status.Restoring {
			waits = append(waits, p.Name())
		}
	}
	slices.SortStableFunc(st.LastErrors, func(a, b status.Failure) int { return b.Time.Compare(a.Time) })
	st.LastErrors = st.LastErrors[:min(len(st.LastErrors), keptFailures)]
	for _, g := range st.Globals {
		if g.State == status.Restoring {
			st.State, st.Why = status.Restoring, fmt.Sprintf("global table %s is read, %d%% so far: %s", g.Table, int(100*g.Progress), "the node joins its group when that is done")
			return
		}
	}
	switch {
	case !joined:
		st.State, st.Why = status.Joining, "the group has not taken this node in yet, or given it no partitions"
	case len(waits) > 0:
		st.State, st.Why = status.Restoring, fmt.Sprintf("%d of %d partitions: %s", len(waits), len(st.Partitions), few(waits))
	default:
		st.State, st.Ready = status.Running, true
	}
}

// few lists names, the first ones at least.
func few(names []string) string {
	const most = 5
	s := ""
	for i, n := range names {
		switch {
		case i == most:
			return s + fmt.Sprintf(" and %d more", len(names)-most)
		case i > 0:
			s += ", "
		}
		s += n
	}
	return s
}

// tree answers with the tree of actors.
func (r *root) tree(c actor.Context) {
	t := r.site.leaf("root", c.Self(), "root")
	for _, x := range []struct {
		name string
		pid  *actor.PID
	}{{"consumer", r.site.consumer}, {"producer", r.producerPID}, {"committer", r.site.committer}, {"restorer", r.site.restorer}, {"globals", r.globalsPID}} {
		if x.pid == nil {
			continue
		}
		t.Children = append(t.Children, r.site.leaf(x.name, x.pid, x.name))
	}
	with, _ := r.owned()
	unanswered := make([]status.Tree, len(with))
	for i, x := range with {
		unanswered[i] = r.site.leaf("partition", x.pid, status.Name(stageName(r.slots.stages[x.slot]), r.slots.numbers[x.slot]))
		unanswered[i].State, unanswered[i].Incarnation = status.Busy, r.parts[x.slot].grant.Incarnation
	}
	g, to := r.site.ground, c.Sender()
	r.ask(with, partitionTree{}, func(answers []any) {
		for i, x := range answers {
			p, ok := x.(status.Tree)
			if !ok {
				p = unanswered[i]
			}
			t.Children = append(t.Children, p)
		}
		g.Send(to, t)
	})
}

// resume lets stopped partitions go on, and answers with what became of each.
func (r *root) resume(c actor.Context, m resumeParts) {
	var out []status.Resumed
	result := func(slot int32, resumed bool, why string) status.Resumed {
		return status.Resumed{Topology: r.site.plan.Name, Stage: stageName(r.slots.stages[slot]), Partition: r.slots.numbers[slot], Resumed: resumed, Why: why}
	}
	meant := func(slot int32) bool {
		return m.wanted == nil || slices.ContainsFunc(m.wanted, func(w status.Wanted) bool {
			return w.Is(stageName(r.slots.stages[slot]), r.slots.numbers[slot])
		})
	}
	with, without := r.owned()
	with = slices.DeleteFunc(with, func(x asked) bool { return !meant(x.slot) })
	for _, slot := range without {
		switch o := r.parts[slot]; {
		case !meant(slot):
		case o.why != nil:
			r.log.Info("partition that could not be rebuilt is tried again at once: an operator says so", "slot", slot, "error", errorText(o.why, r.site.values))
			delete(r.breaks, slot)
			out = append(out, result(slot, true, ""))
			r.retake(c, []int32{slot}, o.why)
		case m.wanted != nil:
			out = append(out, result(slot, false, "it is not stopped: it is being restored"))
		}
	}
	running := make([]status.Resumed, len(with))
	for i, x := range with {
		running[i] = result(x.slot, false, "it is not stopped")
	}
	g, to, all := r.site.ground, c.Sender(), m.wanted == nil
	r.ask(with, resumeQuery{}, func(answers []any) {
		for i, x := range answers {
			p := running[i]
			if was, ok := x.(bool); !ok {
				p.Why = noAnswer + "; it may go on later"
			} else if was {
				p.Resumed, p.Why = true, ""
			}
			if !all || p.Resumed {
				out = append(out, p)
			}
		}
		g.Send(to, out)
	})
}

// digest hands a question for a digest on to the partition.
func (r *root) digest(c actor.Context, m digestShard) {
	with, _ := r.owned()
	for _, x := range with {
		st := r.slots.stages[x.slot]
		if r.slots.numbers[x.slot] == m.partition && slices.ContainsFunc(st.Tables, func(t *plan.Table) bool { return t.Name == m.table }) {
			c.RequestWithCustomSender(x.pid, digestQuery{m.table}, c.Sender())
			return
		}
	}
	c.Respond(status.Digest{Why: "this node does not have it"})
}

// noneWithin is how long a node that was given no partitions waits for some before it is ready: the group's first answer may come before
// it knows of all partitions.
const noneWithin = 2 * time.Second

func (r *root) onJoined(m joinedGroup) {
	if r.joined.IsZero() || r.member != m.member {
		r.joined = r.site.ground.Now()
	}
	r.member, r.granted = m.member, m.slots
}

// noteError remembers what went wrong in the node, for those who look.
func (r *root) noteError(what string, err error) {
	r.errs.add(status.Failure{Time: r.site.ground.Now(), Error: what + ": " + errorText(err, r.site.values)})
}

// tellRebalance tells of slots that have come or gone.
func (r *root) tellRebalance(taken, released, lost []int32, why error) {
	if r.site.hooks == nil || len(taken)+len(released)+len(lost) == 0 {
		return
	}
	r.site.hooks.tell(Rebalance{
		Time: r.site.ground.Now(), Topology: r.site.plan.Name, Taken: r.named(taken), Released: r.named(released), Lost: r.named(lost), Why: why,
	})
}

// named are the partitions of slots.
func (r *root) named(slots []int32) []StagePartition {
	var all []StagePartition
	for _, s := range slots {
		if st := r.slots.stages[s]; st != nil {
			all = append(all, StagePartition{stageName(st), r.slots.numbers[s]})
		}
	}
	return all
}
