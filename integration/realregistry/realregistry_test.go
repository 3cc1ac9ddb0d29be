//go:build integration && unix

package realregistry_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/troupe-stream/troupe/integration/realregistry"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/codec/registry"
)

const (
	avroNow    = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"long","default":100}]}`
	avroBefore = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}`
	avroBroken = `{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"cents","type":"string"}]}`
	jsonSchema = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"id":{"type":"string"}}}`
	protoFile  = "syntax = \"proto3\";\npackage google.protobuf;\nmessage DoubleValue { double value = 1; }\n"
)

type order struct {
	ID    string `avro:"id" json:"id"`
	Cents int64  `avro:"cents" json:"cents"`
}

// The codecs of package registry on a registry that somebody else has written.
func TestCodecsOnARealRegistry(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	server, err := realregistry.Start(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	t.Logf("on Apicurio Registry %s at %s", realregistry.Version, server.URL())
	connect := func(register bool) *registry.Registry {
		r, err := registry.New(registry.Config{URLs: []string{server.URL()}, Register: register})
		require.NoError(t, err)
		return r
	}

	r := connect(true)
	v := order{"x", 5}
	j := registry.JSON[order](r, registry.Value("j"), jsonSchema, codec.JSONOptions{Strict: true})
	before, now := registry.Avro[order](r, registry.Value("a"), avroBefore), registry.Avro[order](r, registry.Value("a"), avroNow)
	text := registry.Proto[*wrapperspb.DoubleValue](r, registry.Value("p"), protoFile)
	file := registry.Proto[*wrapperspb.DoubleValue](r, registry.Key("p"), "")
	require.NoError(t, r.Resolve(ctx))
	for _, c := range []codec.Codec[order]{j, now} {
		b, err := c.Append(nil, v)
		require.NoError(t, err)
		got, err := c.Decode(b)
		require.NoError(t, err)
		require.Equal(t, v, got)
	}
	for _, c := range []codec.Codec[*wrapperspb.DoubleValue]{text, file} {
		b, err := c.Append(nil, wrapperspb.Double(1.5))
		require.NoError(t, err)
		got, err := c.Decode(b)
		require.NoError(t, err)
		require.True(t, proto.Equal(wrapperspb.Double(1.5), got))
	}
	old, err := before.Append(nil, v)
	require.NoError(t, err)
	got, err := now.Decode(old)
	require.NoError(t, err)
	require.Equal(t, order{"x", 100}, got)

	looks := connect(false)
	registry.Avro[order](looks, registry.Value("a"), avroNow)
	require.NoError(t, looks.Resolve(ctx), "what is registered is found")
	registry.Avro[order](looks, registry.Value("nobody"), avroNow)
	require.ErrorContains(t, looks.Resolve(ctx), "is not registered there")

	req, err := http.NewRequestWithContext(ctx, http.MethodPut, server.URL()+"/config/a-value", bytes.NewReader([]byte(`{"compatibility":"BACKWARD"}`)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	refused := connect(true)
	registry.Avro[order](refused, registry.Value("a"), avroBroken)
	var x *registry.IncompatibleError
	require.ErrorAs(t, refused.Resolve(ctx), &x)
	require.ErrorContains(t, x, "/fields/1")

	_, err = now.Decode([]byte("\x00\x00\x00\x03\xe7\x02x\x02"))
	require.ErrorContains(t, err, "get schema 999")
	require.NoError(t, server.Stop(ctx))
	var away *registry.UnavailableError
	_, err = now.Decode([]byte("\x00\x00\x00\x03\xe8\x02x\x02"))
	require.ErrorAs(t, err, &away)
	_, err = now.Append(nil, v)
	require.NoError(t, err, "what is known needs no registry")
}
