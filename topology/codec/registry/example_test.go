package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/codec/registry"
)

// exampleRegistry stands for a registry that runs somewhere.
func exampleRegistry() (url string, stop func()) {
	f := &fake{}
	f.Server = httptest.NewServer(f)
	return f.URL, f.Close
}

func Example() {
	url, stop := exampleRegistry()
	defer stop()
	reg, err := registry.New(registry.Config{URLs: []string{url}, Register: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	const schema = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}, {"name": "cents", "type": "long"}]}`
	orders := registry.Avro[order](reg, registry.Value("orders"), schema) // the codec of a topic's values
	fmt.Println(reg.Resolve(context.Background()))                        // before the node starts
	b, err := orders.Append(nil, order{"a", 5})
	fmt.Printf("%q %v\n", b, err)
	// Output:
	// <nil>
	// "\x00\x00\x00\x00\x01\x02a\n" <nil>
}

func ExampleNew() {
	_, err := registry.New(registry.Config{URLs: []string{"registry:8081"}})
	fmt.Println(err)
	// Output: schema registry: URL "registry:8081": use one such as https://registry:8081
}

func ExampleConfig_Validate() {
	fmt.Println(registry.Config{URLs: []string{"http://ann:secret@registry:8081"}}.Validate())
	// Output: schema registry: the URL of host registry:8081 holds a user: set Username and Password instead, which are in no error
}

func ExampleValue() {
	fmt.Println(registry.Value("orders"), registry.Key("orders"))
	// Output: orders-value orders-key
}

func ExampleKey() {
	fmt.Println(registry.Key("orders"))
	// Output: orders-key
}

func ExampleJSON() {
	url, stop := exampleRegistry()
	defer stop()
	reg, _ := registry.New(registry.Config{URLs: []string{url}, Register: true})
	c := registry.JSON[order](reg, registry.Value("orders"), `{"type": "object"}`, codec.JSONOptions{})
	b, err := c.Append(nil, order{"a", 5})
	fmt.Printf("%q %v\n", b, err)
	// Output: "\x00\x00\x00\x00\x01{\"id\":\"a\",\"cents\":5}" <nil>
}

func ExampleAvro() {
	url, stop := exampleRegistry()
	defer stop()
	reg, _ := registry.New(registry.Config{URLs: []string{url}, Register: true})
	before := registry.Avro[order](reg, registry.Value("orders"), avroBefore)
	now := registry.Avro[order](reg, registry.Value("orders"), avroSchema) // has another field, with a default
	b, _ := before.Append(nil, order{ID: "a"})
	fmt.Println(now.Decode(b))
	// Output: {a 100} <nil>
}

func ExampleProto() {
	url, stop := exampleRegistry()
	defer stop()
	reg, _ := registry.New(registry.Config{URLs: []string{url}, Register: true})
	c := registry.Proto[*wrapperspb.StringValue](reg, registry.Value("names"), "")
	b, err := c.Append(nil, wrapperspb.String("a"))
	fmt.Printf("%q %v\n", b, err)
	// Output: "\x00\x00\x00\x00\x01\x02\x0e\n\x01a" <nil>
}

func ExampleRegistry_Resolve() {
	url, stop := exampleRegistry()
	defer stop()
	reg, _ := registry.New(registry.Config{URLs: []string{url}}) // it registers nothing
	registry.Avro[order](reg, registry.Value("orders"), avroSchema)
	var waits *registry.UnavailableError
	fmt.Println(errors.As(reg.Resolve(context.Background()), &waits))
	// Output: true
}

func ExampleUnavailableError() {
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	reg, _ := registry.New(registry.Config{URLs: []string{down.URL}, Register: true})
	_, err := registry.Avro[order](reg, registry.Value("orders"), avroSchema).Append(nil, order{})
	var waits *registry.UnavailableError
	fmt.Println(errors.As(err, &waits), waits.Op)
	// Output: true register the schema of subject orders-value
}

func ExampleIncompatibleError() {
	f := &fake{refuse: func(string, string) []string { return []string{"/fields/1 has no default"} }}
	f.Server = httptest.NewServer(f)
	defer f.Close()
	reg, _ := registry.New(registry.Config{URLs: []string{f.URL}, Register: true})
	registry.Avro[order](reg, registry.Value("orders"), avroSchema)
	if x, ok := errors.AsType[*registry.IncompatibleError](reg.Resolve(context.Background())); ok {
		fmt.Println(x.Subject, x.Differences)
	}
	// Output: orders-value [/fields/1 has no default]
}
