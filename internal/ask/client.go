package ask

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	// freshFor is how long it is believed that a topology runs, and what its topics are.
	freshFor = time.Second
	// pollWait is how long one look for answers waits.
	pollWait = 100 * time.Millisecond
	// startFor is how long a topology that does not run is waited for, at most; else a quarter of the time.
	startFor = 5 * time.Second
	// askAgain is how long the answer holds that it does not run.
	askAgain = 100 * time.Millisecond
	// castTimeout bounds a cast whose context has no deadline.
	castTimeout = 30 * time.Second
	// lookFor is how long before the deadline of a request somebody looks why it is not answered, at most; else a quarter of its time.
	lookFor = 2 * time.Second
)

// Client asks agents of any topologies of one cluster. Any goroutine may use it. It implements topology.Asker.
type Client struct {
	admin kafka.Operator
	open  func() (kafka.Reader, error)
	id    string
	ends  context.Context //nolint:containedctx // of the client's goroutines
	end   context.CancelFunc
	wg    sync.WaitGroup
	kick  chan struct{}

	opening turn // held while it is found out whether a topology runs, and from where answers are read
	places  map[string]*place
	absent  map[string]time.Time // when a topology was last seen without nodes
	reader  kafka.Reader         // nil: none is open

	looking turn
	looks   map[string]*look

	mu      sync.Mutex
	closed  bool
	number  uint64
	waiting map[string]*asking
	queue   []*asking // to be sent
}

var _ topology.Asker = (*Client)(nil)

// turn is a lock that nobody waits for beyond his deadline.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) end() { <-t }

// asking is a request that waits for its answer; a cast that waits until it is written.
type asking struct {
	id       string
	rq       plan.Request
	tp       kafka.TopicPartition // of the request
	headers  []byte
	deadline time.Time
	done     func([]byte, error)
	cast     bool
	stop     []func() bool // what would end it otherwise

	// Behind Client.mu.
	offset int64 // of the request; -1: it is not known to be written
	why    error // found shortly before the deadline
}

// New makes a client. admin and the readers that open opens are of one cluster; the client closes the readers, not admin.
func New(admin kafka.Operator, open func() (kafka.Reader, error)) *Client {
	c := &Client{
		admin: admin, open: open, id: rand.Text(), kick: make(chan struct{}, 1),
		opening: make(turn, 1), looking: make(turn, 1),
		places: map[string]*place{}, absent: map[string]time.Time{}, looks: map[string]*look{}, waiting: map[string]*asking{},
	}
	c.ends, c.end = context.WithCancel(context.Background())
	c.wg.Go(c.send)
	return c
}

// Close ends the client: what waits for an answer fails with topology.ErrAskerClosed. It is safe to call twice.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var ids []string
	for id := range c.waiting {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for _, id := range ids {
		c.give(id, nil, topology.ErrAskerClosed)
	}
	c.end()
	c.wg.Wait()
	c.opening <- struct{}{} // whoever has it is told by ends that it is over
	defer c.opening.end()
	if c.reader == nil {
		return nil
	}
	err := c.reader.Close()
	c.reader = nil
	return err
}

// within is a context that ends with the client too.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ends, cancel)
	return ctx, func() { stop(); cancel() }
}

// goes runs f on a goroutine that Close waits for; not when the client is closed.
func (c *Client) goes(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Go(f)
	}
}

// Request implements topology.Asker.
func (c *Client) Request(ctx context.Context, r plan.Request, done func([]byte, error)) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return topology.ErrNoDeadline
	}
	p, err := c.placeOf(ctx, r)
	if err != nil {
		return err
	}
	a := &asking{rq: r, deadline: deadline, done: done, offset: -1, tp: p.request(r)}
	if err := c.register(a, p); err != nil {
		return err
	}
	early := min(lookFor, time.Until(deadline)/4)
	why := time.AfterFunc(time.Until(deadline)-early, func() { c.goes(func() { c.find(ctx, a) }) })
	c.mu.Lock()
	a.stop = append(a.stop, context.AfterFunc(ctx, func() { c.expire(ctx, a) }), why.Stop)
	c.queue = append(c.queue, a)
	c.mu.Unlock()
	c.wake()
	return nil
}

// Cast implements topology.Asker.
func (c *Client) Cast(ctx context.Context, r plan.Request) error {
	ctx, cancel := context.WithTimeout(ctx, castTimeout)
	defer cancel()
	p, err := c.placeOf(ctx, r)
	if err != nil {
		return err
	}
	got := make(chan error, 1)
	deadline, _ := ctx.Deadline()
	a := &asking{rq: r, deadline: deadline, done: func(_ []byte, err error) { got <- err }, offset: -1, tp: p.request(r), cast: true}
	if err := c.register(a, p); err != nil {
		return err
	}
	c.mu.Lock()
	a.stop = append(a.stop, context.AfterFunc(ctx, func() { c.give(a.id, nil, ctx.Err()) }))
	c.queue = append(c.queue, a)
	c.mu.Unlock()
	c.wake()
	return <-got // at the end of ctx at the latest
}

// register gives a request its id and waits for its answer from now on: before it is sent.
func (c *Client) register(a *asking, p *place) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return topology.ErrAskerClosed
	}
	c.number++
	a.id = c.id + "-" + strconv.FormatUint(c.number, 10)
	if !a.cast {
		a.headers = kafka.AppendHeaders(nil, kafka.Ask{
			ID: a.id, Topology: a.rq.Plan.Name, Agent: a.rq.Agent.Name, Topic: a.rq.Agent.Source.Name, Partition: p.replies.Partition, By: a.rq.By,
		}.Header())
	}
	c.waiting[a.id] = a
	return nil
}

// give ends a request, unless it has ended.
func (c *Client) give(id string, answer []byte, err error) {
	c.mu.Lock()
	a := c.waiting[id]
	delete(c.waiting, id)
	var stop []func() bool
	if a != nil {
		stop = a.stop
	}
	c.mu.Unlock()
	if a == nil {
		return
	}
	for _, f := range stop {
		f()
	}
	a.done(answer, err)
}

// expire ends a request whose context has ended.
func (c *Client) expire(ctx context.Context, a *asking) {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		c.mu.Lock()
		why, offset := a.why, a.offset
		c.mu.Unlock()
		switch {
		case offset < 0:
			err = fmt.Errorf("the request is not known to be written: no broker has acknowledged it: %w", err)
		case why == nil:
			err = fmt.Errorf("%w: nobody could be asked why: %w", topology.ErrSlow, err)
		default:
			err = fmt.Errorf("%w: %w", why, err)
		}
	}
	c.give(a.id, nil, err)
}

func (c *Client) wake() {
	select {
	case c.kick <- struct{}{}:
	default: // it will look
	}
}

// send writes requests, as many at once as there are, until the client ends.
func (c *Client) send() {
	for {
		select {
		case <-c.ends.Done():
			return
		case <-c.kick:
		}
		c.mu.Lock()
		all := c.queue
		c.queue = nil
		c.mu.Unlock()
		c.write(all)
	}
}

// write writes requests and notes where they are.
func (c *Client) write(all []*asking) {
	var names []string
	topics := map[string]int32{}
	out := new(kafka.Outputs)
	var sent []*asking
	var latest time.Time
	for _, a := range all {
		if !c.waits(a) {
			continue
		}
		n, ok := topics[a.tp.Topic]
		if !ok {
			n = int32(len(names))
			topics[a.tp.Topic], names = n, append(names, a.tp.Topic)
		}
		out.Append(n, a.tp.Partition, 0, a.rq.Key, a.rq.Value, a.headers)
		sent = append(sent, a)
		if a.deadline.After(latest) {
			latest = a.deadline
		}
	}
	if len(sent) == 0 {
		return
	}
	ctx, cancel := context.WithDeadline(c.ends, latest)
	defer cancel()
	offsets, err := c.admin.Produce(ctx, names, out)
	for i, a := range sent {
		switch {
		case i < len(offsets) && offsets[i] >= 0:
			c.mu.Lock()
			a.offset = offsets[i]
			c.mu.Unlock()
			if a.cast {
				c.give(a.id, nil, nil)
			}
		case err != nil:
			c.give(a.id, nil, fmt.Errorf("send the request: %w", err))
		}
	}
}

func (c *Client) waits(a *asking) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting[a.id] == a
}

// read gives answers to those who wait for them, until the reader fails or the client ends.
func (c *Client) read(r kafka.Reader) {
	for c.ends.Err() == nil {
		b, err := r.Poll(pollWait)
		if err != nil {
			c.broken(r, err)
			return
		}
		if b == nil {
			continue
		}
		for i := range b.Records {
			reply := kafka.ParseReply(b.RawHeaders(i))
			switch {
			case reply == nil: // of somebody else's
			case reply.Failure != nil:
				c.give(reply.ID, nil, &topology.AskError{Agent: reply.Agent, ReplyFailure: *reply.Failure})
			default:
				c.give(reply.ID, b.Value(i), nil)
			}
		}
	}
}

// broken lets go of a reader that has failed: who waits is told, and the next ask opens another.
func (c *Client) broken(r kafka.Reader, err error) {
	c.opening <- struct{}{}
	if c.reader == r {
		c.reader, c.places = nil, map[string]*place{}
	}
	c.opening.end()
	err = errors.Join(fmt.Errorf("answers cannot be read any more: %w", err), r.Close())
	c.mu.Lock()
	var ids []string
	for id, a := range c.waiting {
		if !a.cast {
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		c.give(id, nil, err)
	}
}
