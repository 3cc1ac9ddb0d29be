package conformance

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/simulate/client"
	"github.com/troupe-stream/troupe/integration/simulate/ground"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// modelLibrary is the model of librdkafka. Each step of a script runs in a coroutine, until it is over.
type modelLibrary struct {
	*model
	t    *testing.T
	s    *sched.Sched
	proc *sched.Proc
	net  *client.Net
}

func newModelLibrary(t *testing.T) library {
	t.Helper()
	m := newModel(t).(*model) //nolint:forcetypeassert // what it makes
	l := &modelLibrary{model: m, t: t, s: sched.New(1)}
	l.s.Quiet()
	l.proc = l.s.Proc("client")
	l.net = &client.Net{S: l.s, B: m.b, Kafka: l.s.Proc("kafka")}
	t.Cleanup(l.s.Close)
	return l
}

// step does the next thing of the clients, or lets time pass.
func (l *modelLibrary) step() {
	if !l.s.Step() {
		l.s.Advance(pollTime)
	}
	require.NoError(l.t, l.s.Err())
	l.now = l.s.Now()
	l.b.SetNow(l.now)
}

func (l *modelLibrary) pass() {
	l.step()
	l.marker()
}

// do runs f in a coroutine.
func (l *modelLibrary) do(f func()) {
	over := false
	l.s.Go(l.proc, "script", func() { f(); over = true })
	for !over {
		l.pass()
	}
}

func (l *modelLibrary) loseAnswer() (lost func() bool) { return l.s.Force("answer lost: EndTxn") }

func (l *modelLibrary) driver() *client.Driver {
	return client.NewDriver(l.net, l.proc, ground.New(l.s, l.proc), slog.New(slog.DiscardHandler))
}

func (l *modelLibrary) holdAnswer() (held func() bool) {
	return l.s.Force("answer never comes: EndTxn")
}

type modelProducer struct {
	l  *modelLibrary
	id string
	tx protocol.Transactor
}

func (l *modelLibrary) producer(id string) libProducer { return &modelProducer{l: l, id: id} }

func (p *modelProducer) write(tp kafka.TopicPartition, value string) (err error) {
	p.l.do(func() {
		if p.tx == nil {
			p.tx, err = p.l.driver().OpenTransactor(context.Background(), kafka.GroupConfig{Group: p.id, Instance: "x"}, []string{tp.Topic})
		}
		if err == nil {
			err = p.tx.Begin()
		}
		if err == nil {
			out := new(kafka.Outputs)
			out.Append(0, tp.Partition, 0, []byte("k"), []byte(value), nil)
			err = errors.Join(p.tx.Produce(context.Background(), []*kafka.Outputs{out}), p.tx.Flush(context.Background()))
		}
	})
	return err
}

func (p *modelProducer) commit(time.Duration) (err error) {
	p.l.do(func() { err = p.tx.Commit(context.Background()) })
	return err
}

func (p *modelProducer) abort() (err error) {
	p.l.do(func() { err = p.tx.Abort(context.Background()) })
	return err
}

type modelConsumer struct {
	l      *modelLibrary
	c      protocol.Consumer
	slots  map[int32]bool
	revoke func([]int32)
	at     map[kafka.TopicPartition]int64
}

func (l *modelLibrary) consumer(topic, group, instance string) libConsumer {
	c := &modelConsumer{l: l, slots: map[int32]bool{}, at: map[kafka.TopicPartition]int64{}}
	c.revoke = func([]int32) { c.unassign() }
	c.c = l.driver().OpenConsumer(kafka.GroupConfig{Group: group, Instance: instance}, modelEvents{c})
	l.do(func() {
		require.NoError(l.t, c.c.Subscribe(topic, func(slots []int32) {
			for _, x := range slots {
				c.slots[x] = true
			}
			_ = c.c.Assign(nil)
		}, func(slots []int32) {
			for _, x := range slots {
				delete(c.slots, x)
			}
			c.revoke(slots)
		}))
	})
	return c
}

func (c *modelConsumer) poll()                          { c.l.do(func() { c.c.Poll(pollTime) }) }
func (c *modelConsumer) owned() int                     { return len(c.slots) }
func (c *modelConsumer) onRevoke(f func(slots []int32)) { c.revoke = f }

func (c *modelConsumer) assign(tp kafka.TopicPartition, from int64) error {
	return c.c.Assign([]kafka.Position{{TopicPartition: tp, Offset: from}})
}

func (c *modelConsumer) unassign(tps ...kafka.TopicPartition) { _ = c.c.Unassign(tps) }

func (c *modelConsumer) position(tp kafka.TopicPartition) int64 {
	if at, ok := c.at[tp]; ok {
		return at
	}
	return -1
}

func (c *modelConsumer) member() kafka.Member {
	m, err := c.c.Member()
	require.NoError(c.l.t, err)
	return m.Member
}

// modelEvents follows the position.
type modelEvents struct{ c *modelConsumer }

// Batch implements protocol.Events.
func (e modelEvents) Batch(b *kafka.Batch) {
	e.c.at[kafka.TopicPartition{Topic: b.Topic, Partition: b.Partition}] = b.Next
}

// Failed implements protocol.Events.
func (e modelEvents) Failed(err error, _ bool) { e.c.l.t.Error(err) }

func TestModelOfLibrary(t *testing.T) {
	t.Parallel()
	runClients(t, newModelLibrary)
}
