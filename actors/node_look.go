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
	// endsFor is for how long the known ends of topics are good enough to tell a lag by, and endsWithin how long asking for them may take.
	endsFor    = time.Second
	endsWithin = 1500 * time.Millisecond
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

// Status asks the node's actors what they are about. It waits for up to two seconds.
func (n *Node) Status() (Status, error) { return askRoot[Status](n, nodeQuery{}) }

// Inspect returns what Look does, with lags. It waits for up to four seconds.
func (n *Node) Inspect(ctx context.Context) status.Node {
	st, known := n.look()
	if known {
		st.LagUnknown = n.lags.fill(ctx, n.ground.Now(), st.Partitions)
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
	started, stopped, err, began := n.started, n.stopped, n.err, n.began
	n.mu.Unlock()
	st, askErr := askRoot[status.Node](n, inspectNode{})
	st.Topology, st.Instance, st.Started, st.Commits = n.plan.Name, n.cfg.Instance, began, n.meters.commits()
	if st.Guarantee = "exactly-once"; n.cfg.AtLeastOnce {
		st.Guarantee = "at-least-once"
	}
	if st.Partitions == nil {
		st.Partitions = []status.Partition{}
	}
	switch {
	case err != nil:
		st.State, st.Why, st.Ready = status.Stopping, err.Error(), false
	case stopped:
		st.State, st.Why, st.Ready = status.Stopping, "it was asked to stop", false
	case !started || errors.Is(askErr, errNotRunning):
		st.State, st.Why = status.Starting, "it looks at its topics and slots"
	case askErr != nil:
		st.State, st.Why = status.Busy, askErr.Error()
	}
	return st, askErr == nil
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
func (n *Node) Meters() status.Meters { return n.meters.read() }

// HooksDropped is how many events hooks were not told of, because one of them was too slow.
func (n *Node) HooksDropped() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hooks.lost()
}

// lags tells how far partitions are behind the ends of their topics. The ends are asked for at most once a second.
type lags struct {
	mu    sync.Mutex
	admin kafka.Admin // nil: closed
	ends  map[kafka.TopicPartition]int64
	at    time.Time
	err   error
}

func (l *lags) open(admin kafka.Admin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admin = admin
}

// close waits for a question under way.
func (l *lags) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admin = nil
}

// fill fills in lags, and says why they are not known.
func (l *lags) fill(ctx context.Context, now time.Time, parts []status.Partition) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admin == nil {
		return errNotRunning.Error()
	}
	l.refresh(ctx, now, parts)
	if l.err != nil {
		return l.err.Error()
	}
	for i := range parts {
		l.of(&parts[i])
	}
	return ""
}

// refresh asks for the ends of all sources. Called with mu held.
func (l *lags) refresh(ctx context.Context, now time.Time, parts []status.Partition) {
	var tps []kafka.TopicPartition
	known := true
	for _, p := range parts {
		for _, a := range p.Agents {
			tp := kafka.TopicPartition{Topic: a.Topic, Partition: p.Partition}
			if a.Topic == "" {
				continue
			}
			if _, ok := l.ends[tp]; !ok {
				known = false
			}
			if !slices.Contains(tps, tp) {
				tps = append(tps, tp)
			}
		}
	}
	if len(tps) == 0 || known && now.Sub(l.at) < endsFor {
		return
	}
	ask, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	ends, err := l.admin.Ends(ask, kafka.ReadCommitted, tps...)
	if l.err = err; err == nil {
		l.ends, l.at = ends, now
	}
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
