package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology/plan"
)

// DefaultStopTimeout bounds a graceful stop where nothing else is said.
const DefaultStopTimeout = 30 * time.Second

// Config says how to host nodes.
type Config struct {
	Brokers        []string
	Settings       map[string]string
	DataDir        string // must be named
	InstanceID     string
	AtLeastOnce    bool
	CreateTopics   bool // always so on an embedded broker
	KeepSlots      bool
	CommitInterval time.Duration
	StopTimeout    time.Duration // defaults to DefaultStopTimeout
	Debug          bool
	Logger         *slog.Logger // defaults to none
	OnProgress     func(topology string, p actors.Progress)
}

// Host runs one node for each of its plans in one data directory, over one cluster.
type Host struct {
	Dir     *Dir
	Cluster *Cluster
	Plans   []*plan.Plan

	cfg   Config
	nodes []*actors.Node
	done  chan struct{}
	once  sync.Once
	wait  sync.WaitGroup // of the watchers of nodes
	mu    sync.Mutex
	err   error // why the first node ended by itself
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
	cluster, err := Connect(ctx, ClusterConfig{Brokers: cfg.Brokers, Settings: cfg.Settings, DataDir: dir.Path, ClientID: "troupe-" + dir.Instance, Logger: cfg.Logger})
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &Host{Dir: dir, Cluster: cluster, Plans: plans, cfg: cfg, done: make(chan struct{})}, nil
}

// Start starts the nodes and returns when all of them poll. After an error, those that had started are stopped.
func (h *Host) Start(ctx context.Context) error {
	for _, p := range h.Plans {
		n, err := actors.NewNode(p, h.Cluster.Driver, h.nodeConfig(p))
		if err == nil {
			err = n.Start(ctx)
		}
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.StopTimeout)
			defer cancel()
			if n != nil {
				_ = n.Stop(stop) // it has told why it did not start
			}
			return errors.Join(err, h.Stop(stop))
		}
		h.nodes = append(h.nodes, n)
		h.wait.Go(func() {
			<-n.Done()
			h.end(n.Err())
		})
	}
	return nil
}

func (h *Host) nodeConfig(p *plan.Plan) actors.Config {
	return actors.Config{
		DataDir:        filepath.Join(h.Dir.Path, "state", p.Name),
		Instance:       h.Dir.Instance,
		Nonce:          h.Dir.Nonce,
		AtLeastOnce:    h.cfg.AtLeastOnce,
		CreateTopics:   h.cfg.CreateTopics || h.Cluster.Kind != External,
		CommitInterval: h.cfg.CommitInterval,
		StopTimeout:    h.cfg.StopTimeout,
		KeepSlots:      h.cfg.KeepSlots,
		Debug:          h.cfg.Debug,
		Logger:         h.cfg.Logger.With("topology", p.Name),
		OnProgress: func(pr actors.Progress) {
			if h.cfg.OnProgress != nil {
				h.cfg.OnProgress(p.Name, pr)
			}
		},
	}
}

func (h *Host) end(err error) {
	h.once.Do(func() {
		h.mu.Lock()
		h.err = err
		h.mu.Unlock()
		close(h.done)
	})
}

// Done is closed when the first node has ended: by Stop, or because it gave up.
func (h *Host) Done() <-chan struct{} { return h.done }

// Err tells, after Done, why the first node ended; nil after a Stop.
func (h *Host) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Statuses returns the state of each node, in the order of Plans.
func (h *Host) Statuses() []actors.Status {
	out := make([]actors.Status, len(h.nodes))
	for i, n := range h.nodes {
		out[i] = n.Status()
	}
	return out
}

// Stop stops all nodes in order, within ctx. It is safe to call twice.
func (h *Host) Stop(ctx context.Context) error {
	errs := make([]error, len(h.nodes))
	var wg sync.WaitGroup
	for i, n := range h.nodes {
		wg.Go(func() {
			if err := n.Stop(ctx); err != nil {
				errs[i] = fmt.Errorf("stop %s: %w", h.Plans[i].Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close closes the connection, the embedded broker and, last, the data directory, which lets the next node in. The nodes
// must have been stopped. It is safe to call twice.
func (h *Host) Close() error {
	err := h.Cluster.Close()
	return errors.Join(err, h.Dir.Close())
}

// Run starts the nodes, waits until ctx ends or one of them gives up, and stops them and closes everything. It returns
// nil after an orderly stop.
func (h *Host) Run(ctx context.Context, started func()) (err error) {
	defer func() { err = errors.Join(err, h.Close()) }()
	if err := h.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopping while starting is an orderly stop
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
	why := h.Err()
	if err := h.Stop(stop); err != nil {
		return errors.Join(why, err)
	}
	return why
}
