package troupe_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	troupe "github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/kafka/embedded"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

type visit = topology.Event[string, string]

// blocked is how long the handler of a value blocks: the node is killed, or stopped, before.
const blocked = "wait"

// look is a value that is not counted.
const look = "look"

// visits counts by key and answers with the count. What is put into a channel is counted, too.
func visits() (*topology.Topology, *topology.AgentRef[string, string, int64], *topology.Channel[string, string]) {
	t := topology.New("visits")
	in := topology.NewTopic(t, "in", codec.String, codec.String, topology.Partitions(2))
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	ref := topology.Answer(t, "count", in, func(ctx *topology.Context, v visit) (int64, error) {
		switch v.Value {
		case "bad":
			return 0, errors.New("no page")
		case blocked:
			<-ctx.Done()
			return 0, ctx.Err()
		}
		n, _, err := counts.Get(ctx, v.Key)
		if v.Value == look {
			return n, err
		}
		counts.Set(ctx, v.Key, n+1)
		return n + 1, err
	}, codec.Int64, topology.Writes(counts), topology.OnFailure(topology.Policy{Attempts: 1}))
	taps := topology.NewChannel[string, string](t, "taps", topology.Puts(codec.String, codec.String))
	topology.Each(t, "tap", taps, func(ctx *topology.Context, v visit) error {
		counts.Update(ctx, v.Key, func(old int64, _ bool) (int64, error) { return old + 1, nil })
		return nil
	}, topology.Writes(counts))
	return t, ref, taps
}

// TestAskedNode is no test: it is the node of the tests below, as a process that can be killed.
func TestAskedNode(t *testing.T) {
	at := os.Getenv("TROUPE_TEST_NODE")
	if at == "" {
		t.Skip("it is a process of the tests beside it")
	}
	brokers, dir, _ := strings.Cut(at, " ")
	topo, _, _ := visits()
	cfg := troupe.Config{Brokers: []string{brokers}, DataDir: dir, CreateTopics: true, HTTP: troupe.HTTP{Addr: "127.0.0.1:0"}}
	cfg.Started = func() { _, _ = fmt.Fprintln(os.Stdout, "started") } // the test beside it reads that
	require.NoError(t, troupe.Run(t.Context(), cfg, topo))
}

// asked is a broker, a client of it, and a node that can be killed.
type asked struct {
	t      *testing.T
	broker string
	dir    string
	client *troupe.Client
	ref    *topology.AgentRef[string, string, int64]
	taps   *topology.Channel[string, string]
	node   *exec.Cmd
}

func newAsked(t *testing.T) *asked {
	t.Helper()
	b, err := embedded.Start(embedded.Config{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	a := &asked{t: t, broker: b.Addr(), dir: t.TempDir()}
	_, a.ref, a.taps = visits()
	a.client, err = troupe.OpenClient(t.Context(), troupe.ClientConfig{Brokers: []string{a.broker}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.client.Close()) })
	t.Cleanup(a.kill)
	return a
}

// start starts the node, and waits until it is a member of its group.
func (a *asked) start() {
	a.t.Helper()
	a.node = exec.Command(os.Args[0], "-test.run=^TestAskedNode$", "-test.v") //nolint:gosec,noctx // this very program; it is killed
	a.node.Env = append(os.Environ(), "TROUPE_TEST_NODE="+a.broker+" "+a.dir)
	out, err := a.node.StdoutPipe()
	require.NoError(a.t, err)
	require.NoError(a.t, a.node.Start())
	seen := ""
	for b := make([]byte, 1024); !strings.Contains(seen, "started"); {
		n, err := out.Read(b)
		require.NoError(a.t, err, seen)
		seen += string(b[:n])
	}
}

// kill kills the node as kill -9 does.
func (a *asked) kill() {
	if a.node != nil {
		_ = a.node.Process.Kill()
		_ = a.node.Wait() // it was killed
		a.node = nil
	}
}

func (a *asked) ask(within time.Duration, value string) (int64, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), within)
	defer cancel()
	return a.ref.Ask(ctx, a.client, "ann", value)
}

// times yields a key and value so often.
func times(n int, keys ...string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range n {
			if !yield(keys[i%len(keys)], "/") {
				return
			}
		}
	}
}

// Each request has one answer, through kills: for each key the answers are 1 to n, and no answer was seen that a kill has taken back.
func TestAsksThroughKills(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	a.start()
	const n = 3000
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	got := map[string]map[int64]bool{"ann": {}, "bob": {}, "cid": {}}
	answers := 0
	for r, err := range a.ref.AskEach(ctx, a.client, times(n, "ann", "bob", "cid")) {
		require.NoError(t, err)
		require.False(t, got[r.Key][r.Result], "%s has the answer %d twice", r.Key, r.Result)
		got[r.Key][r.Result] = true
		if answers++; answers%700 == 0 { // requests are on their way
			a.kill()
			a.start()
		}
	}
	require.Equal(t, n, answers)
	for key, all := range got {
		for i := range int64(n / 3) {
			require.True(t, all[i+1], "%s lacks the answer %d", key, i+1)
		}
	}
	all, err := a.ref.AskAll(ctx, a.client, times(3, "dan"))
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, all)
}

// What keeps an answer from coming has its own error, within the deadline.
func TestWhyAnAskFails(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	_, err := a.ask(2*time.Second, "/")
	require.ErrorIs(t, err, topology.ErrNotRunning)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "nothing was sent")

	a.start()
	n, err := a.ask(time.Minute, "/")
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
	require.NoError(t, a.ref.Cast(t.Context(), a.client, "ann", "/"))
	n, err = a.ask(time.Minute, "/")
	require.NoError(t, err)
	require.Equal(t, int64(3), n)

	_, err = a.ask(time.Minute, "bad")
	var failed *topology.AskError
	require.ErrorAs(t, err, &failed)
	require.True(t, failed.Letter)
	require.Equal(t, "no page", failed.ReplyFailure.Error)

	_, err = a.ask(3*time.Second, blocked)
	require.ErrorIs(t, err, topology.ErrSlow)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "comes to the request next, or is at it")
	_, err = a.ask(3*time.Second, "/")
	require.ErrorIs(t, err, topology.ErrSlow)
	require.ErrorContains(t, err, "offsets before the request")

	a.kill()
	_, err = a.ask(3*time.Second, "/")
	require.ErrorIs(t, err, topology.ErrDeadOwner)

	ctx, cancel := context.WithCancel(t.Context())
	wait, end := context.WithTimeout(ctx, time.Minute)
	defer end()
	cancel()
	_, err = a.ref.Ask(wait, a.client, "ann", "/")
	require.ErrorIs(t, err, context.Canceled)

	done := make(chan error, 1)
	go func() {
		_, err := a.ask(time.Minute, "/")
		done <- err
	}()
	require.NoError(t, a.client.Close())
	require.ErrorIs(t, <-done, topology.ErrAskerClosed)
}

func TestAClientNeedsToKnowTheBrokers(t *testing.T) {
	t.Parallel()
	_, err := troupe.OpenClient(t.Context(), troupe.ClientConfig{})
	require.ErrorContains(t, err, "neither Brokers nor DataDir")
}

// A client puts records into a channel; those that it has put survive the death of the node.
func TestPut(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a.start()
	for range 3 {
		require.NoError(t, a.taps.Put(ctx, a.client, "/", "tap"))
	}
	a.kill()
	a.start()
	for n := int64(0); n < 3; {
		var err error
		n, err = a.ref.Ask(ctx, a.client, "/", look)
		require.NoError(t, err)
		require.LessOrEqual(t, n, int64(3))
	}
}

// A handler asks an eager agent of its own partition, on a node, and all is committed.
func TestAskingAnEagerAgentOfOnesOwnPartition(t *testing.T) {
	t.Parallel()
	b, err := embedded.Start(embedded.Config{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	client, err := troupe.OpenClient(t.Context(), troupe.ClientConfig{Brokers: []string{b.Addr()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	topo := topology.New("eager")
	in := topology.NewTopic(topo, "in", codec.String, codec.String, topology.Partitions(2))
	questions := topology.NewTopic(topo, "questions", codec.String, codec.String, topology.Partitions(2))
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	count := topology.Answer(topo, "count", questions, func(ctx *topology.Context, v visit) (int64, error) {
		n, _, err := counts.Get(ctx, v.Key)
		counts.Set(ctx, v.Key, n+1)
		return n + 1, err
	}, codec.Int64, topology.Writes(counts), topology.Eager())
	ask := topology.Answer(topo, "ask", in, func(ctx *topology.Context, v visit) (int64, error) {
		within, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return count.Ask(within, client, v.Key, v.Value)
	}, codec.Int64, topology.Reads(counts))
	ctx, cancel := context.WithCancel(t.Context())
	done, started := make(chan error, 1), make(chan struct{})
	go func() {
		done <- troupe.Run(ctx, troupe.Config{
			Brokers: []string{b.Addr()}, DataDir: t.TempDir(), CreateTopics: true, HTTP: troupe.HTTP{Addr: "127.0.0.1:0"}, Started: func() { close(started) },
		}, topo)
	}()
	select {
	case <-started:
	case err := <-done:
		require.NoError(t, err)
	}
	within, end := context.WithTimeout(t.Context(), time.Minute)
	defer end()
	for i := range int64(3) {
		n, err := ask.Ask(within, client, "ann", "?")
		require.NoError(t, err)
		require.Equal(t, i+1, n)
	}
	cancel()
	require.NoError(t, <-done)
}
