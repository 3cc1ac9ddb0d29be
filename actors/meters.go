package actors

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// meters count what a node does, whichever partitions it has. They are counted up once per batch, and may be read by any
// goroutine at any time: reading asks no actor.
type meters struct {
	topology string
	agents   []*agentMeter
	tables   []*tableMeter
	byAgent  map[*plan.Agent]*agentMeter
	byTable  map[*plan.Table]*tableMeter
	verdicts [4]atomic.Int64 // by kafka.Verdict
	bundles  atomic.Int64
	commit   *histogram
}

type agentMeter struct {
	name, role                                                        string
	in, out, dropped, failed, retried, skipped, deadLetters, restarts atomic.Int64
	work                                                              *histogram
}

type tableMeter struct {
	name           string
	out, journaled atomic.Int64
}

// Bounds of histograms, in seconds.
var (
	workBounds   = []float64{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60}
	commitBounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
)

func newMeters(p *plan.Plan) *meters {
	m := &meters{topology: p.Name, byAgent: map[*plan.Agent]*agentMeter{}, byTable: map[*plan.Table]*tableMeter{}, commit: newHistogram(commitBounds)}
	for _, st := range p.Stages {
		for _, a := range st.Agents {
			x := &agentMeter{name: a.Name, role: roleName(a.Role), work: newHistogram(workBounds)}
			m.agents, m.byAgent[a] = append(m.agents, x), x
		}
		for _, t := range st.Tables {
			x := &tableMeter{name: t.Name}
			m.tables, m.byTable[t] = append(m.tables, x), x
		}
	}
	return m
}

// from goes on where others of the node have counted to: what is called the same is counted on.
func (m *meters) from(before *meters) *meters {
	agents, tables := map[string]*agentMeter{}, map[string]*tableMeter{}
	for _, x := range before.agents {
		agents[x.name] = x
	}
	for _, x := range before.tables {
		tables[x.name] = x
	}
	for a, x := range m.byAgent {
		if y := agents[x.name]; y != nil {
			m.byAgent[a] = y
			m.agents[slices.Index(m.agents, x)] = y
		}
	}
	for t, x := range m.byTable {
		if y := tables[x.name]; y != nil {
			m.byTable[t] = y
			m.tables[slices.Index(m.tables, x)] = y
		}
	}
	m.commit = before.commit
	for i := range m.verdicts {
		m.verdicts[i].Store(before.verdicts[i].Load())
	}
	m.bundles.Store(before.bundles.Load())
	return m
}

func (m *meters) committed(v kafka.Verdict, took time.Duration, bundles int) {
	if int(v) < len(m.verdicts) {
		m.verdicts[v].Add(1)
	}
	if v == kafka.Committed {
		m.bundles.Add(int64(bundles))
	}
	m.commit.observe(took)
}

func (m *meters) commits() status.Commits {
	return status.Commits{
		Committed: m.verdicts[kafka.Committed].Load(), Aborted: m.verdicts[kafka.Aborted].Load(),
		Unknown: m.verdicts[kafka.Unknown].Load(), Fenced: m.verdicts[kafka.Fenced].Load(),
	}
}

// read returns what has been counted.
func (m *meters) read() status.Meters {
	out := status.Meters{Topology: m.topology, Commits: m.commits(), Commit: m.commit.read(), Bundles: m.bundles.Load()}
	for _, a := range m.agents {
		out.Agents = append(out.Agents, status.AgentMeter{
			Name: a.name, Role: a.role, In: a.in.Load(), Out: a.out.Load(), Dropped: a.dropped.Load(), Failed: a.failed.Load(), Retried: a.retried.Load(),
			Skipped: a.skipped.Load(), DeadLettered: a.deadLetters.Load(), Restarts: a.restarts.Load(), Work: a.work.read(),
		})
	}
	for _, t := range m.tables {
		out.Tables = append(out.Tables, status.TableMeter{Name: t.name, Out: t.out.Load(), Journaled: t.journaled.Load()})
	}
	return out
}

// histogram counts durations; any goroutine may.
type histogram struct {
	bounds []float64
	counts []atomic.Uint64 // in between; one more than bounds
	nanos  atomic.Int64
}

func newHistogram(bounds []float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(h.bounds) && d.Seconds() > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(int64(max(d, 0)))
}

func (h *histogram) read() status.Histogram {
	out := status.Histogram{Bounds: h.bounds, Counts: make([]uint64, len(h.bounds)), Sum: time.Duration(h.nanos.Load()).Seconds()}
	for i := range h.counts {
		out.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			out.Counts[i] = out.Count
		}
	}
	return out
}

// rateOver is the time over which a rate is an average.
const rateOver = 10 * time.Second

// rate is how many things happen in a second, the last ten seconds or so weighing most. It belongs to one actor.
type rate struct {
	value float64
	at    time.Time
}

func (r *rate) add(n int, now time.Time) {
	r.value = r.per(now) + float64(n)/rateOver.Seconds()
	r.at = now
}

func (r *rate) per(now time.Time) float64 {
	if r.value == 0 {
		return 0
	}
	return r.value * math.Exp(-max(now.Sub(r.at), 0).Seconds()/rateOver.Seconds())
}

// shardGauge is what others may know of a shard without asking it: it may be busy with a function of the user's. The restorer
// counts how far it is, the shard how large.
type shardGauge struct {
	entries, bytes      atomic.Int64
	restored, toRestore atomic.Int64 // offsets
	ready               atomic.Bool
}

// progress is how far the shard's restore is, from 0 to 1.
func (g *shardGauge) progress() float64 {
	if g.ready.Load() {
		return 1
	}
	total := g.toRestore.Load()
	if total <= 0 {
		return 0
	}
	return min(float64(g.restored.Load())/float64(total), 1)
}
