package codec

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// field is one member of a struct, as encoding/json has it.
type field struct {
	name   string
	path   []int // indices of the structs that it is promoted through, and its own
	typ    reflect.Type
	secret bool
	// options of the tag
	tagged, omitEmpty, omitZero, quoted bool
}

// fieldsOf lists the members of a struct: those of embedded structs are its own, and where a name stands twice the one that is less deep
// counts, then the one with a tag, then none.
func fieldsOf(t reflect.Type) []field {
	all := embedded(t, nil, false, map[reflect.Type]bool{})
	best := map[string][]field{}
	var order []string
	for _, f := range all {
		if best[f.name] == nil {
			order = append(order, f.name)
		}
		best[f.name] = append(best[f.name], f)
	}
	var fields []field
	for _, name := range order {
		if f, ok := dominant(best[name]); ok {
			fields = append(fields, f)
		}
	}
	slices.SortFunc(fields, func(a, b field) int { return slices.Compare(a.path, b.path) })
	return fields
}

func dominant(fields []field) (field, bool) {
	slices.SortStableFunc(fields, func(a, b field) int {
		switch {
		case len(a.path) != len(b.path):
			return len(a.path) - len(b.path)
		case a.tagged == b.tagged:
			return 0
		case a.tagged:
			return -1
		}
		return 1
	})
	if len(fields) > 1 && len(fields[0].path) == len(fields[1].path) && fields[0].tagged == fields[1].tagged {
		return field{}, false
	}
	return fields[0], true
}

func embedded(t reflect.Type, path []int, secret bool, within map[reflect.Type]bool) []field {
	if within[t] {
		return nil
	}
	within[t] = true
	defer delete(within, t)
	var fields []field
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		at := append(slices.Clone(path), f.Index[0])
		hidden := secret || isSecret(f.Tag)
		if f.Anonymous {
			in := f.Type
			if in.Kind() == reflect.Pointer {
				in = in.Elem()
			}
			if !f.IsExported() && in.Kind() != reflect.Struct {
				continue
			}
			if name == "" && in.Kind() == reflect.Struct {
				fields = append(fields, embedded(in, at, hidden, within)...)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		x := field{name: name, path: at, typ: f.Type, secret: hidden, tagged: name != ""}
		if name == "" {
			x.name = f.Name
		}
		for o := range strings.SplitSeq(options, ",") {
			x.omitEmpty = x.omitEmpty || o == "omitempty"
			x.omitZero = x.omitZero || o == "omitzero"
			x.quoted = x.quoted || o == "string" && isPlain(f.Type)
		}
		fields = append(fields, x)
	}
	return fields
}

// isPlain says whether the option "string" has an effect on a type.
func isPlain(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	k := t.Kind()
	return k == reflect.Bool || k == reflect.String || reflect.Int <= k && k <= reflect.Float64
}

// of finds a field in a value of its struct; false behind an embedded pointer that is nil.
func (f *field) of(v reflect.Value) (reflect.Value, bool) {
	for _, i := range f.path {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

// omitted says whether encoding/json leaves a member with this value out.
func (f *field) omitted(v reflect.Value) bool {
	if f.omitZero {
		if z, ok := reflect.TypeAssert[interface{ IsZero() bool }](v); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
			return z.IsZero()
		}
		return v.IsZero()
	}
	if !f.omitEmpty {
		return false
	}
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

var (
	marshalers   = []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()}
	unmarshalers = []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}
)

// has says whether a type, or a pointer to it, has a method of its own for what encoding/json does by reflection.
func has(t reflect.Type, own []reflect.Type) bool {
	return slices.ContainsFunc(own, func(m reflect.Type) bool { return t.Implements(m) || reflect.PointerTo(t).Implements(m) })
}
