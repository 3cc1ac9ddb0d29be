// Package client is a model of the Kafka clients that nodes use (librdkafka, and the raw requests beside it), on the model of
// the broker: what package kafka/confluent is to a real cluster. The protocol above it, package kafka/protocol, is the real
// one. Requests and answers are lost, late, or carried out though the client saw an error, as fate has it.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// Net is the cluster, and the way to it.
type Net struct {
	S *sched.Sched
	B *broker.Broker
	// Kafka is the process that late requests belong to: they outlive who sent them.
	Kafka *sched.Proc
	// Kill and Pause do that to the process of a request, in the middle of it.
	Kill  func(p *sched.Proc)
	Pause func(p *sched.Proc)

	// OutOfRange is told of a consumer that reads before the start of a log; nil: nobody is.
	OutOfRange func()
	// Away says until when the coordinator of a transactional id loads what it knows. The processes share it.
	Away map[string]time.Time
}

// ofTxn carries out a request to the coordinator of a transactional id. The coordinator may be lost with what it has just done, and its
// successor loads for a while: whoever asks for that id waits, be it its producer or who wants to fence it.
func ofTxn[T any](d *Driver, id, name string, f func() (T, error)) func() (T, error) {
	n := d.net
	return func() (T, error) {
		if n.S.Now().Before(n.Away[id]) {
			var none T
			return none, broker.CoordinatorLoading
		}
		x, err := f()
		if err == nil && n.S.Chance("coordinator lost after "+name, 15) {
			if n.Away == nil {
				n.Away = map[string]time.Time{}
			}
			n.Away[id] = n.S.Now().Add(time.Duration(n.S.Rand().Int64N(int64(maxAway))))
			var none T
			return none, errTransport
		}
		return x, err
	}
}

// Driver opens clients of one process.
type Driver struct {
	net  *Net
	proc *sched.Proc
	rt   protocol.Runtime
	log  *slog.Logger
	lost map[string]int // connections, by the request that was under way
}

var _ kafka.Driver = (*Driver)(nil)

// NewDriver makes the driver of a process.
func NewDriver(net *Net, proc *sched.Proc, rt protocol.Runtime, log *slog.Logger) *Driver {
	return &Driver{net, proc, rt, log, map[string]int{}}
}

// OpenAdmin implements kafka.Driver.
func (d *Driver) OpenAdmin() (kafka.Admin, error) { return &admin{d}, nil }

// OpenReader implements kafka.Driver.
func (d *Driver) OpenReader() (kafka.Reader, error) { return &reader{d: d}, nil }

// OpenGroup implements kafka.Driver.
func (d *Driver) OpenGroup(cfg kafka.GroupConfig) (kafka.Group, error) {
	g, err := protocol.NewGroup(cfg, d.log, d.rt, &wire{d, cfg.Group}, func(ev protocol.Events) (protocol.Consumer, error) {
		return newConsumer(d, cfg, ev), nil
	})
	return &group{g, cfg}, err
}

// group is a group with what it was opened with.
type group struct {
	*protocol.Group
	cfg kafka.GroupConfig
}

// OpenProducer implements kafka.Driver.
func (d *Driver) OpenProducer(ctx context.Context, g kafka.Group, topics []string) (kafka.Producer, error) {
	own, ok := g.(*group)
	if !ok {
		return nil, fmt.Errorf("open producer: the group is a %T", g)
	}
	return protocol.NewProducer(ctx, own.Group, &wire{d, own.cfg.Group}, func(ctx context.Context) (protocol.Transactor, protocol.Plain, error) {
		t, err := openTransactor(ctx, d, own.cfg, topics)
		if err != nil || !own.cfg.AtLeastOnce {
			return t, nil, err
		}
		return t, &plain{d: d, topics: topics}, nil
	})
}

// errTransport is what a client sees when a connection breaks: it cannot tell whether the request was carried out.
var errTransport = errors.New("connection lost")

// Times of the clients.
const (
	reconnect  = 5 * time.Millisecond // the shortest wait before a request is sent on another connection
	backoff    = 5 * time.Millisecond
	askTimeout = 10 * time.Second
	maxLate    = 2 * time.Second // how long a request may be held back on a dead connection, or an answer on a slow one
	maxAway    = 3 * time.Second // how long a coordinator of transactions loads
)

// ask sends one request. f carries it out; it may be called later than ask returns, or never.
func ask[T any](d *Driver, name string, f func() (T, error)) (T, error) {
	var none T
	s := d.net.S
	s.Yield()
	d.disturb("before", name)
	switch {
	case s.Chance("request lost: "+name, 25):
		s.Sleep(context.Background(), reconnect)
		return none, errTransport
	case s.Chance("request late: "+name, 25):
		s.After(d.net.Kafka, d.late(), func() {
			_, err := f()
			s.Logf("late %s of %s: %v", name, d.proc.Name, err)
		})
		s.Sleep(context.Background(), reconnect)
		return none, errTransport
	case s.Chance("coordinator moved: "+name, 25):
		s.Sleep(context.Background(), backoff)
		return none, broker.NotCoordinator
	}
	x, err := f()
	if s.Tracing() {
		s.Logf("%s asks %s: %v %v", d.proc.Name, name, brief(x), err)
	}
	d.disturb("after", name)
	s.Yield()
	switch {
	case s.Chance("answer lost: "+name, 25):
		s.Sleep(context.Background(), reconnect)
		return none, errTransport
	case s.Chance("answer late: "+name, 25):
		s.Sleep(context.Background(), d.late())
	}
	return x, err
}

// late is how long something stays on its way.
func (d *Driver) late() time.Duration {
	late := time.Duration(d.net.S.Rand().Int64N(int64(maxLate)))
	if d.net.S.Rand().IntN(2) == 0 {
		late /= 16
	}
	return late
}

// disturb kills or pauses the process of a request, before or after it was carried out.
func (d *Driver) disturb(when, name string) {
	s, per := d.net.S, 3
	switch name {
	case "JoinGroup", "SyncGroup", "OffsetFetch", "OffsetCommit", "InitProducerId", "LeaveGroup": // of taking and leaving: they are few
		per = 12
	}
	switch {
	case s.Chance("process killed "+when+" "+name, per):
		d.net.Kill(d.proc)
		s.Yield() // it ends here
	case s.Chance("process paused "+when+" "+name, 2*per):
		d.net.Pause(d.proc)
		s.Yield()
	}
}

func brief(x any) string {
	text := fmt.Sprintf("%+v", x)
	const most = 200
	if len(text) > most {
		text = text[:most]
	}
	return text
}

// again sends a request until it is answered with something else than an error that passes, or time is over.
func again[T any](ctx context.Context, d *Driver, name string, f func() (T, error)) (T, error) {
	end := d.net.S.Now().Add(askTimeout)
	for {
		x, err := ask(d, name, f)
		if errors.Is(err, errTransport) {
			d.lost[name]++
		}
		if !passes(err) {
			return x, err
		}
		if ctx.Err() != nil || d.net.S.Now().After(end) {
			return x, fmt.Errorf("%s: %w", name, err)
		}
		d.net.S.Sleep(ctx, backoff)
	}
}

func passes(err error) bool {
	switch {
	case errors.Is(err, errTransport), errors.Is(err, broker.NotCoordinator), errors.Is(err, broker.NotLeader),
		errors.Is(err, broker.CoordinatorLoading), errors.Is(err, broker.NotEnoughReplicas),
		errors.Is(err, broker.ConcurrentTransactions):
		return true
	}
	return false
}

// kind is what an error of the broker means to the protocol.
func kind(err error) error {
	var e broker.Err
	if !errors.As(err, &e) {
		return err
	}
	switch e { //nolint:exhaustive // the others say nothing about what was done
	case broker.MessageTooLarge, broker.TopicAuthorization, broker.UnknownTopicOrPartition, broker.OffsetMetadataTooLarge:
		return protocol.WithKind(err, protocol.Sick)
	case broker.InvalidProducerEpoch, broker.InvalidPIDMapping:
		return protocol.WithKind(err, protocol.Fenced)
	case broker.UnknownMemberID, broker.FencedInstanceID:
		return protocol.WithKind(err, protocol.NotMember)
	}
	return err
}

// done is the result of a request without one.
type done struct{}
