package topology

import (
	"crypto/sha256"
	"slices"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// JoinForeign keeps in a table what fn makes of each row of the left table and the row of the right one that it names by its key (Kafka Streams:
// KTable.join with a foreign key extractor, KIP-213). foreign says which key a row of the left table names; ok is false for none. The result is
// kept up by the changes of either table: a row of it has, after a change of the left one, the later time of the two; after one of the right
// one the time of that.
//
// The tables need not be co-partitioned, and are not brought together: rows of the left table subscribe to the key that they name, through an
// internal topic TOPOLOGY-NAME-subscriptions-repartition, in a table NAME-subscriptions beside the right one; and are answered through
// TOPOLOGY-NAME-responses-repartition, at once and at each change of the right row. NAME is that of the result, unless Named says otherwise. An answer
// to what the left row is not any more is dropped. So the result follows both tables with the delay of two topics; what makes the rows of the
// left table must be declared in the topology together with the join, since rows that were written before it have not subscribed.
//
// A change of a row that n others name makes n records in one transaction. foreign and fn run inside shards, perhaps twice: they must be pure.
func JoinForeign[K, L, F, R, V any](left *Table[K, L], right *Table[F, R], into *Table[K, V], foreign func(key K, left L) (named F, ok bool), fn func(left L, right R) V, opts ...FlowOption) {
	joinForeign(left, right, into, "JoinForeign", foreign, fn == nil, false, func(l L, r R, _ bool) V { return fn(l, r) }, opts)
}

// LeftJoinForeign is JoinForeign with a row for each row of the left table (Kafka Streams: KTable.leftJoin with a foreign key extractor): ok is
// false where it names none, or one that is not there.
func LeftJoinForeign[K, L, F, R, V any](left *Table[K, L], right *Table[F, R], into *Table[K, V], foreign func(key K, left L) (named F, ok bool), fn func(left L, right R, ok bool) V, opts ...FlowOption) {
	joinForeign(left, right, into, "LeftJoinForeign", foreign, fn == nil, true, fn, opts)
}

// foreignJoin is a join by foreign key. The left table's stage has what subscribes and what takes answers, the right one's what
// keeps subscriptions and answers.
type foreignJoin[K, L, F, R, V any] struct {
	left          *Table[K, L]
	right         *Table[F, R]
	into          *Table[K, V]
	subscriptions *Table[subscriber[F, K], subscription]
	subscribe     *Topic[F, subscriptionOf[K]]
	respond       *Topic[K, response[R]]
	foreign       func(K, L) (F, bool)
	fn            func(L, R, bool) V
	outer         bool // a left row alone makes a result
}

func joinForeign[K, L, F, R, V any](left *Table[K, L], right *Table[F, R], into *Table[K, V], op string, foreign func(K, L) (F, bool), noFunction, outer bool, fn func(L, R, bool) V, opts []FlowOption) {
	t := left.def.t
	for _, d := range []*tableDef{left.def, right.def} {
		d.keepTimes()
		if d.local {
			t.fault("%s of tables %s and %s: table %s is Local, and a key of it may be in any partition: spread it by its keys", op, left.def.name, right.def.name, d.name)
		}
	}
	if foreign == nil || noFunction {
		t.fault("%s of tables %s and %s into %s lacks a function: pass both", op, left.def.name, right.def.name, into.def.name)
	}
	if len(left.def.migrations) > 0 {
		t.fault("%s of tables %s and %s: rows of table %s may be of another version, and have subscribed with what they were in it: remove topology.Migrate, and write them anew", op, left.def.name, right.def.name, left.def.name)
	}
	into.def.keepTimes()
	name := endOf(into.def.name, opts).name
	j := &foreignJoin[K, L, F, R, V]{left: left, right: right, into: into, foreign: foreign, fn: fn, outer: outer}
	keys := subscriberCodec[F, K]{right.kc, left.kc}
	j.subscriptions = NewTable[subscriber[F, K], subscription](t, name+"-subscriptions", keys, subscriptionCodec{}, Ordered(), spreadBy(keys.foreignPart))
	j.subscribe = beside(right.def, NewTopic[F, subscriptionOf[K]](t, t.name+"-"+name+"-subscriptions-repartition", right.kc, subscriptionOfCodec[K]{left.kc}))
	j.respond = beside(left.def, NewTopic[K, response[R]](t, t.name+"-"+name+"-responses-repartition", left.kc, responseCodec[R]{right.spec}))
	j.followLeft(name)
	j.followRight(name)
	j.keepSubscriptions(name)
	j.takeResponses(name)
}

// beside makes a topic an internal one that is co-partitioned with a table.
func beside[K, V any](d *tableDef, topic *Topic[K, V]) *Topic[K, V] {
	topic.def.kind, topic.def.likeTable, topic.def.beside = plan.Repartition, d, true
	return topic
}

// spreadBy says which part of a key decides to which partition it belongs.
func spreadBy(part func([]byte) []byte) TableOption { return func(d *tableDef) { d.part = part } }

// hashOf tells a left row's values apart; nil for no row. It is that of the bytes which the shard keeps, so that a codec may write equal values
// in different ways.
func hashOf[V any](row *tables.Row[V]) []byte {
	b, ok := row.Encoded()
	if !ok {
		return nil
	}
	sum := sha256.Sum256(b)
	return sum[:hashSize]
}

// hashSize is enough for the values of one row, one after the other, to have different ones.
const hashSize = 16

// followLeft subscribes to the keys that the rows of the left table name.
func (j *foreignJoin[K, L, F, R, V]) followLeft(name string) {
	f := Changes(j.left)
	f.joins = []*tableDef{j.into.def}
	begin(f, name+"-subscribe", "subscribe to "+j.right.def.name, func() func(*scope, Event[K, Change[L]]) error {
		return func(s *scope, ev Event[K, Change[L]]) error {
			row, err := j.left.rowIn(s, ev.Key)
			if err != nil {
				return err
			}
			return j.changed(s, ev, hashOf(row))
		}
	}, Sends(j.subscribe), Writes(j.into))
}

// changed subscribes as KIP-213 has it; an outer join answers itself where nothing is named. What of this leads to needless tombstones does so
// because it is not known here whether the row before has found another.
func (j *foreignJoin[K, L, F, R, V]) changed(s *scope, ev Event[K, Change[L]], hash []byte) error {
	var old, now F
	var names, named bool
	if !ev.Value.NullOld {
		old, named = j.foreign(ev.Key, ev.Value.Old)
	}
	if !ev.Value.NullNew {
		now, names = j.foreign(ev.Key, ev.Value.New)
	}
	same := named && names && j.same(s, old, now)
	send := func(key F, what instruction) {
		j.subscribe.put(s, key, subscriptionOf[K]{subscription{hash, s.Partition()}, what, ev.Key}, s.onward(false, false))
	}
	if j.outer {
		if named && !same {
			send(old, unsubscribe)
		}
		switch {
		case names:
			send(now, answerAlways)
		case !ev.Value.NullOld || !ev.Value.NullNew:
			var none R
			return j.result(s, ev.Key, ev.Value.New, !ev.Value.NullNew, none, false)
		}
		return nil
	}
	switch {
	case named && !names:
		send(old, unsubscribeAndAnswer)
	case named && !same:
		send(old, unsubscribe)
		send(now, answerAlways)
	case names:
		send(now, answerIfThere)
	default: // what takes the result of a row before this one away may be on its way, for a row that is not there any more
		return j.clean(s, ev.Key)
	}
	return nil
}

// same says whether two keys are one: their encodings decide.
func (j *foreignJoin[K, L, F, R, V]) same(s *scope, a, b F) bool {
	x, err1 := j.right.kc.Append(s.value[:0], a)
	s.value = x
	y, err2 := j.right.kc.Append(nil, b)
	return err1 == nil && err2 == nil && slices.Equal(x, y)
}

// followRight answers all who have subscribed to a row of the right table.
func (j *foreignJoin[K, L, F, R, V]) followRight(name string) {
	f := Changes(j.right)
	f.joins = []*tableDef{j.subscriptions.def}
	begin(f, name+"-answer", "answer "+j.left.def.name, func() func(*scope, Event[F, Change[R]]) error {
		return func(s *scope, ev Event[F, Change[R]]) error {
			prefix, err := subscriberCodec[F, K]{j.right.kc, j.left.kc}.prefix(nil, ev.Key)
			if err != nil {
				return lasting("table %s: encode the key: %w", j.right.def.name, redact.Of(err))
			}
			return tables.RowsIn(s.group, j.subscriptions.def.id, prefix, func(key []byte, sub subscription) error {
				who, err := j.subscriptions.kc.Decode(key)
				if err != nil {
					return lasting("table %s: decode the key: %w", j.subscriptions.def.name, err)
				}
				j.answer(s, who.Key, sub, response[R]{Hash: sub.Hash, Value: ev.Value.New, OK: !ev.Value.NullNew}, s.timestamp())
				return nil
			})
		}
	}, Sends(j.respond))
}

// answer sends what the right table has to the partition of the left row.
func (j *foreignJoin[K, L, F, R, V]) answer(s *scope, key K, to subscription, x response[R], at int64) {
	on := s.onward(false, false)
	on.partition, on.placed, on.timestamp, on.timed = to.Partition, true, at, at > 0
	j.respond.put(s, key, x, on)
}

// keepSubscriptions keeps who has subscribed to what, and answers.
func (j *foreignJoin[K, L, F, R, V]) keepSubscriptions(name string) {
	f := From(j.subscribe)
	f.joins = []*tableDef{j.right.def, j.subscriptions.def}
	begin(f, name+"-subscriptions", "subscriptions "+j.subscriptions.def.name, func() func(*scope, Event[F, subscriptionOf[K]]) error {
		rows := &rowRun[subscriber[F, K], subscriptionOf[K], subscription]{table: j.subscriptions}
		rows.apply = func(s *scope, row *tables.Row[subscription], ev Event[subscriber[F, K], subscriptionOf[K]]) error {
			what := ev.Value.What
			if what == unsubscribe || what == unsubscribeAndAnswer {
				row.Delete()
			} else {
				row.Set(ev.Value.subscription)
			}
			right, err := j.right.rowIn(s, ev.Key.Foreign)
			if err != nil {
				return err
			}
			if what == unsubscribe {
				return nil
			}
			x := response[R]{Hash: ev.Value.Hash}
			if what != unsubscribeAndAnswer {
				x.Value, x.OK = right.Get()
			}
			x.Quiet = !x.OK && what == answerIfThere
			j.answer(s, ev.Key.Key, ev.Value.subscription, x, max(s.timestamp(), right.Time()))
			return right.Err()
		}
		return func(s *scope, ev Event[F, subscriptionOf[K]]) error {
			if ev.NullKey || ev.NullValue {
				return nil
			}
			return rows.add(s, Event[subscriber[F, K], subscriptionOf[K]]{Key: subscriber[F, K]{ev.Key, ev.Value.Key}, Value: ev.Value, rec: ev.rec})
		}
	}, Writes(j.subscriptions), Sends(j.respond))
}

// takeResponses makes results of answers to what the left rows are.
func (j *foreignJoin[K, L, F, R, V]) takeResponses(name string) {
	f := From(j.respond)
	f.joins = []*tableDef{j.left.def, j.into.def}
	begin(f, name+"-responses", "join with "+j.right.def.name+" into "+j.into.def.name, func() func(*scope, Event[K, response[R]]) error {
		rows := &rowRun[K, response[R], L]{table: j.left, reads: true}
		rows.apply = func(s *scope, row *tables.Row[L], ev Event[K, response[R]]) error {
			hash := hashOf(row)
			if !slices.Equal(hash, ev.Value.Hash) {
				return nil // it answers what the row was
			}
			if ev.Value.Quiet {
				return j.clean(s, ev.Key)
			}
			l, ok := row.Get()
			if err := row.Err(); err != nil {
				return err
			}
			return j.result(s, ev.Key, l, ok, ev.Value.Value, ev.Value.OK)
		}
		return func(s *scope, ev Event[K, response[R]]) error {
			if ev.NullKey || ev.NullValue {
				return nil
			}
			return rows.add(s, ev)
		}
	}, Writes(j.into))
}

// result writes a row of the result, or deletes it.
func (j *foreignJoin[K, L, F, R, V]) result(s *scope, key K, l L, lok bool, r R, rok bool) error {
	row, err := j.into.rowIn(s, key)
	if err != nil {
		return err
	}
	return j.into.changing(s, row, key, s.timestamp(), func() error {
		if lok && (rok || j.outer) {
			row.Set(j.fn(l, r, rok))
		} else {
			row.Delete()
		}
		return nil
	})
}

// clean deletes a row of the result, if there is one. Where nothing crosses on its way there is none: Kafka Streams does nothing here, and
// keeps a result for ever if the right row was deleted, or the left one taken away and put back, while answers were under way.
func (j *foreignJoin[K, L, F, R, V]) clean(s *scope, key K) error {
	row, err := j.into.rowIn(s, key)
	if err != nil {
		return err
	}
	if _, ok := row.Get(); !ok {
		return row.Err()
	}
	return j.into.changing(s, row, key, s.timestamp(), func() error { row.Delete(); return nil })
}

// spreadBeside gives topics that are beside tables the partitioner by which the tables are spread.
func (s *stages) spreadBeside(t *Topology) {
	for _, d := range t.topics {
		if first := s.origin(d.likeTable); d.beside && first != nil {
			d.partitioner = first.partitioner
		}
	}
}

// origin is the first topic of a table's stage that is not beside a table itself; nil: there is none.
func (s *stages) origin(d *tableDef) *topicDef {
	st := s.of[d]
	if d == nil || st == nil {
		return nil
	}
	for _, x := range st.sources {
		if !x.beside {
			return x
		}
	}
	return nil
}

// instruction is what a left row asks of the key that it names, or has named.
type instruction byte

const (
	unsubscribe          instruction = iota + 1 // KIP-213: DELETE_KEY_NO_PROPAGATE
	unsubscribeAndAnswer                        // DELETE_KEY_AND_PROPAGATE: with nothing
	answerAlways                                // PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE
	answerIfThere                               // PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE; quietly if not
)

// subscription is what is kept of who has subscribed.
type subscription struct {
	Hash      []byte // of the left row; nil: there is none
	Partition int32  // of the left row
}

// subscriptionOf is a subscription on its way.
type subscriptionOf[K any] struct {
	subscription
	What instruction
	Key  K
}

// subscriber is the key of a subscription: what it is to, and whose it is.
type subscriber[F, K any] struct {
	Foreign F
	Key     K
}

// response answers a subscription.
type response[R any] struct {
	Hash  []byte // of the subscription
	Value R
	OK    bool // there is a row
	Quiet bool // there is none, and none was there as far as the left row knows
}

var (
	_ codec.Codec[subscription]               = subscriptionCodec{}
	_ codec.Codec[subscriptionOf[string]]     = subscriptionOfCodec[string]{}
	_ codec.Codec[subscriber[string, string]] = subscriberCodec[string, string]{}
	_ codec.Codec[response[string]]           = responseCodec[string]{}
)
