package topology

import (
	"context"
	"fmt"
	"reflect"

	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Puts lets records into a channel from outside the topology: by Channel.Put from any program, by `node send` and over HTTP (POST /put, docs/operations.md).
// It says how they are written on their way. They travel through an internal topic TOPOLOGY-NAME-puts, which is made and purged by the nodes, has
// as many partitions as what feeds the channel beside it, and is read by an agent NAME-puts: so, other than what agents send to the channel,
// they are durable from the moment that Put returns, and handled exactly once. There is room for them as long as the brokers have some; while
// the channel has none, they wait in that topic.
func Puts[K, V any](keys codec.Codec[K], values codec.Codec[V]) ChannelOption {
	return func(d *topicDef) { d.inlet = &inlet[K, V]{keys, values} }
}

// inlet is how a channel is given records from outside.
type inlet[K, V any] struct {
	keys   codec.Codec[K]
	values codec.Codec[V]
}

// openInlet makes the topic and the agent behind Puts.
func (c *Channel[K, V]) openInlet() {
	d := c.def
	in, ok := d.inlet.(*inlet[K, V])
	if !ok {
		d.t.fault("channel %s is of keys %s and values %s, topology.Puts was given other codecs: pass it those of these types", d.name,
			reflect.TypeFor[K](), reflect.TypeFor[V]())
		return
	}
	c.puts = NewTopic(d.t, fmt.Sprintf("%s-%s-puts", d.t.name, d.name), in.keys, in.values)
	c.puts.def.kind = plan.Repartition
	d.outside = c.puts.def
	Each(d.t, putter(d), c.puts, func(ctx *Context, ev Event[K, V]) error {
		c.put(ctx.turn(), ev.Key, ev.Value, sending{headers: ev.rec.B.RawHeaders(ev.rec.I), nullKey: ev.NullKey, nullValue: ev.NullValue})
		return nil
	}, Sends(c))
}

// putter is the name of the agent behind Puts.
func putter(d *topicDef) string { return d.name + "-puts" }

// Put gives a channel with the option Puts a record from outside the topology. It returns when all replicas of its topic have the record, at the
// latest when ctx or 30 seconds are over; after an error the record may or may not have been taken. The agents handle it some time after
// that, exactly once. It may be called from any goroutine, inside a handler too: but that it is sent is then no part of the record at hand, which
// may be handled again; handlers use Send. Errors: ErrNotRunning, ErrAskerClosed, those of the codecs and of ctx.
func (c *Channel[K, V]) Put(ctx context.Context, via Asker, key K, value V) error {
	err := c.putOutside(ctx, via, key, value)
	if err != nil {
		return fmt.Errorf("put into channel %s of topology %s: %w", c.def.name, c.def.t.name, err)
	}
	return nil
}

func (c *Channel[K, V]) putOutside(ctx context.Context, via Asker, key K, value V) error {
	if c.puts == nil {
		return fmt.Errorf("it takes nothing from outside: define it with topology.Puts(codec for %s, codec for %s)", reflect.TypeFor[K](), reflect.TypeFor[V]())
	}
	if err := checkAsker(via); err != nil {
		return err
	}
	rq, err := requestTo(c.def.t, putter(c.def), c.puts, key, value)
	if err != nil {
		return err
	}
	return via.Cast(ctx, rq) //nolint:wrapcheck // wrapped by Put
}
