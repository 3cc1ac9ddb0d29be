package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/internal/cmem"
	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a node that says what it is told to say.
type fake struct {
	st      status.Node
	ended   bool
	treeErr error
	resumed []status.Wanted
	asked   int
}

func (f *fake) Alive() bool                         { return !f.ended }
func (f *fake) Look() status.Node                   { return f.st }
func (f *fake) Inspect(context.Context) status.Node { return f.st }
func (f *fake) Digest(table string, partition int32) (status.Digest, error) {
	if table != "paid" {
		return status.Digest{}, errors.New("no such table")
	}
	return status.Digest{Known: true, Entries: int64(partition), Sum: 1<<64 - 1}, nil
}

func (f *fake) Put(_ context.Context, channel string, key, value *string) (status.Put, error) {
	switch {
	case channel != "orders":
		return status.Put{}, fmt.Errorf("topology shop has no channel %s: %w", channel, status.ErrRefused)
	case key == nil:
		return status.Put{}, errors.New("no broker answers")
	case value == nil:
		return status.Put{Topic: "null", Offset: 1}, nil
	}
	return status.Put{Topic: *key + "=" + *value, Partition: 2, Offset: 7}, nil
}
func (f *fake) HooksDropped() int64 { return 3 }
func (f *fake) Tree() (status.Tree, error) {
	return status.Tree{Name: "root", Kind: "root", Children: []status.Tree{{Name: "orders/0", Kind: "partition", Mailbox: 7}, {Name: "raw", Kind: "agent", Mailbox: -1}}}, f.treeErr
}

func (f *fake) Resume(wanted []status.Wanted) ([]status.Resumed, error) {
	f.asked++
	f.resumed = wanted
	return []status.Resumed{{Topology: "shop", Stage: "orders", Partition: 0, Resumed: true}}, nil
}

func (f *fake) Meters() status.Meters {
	h := status.Histogram{Bounds: []float64{0.1, 1}, Counts: []uint64{1, 2}, Count: 3, Sum: 4}
	return status.Meters{
		Topology: "shop", Agents: []status.AgentMeter{{Name: "pay", Role: "agent", In: 11, Dropped: 2, Work: h}}, Tables: []status.TableMeter{{Name: "paid", Journaled: 5}},
		Commits: status.Commits{Committed: 9}, Commit: h,
	}
}

func node(instance string) *fake {
	return &fake{st: status.Node{
		Topology: "shop", Instance: instance, State: status.Running, Ready: true, All: []string{"orders/0", "orders/1"},
		Partitions: []status.Partition{{
			Stage: "orders", State: status.Stopped, Why: "agent pay: <b>no</b>", Lag: 12345, Agents: []status.Agent{{Name: "pay", Role: "agent", Topic: "orders", Lag: 12345}},
			Shards: []status.Shard{{Table: "paid", Entries: 2, Bytes: 20, Progress: 1}},
		}},
		Globals:    []status.Global{{Table: "rates", Topic: "rates", State: status.Running, Progress: 1, Entries: 3, Bytes: 30}},
		LastErrors: []status.Failure{{Time: time.Now(), Agent: "pay", Record: "orders/0@7", Error: "no"}},
	}}
}

// listen serves for a node of its own identity.
func listen(t *testing.T, instance string, change func(*gateway.Config)) *gateway.Gateway {
	t.Helper()
	cfg := gateway.Config{Addr: "127.0.0.1:0", Instance: instance, Version: "v1", Topologies: []string{"shop"}, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

func client(t *testing.T, s gateway.Security) *gateway.Client {
	t.Helper()
	c, err := gateway.NewClient(s)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// get asks as a browser or a probe would.
func get(t *testing.T, method, url string, header ...string) (int, string) {
	t.Helper()
	return request(t, method, url, nil, header...)
}

// request sends a body.
func request(t *testing.T, method, url string, body io.Reader, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Do(req)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, errors.Join(err, res.Body.Close()))
	return res.StatusCode, string(b)
}

func members(all ...gateway.Member) gateway.Members {
	return func(context.Context, string) ([]gateway.Member, error) { return all, nil }
}

// From the first moment on probes are answered: alive, and not ready until the node says so.
func TestProbes(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", nil)
	code, body := get(t, "GET", g.URL()+"/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "shop: starting\n", body)
	code, _ = get(t, "GET", g.URL()+"/healthz")
	require.Equal(t, 200, code)
	n := node("a")
	n.st.State, n.st.Ready = status.Restoring, false
	g.Set("shop", n, nil)
	code, body = get(t, "GET", g.URL()+"/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "shop: restoring\n", body)
	n.st.State, n.st.Ready = status.Running, true
	code, body = get(t, "GET", g.URL()+"/readyz")
	require.Equal(t, 200, code)
	require.Equal(t, "shop: running\n", body)
	n.st.State, n.st.Ready = status.Stopping, false
	code, body = get(t, "GET", g.URL()+"/healthz")
	require.Equal(t, 200, code)
	require.Equal(t, "shop: alive\n", body)
	n.ended = true
	code, _ = get(t, "GET", g.URL()+"/healthz")
	require.Equal(t, 503, code)
	code, _ = get(t, "GET", g.URL()+"/nothing")
	require.Equal(t, 404, code)
	code, _ = get(t, "GET", g.URL()+"/debug/pprof/")
	require.Equal(t, 404, code, "only with --debug")
}

func TestDebug(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", func(c *gateway.Config) { c.Debug = true })
	code, body := get(t, "GET", g.URL()+"/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, code)
	require.Contains(t, body, "goroutine profile")
}

// Any node tells about all of them, and says whom it could not ask, and why.
func TestGather(t *testing.T) {
	t.Parallel()
	a, b, c := listen(t, "a", nil), listen(t, "b", nil), listen(t, "c", nil)
	na, nb, nc := node("a"), node("b"), node("c")
	var lc net.ListenConfig
	closed, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := "http://" + closed.Addr().String()
	require.NoError(t, closed.Close())
	all := members(
		gateway.Member{Instance: "a", ClientID: "troupe-a@" + a.URL()}, gateway.Member{Instance: "b", ClientID: "troupe-b@" + b.URL()},
		gateway.Member{Instance: "gone", ClientID: "troupe-gone@" + gone}, gateway.Member{Instance: "dumb", ClientID: "troupe-dumb"},
		gateway.Member{Instance: "wrong", ClientID: "troupe-wrong@" + c.URL()},
	)
	a.Set("shop", na, all)
	b.Set("shop", nb, all)
	c.Set("shop", nc, all)
	cl := client(t, gateway.Security{})
	got, err := cl.Status(t.Context(), strings.TrimPrefix(a.URL(), "http://"), gateway.Query{})
	require.NoError(t, err)
	require.Len(t, got.Nodes, 2)
	require.Equal(t, "a", got.Nodes[0].Instance)
	require.Equal(t, "b", got.Nodes[1].Instance)
	require.Equal(t, b.URL(), got.Nodes[1].Address)
	why := map[string]string{}
	for _, u := range got.Unreachable {
		why[u.Instance] = u.Why
	}
	require.Len(t, why, 3)
	require.Contains(t, why["gone"], "nothing listens")
	require.Contains(t, why["dumb"], "--http off")
	require.Contains(t, why["wrong"], "node c answers there: node wrong does not run, or has to be told its own address with --advertise")

	local, err := cl.Status(t.Context(), a.URL(), gateway.Query{Topology: "shop", Local: true})
	require.NoError(t, err)
	require.Len(t, local.Nodes, 1)
	require.Empty(t, local.Unreachable)

	na.treeErr = errors.New("no time")
	trees, err := cl.Trees(t.Context(), a.URL(), gateway.Query{})
	require.NoError(t, err)
	require.Len(t, trees.Trees, 2)
	require.Equal(t, "no time", trees.Trees[0].Why)
	require.Equal(t, "root", trees.Trees[1].Root.Name)

	done, err := cl.Resume(t.Context(), a.URL(), gateway.Query{}, []status.Wanted{{Stage: "orders", Partition: 0}})
	require.NoError(t, err)
	require.Len(t, done.Resumed, 2, "each node was asked")
	require.Len(t, done.Unreachable, 3)
	require.Equal(t, []status.Wanted{{Stage: "orders", Partition: 0}}, nb.resumed)
	require.Zero(t, nc.asked, "it is not who was meant")
	_, err = cl.Resume(t.Context(), a.URL(), gateway.Query{}, nil)
	require.NoError(t, err)
	require.Nil(t, na.resumed)
	require.Equal(t, 2, na.asked)

	digest, err := cl.Digest(t.Context(), a.URL(), gateway.Query{Topology: "shop", Instance: "a"}, "paid", 7)
	require.NoError(t, err)
	require.Equal(t, status.Digest{Known: true, Entries: 7, Sum: 1<<64 - 1}, digest)
	digest, err = cl.Digest(t.Context(), a.URL(), gateway.Query{Topology: "shop"}, "other", 7)
	require.NoError(t, err)
	require.Equal(t, "no such table", digest.Why)

	_, err = cl.Status(t.Context(), a.URL(), gateway.Query{Topology: "other"})
	require.ErrorContains(t, err, `topology "other" does not run here: there is shop`)
	code, body := get(t, "POST", a.URL()+"/resume")
	require.Equal(t, 400, code)
	require.Contains(t, body, "all=1")
	code, body = get(t, "POST", a.URL()+"/resume?partition=x")
	require.Equal(t, 400, code)
	require.Contains(t, body, `"x"`)
	code, _ = get(t, "GET", a.URL()+"/resume?all=1")
	require.Equal(t, 405, code, "to look must not change anything")
}

// While the brokers do not say who the others are, a node tells about itself.
func TestGatherWithoutBrokers(t *testing.T) {
	t.Parallel()
	a := listen(t, "a", nil)
	a.Set("shop", node("a"), func(context.Context, string) ([]gateway.Member, error) { return nil, errors.New("no broker") })
	got, err := client(t, gateway.Security{}).Status(t.Context(), a.URL(), gateway.Query{})
	require.NoError(t, err)
	require.Len(t, got.Nodes, 1)
	require.Len(t, got.Unreachable, 1)
	require.Contains(t, got.Unreachable[0].Why, "no broker")
}

// Web pages elsewhere do not get at a node that asks for no token, neither by a name of their own nor by a form.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", nil)
	n := node("a")
	g.Set("shop", n, nil)
	code, body := get(t, "GET", g.URL()+"/status", "Host", "evil.example")
	require.Equal(t, 403, code)
	require.Contains(t, body, g.URL())
	code, _ = get(t, "GET", g.URL()+"/readyz", "Host", "10.1.2.3:6066")
	require.Equal(t, 200, code, "probes come under any name")
	code, _ = get(t, "POST", g.URL()+"/resume?all=1", "Origin", "http://evil.example")
	require.Equal(t, 403, code)
	require.Zero(t, n.asked)
}

func TestPage(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", nil)
	g.Set("shop", node("a"), nil)
	code, body := get(t, "GET", g.URL()+"/")
	require.Equal(t, 200, code)
	require.Contains(t, body, "1 node, 2 partitions (1 stopped, 1 unassigned), lag 12,345 or more")
	require.Contains(t, body, "agent pay: &lt;b&gt;no&lt;/b&gt;", "what a handler says is text")
	require.NotContains(t, body, "<b>no</b>")
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", nil)
	_, body := get(t, "GET", g.URL()+"/metrics")
	require.Contains(t, body, `troupe_node_ready{topology="shop"} 0`)
	g.Set("shop", node("a"), nil)
	g.SetFigures(func() []kafka.ClientFigures {
		return []kafka.ClientFigures{{Client: "c", Role: "consumer", Queued: 4, Brokers: []kafka.BrokerFigures{{Name: "b:1", Up: true, RTT99: 20 * time.Millisecond}}}}
	})
	_, body = get(t, "GET", g.URL()+"/metrics")
	for _, want := range []string{
		`troupe_node_ready{topology="shop"} 1`, `troupe_agent_records_in_total{agent="pay",role="agent",topology="shop"} 11`,
		`troupe_agent_records_dropped_total{agent="pay",role="agent",topology="shop"} 2`,
		`troupe_agent_work_seconds_bucket{agent="pay",role="agent",topology="shop",le="1"} 2`, `troupe_agent_work_seconds_count{agent="pay",role="agent",topology="shop"} 3`,
		`troupe_partition_state{partition="0",stage="orders",state="stopped",topology="shop"} 1`, `troupe_partition_lag_records{partition="0",stage="orders",topology="shop"} 12345`,
		`troupe_table_entries{partition="0",table="paid",topology="shop"} 2`, `troupe_commits_total{topology="shop",verdict="committed"} 9`,
		`troupe_hook_events_dropped_total{topology="shop"} 3`, `troupe_mailbox_messages{actor="orders/0",kind="partition",topology="shop"} 7`,
		`troupe_kafka_queued_records{client="c",role="consumer"} 4`, `troupe_kafka_broker_rtt_p99_seconds{broker="b:1",client="c"} 0.02`,
		`troupe_build_info{instance="a",version="v1"} 1`, "go_goroutines",
	} {
		require.Contains(t, body, want+func() string {
			if strings.Contains(want, "go_") {
				return " "
			}
			return "\n"
		}())
	}
	require.NotContains(t, body, `actor="raw"`, "what is not known is not told")

	doc, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	listed := regexp.MustCompile("`(troupe_[a-z0-9_]+)`").FindAllStringSubmatch(string(doc), -1)
	told := regexp.MustCompile(`(?m)^# HELP (troupe_\w+) `).FindAllStringSubmatch(body, -1)
	require.NotEmpty(t, told)
	for _, m := range told {
		require.Contains(t, string(doc), "`"+m[1]+"`", "docs/operations.md lists all metrics")
	}
	_, native := cmem.Read()
	for _, m := range listed {
		if strings.HasPrefix(m[1], "troupe_native_") && !native {
			continue
		}
		require.Contains(t, body, "# HELP "+m[1]+" ", "docs/operations.md lists a metric that there is not")
	}
}

// What is asked for in JSON has the names that other versions of the commands know.
func TestNamesInJSON(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", nil)
	g.Set("shop", node("a"), nil)
	_, body := get(t, "GET", g.URL()+"/status")
	var x map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &x))
	n := x["nodes"].([]any)[0].(map[string]any)
	for _, name := range []string{"topology", "instance", "version", "state", "ready", "partitions", "rates", "commits", "last_errors", "all"} {
		require.Contains(t, n, name)
	}
	for _, name := range []string{"stage", "partition", "state", "why", "lag", "agents", "shards", "progress", "incarnation"} {
		require.Contains(t, n["partitions"].([]any)[0], name)
	}
}

// The default address makes room for a second node on a machine; one that was asked for does not.
func TestAddressTaken(t *testing.T) {
	t.Parallel()
	a := listen(t, "a", func(c *gateway.Config) { c.Addr = "" })
	b := listen(t, "b", func(c *gateway.Config) { c.Addr = "" })
	require.NotEqual(t, a.URL(), b.URL())
	_, err := gateway.Listen(gateway.Config{Addr: strings.TrimPrefix(b.URL(), "http://"), Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "another process listens there")
	_, err = gateway.Listen(gateway.Config{Addr: "203.0.113.7:1", Security: gateway.Security{Token: "x"}, Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "name an address of this machine")
}

func TestAdvertise(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"node7": "http://node7:", "node7:80": "http://node7:80", "[::1]:80": "http://[::1]:80", "10.0.0.7": "http://10.0.0.7:"} {
		g := listen(t, "a", func(c *gateway.Config) { c.Advertise = given })
		require.True(t, strings.HasPrefix(g.URL(), want), g.URL())
	}
	g := listen(t, "a", func(c *gateway.Config) { c.Addr, c.Token = "0.0.0.0:0", "x" })
	require.NotContains(t, g.URL(), "0.0.0.0")
	require.Equal(t, "http://h:1", gateway.Advertised("me@home@http://h:1"))
	require.Empty(t, gateway.Advertised("me@home"))
	for _, bad := range []string{":7000", "host:", "host:0", "host:99999", "http://x", "a,b", "a b", "[fe80::1%eth0]:70"} {
		_, err := gateway.Listen(gateway.Config{Addr: "127.0.0.1:0", Advertise: bad, Logger: slog.New(slog.DiscardHandler)})
		require.ErrorContains(t, err, "--advertise", bad)
	}
}

// Whatever else answers at an address is told from a node.
func TestNoNode(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 404, 500} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		_, err := client(t, gateway.Security{}).Status(t.Context(), s.URL, gateway.Query{})
		s.Close()
		require.ErrorContains(t, err, "it is no node of troupe")
	}
}

// Topologies are asked at once: one that is slow does not take the time of the others.
func TestSeveralTopologies(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", func(c *gateway.Config) { c.Topologies = []string{"shop", "zoo"} })
	met := make(chan struct{}, 2)
	both := func(ctx context.Context, _ string) ([]gateway.Member, error) {
		met <- struct{}{}
		for len(met) < 2 { // until the other is asked too
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			default:
				runtime.Gosched()
			}
		}
		return nil, nil
	}
	g.Set("shop", node("a"), both)
	g.Set("zoo", node("a"), both)
	got, err := client(t, gateway.Security{}).Status(t.Context(), g.URL(), gateway.Query{})
	require.NoError(t, err)
	require.Len(t, got.Nodes, 2)
	require.Empty(t, got.Unreachable)
}

// What is put into a channel is the body of a request; who asks wrongly is told how to ask.
func TestPut(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", nil)
	put := func(query, body string) (int, string) {
		return request(t, "POST", g.URL()+"/put?"+query, strings.NewReader(body))
	}
	code, body := put("channel=orders&key=a", "7")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "the node connects to the brokers")
	g.Set("shop", &fake{}, nil)
	for query, want := range map[string]struct {
		code int
		body string
	}{
		"channel=orders&key=a":               {http.StatusOK, `{"topic":"a=7","partition":2,"offset":7}`},
		"channel=orders&key=":                {http.StatusOK, `{"topic":"=7","partition":2,"offset":7}`},
		"channel=orders&key=a&topology=shop": {http.StatusOK, `{"topic":"a=7","partition":2,"offset":7}`},
		"channel=orders&key=a&null=1":        {http.StatusOK, `{"topic":"null","partition":0,"offset":1}`},
		"channel=orders":                     {http.StatusServiceUnavailable, "no broker answers"},
		"channel=other&key=a":                {http.StatusBadRequest, "topology shop has no channel other"},
		"key=a":                              {http.StatusBadRequest, "POST /put?topology=shop&channel=orders&key=a"},
		"channel=orders&topology=zoo":        {http.StatusNotFound, `topology "zoo" does not run here`},
	} {
		code, body := put(query, "7")
		require.Equal(t, want.code, code, query+": "+body)
		require.Contains(t, body, want.body, query)
	}
	code, body = put("channel=orders&key=a", strings.Repeat("x", 1<<20+1))
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, body, "read the value, which is the body")
}
