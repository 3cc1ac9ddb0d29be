package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka/confluent"
)

func TestAJobGoesThroughFlags(t *testing.T) {
	t.Parallel()
	j := job{Task: taskCount, Variant: exactlyOnce, Client: confluent.Public, Brokers: "a:1,b:2", Name: "n", Source: "s", Dir: "/d", Records: 7}
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
			if x.Beside.label != "" {
				require.Contains(t, labels, x.Beside.label)
			}
			require.NotEqual(t, x.Metric, (&suiteResult{Metrics: s.metrics}).metric(x.Metric).Title, "%s has no metric %s", s.name, x.Metric)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	chosen, err := choose(settings{suites: "count-100k", peers: "goka", client: confluent.Public})
	require.NoError(t, err)
	require.Len(t, chosen, 1)
	require.ElementsMatch(t, []kind{kindOurs, kindGoka}, kindsOf(chosen))
	_, err = choose(settings{suites: "count-100k,nonsense"})
	require.ErrorContains(t, err, "no suite nonsense: there are count-100k")
}

func result() (*report, suite) {
	ours := contender{kind: kindOurs, variant: exactlyOnce, client: confluent.Public, label: "Troupe", share: 1}
	peer := contender{kind: kindStreams, variant: exactlyOnce, client: "kafka-streams", label: "Kafka <Streams>", share: 1}
	s := suite{
		name: "x", title: "A <suite>", text: "Text.", contenders: []contender{ours, peer},
		metrics: []metric{{Key: "cpu", Title: "speed", Digits: 1}, {Key: "p99", Title: "latency", Less: true, Digits: 1}},
		targets: []target{{"cpu", ours, peer, 2}, {"p99", ours, peer, 0.5}},
	}
	r := &report{Runs: []*run{{}}}
	r.add(s, ours, sample{"cpu": 10, "p99": 5})
	r.add(s, ours, sample{"cpu": 14, "p99": 7})
	r.add(s, peer, sample{"cpu": 5, "p99": 4})
	r.suite(s).ratios(s)
	return r, s
}

// TestFiguresAloneHaveTargets: a target without a contender beside is of the figure itself.
func TestFiguresAloneHaveTargets(t *testing.T) {
	t.Parallel()
	r, s := result()
	s.targets = []target{alone("p99", s.contenders[0], 7)}
	r.suite(s).ratios(s)
	require.Contains(t, r.markdown("plots"), "| latency: Troupe | 6.00 | ≤ 7 | reached |")
}

// TestTargetsAreNotForgotten: one that could not be measured is said to be so, unless nobody asked for its contender.
func TestTargetsAreNotForgotten(t *testing.T) {
	t.Parallel()
	r, s := result()
	r.suite(s).Rows = r.suite(s).Rows[:1] // the peer has failed
	r.suite(s).ratios(s)
	text := r.markdown("plots")
	require.Contains(t, text, "| speed: Troupe / Kafka <Streams> | – | ≥ 2 | **not measured** |")
	require.Contains(t, text, "- A <suite>, speed: Troupe / Kafka <Streams>: not measured, ≥ 2 is the target.\n")
	s.contenders = s.contenders[:1]
	r.suite(s).ratios(s)
	require.NotContains(t, r.markdown("plots"), "not measured")
}

// TestAnotherClientIsNoResult: what a contender says that it runs on is not what it was asked for.
func TestAnotherClientIsNoResult(t *testing.T) {
	t.Parallel()
	who := contender{kind: kindOurs, client: confluent.Batched, label: "Troupe"}
	for said, wrong := range map[string]bool{confluent.Batched: false, confluent.Public: true} {
		p := &programs{command: map[kind][]string{kindOurs: {"sh", "-c", "echo '" + word + "client " + said + "'; cat", "sh"}}}
		r, err := p.start(who, job{Dir: t.TempDir()})
		require.NoError(t, err)
		err = r.knows(t.Context())
		r.end()
		if !wrong {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, "Troupe was asked for the client batched and runs on public")
	}
}

func TestWhatComesAgainIsNotCounted(t *testing.T) {
	t.Parallel()
	require.Zero(t, different(nil))
	require.Equal(t, 2, different([]receipt{{meant: 2, received: 3}, {meant: 1, received: 3}, {meant: 2, received: 9}}))
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
	require.Contains(t, text, "- A <suite>, latency: Troupe / Kafka <Streams>: 1.50, where ≤ 0.5 is the target.\n")
	require.NotContains(t, text, "2.40, where")
	require.Less(t, strings.Index(text, "Where others are better"), strings.Index(text, "How it was measured"))
	r.skipped(s)
	r.Why, r.Runs[0].Brokers = "It is slow.\n", "elsewhere:9092"
	text = r.markdown("plots")
	require.Contains(t, text, "1 runs were left out")
	require.Contains(t, text, "is the target.\n\nIt is slow.\n\n## How it was measured")
	require.Contains(t, text, "The broker was given to the run; ")
}

// TestOtherSuitesStay: what a run has no figures of stays in the report, and each suite says of which run it is.
func TestOtherSuitesStay(t *testing.T) {
	t.Parallel()
	order := []suite{{name: "w"}, {name: "x"}, {name: "y"}, {name: "z"}}
	row := []*row{{Contender: "somebody", Samples: []sample{{"cpu": 1}}}}
	earlier := &report{
		Runs: []*run{{Command: "first"}, {Command: "second"}, {Command: "third"}},
		Suites: []*suiteResult{
			{Name: "w", Title: "W", Run: 2, Rows: row},
			{Name: "x", Title: "X before", Run: 1, Rows: row},
			{Name: "y", Title: "Y", Run: 2, Rows: row},
			{Name: "z", Title: "Z", Run: 0, Rows: row},
			{Name: "gone", Run: 1, Rows: row},
		},
	}
	js, err := json.Marshal(earlier)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "benchmarks.json")
	r, _ := result()
	none, err := earlierReport(file)
	require.NoError(t, err)
	r.keep(none, order)
	require.Contains(t, r.markdown("plots"), "All of it is from one run")
	require.NoError(t, os.WriteFile(file, js, 0o600))
	r.Suites = append(r.Suites, &suiteResult{Name: "y", Title: "Y, for which the time did not suffice"})
	r.Runs[0].Command = "now"
	there, err := earlierReport(file)
	require.NoError(t, err)
	r.keep(there, order)
	var titles []string
	for _, s := range r.Suites {
		titles = append(titles, fmt.Sprint(s.Title, ": ", r.Runs[s.Run].Command))
	}
	require.Equal(t, []string{"W: third", "A <suite>: now", "Y: third", "Z: first"}, titles)
	require.Len(t, r.Runs, 3)
	text := r.markdown("plots")
	require.Contains(t, text, "Measured in 3 runs")
	require.Contains(t, text, "**Run 2**, 1 January 0001: `third`\n")
	require.Contains(t, text, "Text. From run 1.\n")
	require.NotContains(t, text, "X before")
	for _, wrong := range []string{"{", `{"Suites": [{"Name": "x", "Run": 1}]}`} {
		require.NoError(t, os.WriteFile(file, []byte(wrong), 0o600))
		_, err := earlierReport(file)
		require.ErrorContains(t, err, "without that file, the report has this run only")
	}
}

func TestBusyCores(t *testing.T) {
	t.Parallel()
	seconds, err := busy("cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 1")
	require.NoError(t, err)
	require.InEpsilon(t, 1.71, seconds, 1e-9)
	for _, s := range []string{"", "cpu 1 2", "cpu 1 2 3 4 5 6 seven 8"} {
		_, err := busy(s)
		require.Error(t, err)
	}
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
	memory, peak, err := memoryOf(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, memory)
	require.GreaterOrEqual(t, peak, memory)
}

func TestKeysHaveNumbers(t *testing.T) {
	t.Parallel()
	key := appendKey(nil, 1234)
	require.Equal(t, "key-0000000000001234", string(key))
	for _, k := range []string{string(key), `"key-0000000000001234"`, "word1234"} {
		n, err := numberOf([]byte(k))
		require.NoError(t, err)
		require.Equal(t, 1234, n)
	}
	_, err := numberOf([]byte("word"))
	require.Error(t, err)
}

// TestSourcesAreCounted: what a source is said to hold is what its records are, and the same each time.
func TestSourcesAreCounted(t *testing.T) {
	t.Parallel()
	for _, s := range []source{{kind: uniform, records: 1000, keys: 70}, {kind: zipf, records: 1000, keys: 70}, {kind: orders, records: 50, keys: 70}} {
		counts := make([]int64, s.keys)
		for next, i := s.numbers(), 0; i < s.records; i++ {
			counts[next()]++
		}
		require.Equal(t, counts, s.counts(), s.kind)
	}
	words := source{kind: lines, records: 100, keys: vocabulary}
	counts := make([]int64, words.keys)
	for i := range words.records {
		for w := range strings.SplitSeq(string(words.appendValue(nil, i)), " ") {
			n, err := numberOf([]byte(w))
			require.NoError(t, err)
			counts[n]++
		}
	}
	require.Equal(t, counts, words.counts())
	often := source{kind: zipf, records: 10_000, keys: 1000}.counts()
	require.Greater(t, often[0], int64(1000))
}

func TestValuesHaveTheirSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 1000} {
		require.Len(t, source{kind: uniform, size: size}.appendValue([]byte("before"), 7), len("before")+size)
	}
	require.Len(t, source{kind: uniform}.appendValue(nil, 7), 8)
}

// TestWrongCountsAreSeen: a sum that fits is not enough.
func TestWrongCountsAreSeen(t *testing.T) {
	t.Parallel()
	require.NoError(t, compare([]int64{1, 2}, []int64{1, 2}))
	require.ErrorContains(t, compare([]int64{2, 1}, []int64{1, 2}), "2 of 2 keys are counted wrongly, such as key 0: 2 times in place of 1")
}

// TestTurns: every suite is run once before any is run again, and those that matter most are run three times before others are twice.
func TestTurns(t *testing.T) {
	t.Parallel()
	var got []string
	for _, x := range turns([]suite{{name: "a", often: true}, {name: "b"}, {name: "c", most: 1}}, 4) {
		got = append(got, fmt.Sprint(x.name, x.round))
	}
	require.Equal(t, []string{"a0", "b0", "c0", "a1", "a2", "b1", "a3", "b2", "b3"}, got)
}

func TestEveryOtherRoundGoesTheOtherWay(t *testing.T) {
	t.Parallel()
	s := suite{contenders: []contender{{label: "a"}, {label: "b"}}}
	for round, first := range []string{"a", "b", "a"} {
		require.Equal(t, first, turn{s, round}.inTurn()[0].label)
	}
	require.Equal(t, "a", s.contenders[0].label)
}

func TestEvenMinutes(t *testing.T) {
	t.Parallel()
	x := flat([]sample{{"cpu": 10, "memory": 100}, {"cpu": 12, "memory": 100}, {"cpu": 9, "memory": 130}})
	require.InEpsilon(t, 0.9, x["least"], 1e-9)
	require.InEpsilon(t, 1.3, x["growth"], 1e-9)
}

// TestPlainCounts: both count each key as often as it is there.
func TestPlainCounts(t *testing.T) {
	t.Parallel()
	src := source{kind: uniform, records: 2500, keys: 70}
	key := func(i int) []byte { return appendKey(nil, i*7919%src.keys) }
	for _, count := range []func(source, func(int) []byte) (int, error){countInMap, countInTable} {
		n, err := count(src, key)
		require.NoError(t, err)
		require.Equal(t, src.keys, n)
	}
}
