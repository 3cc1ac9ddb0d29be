package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/troupe-stream/troupe/internal/status"
)

// askTimeout bounds an answer of this node, the others' among it.
const askTimeout = 8 * time.Second

// handler routes. Questions with local=1 are not handed on to other nodes.
func (g *Gateway) handler() http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /{$}", g.page)
	guarded.HandleFunc("GET /status", g.status)
	guarded.HandleFunc("GET /tree", g.tree)
	guarded.HandleFunc("GET /digest", g.digest)
	guarded.HandleFunc("POST /resume", g.resume)
	guarded.HandleFunc("POST /put", g.put)
	guarded.Handle("GET /metrics", promhttp.HandlerFor(g.metrics, promhttp.HandlerOpts{Timeout: askTimeout}))
	if g.cfg.Debug {
		guarded.HandleFunc("GET /debug/pprof/", pprof.Index)
		guarded.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		guarded.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		guarded.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		guarded.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	all := http.NewServeMux()
	all.HandleFunc("GET /healthz", g.healthy)
	all.HandleFunc("GET /readyz", g.ready)
	all.Handle("/", g.guard(http.NewCrossOriginProtection().Handler(guarded)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(ownHeader, "1")
		all.ServeHTTP(w, r)
	})
}

// ownHeader tells a node from whatever else may answer at an address.
const ownHeader = "X-Troupe"

// healthy says that the process is alive: 200, or 503 once a node has ended by itself. It asks no actor.
func (g *Gateway) healthy(w http.ResponseWriter, _ *http.Request) {
	g.probe(w, func(topology string) (good bool, says string) {
		if n, _ := g.node(topology); n != nil && !n.Alive() {
			return false, "ended"
		}
		return true, "alive"
	})
}

// ready says whether all nodes have their partitions and their tables: 200 or 503.
func (g *Gateway) ready(w http.ResponseWriter, _ *http.Request) {
	g.probe(w, func(topology string) (good bool, says string) {
		n, _ := g.node(topology)
		if n == nil {
			return false, status.Starting
		}
		st := n.Look()
		return st.Ready, st.State
	})
}

// probe answers without telling more than states, since anybody may ask.
func (g *Gateway) probe(w http.ResponseWriter, look func(topology string) (good bool, says string)) {
	all := make([]bool, len(g.cfg.Topologies))
	says := make([]string, len(all))
	var wg sync.WaitGroup
	for i, topology := range g.cfg.Topologies {
		wg.Go(func() { all[i], says[i] = look(topology) })
	}
	wg.Wait()
	code, lines := http.StatusOK, ""
	for i, topology := range g.cfg.Topologies {
		if !all[i] {
			code = http.StatusServiceUnavailable
		}
		lines += topology + ": " + says[i] + "\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = fmt.Fprint(w, lines) // whoever asked is gone
}

// starting is the status of a node that does not run yet.
func (g *Gateway) starting(topology string) status.Node {
	return status.Node{
		Topology: topology, Instance: g.cfg.Instance, Version: g.cfg.Version, Address: g.url, State: status.Starting,
		Why: "it connects to the brokers", Partitions: []status.Partition{}, All: []string{},
	}
}

// question is what all questions have in common.
type question struct {
	local    bool
	topology string // empty: all
}

func (g *Gateway) question(w http.ResponseWriter, r *http.Request) (question, bool) {
	q := question{local: r.FormValue("local") == "1", topology: r.FormValue("topology")}
	if who := r.FormValue("instance"); who != "" && who != g.cfg.Instance {
		http.Error(w, fmt.Sprintf("node %s answers there: node %s does not run, or has to be told its own address with --advertise", g.cfg.Instance, who), http.StatusMisdirectedRequest)
		return q, false
	}
	if q.topology != "" && !slices.Contains(g.cfg.Topologies, q.topology) {
		http.Error(w, fmt.Sprintf("topology %q does not run here: there is %s", q.topology, strings.Join(g.cfg.Topologies, ", ")), http.StatusNotFound)
		return q, false
	}
	return q, true
}

// wants lists the topologies that a question is about.
func (g *Gateway) wants(q question) []string {
	if q.topology != "" {
		return []string{q.topology}
	}
	return g.cfg.Topologies
}

func (g *Gateway) status(w http.ResponseWriter, r *http.Request) {
	if q, ok := g.question(w, r); ok {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		reply(w, g.statusOf(ctx, q))
	}
}

func (g *Gateway) statusOf(ctx context.Context, q question) status.Answer {
	all := status.Answer{Nodes: []status.Node{}}
	for _, a := range gatherAll(ctx, g, q, g.inspect, g.peers.Status) {
		for _, x := range a.answers {
			all.Nodes = append(all.Nodes, x.Nodes...)
		}
		all.Unreachable = append(all.Unreachable, a.unreachable...)
	}
	return all
}

// inspect is the answer of this node.
func (g *Gateway) inspect(ctx context.Context, topology string) status.Answer {
	st := g.starting(topology)
	if n, _ := g.node(topology); n != nil {
		st = n.Inspect(ctx)
	}
	st.Version, st.Address = g.cfg.Version, g.url
	return status.Answer{Nodes: []status.Node{st}}
}

func (g *Gateway) tree(w http.ResponseWriter, r *http.Request) {
	q, ok := g.question(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	all := status.Trees{Trees: []status.NodeTree{}}
	for _, a := range gatherAll(ctx, g, q, g.ownTree, g.peers.Trees) {
		for _, x := range a.answers {
			all.Trees = append(all.Trees, x.Trees...)
		}
		all.Unreachable = append(all.Unreachable, a.unreachable...)
	}
	reply(w, all)
}

func (g *Gateway) ownTree(_ context.Context, topology string) status.Trees {
	t := status.NodeTree{Topology: topology, Instance: g.cfg.Instance, Address: g.url}
	n, _ := g.node(topology)
	if n == nil {
		t.Why = "it connects to the brokers"
		return status.Trees{Trees: []status.NodeTree{t}}
	}
	var err error
	if t.Root, err = n.Tree(); err != nil {
		t.Why = err.Error()
	}
	return status.Trees{Trees: []status.NodeTree{t}}
}

// resume lets stopped partitions go on, on whichever node they are: those that are named, or with all=1 all.
func (g *Gateway) resume(w http.ResponseWriter, r *http.Request) {
	q, ok := g.question(w, r)
	if !ok {
		return
	}
	var wanted []status.Wanted
	for _, s := range r.Form["partition"] {
		x, err := status.ParseWanted(s)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		wanted = append(wanted, x)
	}
	if (len(wanted) == 0) == (r.FormValue("all") != "1") {
		http.Error(w, "name partitions, as in ?partition=3 or ?partition=orders/3, or all=1", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	all := status.Resumes{Resumed: []status.Resumed{}}
	own := func(_ context.Context, topology string) status.Resumes { return g.ownResume(topology, wanted) }
	ask := func(ctx context.Context, at string, q Query) (status.Resumes, error) {
		return g.peers.Resume(ctx, at, q, wanted)
	}
	for _, a := range gatherAll(ctx, g, q, own, ask) {
		for _, x := range a.answers {
			all.Resumed, all.Failed = append(all.Resumed, x.Resumed...), append(all.Failed, x.Failed...)
		}
		all.Unreachable = append(all.Unreachable, a.unreachable...)
	}
	reply(w, all)
}

func (g *Gateway) ownResume(topology string, wanted []status.Wanted) status.Resumes {
	failed := func(why string) status.Resumes {
		return status.Resumes{Failed: []status.Unreachable{{Topology: topology, Instance: g.cfg.Instance, Address: g.url, Why: why}}}
	}
	n, _ := g.node(topology)
	if n == nil {
		return failed("it connects to the brokers")
	}
	done, err := n.Resume(wanted)
	if err != nil {
		return failed(err.Error())
	}
	return status.Resumes{Resumed: done}
}

// digest tells what a shard of this node holds, in short.
func (g *Gateway) digest(w http.ResponseWriter, r *http.Request) {
	q, ok := g.question(w, r)
	if !ok {
		return
	}
	p, err := status.ParseWanted(r.FormValue("partition"))
	if err != nil || q.topology == "" {
		http.Error(w, "name a topology, a table and a partition, as in ?topology=wordcount&table=counts&partition=3", http.StatusBadRequest)
		return
	}
	n, _ := g.node(q.topology)
	if n == nil {
		reply(w, status.Digest{Why: "it connects to the brokers"})
		return
	}
	d, err := n.Digest(r.FormValue("table"), p.Partition)
	if err != nil {
		d = status.Digest{Why: err.Error()}
	}
	reply(w, d)
}

// putTimeout is how long the brokers may take to have a record.
const putTimeout = 30 * time.Second

// maxPut bounds a value that is put, in bytes: no topic takes larger ones by default.
const maxPut = 1 << 20

// put writes a record for a channel that takes some from outside. Its value is the body.
func (g *Gateway) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPut))
	if err != nil {
		http.Error(w, fmt.Sprintf("read the value, which is the body: %v", err), http.StatusBadRequest)
		return
	}
	r.Body = http.NoBody // else a form is looked for in it
	q, ok := g.question(w, r)
	if !ok {
		return
	}
	wants := g.wants(q)
	if len(wants) != 1 || r.FormValue("channel") == "" {
		http.Error(w, "name a topology and a channel, as in POST /put?topology=shop&channel=orders&key=a, with the value as the body", http.StatusBadRequest)
		return
	}
	n, _ := g.node(wants[0])
	if n == nil {
		http.Error(w, "the node connects to the brokers: try again", http.StatusServiceUnavailable)
		return
	}
	text := string(value)
	given, key := &text, (*string)(nil)
	if r.FormValue("null") == "1" {
		given = nil
	}
	if r.Form.Has("key") {
		k := r.FormValue("key")
		key = &k
	}
	ctx, cancel := context.WithTimeout(r.Context(), putTimeout)
	defer cancel()
	p, err := n.Put(ctx, r.FormValue("channel"), key, given)
	switch {
	case errors.Is(err, status.ErrRefused):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		reply(w, p)
	}
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer) // whoever asked is gone
}
