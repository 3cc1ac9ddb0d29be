package actors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// topicRefresh is how often a node looks for topics that match patterns, where nothing else is said.
const topicRefresh = 30 * time.Second

// How often a node that begins anew tries to, and how long it waits the first time; twice as long each time.
const (
	renewAttempts = 6
	renewPause    = time.Second
)

// Resolve returns a plan with the topics of the cluster that match its patterns. left says of topics that match and cannot be read why that is. A plan without
// patterns is returned as it is, and nobody is asked.
func Resolve(ctx context.Context, p *plan.Plan, admin kafka.Admin) (resolved *plan.Plan, left []error, err error) {
	if len(p.Patterns) == 0 {
		return p, nil, nil
	}
	names, err := admin.AllTopics(ctx)
	if err != nil {
		return nil, nil, err
	}
	matches, left := p.Matches(names)
	return p.With(matches), left, nil
}

// resolve finds the topics of the patterns, and says what there is.
func (n *Node) resolve(ctx context.Context, admin kafka.Admin) (*plan.Plan, error) {
	p, left, err := Resolve(ctx, n.defined, admin)
	if err != nil {
		return nil, err
	}
	if len(left) > 0 && n.cfg.Strict {
		return nil, errors.Join(left...)
	}
	n.leftOut(left)
	for _, x := range p.Patterns {
		if found := matched(p, x); len(found) > 0 {
			n.log.Info("topics match a pattern", "pattern", x.Name, "topics", found)
		} else {
			n.log.Warn("no topic matches a pattern: its agents wait for one", "pattern", x.Name, "expression", x.Expr, "again_after", n.cfg.TopicRefresh)
		}
	}
	return p, nil
}

// leftOut warns of topics that match and are not read, once for each reason.
func (n *Node) leftOut(why []error) {
	for _, err := range why {
		if !n.warned[err.Error()] {
			n.log.Warn("a topic that matches is not read", "error", err)
		}
	}
	n.warned = map[string]bool{}
	for _, err := range why {
		n.warned[err.Error()] = true
	}
}

// matched are the topics of a pattern in a plan, sorted by name.
func matched(p *plan.Plan, of *plan.Pattern) (names []string) {
	for _, t := range p.Topics {
		if t.Pattern == of {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names
}

// SlotPatterns are the patterns of a plan as the slot map sees them, of topics that are there.
func SlotPatterns(p *plan.Plan, have map[string]kafka.TopicState) []kafka.SlotPattern {
	ids := map[string]string{}
	for name, t := range have {
		ids[name] = t.ID
	}
	return slotPatterns(p, ids)
}

func slotPatterns(p *plan.Plan, ids map[string]string) (all []kafka.SlotPattern) {
	for _, x := range p.Patterns {
		s := kafka.SlotPattern{Name: x.Name, Topics: map[string]string{}}
		for _, name := range matched(p, x) {
			s.Topics[name] = ids[name]
		}
		all = append(all, s)
	}
	return all
}

// lookForTopics says why the node is to begin anew; empty: it is not.
func (n *Node) lookForTopics(ctx context.Context, admin kafka.Admin, p *plan.Plan) (why string) {
	moved, err := n.moved(ctx, admin, p)
	switch {
	case moved:
		return "other topics match"
	case err != nil && !errors.Is(context.Cause(ctx), context.Canceled):
		n.log.Warn("the topics that match patterns were not looked for; tried again later", "error", err)
	}
	return ""
}

// moved says whether other topics match the patterns than when the node began. New ones that it may not read are left out.
func (n *Node) moved(ctx context.Context, admin kafka.Admin, p *plan.Plan) (bool, error) {
	next, left, err := Resolve(ctx, n.defined, admin)
	if err != nil {
		return false, err
	}
	n.leftOut(left)
	differs := false
	for _, x := range p.Patterns {
		differs = differs || !slices.Equal(matched(p, x), matched(next, x))
	}
	if !differs {
		return false, nil
	}
	if err := checkRights(ctx, next, admin); err != nil {
		n.leftOut(append(left, err))
		return false, nil
	}
	return true, nil
}

// renew has the node end what it does in order, keeping its slots, and begin anew with the topics that match by then.
func (n *Node) renew(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped || n.err != nil {
		return
	}
	n.log.Info("the topics that match patterns have changed: the node begins anew, and keeps its partitions", "reason", why)
	n.renewing = true
	n.leave()
}

// renews says whether the node begins anew when it has let go of everything: its slots are kept for it.
func (n *Node) renews() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.renewing && !n.stopped && n.err == nil
}

// again begins anew, if the node is to. It says why it could not.
func (n *Node) again() (*life, error) {
	for pause, i := renewPause, 1; n.renews(); pause, i = 2*pause, i+1 {
		ctx, cancel := context.WithCancel(context.Background())
		n.mu.Lock()
		n.leave, n.root = cancel, nil // Stop ends it
		stopped := n.stopped
		n.mu.Unlock()
		if stopped {
			cancel()
			return nil, nil //nolint:nilnil // it is to stop
		}
		crashpoint.Hit("renew.opening")
		l, err := n.open(ctx)
		if err == nil {
			n.mu.Lock()
			n.renewing = false
			n.mu.Unlock()
			cancel()
			return l, nil
		}
		n.close()
		if ctx.Err() != nil {
			return nil, nil //nolint:nilnil,nilerr // it was stopped meanwhile
		}
		if i == renewAttempts || errors.Is(err, kafka.ErrDenied) {
			cancel()
			return nil, err
		}
		n.log.Warn("the node cannot begin anew yet", "error", err, "again_after", pause)
		_ = n.ground.Sleep(ctx, pause)
		cancel()
	}
	return nil, nil //nolint:nilnil // it is to end
}

// changedTopics says in a few words what has changed of topics that match patterns.
func changedTopics(names []string) string {
	return "topics " + strings.Join(names, ", ") + " were deleted, made anew or given further partitions"
}
