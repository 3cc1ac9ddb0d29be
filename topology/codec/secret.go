package codec

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// The tag of a field that is not shown: `troupe:"secret"`.
const (
	tagName   = "troupe"
	tagSecret = "secret"
	// masked stands for the value of such a field in text.
	masked = "***"
)

func isSecret(tag reflect.StructTag) bool {
	return slices.Contains(strings.Split(tag.Get(tagName), ","), tagSecret)
}

// walk calls f for each field of each struct that values of a type can hold, whatever interfaces hold.
func walk(t reflect.Type, seen map[reflect.Type]bool, f func(in reflect.Type, field reflect.StructField)) {
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		walk(t.Elem(), seen, f)
	case reflect.Map:
		walk(t.Key(), seen, f)
		walk(t.Elem(), seen, f)
	case reflect.Struct:
		for x := range t.Fields() {
			f(t, x)
			walk(x.Type, seen, f)
		}
	default:
	}
}

// holdsSecrets says whether values of a type have fields that are not shown.
func holdsSecrets(t reflect.Type) bool {
	found := false
	if t != nil {
		walk(t, map[reflect.Type]bool{}, func(_ reflect.Type, x reflect.StructField) { found = found || isSecret(x.Tag) })
	}
	return found
}

// tagFaults finds tags that nothing is known of: a secret that is misspelled would be shown.
func tagFaults(t reflect.Type) (faults []error) {
	walk(t, map[reflect.Type]bool{}, func(in reflect.Type, x reflect.StructField) {
		if tag, ok := x.Tag.Lookup(tagName); ok && tag != tagSecret {
			faults = append(faults, fmt.Errorf("field %s of %s has the tag troupe:%q: use troupe:%q, or leave it out", x.Name, in, tag, tagSecret))
		}
	})
	return faults
}

// HoldsSecrets says whether values of a codec have fields that are not shown, so that their bytes must not be shown either.
func HoldsSecrets[T any](c Codec[T]) bool {
	if x, ok := c.(interface{ HoldsSecrets() bool }); ok {
		return x.HoldsSecrets()
	}
	if w, ok := c.(Wrapper[T]); ok {
		return HoldsSecrets(w.Unwrap())
	}
	return holdsSecrets(reflect.TypeFor[T]())
}

// formatJSON writes a value as JSON, with *** for secret fields.
func formatJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		if x := reflect.TypeOf(v); x != nil && mayHold(x) {
			return fmt.Sprintf("(a %T that cannot be written as JSON, and is not shown: it has secret fields)", v)
		}
		return fmt.Sprintf("%+v", v)
	}
	if x := reflect.ValueOf(v); x.IsValid() && mayHold(x.Type()) {
		if b, err = mask(nil, x); err != nil {
			return fmt.Sprintf("(a %T that is not shown: %v)", v, err)
		}
	}
	return string(b)
}

// mayHold says whether a value of a type may have a secret field: an interface may hold anything.
func mayHold(t reflect.Type) bool {
	may := t.Kind() == reflect.Interface || holdsSecrets(t)
	seen := map[reflect.Type]bool{}
	walk(t, seen, func(reflect.Type, reflect.StructField) {})
	for in := range seen {
		may = may || in.Kind() == reflect.Interface
	}
	return may
}

// mask appends a value that encoding/json can write, as it does, but for secret fields.
func mask(dst []byte, v reflect.Value) ([]byte, error) {
	t := v.Type()
	switch {
	case !mayHold(t):
		return appendJSON(dst, v)
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return mask(dst, v.Elem())
	case has(t, marshalers):
		if holdsSecrets(t) { // where its fields are is known to nobody
			return append(dst, `"`+masked+`"`...), nil
		}
		return appendJSON(dst, v)
	}
	switch t.Kind() {
	case reflect.Struct:
		return maskStruct(dst, v)
	case reflect.Map:
		return maskMap(dst, v)
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && v.IsNil() {
			return append(dst, "null"...), nil
		}
		dst = append(dst, '[')
		for i := range v.Len() {
			var err error
			if dst, err = mask(separated(dst, i), v.Index(i)); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	default:
		return appendJSON(dst, v)
	}
}

func separated(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendJSON(dst []byte, v reflect.Value) ([]byte, error) {
	x := v.Interface()
	if v.CanAddr() { // its methods may be the pointer's
		x = v.Addr().Interface()
	}
	b, err := json.Marshal(x)
	return append(dst, b...), err
}

func maskStruct(dst []byte, v reflect.Value) ([]byte, error) {
	dst = append(dst, '{')
	n := 0
	for _, f := range fieldsOf(v.Type()) {
		x, ok := f.of(v)
		if !ok || f.omitted(x) {
			continue
		}
		dst = appendName(separated(dst, n), f.name)
		n++
		if f.secret {
			dst = append(dst, `"`+masked+`"`...)
			continue
		}
		at := len(dst)
		var err error
		if dst, err = mask(dst, x); err != nil {
			return dst, err
		}
		if b := dst[at:]; f.quoted && !bytes.Equal(b, []byte("null")) {
			q, err := json.Marshal(string(b))
			if err != nil {
				return dst, err
			}
			dst = append(dst[:at], q...)
		}
	}
	return append(dst, '}'), nil
}

func appendName(dst []byte, name string) []byte {
	b, _ := json.Marshal(name) // of a string: it never fails
	return append(append(dst, b...), ':')
}

func maskMap(dst []byte, v reflect.Value) ([]byte, error) {
	if v.IsNil() {
		return append(dst, "null"...), nil
	}
	type member struct {
		name  string
		value reflect.Value
	}
	var members []member
	for it := v.MapRange(); it.Next(); {
		name, err := nameOf(it.Key())
		if err != nil {
			return dst, err
		}
		members = append(members, member{name, it.Value()})
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	dst = append(dst, '{')
	for i, m := range members {
		var err error
		if dst, err = mask(appendName(separated(dst, i), m.name), m.value); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// nameOf is a key of a map as the name of a member.
func nameOf(k reflect.Value) (string, error) {
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](k); ok {
		b, err := m.MarshalText()
		return string(b), err
	}
	return fmt.Sprint(k.Interface()), nil
}

var errMasked = errors.New(masked + ` stands for a secret field where values are shown: write the field's own value`)

// checkUnmasked refuses text that was copied from where secret fields are not shown.
func checkUnmasked(v reflect.Value, secret bool) error {
	switch v.Kind() {
	case reflect.String:
		if secret && v.String() == masked {
			return errMasked
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return checkUnmasked(v.Elem(), secret)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := checkUnmasked(v.Index(i), secret); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := checkUnmasked(it.Value(), secret); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := checkUnmasked(v.Field(i), secret || isSecret(v.Type().Field(i).Tag)); err != nil {
				return err
			}
		}
	default:
	}
	return nil
}
