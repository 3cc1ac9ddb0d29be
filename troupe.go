// Package troupe runs topologies: stream processing in plain Go on Kafka, built from actors, exactly once.
//
// A program of one's own is three lines, and has the whole command line of node:
//
//	func main() { troupe.Main(wordcount.Topology()) }
//
// Run embeds a node in a larger program instead. What a topology is, and how to write one, is in package topology.
package troupe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/command"
	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Guarantee is what a crash may do to tables and output topics.
type Guarantee uint8

const (
	// ExactlyOnce means that they end as if the crash had not happened.
	ExactlyOnce Guarantee = iota
	// AtLeastOnce means that nothing is lost, but what agents have sent in the last moments may be there twice. It is there to be read
	// before it is committed. Tables have each record of their topics once, as with ExactlyOnce.
	AtLeastOnce
)

// String returns the name that the flag --guarantee takes.
func (g Guarantee) String() string {
	switch g {
	case ExactlyOnce:
		return command.ExactlyOnce
	case AtLeastOnce:
		return command.AtLeastOnce
	}
	return fmt.Sprintf("Guarantee(%d)", uint8(g))
}

// Config says how Run runs nodes. Its zero value is a working configuration: an embedded broker, with its data in the
// user's state directory.
type Config struct {
	// Brokers are addresses, host:port. Defaults to none: an embedded broker then runs inside this process, or the one
	// that runs already in the same data directory is used.
	Brokers []string
	// DataDir holds checkpoints, the identity of the node, and the embedded broker's data; one process owns it at a
	// time. Defaults to troupe/<name of the first topology> in $XDG_STATE_HOME or ~/.local/state.
	DataDir string
	// Guarantee defaults to ExactlyOnce.
	Guarantee Guarantee
	// CreateTopics makes missing source and output topics. Defaults to false: they must exist. Internal topics are always
	// made, and on an embedded broker all are.
	CreateTopics bool
	// CommitInterval is the time between two commits. Defaults to 100 ms.
	CommitInterval time.Duration
	// StopTimeout bounds how long a graceful stop may take. Defaults to 30 s.
	StopTimeout time.Duration
	// TopicRefresh is how often topics are looked for that match a topology's topic patterns (topology.NewTopicPattern). Defaults to 30 s.
	TopicRefresh time.Duration
	// InstanceID is the identity of this node in its group: letters, digits, dots, dashes and underscores. Defaults to
	// one that is made once and kept in DataDir. Two processes that run at once must not share one.
	InstanceID string
	// KeepSlots stops without leaving the group: the partitions wait for this node to come back, for as long as a
	// session lasts. For rolling restarts. Defaults to false.
	KeepSlots bool
	// Strict refuses to start where settings of the brokers endanger the guarantee: too few replicas, deletion by time, and the
	// like. Defaults to false: they are warned of in the log.
	Strict bool
	// Kafka are settings of librdkafka that are passed through, TLS and SASL among them. Those that the engine must own are
	// refused by name. Defaults to none.
	Kafka map[string]string
	// Client is how librdkafka is used: "public" for the public API of confluent-kafka-go, "batched" for whole runs of records beside
	// it, on Linux, at a fraction of the cost; a node that cannot do what it is told here does not start. Defaults to the batched
	// one where that can work, else the public one; the log and node status say which it is.
	Client string
	// Logger takes the log. Defaults to none: nothing is logged.
	Logger *slog.Logger
	// LogValues logs keys and values of records that fail too, and what codecs say of them, which may quote them. Defaults to
	// false: the log holds none, unless a handler's own error does.
	LogValues bool
	// HTTP serves the node's health, its state and that of the others, and metrics. Defaults to none: nothing is served, and
	// node status and resume-partition do not find this node.
	HTTP HTTP
	// Hooks are told what happens. Defaults to none.
	Hooks
	// Started is called once when all nodes are members of their groups and poll, on Run's goroutine. Defaults to nothing.
	Started func()
}

type (
	// Hooks are functions that are told what happens in a node. See actors.Hooks for when and how they are called.
	Hooks = actors.Hooks
	// Restart says that an agent was restarted.
	Restart = actors.Restart
	// DeadLetter says that a record was given up.
	DeadLetter = actors.DeadLetter
	// StateChange says that a partition has come into another state.
	StateChange = actors.StateChange
	// Rebalance says that partitions came to this node or left it.
	Rebalance = actors.Rebalance
	// StagePartition is one partition of a stage.
	StagePartition = actors.StagePartition
	// Commit says how a commit ended.
	Commit = actors.Commit
)

// HTTP says how a process serves HTTP for its nodes: /healthz and /readyz for probes, /status and /tree (JSON), /metrics (Prometheus), and
// / for browsers.
type HTTP struct {
	// Addr is host:port to listen on; port 0 takes any free one. Empty: nothing is served. An address that others can reach needs
	// Token, or CAFile with CertFile and KeyFile.
	Addr string
	// Advertise is host[:port] under which other nodes reach it. Defaults to Addr, with the name of the machine where that
	// names all its addresses.
	Advertise string
	// Token must come with each question but those of probes: as a bearer token, or as the password of basic authentication. The
	// same for all nodes of a topology. Defaults to none.
	Token string
	// CertFile and KeyFile are PEM files; with them HTTPS is served. They are read anew when they change.
	CertFile, KeyFile string
	// CAFile is a PEM file of those who may sign certificates; with it, whoever asks needs one (mutual TLS).
	CAFile string
	// Debug serves /debug/pprof too.
	Debug bool
}

func (h HTTP) gateway() *gateway.Config {
	if h.Addr == "" {
		return nil
	}
	return &gateway.Config{
		Addr: h.Addr, Advertise: h.Advertise, Debug: h.Debug, Version: command.Version(),
		Security: gateway.Security{Token: h.Token, CertFile: h.CertFile, KeyFile: h.KeyFile, CAFile: h.CAFile},
	}
}

// Validate returns every fault of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	if c.Guarantee > AtLeastOnce {
		errs = append(errs, fmt.Errorf("guarantee is %d: use ExactlyOnce or AtLeastOnce", uint8(c.Guarantee)))
	}
	if c.CommitInterval < 0 {
		errs = append(errs, fmt.Errorf("commit interval is %s: use a positive duration, or 0 for the default", c.CommitInterval))
	}
	if c.StopTimeout < 0 {
		errs = append(errs, fmt.Errorf("stop timeout is %s: use a positive duration, or 0 for the default", c.StopTimeout))
	}
	if c.TopicRefresh < 0 {
		errs = append(errs, fmt.Errorf("topic refresh is %s: use a positive duration, or 0 for the default", c.TopicRefresh))
	}
	if c.HTTP.Addr == "" && c.HTTP != (HTTP{}) {
		errs = append(errs, errors.New("HTTP has no Addr: give it host:port, or leave HTTP empty"))
	}
	for i, b := range c.Brokers {
		if b == "" {
			errs = append(errs, fmt.Errorf("broker %d is empty: use host:port", i))
		}
	}
	return errors.Join(errs...)
}

// Run runs a node for each topology in this process, until ctx ends or one of them fails. It blocks; it returns nil after an
// orderly stop, in which everything that was done has been committed. A topology with faults is refused with all of
// them before anything starts. Several Runs may be active in one process, in different data directories.
func Run(ctx context.Context, cfg Config, topologies ...*topology.Topology) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("troupe.Config: %w", err)
	}
	plans := make([]*plan.Plan, len(topologies))
	var errs []error
	for i, t := range topologies {
		p, err := t.Plan()
		plans[i], errs = p, append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(plans) == 0 {
		return errors.New("troupe.Run: no topology to run: give at least one")
	}
	if cfg.DataDir == "" {
		dir, err := host.DefaultDir(plans[0].Name)
		if err != nil {
			return err
		}
		cfg.DataDir = dir
	}
	h, err := host.Open(ctx, host.Config{
		Brokers: cfg.Brokers, Settings: cfg.Kafka, Client: cfg.Client, DataDir: cfg.DataDir, InstanceID: cfg.InstanceID,
		AtLeastOnce: cfg.Guarantee == AtLeastOnce, CreateTopics: cfg.CreateTopics, KeepSlots: cfg.KeepSlots, Strict: cfg.Strict,
		CommitInterval: cfg.CommitInterval, StopTimeout: cfg.StopTimeout, TopicRefresh: cfg.TopicRefresh, Logger: cfg.Logger, LogValues: cfg.LogValues,
		Hooks: cfg.Hooks, Gateway: cfg.HTTP.gateway(),
	}, plans...)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopping while connecting is an orderly stop
		}
		return err
	}
	return h.Run(ctx, cfg.Started)
}

// Main is the main function of a program that runs topologies: the whole node command line, with the given ones
// compiled in. It does not return; the exit code is 0 after a clean end, 1 after a failure, 2 after wrong use.
func Main(topologies ...*topology.Topology) {
	all := make([]command.Topology, len(topologies))
	for i, t := range topologies {
		all[i] = t
	}
	os.Exit(command.Main(all...))
}
