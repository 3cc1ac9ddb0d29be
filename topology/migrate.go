package topology

import (
	"fmt"
	"reflect"

	"github.com/troupe-stream/troupe/topology/codec"
)

// Version says which version of its codec a table's values are written with: it is told in each record of the changelog, so that none
// is ever read as another. Add 1 whenever values are written otherwise than before, with a Migrate from each version that the
// changelog may still hold. A value of a version that is neither is an error that names it, and the table is not restored. Defaults to 0,
// which costs nothing; values that were written before there was a Version are of version 0.
//
// A node of the old version refuses what the new one has written: stop all of the old before the first of the new starts.
func Version(n uint32) TableOption { return func(d *tableDef) { d.version = uint64(n) } }

// Migrate reads the values of a table that were written by an older Version, with the codec of that time, and makes values of today of them,
// when a shard is restored. They stay as they are in the changelog until they are written again, so keep it for as long as there may
// be any. It must be pure. V must be the type of the table's values.
func Migrate[Old, V any](from uint32, values codec.Codec[Old], fn func(Old) (V, error)) TableOption {
	return func(d *tableDef) {
		if values == nil || fn == nil {
			d.t.fault("table %s: topology.Migrate from version %d lacks its codec or its function: pass what the values were written with, and what makes new ones of them", d.name, from)
			return
		}
		d.t.checkCodec(fmt.Sprintf("table %s: the codec of version %d", d.name, from), codecFault(values))
		d.migrations = append(d.migrations, migration{uint64(from), func(b []byte) (v V, err error) {
			old, err := values.Decode(b)
			if err != nil {
				return v, fmt.Errorf("decode it: %w", err)
			}
			return fn(old)
		}})
	}
}

// migration is one of a table's, without its type.
type migration struct {
	from uint64
	fn   any // func([]byte) (V, error)
}

// migrationsOf are those of a table, if they make values of its type.
func migrationsOf[V any](d *tableDef) map[uint64]func([]byte) (V, error) {
	all := map[uint64]func([]byte) (V, error){}
	for _, m := range d.migrations {
		fn, ok := m.fn.(func([]byte) (V, error))
		switch {
		case !ok:
			d.t.fault("table %s: topology.Migrate from version %d makes a %s, and the table has values of type %s", d.name, m.from, reflect.TypeOf(m.fn).Out(0), reflect.TypeFor[V]())
		case m.from >= d.version:
			d.t.fault("table %s: topology.Migrate from version %d, and the table is of version %d: declare the newer one with topology.Version", d.name, m.from, d.version)
		case all[m.from] != nil:
			d.t.fault("table %s has two of topology.Migrate from version %d: remove one", d.name, m.from)
		}
		all[m.from] = fn
	}
	return all
}
