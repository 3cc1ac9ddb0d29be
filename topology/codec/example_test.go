package codec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-stream/troupe/topology/codec"
)

type Order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

// Validate refuses orders that cannot be.
func (o Order) Validate() error {
	if o.Cents < 0 {
		return errors.New("cents are negative")
	}
	return nil
}

type Customer struct {
	Name  string `json:"name"`
	Email string `json:"email" troupe:"secret"`
}

func ExampleJSON() {
	b, err := codec.JSON[Order]().Append(nil, Order{"a", 5})
	fmt.Println(string(b), err)
	// Output: {"id":"a","cents":5} <nil>
}

func ExampleJSONWith() {
	strict := codec.JSONWith[Order](codec.JSONOptions{Strict: true})
	_, err := strict.Decode([]byte(`{"id":"a","colour":"red"}`))
	fmt.Println(err)
	exact := codec.JSONWith[any](codec.JSONOptions{ExactNumbers: true})
	v, _ := exact.Decode([]byte(`9007199254740993`))
	fmt.Println(v)
	// Output:
	// codec_test.Order has no field "colour"
	// 9007199254740993
}

func ExampleJSONOptions() {
	c := codec.JSONWith[map[string]any](codec.JSONOptions{ExactNumbers: true})
	v, _ := c.Decode([]byte(`{"price":1.10}`))
	fmt.Println(v["price"].(json.Number))
	// Output: 1.10
}

func ExampleProto() {
	c := codec.Proto[*wrapperspb.StringValue]()
	b, err := c.Append(nil, wrapperspb.String("a"))
	fmt.Printf("%q %v\n", b, err)
	// Output: "\n\x01a" <nil>
}

func ExampleCBOR() {
	c := codec.CBOR[map[string]int]()
	a, _ := c.Append(nil, map[string]int{"a": 1, "b": 2})
	b, _ := c.Append(nil, map[string]int{"b": 2, "a": 1})
	fmt.Println(string(a) == string(b), len(a))
	// Output: true 7
}

func ExampleCompressed() {
	c := codec.Compressed(codec.String, codec.Zstd)
	long := strings.Repeat("to be or not to be ", 100)
	b, _ := c.Append(nil, long)
	v, err := c.Decode(b)
	fmt.Println(len(b) < 50, v == long, err)
	// Output: true true <nil>
}

func ExampleCompression() {
	fast := codec.Compressed(codec.JSON[Order](), codec.S2)
	b, _ := fast.Append(nil, Order{"a", 5})
	v, err := fast.Decode(b)
	fmt.Println(v, err)
	// Output: {a 5} <nil>
}

// Where it is not so that equal keys have equal bytes for ever, a key would be in two partitions.
func ExampleForKeys() {
	c := codec.Proto[*wrapperspb.Int64Value]()
	fmt.Println(codec.CheckKey(c))
	fmt.Println(codec.CheckKey(codec.ForKeys(c)))
	// Output:
	// equal Protobuf messages may have other bytes in another build of the program
	// <nil>
}

func ExampleCheck() {
	fmt.Println(codec.Check(codec.Compressed[string](nil, codec.Zstd)))
	// Output: there is no codec to compress what it writes: pass one, such as codec.JSON[T]()
}

func ExampleCheckKey() {
	fmt.Println(codec.CheckKey(codec.Compressed(codec.String, codec.S2)))
	// Output: equal values may be compressed to other bytes in another build of the program
}

func ExampleTextOf() {
	text := codec.TextOf(codec.JSON[Customer]())
	fmt.Println(text.Format(Customer{"Ann", "ann@example.com"}))
	// Output: {"name":"Ann","email":"***"}
}

func ExampleHoldsSecrets() {
	fmt.Println(codec.HoldsSecrets(codec.CBOR[[]Customer]()), codec.HoldsSecrets(codec.JSON[Order]()))
	// Output: true false
}

func ExampleValidator() {
	valid := codec.Validator[Order]()
	fmt.Println(valid(Order{"a", 5}))
	fmt.Println(valid(Order{"a", -5}))
	fmt.Println(codec.Validator[string]() == nil)
	// Output:
	// <nil>
	// it is not valid: cents are negative
	// true
}

func ExampleInvalidError() {
	err := codec.Validator[Order]()(Order{"a", -5})
	var invalid *codec.InvalidError
	fmt.Println(errors.As(err, &invalid), invalid.Err)
	// Output: true cents are negative
}

// upper is a codec around another one: what commands print is that one's affair.
type upper struct{ inner codec.Codec[string] }

func (u upper) Append(dst []byte, v string) ([]byte, error) {
	return u.inner.Append(dst, strings.ToUpper(v))
}
func (u upper) Decode(b []byte) (string, error) { return u.inner.Decode(b) }
func (u upper) Unwrap() codec.Codec[string]     { return u.inner }

func ExampleWrapper() {
	b, _ := upper{codec.String}.Append(nil, "abc")
	fmt.Println(string(b), codec.TextOf(upper{codec.String}).Format("ABC"))
	// Output: ABC ABC
}

// shuffled is a codec that says of itself that it is not for keys.
type shuffled struct{ codec.Codec[[]string] }

func (shuffled) CheckKey() error { return errors.New("it writes sets in no order") }

func ExampleKeyChecker() {
	fmt.Println(codec.CheckKey(shuffled{codec.JSON[[]string]()}))
	// Output: it writes sets in no order
}

// fixed is a codec that can be made wrong.
type fixed struct {
	codec.Codec[string]
	length int
}

func (f fixed) Check() error {
	if f.length <= 0 {
		return fmt.Errorf("the length is %d: use a positive one", f.length)
	}
	return nil
}

func ExampleChecker() {
	fmt.Println(codec.Check(fixed{codec.String, -1}))
	// Output: the length is -1: use a positive one
}
