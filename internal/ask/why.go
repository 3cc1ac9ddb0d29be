package ask

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
)

// look is what was seen of a topology's nodes at some moment.
type look struct {
	at    time.Time
	group kafka.GroupState
	slots *kafka.SlotMap
	err   error
	alive map[string]error // by address: whether the node takes connections
}

// find finds out why a request is not answered yet, shortly before its deadline.
func (c *Client) find(ctx context.Context, a *asking) {
	if !c.waits(a) {
		return
	}
	ctx, cancel := c.within(ctx)
	defer cancel()
	err := c.why(ctx, a)
	c.mu.Lock()
	defer c.mu.Unlock()
	a.why = err
}

func (c *Client) why(ctx context.Context, a *asking) error {
	l := c.lookAt(ctx, a.rq.Plan.Name)
	if l.err != nil {
		return fmt.Errorf("%w; why is not known: %w", topology.ErrSlow, l.err)
	}
	if len(l.group.Members) == 0 {
		return fmt.Errorf("%w any more: the request %s/%d waits for a node", topology.ErrNotRunning, a.tp.Topic, a.tp.Partition)
	}
	owner, ok := l.owner(a)
	if !ok {
		return fmt.Errorf("%w: nobody has the partition %s/%d at the moment; %d nodes are left", topology.ErrDeadOwner, a.tp.Topic, a.tp.Partition, len(l.group.Members))
	}
	who := owner.Instance
	if at := gateway.Advertised(owner.Client); at != "" {
		if err := c.connects(ctx, l, at); err != nil {
			return fmt.Errorf("%w: %s has the partition %s/%d: %w", topology.ErrDeadOwner, who, a.tp.Topic, a.tp.Partition, err)
		}
		who += " is there,"
	}
	return fmt.Errorf("%w: node %s has the partition %s/%d%s", topology.ErrSlow, who, a.tp.Topic, a.tp.Partition, c.before(ctx, a))
}

// before says how many records the agent's partition has to do before the request.
func (c *Client) before(ctx context.Context, a *asking) string {
	c.mu.Lock()
	offset := a.offset
	c.mu.Unlock()
	at, err := c.admin.CommittedOffsets(ctx, a.rq.Plan.Name, a.tp)
	if err != nil || offset < 0 {
		return ""
	}
	switch n := offset - max(at[a.tp].Offset, 0); {
	case n < 0:
		return " and has passed the request, but its answer was not seen: does it run a version in which this agent answers?"
	case n == 0:
		return " and comes to the request next, or is at it"
	default:
		return fmt.Sprintf(" and is %d offsets before the request", n)
	}
}

// lookAt looks at the nodes of a topology; what was seen a moment ago is good enough.
func (c *Client) lookAt(ctx context.Context, name string) *look {
	if err := c.looking.take(ctx); err != nil {
		return &look{err: err}
	}
	defer c.looking.end()
	if l := c.looks[name]; l != nil && time.Since(l.at) < freshFor {
		return l
	}
	l := &look{at: time.Now(), alive: map[string]error{}}
	l.group, l.err = c.admin.Group(ctx, name)
	if l.err == nil && len(l.group.Members) > 0 {
		l.slots, l.err = c.slots(ctx, name)
	}
	c.looks[name] = l
	return l
}

// slots reads the slot map.
func (c *Client) slots(ctx context.Context, name string) (_ *kafka.SlotMap, err error) {
	tp := kafka.TopicPartition{Topic: kafka.SlotsTopic(name)}
	ends, err := c.admin.Ends(ctx, kafka.ReadUncommitted, tp)
	if err != nil {
		return nil, err
	}
	r, err := c.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	batches, err := kafka.ReadAll(ctx, r, tp, 0, ends[tp])
	if err != nil {
		return nil, err
	}
	m := kafka.NewSlotMap(name)
	for _, b := range batches {
		for i := range b.Records {
			if err := m.Fold(b.Key(i), b.Value(i)); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// owner is the member that has the partition of a request.
func (l *look) owner(a *asking) (m kafka.GroupMember, ok bool) {
	slot, ok := l.slots.Slot(a.rq.Plan.Stages[a.rq.Agent.Stage].Key, a.tp.Partition)
	if !ok {
		return m, false
	}
	for _, m := range l.group.Members {
		for _, tp := range m.Assigned {
			if tp.Partition == slot {
				return m, true
			}
		}
	}
	return m, false
}

// connects says whether a node takes connections where it serves HTTP.
func (c *Client) connects(ctx context.Context, l *look, at string) error {
	if c.looking.take(ctx) != nil {
		return nil // there is no time to find out
	}
	defer c.looking.end()
	err, known := l.alive[at]
	if known {
		return err
	}
	u, err := url.Parse(at)
	if err == nil {
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, "tcp", u.Host); err == nil {
			err = conn.Close()
		}
	}
	l.alive[at] = err
	return err
}
