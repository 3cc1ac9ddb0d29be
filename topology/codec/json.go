package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// JSON returns a codec that writes values as JSON. Equal keys must have equal encodings: do not use it for keys that are
// maps or hold floats that differ in their last bit.
//
// It reads as encoding/json does: fields that it does not know are skipped, of a name that stands twice the last counts, and a number
// that is read into an interface becomes a float64. JSONWith has it otherwise.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

// JSONOptions say how JSON is read. The zero value is what JSON does.
type JSONOptions struct {
	// Strict refuses fields that the type does not have or that it writes in other case, names that stand twice in one object, and
	// bytes that are not UTF-8. Types with an UnmarshalJSON of their own read what is theirs as they like, but for names that
	// stand twice. Defaults to false.
	Strict bool
	// ExactNumbers reads a number into an interface as a json.Number, digit by digit as it was written: a float64 has integers up to
	// 2^53 only. Numbers in fields of number types are exact in any case, or refused. Defaults to false.
	ExactNumbers bool
}

// JSONWith returns a codec as JSON does, that reads by options.
func JSONWith[T any](o JSONOptions) Codec[T] {
	if o == (JSONOptions{}) {
		return jsonCodec[T]{}
	}
	x := jsonWith[T]{options: o}
	if o.Strict {
		x.shape = sync.OnceValue(func() *shape { return shapeOf(reflect.TypeFor[T](), map[reflect.Type]*shape{}) })
	}
	return x
}

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

func (jsonCodec[T]) Decode(b []byte) (v T, err error) { return v, hush[T](json.Unmarshal(b, &v)) }

// Format writes *** for fields that are tagged `troupe:"secret"`, and Parse refuses it there.
func (jsonCodec[T]) Format(v T) string { return formatJSON(v) }

func (c jsonCodec[T]) Parse(s string) (T, error) { return parseJSON(s, c.Decode) }

func parseJSON[T any](s string, decode func([]byte) (T, error)) (T, error) {
	v, err := decode([]byte(s))
	if err == nil && holdsSecrets(reflect.TypeFor[T]()) {
		err = checkUnmasked(reflect.ValueOf(&v), false)
	}
	return v, err
}

// jsonWith is JSON with options.
type jsonWith[T any] struct {
	jsonCodec[T]
	options JSONOptions
	shape   func() *shape
}

func (c jsonWith[T]) Parse(s string) (T, error) { return parseJSON(s, c.Decode) }

func (c jsonWith[T]) Decode(b []byte) (v T, err error) {
	if c.options.Strict {
		if err := c.shape().check(b); err != nil {
			return v, err
		}
	}
	if !c.options.ExactNumbers {
		return v, hush[T](json.Unmarshal(b, &v))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return v, hush[T](err)
	}
	return v, atEnd(d)
}

// hush takes the number out of an error about a field that cannot hold it, which may be one that is not shown.
func hush[T any](err error) error {
	if err == nil || !holdsSecrets(reflect.TypeFor[T]()) {
		return err
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return err
	}
	x, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok { // of a type that reads itself: it may quote what it has read
		return fmt.Errorf("JSON does not fit %T (%T, which is not shown: the type has secret fields)", *new(T), err)
	}
	y := *x
	y.Value, _, _ = strings.Cut(x.Value, " ")
	return &y
}

// atEnd refuses what stands behind a value.
func atEnd(d *json.Decoder) error {
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("there is more behind the JSON value, from byte %d on", d.InputOffset())
	}
	return nil
}

// shape is what strict JSON knows of a type; nil where it knows nothing, so that anything goes.
type shape struct {
	typ     reflect.Type
	members map[string]*shape // of a struct; nil: any
	of      *shape            // what a map, slice or array holds
}

// shapeOf finds the shape of a type, and of all that it can hold; types may hold themselves.
func shapeOf(t reflect.Type, known map[reflect.Type]*shape) *shape {
	for t.Kind() == reflect.Pointer && !has(t, unmarshalers) {
		t = t.Elem()
	}
	if s := known[t]; s != nil || has(t, unmarshalers) {
		return s
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		s := &shape{typ: t}
		known[t] = s
		s.of = shapeOf(t.Elem(), known)
		return s
	case reflect.Struct:
		s := &shape{typ: t, members: map[string]*shape{}}
		known[t] = s
		for _, f := range fieldsOf(t) {
			s.members[f.name] = shapeOf(f.typ, known)
		}
		return s
	default:
		return nil
	}
}

// check refuses what encoding/json lets through.
func (s *shape) check(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("the JSON is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := s.value(d, nil, 1); err != nil {
		return err
	}
	return atEnd(d)
}

// maxJSONDepth is that of encoding/json.
const maxJSONDepth = 10000

// value checks the next value. path are the names that lead to it.
func (s *shape) value(d *json.Decoder, path []string, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("it is nested more than %d deep", maxJSONDepth)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		err = s.object(d, path, depth)
	case json.Delim('['):
		var of *shape
		if s != nil && s.members == nil {
			of = s.of
		}
		for err == nil && d.More() {
			err = of.value(d, path, depth+1)
		}
	default:
		return nil
	}
	if err == nil {
		_, err = d.Token() // the end
	}
	return err
}

func (s *shape) object(d *json.Decoder, path []string, depth int) error {
	var seen []string // few enough to be looked through, mostly
	var many map[string]bool
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if many[name] || many == nil && slices.Contains(seen, name) {
			return fmt.Errorf("the name %q stands twice%s", name, within(path))
		}
		if seen = append(seen, name); len(seen) > fewNames {
			if many == nil {
				many = make(map[string]bool, 2*fewNames)
				for _, n := range seen {
					many[n] = true
				}
			}
			many[name] = true
		}
		var next *shape
		switch {
		case s == nil:
		case s.members == nil:
			next = s.of
		default:
			var ok bool
			if next, ok = s.members[name]; !ok {
				return s.unknown(name, path)
			}
		}
		if err := next.value(d, append(path, name), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// fewNames is up to how many names of an object are looked through one by one.
const fewNames = 16

func within(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return " in " + strings.Join(path, ".")
}

func (s *shape) unknown(name string, path []string) error {
	for m := range s.members {
		if strings.EqualFold(m, name) {
			return fmt.Errorf("%s has no field %q%s, but %q: case counts", s.typ, name, within(path), m)
		}
	}
	return fmt.Errorf("%s has no field %q%s", s.typ, name, within(path))
}
