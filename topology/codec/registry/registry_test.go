package registry_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/codec/registry"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	avroSchema = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long","default":100}]}`
	avroBefore = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}`
	jsonSchema = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}`
)

type order struct {
	ID    string `avro:"id" json:"id"`
	Cents int64  `avro:"cents" json:"cents"`
}

func connect(t *testing.T, f *fake, change func(*registry.Config)) *registry.Registry {
	t.Helper()
	c := registry.Config{URLs: []string{f.URL}, Register: true, Pause: time.Nanosecond}
	if change != nil {
		change(&c)
	}
	r, err := registry.New(c)
	require.NoError(t, err)
	return r
}

func TestWireFormat(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	r := connect(t, f, nil)
	j := registry.JSON[order](r, registry.Value("j"), jsonSchema, codec.JSONOptions{Strict: true})
	a := registry.Avro[order](r, registry.Value("a"), avroSchema)
	p := registry.Proto[*wrapperspb.StringValue](r, registry.Key("p"), "")
	require.NoError(t, r.Resolve(t.Context()))
	require.Equal(t, []string{"POST /subjects/j-value/versions", "POST /subjects/a-value/versions", "POST /subjects/p-key/versions"}, f.asked())
	require.Equal(t, "JSON", f.schemas[0].SchemaType)
	require.Contains(t, []string{"", "AVRO"}, f.schemas[1].SchemaType)
	require.Equal(t, "PROTOBUF", f.schemas[2].SchemaType)
	require.NotEmpty(t, f.schemas[2].Schema)

	b, err := j.Append([]byte("before"), order{"x", 1})
	require.NoError(t, err)
	require.Equal(t, "before\x00\x00\x00\x00\x01"+`{"id":"x","cents":1}`, string(b))
	b, err = a.Append(nil, order{"x", 1})
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00\x02\x02x\x02", string(b))
	b, err = p.Append(nil, wrapperspb.String("x"))
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00\x03"+"\x02\x0e"+"\x0a\x01x", string(b), "StringValue is the eighth message of its file")
	b, err = registry.Proto[*structpb.Struct](r, registry.Key("s"), "").Append(nil, &structpb.Struct{})
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00\x04\x00", string(b), "the first message of a file is one byte")
	b, err = registry.Proto[*descriptorpb.DescriptorProto_ExtensionRange](r, registry.Value("n"), "").Append(nil, &descriptorpb.DescriptorProto_ExtensionRange{})
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00\x05\x04\x04\x00", string(b), "a message inside the third one")

	for _, c := range []codec.Codec[order]{j, a} {
		rapid.Check(t, func(t *rapid.T) {
			v := order{rapid.StringMatching(`\w*`).Draw(t, "id"), rapid.Int64().Draw(t, "cents")}
			b, err := c.Append(nil, v)
			require.NoError(t, err)
			got, err := c.Decode(b)
			require.NoError(t, err)
			require.Equal(t, v, got)
			got, err = codec.TextOf(c).Parse(codec.TextOf(c).Format(v))
			require.NoError(t, err)
			require.Equal(t, v, got)
		})
	}
	got, err := p.Decode([]byte("\x00\x00\x00\x00\x63\x02\x0e\x0a\x01y"))
	require.NoError(t, err)
	require.True(t, proto.Equal(wrapperspb.String("y"), got))
	require.ErrorContains(t, codec.CheckKey(j), "the id of its schema is part of the bytes")
	require.NoError(t, codec.CheckKey(codec.ForKeys(j)))
}

func TestWhatIsNoWireFormat(t *testing.T) {
	t.Parallel()
	r := connect(t, newFake(t, httptest.NewServer), nil)
	p := registry.Proto[*wrapperspb.StringValue](r, "p", "")
	for text, says := range map[string]string{
		"": "was it written without a schema registry?", `{"id":1}`: "was it written without a schema registry?", "\x00\x00\x00\x00": "was it written without",
		"\x00\x00\x00\x00\x01": "the place of the message in schema 1 cannot be read", "\x00\x00\x00\x00\x01\x02": "cannot be read", "\x00\x00\x00\x00\x01\xfe\xff\xff\xff\xff\x0f": "cannot be read",
		"\x00\x00\x00\x00\x01\x00": "it is message [0] of schema 1, and *wrapperspb.StringValue is message [7] of its own",
	} {
		_, err := p.Decode([]byte(text))
		require.ErrorContains(t, err, says, "%q", text)
	}
}

// What was written with an earlier schema is read by it: the registry is asked once for each.
func TestAvroOfAnotherSchema(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	before := registry.Avro[order](connect(t, f, nil), "s", avroBefore)
	b, err := before.Append(nil, order{ID: "old"})
	require.NoError(t, err)
	f.asked()
	now := registry.Avro[order](connect(t, f, nil), "s", avroSchema)
	for range 3 {
		v, err := now.Decode(b)
		require.NoError(t, err)
		require.Equal(t, order{"old", 100}, v)
	}
	require.Equal(t, []string{"GET /schemas/ids/1"}, f.asked())

	_, err = now.Decode([]byte("\x00\x00\x00\x00\x63\x02x"))
	require.ErrorContains(t, err, "schema registry: get schema 99")
	require.ErrorContains(t, err, "Schema 99 not found")
	require.False(t, isUnavailable(err), "it is the record's fault")
	f.set(func() {
		f.schemas = append(f.schemas, stored{ID: 2, Schema: jsonSchema, SchemaType: "JSON"}, stored{ID: 3, Schema: `"string"`}, stored{ID: 4, Schema: `"x.Y"`, References: []any{map[string]any{"name": "x.Y", "subject": "y", "version": 1}}})
	})
	for id, says := range map[byte]string{2: "is of type JSON, not Avro", 3: "the writer's schema", 4: "references to others"} {
		_, err = now.Decode([]byte{0, 0, 0, 0, id, 2, 'x'})
		require.ErrorContains(t, err, says)
		require.False(t, isUnavailable(err))
	}
}

func isUnavailable(err error) bool {
	var x *registry.UnavailableError
	return errors.As(err, &x) && x.Unavailable()
}

func TestIncompatible(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	f.refuse = func(string, string) []string {
		return []string{"READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1: cents", "TYPE_MISMATCH at /fields/0"}
	}
	r := connect(t, f, nil)
	c := registry.Avro[order](r, registry.Value("orders"), avroSchema)
	err := r.Resolve(t.Context())
	var x *registry.IncompatibleError
	require.ErrorAs(t, err, &x)
	require.Equal(t, "orders-value", x.Subject)
	require.True(t, x.Permanent())
	require.ErrorContains(t, err, "schema registry: the schema of subject orders-value is not compatible with the one registered there: "+
		"READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1: cents; TYPE_MISMATCH at /fields/0; give new fields a default")
	_, err = c.Append(nil, order{})
	require.ErrorAs(t, err, &x)
	f.set(func() { f.refuse = nil })
	_, err = c.Append(nil, order{})
	require.NoError(t, err, "the registry's mind may change")
}

func TestOutages(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	c := registry.Avro[order](connect(t, f, nil), "s", avroSchema)
	for _, status := range []int{500, 503, 429, 401, 403, 404, 302} {
		f.set(func() { f.down = status })
		_, err := c.Append(nil, order{})
		require.True(t, isUnavailable(err), "%d: %v", status, err)
		_, err = c.Decode([]byte("\x00\x00\x00\x00\x01\x02x\x02"))
		require.True(t, isUnavailable(err), "%d: %v", status, err)
	}
	f.set(func() { f.down = 0 })
	b, err := c.Append(nil, order{"x", 1})
	require.NoError(t, err)
	_, err = c.Decode(b)
	require.NoError(t, err)
	f.Close()
	again, err := c.Append(nil, order{"x", 1})
	require.NoError(t, err, "what is known is not asked again")
	require.Equal(t, b, again)
	_, err = c.Decode(b)
	require.NoError(t, err)
	other := registry.Avro[order](connect(t, f, nil), "s", avroSchema)
	_, err = other.Append(nil, order{})
	require.True(t, isUnavailable(err))
	require.ErrorContains(t, err, "schema registry: register the schema of subject s")
}

// Without Register, what is sent waits for whoever registers the schema.
func TestNotRegistered(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	r := connect(t, f, func(c *registry.Config) { c.Register = false })
	c := registry.Avro[order](r, "s", avroSchema)
	require.ErrorContains(t, r.Resolve(t.Context()), "look up the schema of subject s: the schema of this program is not registered there: register it, or set Register")
	_, err := c.Append(nil, order{})
	require.True(t, isUnavailable(err))
	require.Empty(t, f.schemas)
	require.NoError(t, func() error {
		_, err := registry.Avro[order](connect(t, f, nil), "s", avroSchema).Append(nil, order{})
		return err
	}())
	require.NoError(t, r.Resolve(t.Context()))
	_, err = c.Append(nil, order{})
	require.NoError(t, err)
}

// Many goroutines ask once, and a failure is remembered for a while.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	f.down = 503
	r := connect(t, f, func(c *registry.Config) { c.Pause = time.Hour })
	all := func() {
		var wait sync.WaitGroup
		for range 20 {
			wait.Go(func() {
				c := registry.Avro[order](r, "s", avroSchema)
				_, _ = c.Append(nil, order{})
				_, _ = c.Decode([]byte("\x00\x00\x00\x00\x01\x02x\x02"))
			})
		}
		wait.Wait()
	}
	all()
	require.ElementsMatch(t, []string{"POST /subjects/s/versions", "GET /schemas/ids/1"}, f.asked())
	f.set(func() { f.down = 0 })
	require.NoError(t, r.Resolve(t.Context()), "it asks whatever there was before")
	f.asked()
	all()
	require.Empty(t, f.asked())
}

func TestUserAndTLS(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewTLSServer)
	f.user = "ann:secret"
	tlsConfig := f.Client().Transport.(*http.Transport).TLSClientConfig
	r := connect(t, f, func(c *registry.Config) { c.TLS, c.Username, c.Password = tlsConfig, "ann", "secret" })
	registry.Avro[order](r, "s", avroSchema)
	require.NoError(t, r.Resolve(t.Context()))
	for _, change := range []func(*registry.Config){
		func(c *registry.Config) { c.TLS = tlsConfig },
		func(c *registry.Config) { c.TLS, c.Username, c.Password = tlsConfig, "ann", "wrong" },
		func(c *registry.Config) { c.TLS, c.Username, c.Password = &tls.Config{}, "ann", "secret" },
		func(c *registry.Config) { c.Username, c.Password = "ann", "secret" },
	} {
		r := connect(t, f, change)
		registry.Avro[order](r, "s", avroSchema)
		err := r.Resolve(t.Context())
		require.True(t, isUnavailable(err))
		require.NotContains(t, err.Error(), "wrong")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	_, err := registry.New(registry.Config{})
	require.ErrorContains(t, err, "there is no URL")
	_, err = registry.New(registry.Config{URLs: []string{"http://ann:geheim@h:1", "ftp://x", "http://[", "h:8081"}, Password: "p", Timeout: -1})
	for _, says := range []string{"the URL of host h:1 holds a user", `URL "ftp://x"`, "URL 3 cannot be read", `URL "h:8081"`, "a Password without a Username", "Timeout is -1ns"} {
		require.ErrorContains(t, err, says)
	}
	require.NotContains(t, err.Error(), "geheim")

	r, err := registry.New(registry.Config{URLs: []string{"http://h:1"}})
	require.NoError(t, err)
	for says, c := range map[string]codec.Codec[order]{
		"there is no schema registry": registry.Avro[order](nil, "s", avroSchema), "there is no subject": registry.Avro[order](r, "", avroSchema),
		"there is no schema for subject s": registry.JSON[order](r, "s", "", codec.JSONOptions{}), "it is no Avro schema": registry.Avro[order](r, "s", "{"),
	} {
		require.ErrorContains(t, codec.Check(c), says)
	}
	require.ErrorContains(t, codec.Check(registry.Proto[proto.Message](r, "s", "")), "not a generated")
	_, err = registry.Avro[order](nil, "s", avroSchema).Append(nil, order{})
	require.Error(t, err)
	_, err = registry.Avro[order](r, "s", "{").Decode(nil)
	require.Error(t, err)
}

// A registry that is down holds an agent back, and costs no record.
func TestATopologyWaitsForTheRegistry(t *testing.T) {
	t.Parallel()
	f := newFake(t, httptest.NewServer)
	f.down = 503
	r := connect(t, f, nil)
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, registry.Avro[order](r, registry.Value("out"), avroSchema))
	back := topology.NewTopic(topo, "back", codec.String, codec.String)
	topology.Each(topo, "write", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		out.Send(ctx, ev.Key, order{ev.Value, 5})
		return nil
	}, topology.Sends(out))
	topology.Each(topo, "read", out, func(ctx *topology.Context, ev topology.Event[string, order]) error {
		back.Send(ctx, ev.Key, fmt.Sprint(ev.Value))
		return nil
	}, topology.Sends(back))
	d := topologytest.New(t, topo, topologytest.Partitions(1), topologytest.WithBackoff())
	topologytest.Pipe(d, in, "k", "a")
	for range 10 {
		d.Advance(10 * time.Second)
	}
	require.NotEmpty(t, d.Failures())
	require.Empty(t, topologytest.Read(d, back))
	f.set(func() { f.down = 0 })
	d.Advance(10 * time.Second)
	require.Equal(t, "{a 5}", topologytest.Read(d, back)[0].Value)
	require.Empty(t, d.Records("test-dead-letters")[0].Records)
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "\x00\x00\x00\x00\x01\x02x\x02", "\x00\x00\x00\x00\x01\x02\x0e\x0a\x01x", "\x00\x00\x00\x00\x01{}", "\x00\x00\x00\x00\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"} {
		f.Add([]byte(s))
	}
	server := &fake{}
	server.Server = httptest.NewServer(server)
	f.Cleanup(server.Close)
	r, err := registry.New(registry.Config{URLs: []string{server.URL}, Register: true})
	require.NoError(f, err)
	a := registry.Avro[order](r, "a", avroSchema)
	require.NoError(f, r.Resolve(f.Context()))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) > 4 && strings.HasPrefix(string(b), "\x00") {
			b = append([]byte("\x00\x00\x00\x00\x01"), b[5:]...) // an id that there is
		}
		_, _ = a.Decode(b)
		_, _ = registry.Proto[*wrapperspb.StringValue](r, "p", "").Decode(b)
		_, _ = registry.JSON[order](r, "j", jsonSchema, codec.JSONOptions{Strict: true}).Decode(b)
	})
}
