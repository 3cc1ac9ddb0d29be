package actors_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
)

// limit sets max.message.bytes of a topic.
func (w *world) limit(topic, bytes string) {
	w.t.Helper()
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "max.message.bytes", &bytes
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.Configs = kmsg.ConfigResourceTypeTopic, topic, append(res.Configs, c)
	rq := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rq.Resources = append(rq.Resources, res)
	r, err := rq.RequestWith(w.t.Context(), w.client())
	require.NoError(w.t, err)
	require.NoError(w.t, kerr.ErrorForCode(r.Resources[0].ErrorCode))
}

// awaitStopped waits until a partition of a node is stopped, and returns why.
func (w *world) awaitStopped(n *actors.Node) string {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return len(stopped(n)) > 0 }, patience, tick)
	return slices.Collect(maps.Values(stopped(n)))[0]
}

// noise is text that no compression makes much smaller.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // as it should be
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + r.IntN(90))
	}
	return string(b)
}

// A dead letter that the broker refuses stops its partition: the record is not dropped, and is one letter once the topic takes it.
func TestNodeLetterRefused(t *testing.T) {
	t.Parallel()
	for where, update := range map[string]bool{"handler": false, "update": true} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "in", "out")
			poison := func(v string) error {
				if strings.HasPrefix(v, "bad") {
					return errors.New("no such customer")
				}
				return nil
			}
			topo := echo("refused", poison, fine)
			if update {
				topo = echo("refused", fine, poison)
			}
			dir := t.TempDir()
			n := w.node(dir, topo)
			w.send("in", "a")
			w.read("out", 1)
			w.limit("refused-dead-letters", "3000") // what the node has asked for is out of date now
			bad := "bad" + noise(4000)
			w.send("in", bad, "b")
			why := w.awaitStopped(n)
			require.Contains(t, why, "its dead letter cannot be written to topic refused-dead-letters: the broker refuses its effects")
			w.stop(n)

			n = w.node(dir, topo) // it asks again, so it knows before the broker says so
			require.Contains(t, w.awaitStopped(n), "the record does not fit the topic of dead letters")
			w.stop(n)

			w.limit("refused-dead-letters", "20000")
			n = w.node(dir, topo)
			require.Equal(t, []string{"a", "b"}, valuesOf(w.read("out", 2)))
			w.stop(n)
			letter := w.read("refused-dead-letters", 1)[0]
			require.Equal(t, bad, string(letter.Value))
			require.Equal(t, "4", header(letter, "troupe.attempts"))
		})
	}
}

// A redriven record comes to its agent alone on a node too.
func TestNodeRedriven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	n := w.node(t.TempDir(), echo("redriven", fine, fine))
	l := kafka.Letter{Failure: kafka.Failure{Topic: "in", Agent: "echo", Error: "before", Time: time.Unix(1, 0)}}
	headers := func(topology string) []byte { return kafka.NewRedrive(topology, l, kafka.Place{}).Append(nil, 0, 0) }
	w.sendRaw("in", "foreign", headers("other"))
	w.sendRaw("in", "own", headers("redriven"))
	w.send("in", "all")
	require.Equal(t, []string{"own", "all"}, valuesOf(w.read("out", 2)))
	w.stop(n)
	l.Agent = "gone"
	w.sendRaw("in", "orphan", headers("redriven"))
	w.send("in", "more")
	n = w.node(t.TempDir(), echo("redriven", fine, fine))
	require.Equal(t, []string{"own", "all", "more"}, valuesOf(w.read("out", 3)))
	w.stop(n)
	letter := w.read("redriven-dead-letters", 1)[0]
	require.Equal(t, "orphan", string(letter.Value))
	require.Contains(t, header(letter, "troupe.history"), "before")
}

// sendRaw produces a value, under its own key, with encoded headers.
func (w *world) sendRaw(topic, value string, headers []byte) {
	w.t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(value), Value: []byte(value)}
	for h := range kafka.Headers(headers) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	require.NoError(w.t, w.client().ProduceSync(w.t.Context(), r).FirstErr())
}
