package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Config says how a node runs. The zero value of each field is its default.
type Config struct {
	DataDir        string        // for checkpoints; required, owned by this process alone
	Instance       string        // who this node is to the group, kept across restarts; required
	Nonce          string        // of this process; required
	AtLeastOnce    bool          // what is sent is outside of transactions
	CreateTopics   bool          // make source and output topics that do not exist
	CommitInterval time.Duration // how often bundles are committed. Defaults to 100 ms
	StopTimeout    time.Duration // how long an orderly stop may take. Defaults to 30 s
	KeepSlots      bool          // stop without leaving the group
	Strict         bool          // refuse settings of the brokers that endanger what is promised, instead of warning of them
	Advertise      string        // address of this node for others
	Logger         *slog.Logger  // Defaults to slog.Default
	LogValues      bool          // keys and values of records that fail may be logged
	// CheckpointInterval is how often a table that has changed is written to its checkpoint, while that takes less than 5 %
	// of its time. Defaults to 5 s.
	CheckpointInterval time.Duration
	// TopicRefresh is how often topics are looked for that match the patterns of the topology. Defaults to 30 s.
	TopicRefresh time.Duration
	// Ground is what the actors stand on. Defaults to protoactor, the real clock and goroutines.
	Ground Ground
	// Disk keeps the checkpoints. Defaults to real files.
	Disk tables.Disk
	// OnRestore is told twice a second how far restores are. Defaults to nothing.
	OnRestore func([]Restoring)
	// Hooks are told what happens. Defaults to none.
	Hooks Hooks
}

// Validate returns every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	for name, v := range map[string]string{"DataDir": c.DataDir, "Instance": c.Instance, "Nonce": c.Nonce} {
		if v == "" {
			faults = append(faults, fmt.Errorf("actors.Config.%s is empty", name))
		}
	}
	if c.CommitInterval < 0 || c.StopTimeout < 0 || c.CheckpointInterval < 0 || c.TopicRefresh < 0 {
		faults = append(faults, errors.New("actors.Config: CommitInterval, CheckpointInterval, StopTimeout and TopicRefresh must not be negative"))
	}
	return errors.Join(faults...)
}

// Node runs one topology in this process: one actor system, one member of its group.
type Node struct {
	defined *plan.Plan // as it was given: without topics that match patterns
	driver  kafka.Driver
	cfg     Config
	log     *slog.Logger
	warned  map[string]bool // of topics that match and are not read; belongs to whoever opens or watches

	done     chan struct{}
	mu       sync.Mutex // of what follows, up to kill, of meters and hooks
	err      error
	renewing bool // it begins anew once it has let go of everything
	started  bool
	stopped  bool
	ground   Ground
	root     *actor.PID
	leave    context.CancelFunc // begins the orderly stop
	kill     context.CancelFunc // ends everything
	strays   sync.WaitGroup
	closes   []func() error
	meters   *meters
	hooks    *hooks
	began    time.Time
	lags     lags
}

// NewNode makes a node that runs a plan on the cluster of a driver.
func NewNode(p *plan.Plan, d kafka.Driver, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = 100 * time.Millisecond
	}
	if cfg.CheckpointInterval == 0 {
		cfg.CheckpointInterval = crashpoint.Pause(5 * time.Second)
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 30 * time.Second
	}
	if cfg.TopicRefresh == 0 {
		cfg.TopicRefresh = topicRefresh
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if !cfg.LogValues {
		cfg.Logger = redact.Log(cfg.Logger)
	}
	if cfg.Disk == nil {
		cfg.Disk = tables.Files{}
	}
	if cfg.Ground == nil {
		cfg.Ground = &realGround{log: cfg.Logger}
	}
	return &Node{defined: p, driver: d, cfg: cfg, log: cfg.Logger.With("topology", p.Name, "node", cfg.Instance), ground: cfg.Ground, done: make(chan struct{}), meters: newMeters(p)}, nil
}

// Start checks the topics, makes those that are missing, joins the group and returns; the node runs until Stop, or until
// it fails: see Done. ctx bounds the start only; Stop ends it too.
func (n *Node) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	if n.started || n.stopped {
		n.mu.Unlock()
		return errors.New("a node can be started once only")
	}
	n.started, n.leave, n.began = true, cancel, n.ground.Now()
	n.mu.Unlock()
	l, err := n.open(ctx)
	if err != nil {
		n.fail(err)
		n.close()
		close(n.done)
		return err
	}
	n.run(l)
	return nil
}

// life is what runs from a start to the next: all but what outlives a change of the topics that match patterns.
type life struct {
	plan *plan.Plan
	top  *topics
	root *root
}

func (n *Node) open(ctx context.Context) (*life, error) {
	admin, err := n.driver.OpenAdmin()
	if err != nil {
		return nil, err
	}
	n.closes = append(n.closes, admin.Close)
	reader, err := n.driver.OpenReader()
	if err != nil {
		return nil, err
	}
	n.closes = append(n.closes, reader.Close)
	p, err := n.resolve(ctx, admin)
	if err != nil {
		return nil, err
	}
	if err := checkRights(ctx, p, admin); err != nil {
		return nil, err
	}
	top, err := checkTopics(ctx, p, admin, n.cfg.CreateTopics)
	if err != nil {
		return nil, err
	}
	crashpoint.Hit("start.topics-checked")
	if err := n.heed(ctx, p, admin); err != nil {
		return nil, err
	}
	slots, err := findSlots(ctx, p, admin, reader, top)
	if err != nil {
		return nil, err
	}
	crashpoint.Hit("start.slots-found")
	copies, err := n.openGlobals(p, admin, top)
	if err != nil {
		return nil, err
	}
	group, err := n.driver.OpenGroup(kafka.GroupConfig{
		Group: p.Name, Instance: n.cfg.Instance, Nonce: n.cfg.Nonce, Advertise: n.cfg.Advertise,
		KeepSlots: n.cfg.KeepSlots, Returns: n.renews, ReleaseTimeout: n.cfg.StopTimeout / 2, AtLeastOnce: n.cfg.AtLeastOnce,
	})
	if err != nil {
		return nil, err
	}
	crashpoint.Hit("start.group-opened")
	names := make([]string, len(p.Topics))
	for i, t := range p.Topics {
		names[i] = t.Name
	}
	producer, err := n.driver.OpenProducer(ctx, group, names)
	if err != nil {
		return nil, err
	}
	n.closes = append(n.closes, producer.Close)
	crashpoint.Hit("start.producer-opened")
	n.lags.open(n.ground, admin)
	n.mu.Lock()
	n.meters = newMeters(p).from(n.meters)
	if n.hooks == nil {
		n.hooks = newHooks(n.cfg.Hooks, n.log)
	}
	meters, hooks := n.meters, n.hooks
	n.mu.Unlock()
	answers := &early{ground: n.ground, admin: admin, names: names, timeout: answerTimeout, log: n.log}
	sender := &early{ground: n.ground, admin: admin, names: names, log: n.log}
	return &life{p, top, &root{
		site: &site{plan: p, env: top.env, ground: n.ground, disk: n.cfg.Disk, checkpoint: n.cfg.CheckpointInterval, dir: filepath.Join(n.cfg.DataDir, "tables"), name: n.cfg.Instance, ids: top.ids, deletions: top.deletions, ends: endOf(admin), holds: group.Holds, log: n.log, values: n.cfg.LogValues, strays: &n.strays, hangs: newHangs(n.ground, n.log, n.fail), guardian: &guardian{runs: map[string]*rawRun{}}, answers: answers, sends: n.cfg.AtLeastOnce, sender: sender, meters: meters, hooks: hooks},
		restorer: &restorer{
			ground: n.ground, reader: reader, admin: admin, deletions: top.deletions, progress: n.cfg.OnRestore, log: n.log, inquiries: map[kafka.TopicPartition]inquiry{}, shards: map[kafka.TopicPartition]*restoringShard{},
		},
		globals: copies, slots: slots, group: group, producer: producer, admin: admin, interval: n.cfg.CommitInterval, failed: n.fail, log: n.log,
	}}, nil
}

// openGlobals makes the actor of the global tables; nil where the plan has none.
func (n *Node) openGlobals(p *plan.Plan, admin kafka.Admin, top *topics) (*globals, error) {
	if len(p.Globals) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to make
	}
	reader, err := n.driver.OpenReader() // of its own: it never ends
	if err != nil {
		return nil, err
	}
	n.closes = append(n.closes, reader.Close)
	top.env.Globals = p.NewGlobals()
	return &globals{ground: n.ground, reader: reader, admin: admin, state: newGlobalsState(p, top.env), values: n.cfg.LogValues, log: n.log}, nil
}

// endOf asks for a changelog's end as it is, open transactions included.
func endOf(admin kafka.Admin) func(context.Context, kafka.TopicPartition) (int64, error) {
	return func(ctx context.Context, tp kafka.TopicPartition) (int64, error) {
		ends, err := admin.Ends(ctx, kafka.ReadUncommitted, tp)
		return ends[tp], err
	}
}

// run runs lives, one after the other, until the node is to stop.
func (n *Node) run(l *life) {
	poll := n.begin(l)
	n.ground.Go(func() {
		defer close(n.done)
		defer n.ground.Close()
		for {
			poll()
			next, err := n.again()
			if err != nil {
				n.fail(err)
			}
			if next == nil {
				break
			}
			poll = n.begin(next)
		}
		n.hooks.end(hookPatience)
		crashpoint.Hit("stop.closed")
	})
}

// begin spawns the tree. What it returns polls the group until the node is to stop, or to begin anew, and ends everything.
func (n *Node) begin(l *life) (poll func()) {
	r := l.root
	running, kill := context.WithCancel(context.Background())
	polling, leave := context.WithCancel(running)
	n.mu.Lock()
	n.kill, n.leave, r.ctx, r.site.answers.ctx, r.site.sender.ctx = kill, leave, running, running, running
	if n.stopped { // while it was starting
		leave()
	}
	n.mu.Unlock()
	ready, loaded := make(chan struct{}), make(chan struct{})
	if r.ready = ready; r.globals != nil {
		r.globals.loaded = loaded
	} else {
		close(loaded)
	}
	pid := n.ground.Root(r, r)
	n.mu.Lock()
	n.root = pid
	n.mu.Unlock()
	crashpoint.Hit("start.running")
	watched := make(chan struct{})
	n.ground.Go(func() {
		defer close(watched)
		n.watch(polling, l)
	})
	return func() {
		if n.ground.Await(running, ready) == nil {
			_ = n.ground.Await(polling, loaded) // a node that is to stop stops in order all the same
			if err := r.group.Run(polling, r.handler); err != nil {
				n.fail(err)
			}
		}
		crashpoint.Hit("stop.group-left")
		kill()
		n.ground.Stop(pid)
		crashpoint.Hit("stop.actors-stopped")
		_ = n.ground.Await(context.Background(), watched)
		r.site.answers.wait()
		r.site.sender.wait()
		n.lags.close()
		n.close()
	}
}

// How often the node looks whether its topics have changed, and after how many looks it purges.
const (
	watchEvery = 5 * time.Second
	purgeEvery = 6
)

// watch ends the node when a topic is deleted or changes its number of partitions, has it begin anew when the topics that match patterns change, and
// deletes from repartition topics what has been read.
func (n *Node) watch(ctx context.Context, l *life) {
	purge, admin := newPurge(l.plan, l.top), l.root.admin
	every := watchEvery
	if len(l.plan.Patterns) > 0 {
		every = min(every, n.cfg.TopicRefresh)
	}
	looked := n.ground.Now()
	for i := 1; n.ground.Sleep(ctx, every); i++ {
		ask, cancel := n.ground.WithTimeout(ctx, 10*time.Second)
		why := ""
		moved, err := l.top.changed(ask, n.ground.Now(), l.plan, admin)
		if len(moved) > 0 {
			why = changedTopics(moved)
		}
		if i%purgeEvery == 0 && err == nil {
			if err := purge.run(ask, admin); err != nil && ctx.Err() == nil {
				n.log.Warn("repartition topics not purged; tried again later", "error", err)
			}
		}
		if now := n.ground.Now(); len(l.plan.Patterns) > 0 && now.Sub(looked) >= n.cfg.TopicRefresh && err == nil && why == "" {
			looked = now
			why = n.lookForTopics(ask, admin, l.plan)
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			n.ground.Send(n.rootPID(), nodeFailed{err})
			return
		}
		if why != "" && ctx.Err() == nil {
			n.renew(why)
			return
		}
	}
}

func (n *Node) rootPID() *actor.PID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.root
}

// fail notes the first error and stops the node.
func (n *Node) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.err = withoutValues(err, n.cfg.LogValues)
	}
	if n.leave != nil {
		n.leave()
	}
}

func (n *Node) close() {
	for _, v := range slices.Backward(n.closes) {
		if err := v(); err != nil {
			n.log.Warn("close", "error", err)
		}
	}
	n.closes = nil
}

// Stop stops the node in order: handlers end their record, what is done is committed, checkpoints are written, the group
// is left. When ctx ends before, or the configured timeout passes, it stops at once: nothing is lost by that, the next
// owner of its slots takes longer. It may be called at any time, twice too.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	if !n.started && !n.stopped {
		close(n.done)
	}
	n.stopped = true
	leave := n.leave
	n.mu.Unlock()
	crashpoint.Hit("stop.asked")
	if leave != nil {
		leave()
	}
	if n.ground.AwaitFor(ctx, n.done, n.cfg.StopTimeout) == nil {
		return n.Err()
	}
	n.mu.Lock()
	kill := n.kill
	n.mu.Unlock()
	if kill != nil {
		kill()
	}
	if n.ground.AwaitFor(context.Background(), n.done, 15*time.Second) != nil {
		return errors.Join(n.Err(), errors.New("stop: the Kafka client did not close in time"))
	}
	return errors.Join(n.Err(), errors.New("stop: not in order: the deadline passed first"))
}

// Done is closed when the node has stopped.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node stopped; nil while it runs and after an orderly stop.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// atLeast passes on log records from a level up: the actor library reports each restart at Info.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(a), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}
