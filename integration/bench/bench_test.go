package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAJobGoesThroughFlags(t *testing.T) {
	t.Parallel()
	j := job{Task: taskCount, Variant: exactlyOnce, Client: clientPublic, Brokers: "a:1,b:2", Name: "n", Source: "s", Dir: "/d", Records: 7}
	var again job
	require.NoError(t, again.flags().Parse(j.args()))
	require.Equal(t, j, again)
}

func TestMedian(t *testing.T) {
	t.Parallel()
	require.Zero(t, median(nil))
	require.InEpsilon(t, 2, median([]float64{1, 2, 9}), 1e-9)
	require.InEpsilon(t, 1.5, median([]float64{1, 2}), 1e-9)
}

// TestSuitesAreWhole: every suite has contenders, every target a contender of its suite, and no two share a name of their own.
func TestSuitesAreWhole(t *testing.T) {
	t.Parallel()
	b := &bench{cluster: new(cluster)}
	seen, names := map[string]bool{}, map[string]bool{}
	for _, s := range suites(settings{}) {
		require.False(t, names[s.name], "suite %s is there twice", s.name)
		names[s.name] = true
		require.NotEmpty(t, s.metrics, s.name)
		labels := map[string]bool{}
		for _, c := range s.contenders {
			labels[c.label] = true
			j := b.job(s, c, 0)
			require.False(t, seen[j.Name], "%s is there twice", j.Name)
			seen[j.Name] = true
			require.Positive(t, c.share)
		}
		for _, x := range s.targets {
			require.Contains(t, labels, x.Of.label)
			require.Contains(t, labels, x.Beside.label)
			require.NotEqual(t, x.Metric, (&suiteResult{Metrics: s.metrics}).metric(x.Metric).Title, "%s has no metric %s", s.name, x.Metric)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	chosen, err := choose(settings{suites: "count-100k", peers: "goka", client: clientPublic})
	require.NoError(t, err)
	require.Len(t, chosen, 1)
	require.ElementsMatch(t, []kind{kindOurs, kindGoka}, kindsOf(chosen))
	_, err = choose(settings{suites: "count-100k,nonsense"})
	require.ErrorContains(t, err, "no suite nonsense: there are count-100k")
}

func result() (*report, suite) {
	ours := contender{kindOurs, exactlyOnce, clientPublic, "Troupe", 1, ""}
	peer := contender{kindStreams, exactlyOnce, "kafka-streams", "Kafka <Streams>", 1, ""}
	s := suite{
		name: "x", title: "A <suite>", text: "Text.", contenders: []contender{ours, peer},
		metrics: []metric{{Key: "cpu", Title: "speed", Digits: 1}, {Key: "p99", Title: "latency", Less: true, Digits: 1}},
		targets: []target{{"cpu", ours, peer, 2}, {"p99", ours, peer, 0.5}},
	}
	r := newReport(nil, settings{})
	r.add(s, ours, sample{"cpu": 10, "p99": 5})
	r.add(s, ours, sample{"cpu": 14, "p99": 7})
	r.add(s, peer, sample{"cpu": 5, "p99": 4})
	r.suite(s).ratios(s.targets)
	return r, s
}

func TestReport(t *testing.T) {
	t.Parallel()
	r, s := result()
	text := r.markdown("plots")
	require.Contains(t, text, "- A <suite>, latency: Kafka <Streams> with 4.0, beside 6.0 of Troupe.")
	require.NotContains(t, text, "A <suite>, speed: Kafka")
	require.Contains(t, text, "| Troupe | 12.0 (10.0–14.0) | 6.0 (5.0–7.0) | 2 |")
	require.Contains(t, text, "| speed: Troupe / Kafka <Streams> | 2.40 | ≥ 2 | reached |")
	require.Contains(t, text, "| latency: Troupe / Kafka <Streams> | 1.50 | ≤ 0.5 | **missed** |")
	require.Less(t, strings.Index(text, "Where others are better"), strings.Index(text, "How it was measured"))
	r.skipped(s, s.contenders[0], 1)
	require.Contains(t, r.markdown("plots"), "1 runs were left out")
}

func TestPlotsAreImages(t *testing.T) {
	t.Parallel()
	r, _ := result()
	for _, m := range r.Suites[0].Metrics {
		in := xml.NewDecoder(strings.NewReader(plot(r.Suites[0], m)))
		for {
			_, err := in.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	n, err := faustPlain.decode([]byte("12"))
	require.NoError(t, err)
	require.EqualValues(t, 12, n)
	n, err = barePublic.decode([]byte{0, 0, 0, 0, 0, 0, 1, 0})
	require.NoError(t, err)
	require.EqualValues(t, 256, n)
	_, err = streamsPlain.decode([]byte("12"))
	require.Error(t, err)
}

func TestSlugsFitTopics(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a-b-1", slug("A b.1"))
}

func TestProcessesAreMeasured(t *testing.T) {
	t.Parallel()
	used, err := cpuOf(1)
	require.NoError(t, err)
	require.GreaterOrEqual(t, used, 0.0)
	memory, err := memoryOf(1)
	require.NoError(t, err)
	require.GreaterOrEqual(t, memory, int64(0))
}
