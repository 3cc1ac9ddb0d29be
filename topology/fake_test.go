package topology_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// node runs the agents of a plan in one partition, as the engine does but for everything that makes it one: shards that
// apply at once what a turn has asked for, and a list of what was sent.
type node struct {
	t         *testing.T
	plan      *plan.Plan
	env       *plan.Env
	partition int32
	ctx       context.Context
	shards    []tables.Shard // by table ID
	epoch     int64
	out       kafka.Outputs
	queries   int
	many      int  // of which for several keys
	async     bool // programs may look ahead
}

// newNode makes one of a topology whose topics have n partitions each.
func newNode(t *testing.T, topo *topology.Topology, n, partition int32) *node {
	t.Helper()
	p, err := topo.Plan()
	require.NoError(t, err)
	x := &node{t: t, plan: p, env: &plan.Env{}, partition: partition, ctx: context.Background()}
	for range p.Topics {
		x.env.Partitions = append(x.env.Partitions, n)
		x.env.MaxBytes = append(x.env.MaxBytes, 1000)
	}
	for _, tb := range p.Tables {
		x.shards = append(x.shards, tb.NewShard(tables.Config{Table: tb.Name, Partition: partition, Changelog: tb.Changelog.ID}))
	}
	groups := map[int32]map[int32]tables.Shard{}
	for i, tb := range p.Tables {
		if tb.Group != 0 {
			if groups[tb.Group] == nil {
				groups[tb.Group] = map[int32]tables.Shard{}
			}
			groups[tb.Group][tb.ID] = x.shards[i]
		}
	}
	for _, g := range groups {
		tables.Link(g)
	}
	return x
}

func (n *node) agent(name string) *plan.Agent {
	n.t.Helper()
	for _, a := range n.plan.Agents {
		if a.Name == name {
			return a
		}
	}
	require.FailNow(n.t, "no agent "+name)
	return nil
}

// record is one record of a test's batch.
type record struct {
	key, value string
	nullKey    bool
	nullValue  bool
	at         int64 // 0: 1000 ms and its offset
	headers    []kafka.Header
}

// batch makes a batch of an agent's topic, from offset 100 on.
func (n *node) batch(a *plan.Agent, records ...record) []plan.Rec {
	b := &kafka.Batch{Topic: a.Source.Name, Partition: n.partition}
	var recs []plan.Rec
	for i, r := range records {
		key, value := []byte(r.key), []byte(r.value)
		if r.nullKey {
			key = nil
		}
		if r.nullValue {
			value = nil
		}
		if r.at == 0 {
			r.at = 1000 + int64(i)
		}
		b.Append(100+int64(i), r.at, key, value, kafka.AppendHeaders(nil, r.headers...))
		recs = append(recs, plan.Rec{B: b, I: i})
	}
	return recs
}

// run gives records to one incarnation of an agent and returns the error of the turn that failed, if any, and how many
// records are done.
func (n *node) run(name string, records ...record) (done int, err error) {
	n.t.Helper()
	a := n.agent(name)
	return n.drive(a, a.Program(), n.batch(a, records...))
}

func (n *node) drive(a *plan.Agent, program plan.Program, recs []plan.Rec) (done int, err error) {
	in := &input{node: n, agent: a, recs: recs, ctx: n.ctx}
	in.reset()
	var given plan.Input = in
	if n.async {
		given = aheadInput{in}
	}
	for in.next < len(in.recs) || in.next == 0 {
		began := in.next
		if err := protect(func() error { return program.Run(given) }); err != nil {
			return in.done, err
		}
		if !in.end() {
			return in.done, in.err
		}
		if in.next == began {
			if a.Loop {
				return in.done, errors.New("took no record")
			}
			break
		}
	}
	return in.done, nil
}

// timer gives a timer or task a turn.
func (n *node) timer(name string, at time.Time) error {
	n.t.Helper()
	a := n.agent(name)
	_, err := n.drive(a, a.Program(), []plan.Rec{{Time: &at}})
	return err
}

func protect(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(error); ok {
				err = fmt.Errorf("panic: %w", e)
				return
			}
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}

// sent returns what was sent to a topic as key=value@partition.
func (n *node) sent(topic string) (all []string) {
	for i, r := range n.out.Records {
		if n.plan.Topics[r.Topic].Name == topic {
			all = append(all, fmt.Sprintf("%s=%s@%d", show(n.out.Key(i)), show(n.out.Value(i)), r.Partition))
		}
	}
	return all
}

func show(b []byte) string {
	if b == nil {
		return "null"
	}
	return string(b)
}

// rows returns the entries of a table in order, as key=value.
func rows[V any](n *node, table string) (all []string) {
	n.t.Helper()
	for _, tb := range n.plan.Tables {
		if tb.Name == table {
			q := &tables.Scan[V]{}
			n.shards[tb.ID].Answer(q)
			require.NoError(n.t, q.Err)
			for i, k := range q.Keys {
				all = append(all, fmt.Sprintf("%s=%v", k, q.Values[i]))
			}
		}
	}
	return all
}

// input is the turns of one incarnation.
type input struct {
	node    *node
	agent   *plan.Agent
	recs    []plan.Rec
	next    int
	turn    int
	done    int
	effects plan.Effects
	err     error
	ctx     context.Context
}

func (in *input) reset() {
	in.effects = plan.Effects{Out: new(kafka.Outputs), Ops: make([]tables.Ops, len(in.node.plan.Tables))}
}

// end makes the effects of the turn at hand final.
func (in *input) end() bool {
	if in.turn == 0 {
		return in.err == nil
	}
	if in.err = in.effects.Err; in.err != nil {
		return false
	}
	n := in.node
	n.epoch++
	for id, ops := range in.effects.Ops {
		if ops == nil {
			continue
		}
		if err := protect(func() error { return n.shards[id].Apply(n.epoch, ops, in.effects.Out) }); err != nil {
			n.shards[id].Undo(n.epoch - 1)
			in.err = err
			return false
		}
	}
	n.out.AppendAll(in.effects.Out)
	in.done, in.turn = in.next, 0
	in.reset()
	return true
}

func (in *input) Next() (plan.Rec, bool) {
	if !in.end() {
		return plan.Rec{}, false
	}
	if in.next == len(in.recs) {
		if in.agent.Role == plan.Task && in.ctx.Err() == nil { // it goes on: what it has asked for so far is final
			in.turn = 1
			return in.recs[0], true
		}
		return plan.Rec{}, false
	}
	in.next, in.turn = in.next+1, 1
	return in.recs[in.next-1], true
}

func (in *input) NextMany(n int, _ time.Duration) []plan.Rec {
	if !in.end() {
		return nil
	}
	in.turn = min(n, len(in.recs)-in.next)
	in.next += in.turn
	return in.recs[in.next-in.turn : in.next]
}

func (in *input) Effects() *plan.Effects {
	if in.turn == 0 {
		return nil
	}
	return &in.effects
}

func (in *input) Context() context.Context { return in.ctx }

func (in *input) Ask(table *plan.Table, q tables.Query) error {
	in.node.queries++
	if _, ok := q.(*tables.GetMany[int64]); ok {
		in.node.many++
	}
	in.node.shards[table.ID].Answer(q)
	return nil
}

func (in *input) Now() time.Time   { return time.UnixMilli(5000) }
func (in *input) Partition() int32 { return in.node.partition }
func (in *input) Env() *plan.Env   { return in.node.env }

// aheadInput is an input that tells which records come next.
type aheadInput struct{ *input }

func (in aheadInput) Ahead(n int) []plan.Rec {
	recs := in.recs[in.next-in.turn:]
	return recs[:min(n, len(recs))]
}

func (aheadInput) Beside(func()) <-chan struct{} { panic("nothing runs beside it") }
func (aheadInput) Await(<-chan struct{}) error   { panic("nothing runs beside it") }

// rawInput is a batch of an agent made of actor props.
type rawInput struct {
	node  *node
	recs  []plan.Rec
	turns map[int]*input
	log   []string
}

func (r *rawInput) Records() []plan.Rec { return r.recs }

func (r *rawInput) Begin(i int) (plan.Input, error) {
	if i < 0 || i >= len(r.recs) {
		return nil, fmt.Errorf("no record %d", i)
	}
	in := &input{node: r.node, recs: r.recs, next: i + 1, turn: 1, ctx: r.node.ctx}
	in.reset()
	r.turns[i] = in
	return in, nil
}

func (r *rawInput) Done(i int) error {
	r.log = append(r.log, fmt.Sprintf("done %d", i))
	if !r.turns[i].end() {
		return r.turns[i].err
	}
	return nil
}

func (r *rawInput) Fail(i int, err error) error {
	r.log = append(r.log, fmt.Sprintf("fail %d: %v", i, err))
	return nil
}
