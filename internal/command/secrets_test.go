package command

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

type paid struct {
	Customer string `json:"customer"`
	Card     string `json:"card" troupe:"secret"`
}

func (p paid) Validate() error {
	if p.Customer == "" {
		return errors.New("there is no customer")
	}
	return nil
}

// Fields that are tagged as secret are in nothing that commands print and logs say, whatever becomes of their record.
func TestSecretsAreInNoOutput(t *testing.T) {
	t.Parallel()
	topo := func() *topology.Topology {
		t := topology.New("pay")
		strict := codec.JSONWith[paid](codec.JSONOptions{Strict: true})
		in := topology.NewTopic(t, "in", codec.String, strict, topology.Partitions(1))
		out := topology.NewTopic(t, "out", codec.String, codec.CBOR[paid](), topology.Partitions(1))
		last := topology.NewTable(t, "last", codec.String, codec.Compressed(codec.JSON[paid](), codec.Zstd))
		topology.Each(t, "agent", in, func(ctx *topology.Context, ev topology.Event[string, paid]) error {
			if ev.Key == "broke" {
				return topology.Permanent(errors.New("out of money"))
			}
			out.Send(ctx, ev.Key, ev.Value)
			last.Set(ctx, ev.Key, ev.Value)
			return nil
		}, topology.Sends(out), topology.Writes(last))
		return t
	}
	dir := t.TempDir()
	run := func(args ...string) result {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := runWith(ctx, nil, []Topology{topo()}, append(args, "--data-dir", dir)...)
		require.NotContains(t, r.out+r.err, "visa-", args)
		return r
	}
	ok := func(args ...string) string {
		r := run(args...)
		require.Zero(t, r.code, r.err)
		return r.out + r.err
	}
	feed := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(feed, []byte(strings.Join([]string{
		"ann\t" + `{"customer":"Ann","card":"visa-1"}`, "broke\t" + `{"customer":"Bob","card":"visa-2"}`, "odd\t" + `{"customer":"C","card":"visa-3","what":1}`, "none\t" + `{"card":"visa-4"}`,
	}, "\n")+"\n"), 0o600))
	r := run("--create-topics", "--feed-keyed", "--feed", "in="+feed, "--drain")
	require.NotZero(t, r.code, "feed takes what decodes only")
	require.NoError(t, os.WriteFile(feed, []byte("ann\t"+`{"customer":"Ann","card":"visa-1"}`+"\nbroke\t"+`{"customer":"Bob","card":"visa-2"}`+"\n"), 0o600))
	ok("--create-topics", "--feed-keyed", "--feed", "in="+feed, "--drain", "--log-values", "--debug", "--show", "last")

	const shown = `{"customer":"Ann","card":"***"}`
	require.Contains(t, ok("tail", "in", "--from-start"), shown)
	require.Contains(t, ok("tail", "out", "--format", "json"), `"card":"***"`)
	require.Contains(t, ok("get", "last", "ann"), `"card":"***"`)
	require.Contains(t, ok("scan", "last"), shown)
	require.Contains(t, ok("tail", "pay-dead-letters"), `{"customer":"Bob","card":"***"}`)
	require.Contains(t, ok("dead-letters", "list"), "out of money")
	require.Contains(t, ok("dead-letters", "show", "0@0"), `"card":"***"`)
	ok("verify")

	r = run("send", "in", "--key", "x", `{"customer":"","card":"visa-5"}`)
	require.NotZero(t, r.code)
	require.Contains(t, r.err, "it is not valid: there is no customer")
	r = run("send", "in", "--key", "x", shown)
	require.NotZero(t, r.code)
	require.Contains(t, r.err, "*** stands for a secret field")
}
