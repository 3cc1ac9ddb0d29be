package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// DefaultStopTimeout bounds a graceful stop where nothing else is said.
const DefaultStopTimeout = 30 * time.Second

// Config says how to host nodes.
type Config struct {
	Brokers        []string
	Settings       map[string]string
	Client         string // PublicClient or BatchedClient; empty: the latter where it can work
	DataDir        string // must be named
	InstanceID     string
	AtLeastOnce    bool
	CreateTopics   bool // always so on an embedded broker
	KeepSlots      bool
	Strict         bool // refuse settings of the brokers that endanger what is promised
	CommitInterval time.Duration
	StopTimeout    time.Duration // defaults to DefaultStopTimeout
	TopicRefresh   time.Duration // how often topics that match patterns are looked for; defaults to 30 s
	Logger         *slog.Logger  // defaults to none
	LogValues      bool          // keys and values of records that fail may be logged
	// OnRestore is told twice a second how far restores of tables are. Defaults to nothing.
	OnRestore func([]actors.Restoring)
	Hooks     actors.Hooks
	// Gateway is the HTTP that is served; its Instance, Topologies and Logger are filled in. Nil: none.
	Gateway *gateway.Config
}

// Host runs one node for each of its plans in one data directory, over one cluster.
type Host struct {
	Dir     *Dir
	Cluster *Cluster
	Plans   []*plan.Plan
	Gateway *gateway.Gateway // nil: none

	cfg   Config
	nodes []*actors.Node
	done  chan struct{}
	once  sync.Once
	wait  sync.WaitGroup // of the watchers of nodes
}

// Open takes the data directory and connects to the cluster. Nothing runs yet. Close it in the end, also after
// a failed Start.
func Open(ctx context.Context, cfg Config, plans ...*plan.Plan) (*Host, error) {
	if err := CheckPlatform(); err != nil {
		return nil, err
	}
	if len(plans) == 0 {
		return nil, errors.New("no topology to run: give at least one")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.StopTimeout <= 0 {
		cfg.StopTimeout = DefaultStopTimeout
	}
	dir, err := OpenDir(cfg.DataDir, cfg.InstanceID)
	if err != nil {
		return nil, err
	}
	h := &Host{Dir: dir, Plans: plans, cfg: cfg, done: make(chan struct{})}
	if err := h.listen(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.Name
	}
	h.Cluster, err = Connect(ctx, ClusterConfig{Brokers: cfg.Brokers, Settings: cfg.Settings, Client: cfg.Client, DataDir: dir.Path, ClientID: "troupe-" + dir.Instance, Topologies: names, Logger: cfg.Logger})
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if d, ok := h.Cluster.Driver.(interface{ Figures() []kafka.ClientFigures }); ok && h.Gateway != nil {
		h.Gateway.SetFigures(d.Figures)
	}
	return h, nil
}

// listen begins to serve HTTP, before the brokers are reached: whoever looks is told that the node starts.
func (h *Host) listen() error {
	if h.cfg.Gateway == nil {
		return nil
	}
	g := *h.cfg.Gateway
	g.Instance, g.Logger = h.Dir.Instance, h.cfg.Logger
	for _, p := range h.Plans {
		g.Topologies = append(g.Topologies, p.Name)
	}
	var err error
	if h.Gateway, err = gateway.Listen(g); err != nil {
		return &ConfigError{err}
	}
	return h.Dir.tellAddress(h.Gateway.URL())
}

// show has the gateway tell about a node that runs.
func (h *Host) show(topology string, n *actors.Node) {
	if h.Gateway == nil {
		return
	}
	h.Gateway.Set(topology, n, func(ctx context.Context, topology string) ([]gateway.Member, error) {
		g, err := h.Cluster.Admin.Group(ctx, topology)
		if err != nil {
			return nil, err
		}
		var all []gateway.Member
		for _, m := range g.Members {
			all = append(all, gateway.Member{Instance: m.Instance, ClientID: m.Client})
		}
		return all, nil
	})
}

// Start starts the nodes and returns when all of them poll. After an error, those that had started are stopped.
func (h *Host) Start(ctx context.Context) error {
	for _, p := range h.Plans {
		n, err := actors.NewNode(p, h.Cluster.Driver, h.nodeConfig(p))
		if err == nil {
			h.show(p.Name, n)
			err = n.Start(ctx)
		}
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.StopTimeout)
			defer cancel()
			return errors.Join(err, h.Stop(stop))
		}
		h.nodes = append(h.nodes, n)
		h.warnOfLetters(ctx, p)
		h.wait.Go(func() {
			<-n.Done()
			h.end()
		})
	}
	return nil
}

func (h *Host) nodeConfig(p *plan.Plan) actors.Config {
	advertise := ""
	if h.Gateway != nil {
		advertise = h.Gateway.URL()
	}
	return actors.Config{
		Advertise:      advertise,
		Hooks:          h.cfg.Hooks,
		DataDir:        StateDir(h.Dir.Path, p.Name),
		Instance:       h.Dir.Instance,
		Nonce:          h.Dir.Nonce,
		AtLeastOnce:    h.cfg.AtLeastOnce,
		CreateTopics:   h.cfg.CreateTopics || h.Cluster.Kind != External,
		CommitInterval: h.cfg.CommitInterval,
		StopTimeout:    h.cfg.StopTimeout,
		TopicRefresh:   h.cfg.TopicRefresh,
		KeepSlots:      h.cfg.KeepSlots,
		Strict:         h.cfg.Strict,
		Logger:         h.cfg.Logger,
		LogValues:      h.cfg.LogValues,
		OnRestore:      h.cfg.OnRestore,
	}
}

func (h *Host) end() { h.once.Do(func() { close(h.done) }) }

// Done is closed when the first node has ended: by Stop, or because it gave up; Stop tells which.
func (h *Host) Done() <-chan struct{} { return h.done }

// Look asks each node for its state, without lags, in the order of Plans. It waits for up to two seconds each.
func (h *Host) Look() []status.Node {
	out := make([]status.Node, len(h.nodes))
	for i, n := range h.nodes {
		out[i] = n.Look()
	}
	return out
}

// Stop stops all nodes in order, within ctx. It returns why a node had ended before by itself, or could not be
// stopped in order. It is safe to call twice.
func (h *Host) Stop(ctx context.Context) error {
	errs := make([]error, len(h.nodes))
	var wg sync.WaitGroup
	for i, n := range h.nodes {
		wg.Go(func() {
			if err := n.Stop(ctx); err != nil {
				errs[i] = fmt.Errorf("node of %s: %w", h.Plans[i].Name, err)
			}
		})
	}
	wg.Wait()
	h.wait.Wait() // the watchers of nodes that have stopped end at once
	return errors.Join(errs...)
}

// Close closes the connection, the embedded broker and, last, the data directory, which lets the next node in. The nodes
// must have been stopped. It is safe to call twice.
func (h *Host) Close() error {
	var errs []error
	if h.Gateway != nil {
		errs = append(errs, h.Dir.forgetAddress(), h.Gateway.Close())
		h.Gateway = nil
	}
	if h.Cluster != nil {
		errs = append(errs, h.Cluster.Close())
	}
	return errors.Join(append(errs, h.Dir.Close())...)
}

// Run starts the nodes, waits until ctx ends or one of them gives up, and stops them and closes everything. It returns
// nil after an orderly stop.
func (h *Host) Run(ctx context.Context, started func()) (err error) {
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := h.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopping while starting is an orderly stop
		}
		return err
	}
	if started != nil {
		started()
	}
	select {
	case <-ctx.Done():
	case <-h.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.StopTimeout)
	defer cancel()
	return h.Stop(stop)
}
