package topology

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-stream/troupe/tables"
)

// Viewed is what troupe.OpenView makes a copy of: a *Table (of its changelog), a *GlobalTable or a *Topic, with keys of type K and values of type V.
type Viewed[K, V any] interface {
	viewed() (*Topology, Copy[K, V], error)
}

// Copy is how a topic is copied: for tools.
type Copy[K, V any] struct {
	Topology  string
	Topic     string
	Replica   tables.ReplicaSpec[V]
	EncodeKey func(dst []byte, key K) ([]byte, error)
	DecodeKey func(b []byte) (K, error)
}

// CopyOf says how a table or topic is copied: for tools. The error holds all faults of its topology.
func CopyOf[K, V any](x Viewed[K, V]) (Copy[K, V], error) {
	if x == nil {
		return Copy[K, V]{}, errNothingToView
	}
	t, c, err := x.viewed()
	if err != nil {
		return c, err
	}
	if _, err := t.Plan(); err != nil {
		return c, err
	}
	_, c, err = x.viewed() // with what Plan has found
	c.Topology = t.name
	return c, err
}

func (t *Topic[K, V]) viewed() (*Topology, Copy[K, V], error) {
	if t == nil {
		return nil, Copy[K, V]{}, errNothingToView
	}
	return t.def.t, Copy[K, V]{Topic: t.def.name, Replica: *t.replica("view of topic "+t.def.name, false), EncodeKey: t.kc.Append, DecodeKey: t.kc.Decode}, nil
}

func (g *GlobalTable[K, V]) viewed() (*Topology, Copy[K, V], error) {
	if g == nil || g.topic == nil {
		return nil, Copy[K, V]{}, errNothingToView
	}
	t, c, err := g.topic.viewed()
	c.Replica.Name, c.Replica.Skip = "view of global table "+g.def.name, g.def.skip
	return t, c, err
}

func (t *Table[K, V]) viewed() (*Topology, Copy[K, V], error) {
	if t == nil {
		return nil, Copy[K, V]{}, errNothingToView
	}
	c := Copy[K, V]{
		Replica: tables.ReplicaSpec[V]{
			Name: "view of table " + t.def.name, Decode: t.spec.Codec.Decode, Current: t.spec.Current, Encoded: tables.HoldsReferences(reflect.TypeFor[V]()),
			Key: func(b []byte) error { _, err := t.kc.Decode(b); return err },
		},
		EncodeKey: t.EncodeKey, DecodeKey: t.DecodeKey,
	}
	if t.def.local {
		return nil, c, fmt.Errorf("table %s is Local: each partition has entries of its own, so that a key has no one value to view", t.def.name)
	}
	if p := t.def.plan.Load(); p != nil {
		c.Topic = p.Changelog.Name
	}
	return t.def.t, c, nil
}

var errNothingToView = errors.New("there is no table or topic to view: pass the handle of one")
