package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
)

const (
	// nodeAnswers is how long a node's root may take to answer: longer than it waits for partitions.
	nodeAnswers = 2 * time.Second
	// endsFor is for how long the known ends of topics are good enough to tell a lag by, endsWithin how long who looks waits for them, and
	// endsPatience how long asking for them may take.
	endsFor      = time.Second
	endsWithin   = 1500 * time.Millisecond
	endsPatience = 10 * time.Second
	// hookPatience is how long a node that ends waits for hooks to be through.
	hookPatience = 2 * time.Second
)

// askRoot asks the actor at the top.
func askRoot[A any](n *Node, q any) (A, error) { return askRootFor[A](n, q, nodeAnswers) }

func askRootFor[A any](n *Node, q any, limit time.Duration) (A, error) {
	n.mu.Lock()
	pid := n.root
	n.mu.Unlock()
	var none A
	if pid == nil {
		return none, errNotRunning
	}
	select {
	case <-n.done:
		return none, errNotRunning
	default:
	}
	x, err := n.ground.Ask(pid, q, limit)
	if err != nil {
		if errors.Is(err, actor.ErrDeadLetter) {
			return none, errNotRunning
		}
		return none, fmt.Errorf("ask the node for its status: %w", err)
	}
	a, ok := x.(A)
	if !ok {
		return none, fmt.Errorf("ask the node for its status: it answered with %T", x)
	}
	return a, nil
}

var errNotRunning = errors.New("the node does not run")

// Inspect returns what Look does, with lags. It waits for up to four seconds.
func (n *Node) Inspect(ctx context.Context) status.Node {
	st, known := n.look()
	if known {
		st.LagUnknown = n.lags.fill(ctx, st.Partitions)
	}
	return st
}

// Look returns all that is to be said of the node without asking the brokers, for those who look. It waits for up to two seconds: a
// partition that does not answer is shown as busy, and so is the node.
func (n *Node) Look() status.Node {
	st, _ := n.look()
	return st
}

func (n *Node) look() (st status.Node, known bool) {
	n.mu.Lock()
	started, stopped, renewing, err, began := n.started, n.stopped, n.renewing, n.err, n.began
	n.mu.Unlock()
	st, askErr := askRoot[status.Node](n, inspectNode{})
	st.Topology, st.Instance, st.Started, st.Commits = n.defined.Name, n.cfg.Instance, began, n.counted().commits()
	if st.Guarantee = "exactly-once"; n.cfg.AtLeastOnce {
		st.Guarantee = "at-least-once"
	}
	if d, ok := n.driver.(interface{ Client() (string, error) }); ok {
		var why error
		if st.Client, why = d.Client(); why != nil {
			st.ClientWhy = why.Error()
		}
	}
	if st.Partitions == nil {
		st.Partitions = []status.Partition{}
	}
	switch {
	case err != nil:
		st.State, st.Why, st.Ready = status.Stopping, err.Error(), false
	case stopped:
		st.State, st.Why, st.Ready = status.Stopping, "it was asked to stop", false
	case renewing:
		st.State, st.Why, st.Ready = status.Starting, "it begins anew, since the topics that match patterns have changed", false
	case !started || errors.Is(askErr, errNotRunning):
		st.State, st.Why = status.Starting, "it looks at its topics and slots"
	case askErr != nil:
		st.State, st.Why = status.Busy, askErr.Error()
	}
	return st, askErr == nil
}

// Alive says whether the node has not ended, or given up. It asks nobody.
func (n *Node) Alive() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// Tree returns the tree of actors as it lives. It waits for up to two seconds.
func (n *Node) Tree() (status.Tree, error) { return askRoot[status.Tree](n, inspectTree{}) }

// Resume lets partitions go on that are stopped: those that are named, or all where nothing is. It says what became of each; of those
// that another node owns nothing. It waits for up to two seconds.
func (n *Node) Resume(wanted []status.Wanted) ([]status.Resumed, error) {
	return askRoot[[]status.Resumed](n, resumeParts{wanted})
}

// digestWithin is how long a shard may take for its digest.
const digestWithin = 30 * time.Second

// Digest asks a shard for its digest. The shard does nothing else meanwhile, some 0.2 s for a million entries. It waits for up to 30
// seconds.
func (n *Node) Digest(table string, partition int32) (status.Digest, error) {
	return askRootFor[status.Digest](n, digestShard{table, partition}, digestWithin)
}

// Meters returns what the node has counted. It asks nobody.
func (n *Node) Meters() status.Meters { return n.counted().read() }

func (n *Node) counted() *meters {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.meters
}

// HooksDropped is how many events hooks were not told of, because one of them was too slow.
func (n *Node) HooksDropped() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hooks.lost()
}

// lags tells how far partitions are behind the ends of their topics. The ends are asked for at most once a second, by one question
// that all who look wait for; none of them waits for long.
type lags struct {
	ground Ground

	mu     sync.Mutex
	admin  kafka.Admin // nil: closed
	cancel context.CancelFunc
	ends   map[kafka.TopicPartition]int64
	at     time.Time // of ends
	err    error
	asking chan struct{} // closed when the question under way is answered; nil: there is none
	asked  time.Time
}

func (l *lags) open(g Ground, admin kafka.Admin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ground, l.admin = g, admin
}

// close gives up a question under way; it may be answered yet.
func (l *lags) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admin = nil; l.cancel != nil {
		l.cancel()
	}
}

// fill fills in lags, and says why they are not known.
func (l *lags) fill(ctx context.Context, parts []status.Partition) string {
	tps := sourcesOf(parts)
	if len(tps) == 0 {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admin == nil {
		return errNotRunning.Error()
	}
	now := l.ground.Now()
	fresh := now.Sub(l.at) < endsFor && !slices.ContainsFunc(tps, func(tp kafka.TopicPartition) bool { _, ok := l.ends[tp]; return !ok })
	if !fresh {
		if l.asking == nil {
			l.ask(tps)
		}
		if asking, left := l.asking, endsWithin-now.Sub(l.asked); left > 0 {
			g := l.ground
			l.mu.Unlock()
			_ = g.AwaitFor(ctx, asking, left) // what is known by then counts
			l.mu.Lock()
		}
		if l.asking != nil {
			return fmt.Sprintf("the brokers have not said for %v where topics end", endsWithin)
		}
	}
	if l.err != nil {
		return l.err.Error()
	}
	for i := range parts {
		l.of(&parts[i])
	}
	return ""
}

// ask asks for the ends of topics, beside everything else. Called with mu held.
func (l *lags) ask(tps []kafka.TopicPartition) {
	ctx, cancel := l.ground.WithTimeout(context.Background(), endsPatience)
	admin, done := l.admin, make(chan struct{})
	l.asking, l.asked, l.cancel = done, l.ground.Now(), cancel
	l.ground.Go(func() {
		defer cancel()
		ends, err := admin.Ends(ctx, kafka.ReadCommitted, tps...)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err, l.asking, l.cancel = err, nil, nil; err == nil {
			l.ends = ends
		}
		l.at = l.ground.Now()
		close(done)
	})
}

// sourcesOf are the topic-partitions that are read.
func sourcesOf(parts []status.Partition) (tps []kafka.TopicPartition) {
	for _, p := range parts {
		for _, a := range p.Agents {
			tp := kafka.TopicPartition{Topic: a.Topic, Partition: p.Partition}
			if a.Topic != "" && !slices.Contains(tps, tp) {
				tps = append(tps, tp)
			}
		}
	}
	return tps
}

// of fills in the lags of one partition: of each of its sources the agent counts that is furthest behind.
func (l *lags) of(p *status.Partition) {
	behind := map[string]int64{}
	for i := range p.Agents {
		a := &p.Agents[i]
		end, ok := l.ends[kafka.TopicPartition{Topic: a.Topic, Partition: p.Partition}]
		if a.Topic == "" || !ok {
			continue
		}
		a.Lag = max(end-a.Offset, 0)
		behind[a.Topic] = max(behind[a.Topic], a.Lag)
	}
	if len(behind) > 0 {
		p.Lag = 0
	}
	for _, n := range behind {
		p.Lag += n
	}
}
