package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/embedded"
)

// ReachTimeout is how long a broker may take to answer the first question before it counts as unreachable.
const ReachTimeout = 10 * time.Second

// ConfigError says that what the user asked for cannot be: a fault of the configuration, not of the surroundings.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

// Broker says which broker a cluster has.
type Broker uint8

const (
	// External is one that the user named.
	External Broker = iota
	// Embedded runs inside this process and ends with it.
	Embedded
	// Shared is the embedded broker of another process, found by the data directory.
	Shared
)

// ClusterConfig says which cluster to connect to.
type ClusterConfig struct {
	Brokers  []string          // host:port; empty: the embedded broker of the data directory
	Settings map[string]string // of librdkafka
	Client   string            // PublicClient or BatchedClient; empty: the latter where it can work, and the process is not transient
	ClientID string            // defaults to "troupe"
	// Topologies are those that it is for, by name: so that a missing right is mended for all that belongs to one.
	Topologies []string
	DataDir    string // where the embedded broker keeps its data; not needed with Brokers
	// Transient says that this process is a command that ends soon: a node that starts meanwhile waits for an embedded
	// broker that it started, instead of using it and losing it.
	Transient bool
	// Find says that an embedded broker must run in the data directory already: none is started, and nothing is written there.
	Find   bool
	Logger *slog.Logger // defaults to none
}

// Cluster is a connection to the brokers.
type Cluster struct {
	Driver  kafka.Driver
	Admin   kafka.Operator
	Brokers []string
	Kind    Broker

	closers []func() error // last first
}

// Connect finds or starts the broker and asks it something, so that a broker that cannot be reached is known
// within ReachTimeout.
func Connect(ctx context.Context, cfg ClusterConfig) (_ *Cluster, err error) {
	if err := CheckPlatform(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{Brokers: cfg.Brokers}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if len(c.Brokers) == 0 {
		if err := c.embed(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if c.Driver, err = openDriver(cfg, c.Brokers); err != nil {
		return nil, &ConfigError{err}
	}
	if c.Admin, err = openOperator(ctx, c.Driver); err != nil {
		return nil, err // it names the brokers
	}
	c.closers = append(c.closers, c.Admin.Close)
	reach, cancel := context.WithTimeout(ctx, ReachTimeout)
	defer cancel()
	if _, err := c.Admin.AllTopics(reach); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no broker answers at %s within %s (%w): check that it runs and that --brokers names it, and with TLS or SASL the --kafka settings", strings.Join(c.Brokers, ","), ReachTimeout, err)
	}
	return c, nil
}

// Close closes the connection, and the embedded broker if this process started it. It is safe to call twice.
func (c *Cluster) Close() error {
	var errs []error
	for _, f := range slices.Backward(c.closers) {
		errs = append(errs, f())
	}
	c.closers = nil
	return errors.Join(errs...)
}

// embed finds the embedded broker of the data directory, or starts it.
func (c *Cluster) embed(ctx context.Context, cfg ClusterConfig) error {
	if cfg.Find {
		addr, ok := findEmbedded(cfg.DataDir)
		if !ok {
			return &ConfigError{fmt.Errorf("no broker runs in %s: start the node, or name the Brokers", cfg.DataDir)}
		}
		c.Brokers, c.Kind = []string{addr}, Shared
		return nil
	}
	dir, err := MakeDir(cfg.DataDir)
	if err != nil {
		return err
	}
	// One process at a time looks for a broker and starts one, and a command that has started one keeps the
	// others waiting until it is through.
	lock, err := waitLock(ctx, filepath.Join(dir, commandsFile), ReachTimeout)
	if errors.Is(err, errLocked) {
		return fmt.Errorf("a command%s has been using the embedded broker of %s for %s: wait for it to end, or stop it", holderOf(filepath.Join(dir, commandsFile)), dir, ReachTimeout)
	}
	if err != nil {
		return dirError(dir, err)
	}
	if addr, ok := findEmbedded(dir); ok {
		c.Brokers, c.Kind = []string{addr}, Shared
		return lock.Close()
	}
	addr, closer, err := startEmbedded(embedded.Config{DataDir: dir, Logger: cfg.Logger})
	if err != nil {
		return errors.Join(fmt.Errorf("start the embedded broker in %s: %w", dir, err), lock.Close())
	}
	c.Brokers, c.Kind = []string{addr}, Embedded
	if cfg.Transient {
		c.closers = append(c.closers, lock.Close, closer)
		return nil
	}
	c.closers = append(c.closers, closer)
	return lock.Close()
}

// waitLock takes a lock, trying for a while.
func waitLock(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		f, err := takeLock(path)
		if !errors.Is(err, errLocked) {
			return f, err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// RunBroker runs the embedded broker of a data directory alone, until ctx ends. ready is called with its address when
// it takes connections.
func RunBroker(ctx context.Context, cfg embedded.Config, ready func(addr string)) error {
	if err := CheckPlatform(); err != nil {
		return err
	}
	dir, err := MakeDir(cfg.DataDir)
	if err != nil {
		return err
	}
	lock, err := waitLock(ctx, filepath.Join(dir, commandsFile), ReachTimeout)
	if err != nil {
		return fmt.Errorf("embedded broker in %s: %w", dir, err)
	}
	if at, ok := findEmbedded(dir); ok {
		return errors.Join(fmt.Errorf("data directory %s has a broker running already, at %s: use that, or name another with --data-dir", dir, at), lock.Close())
	}
	cfg.DataDir = dir
	at, closer, err := startEmbedded(cfg)
	if err := errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("start the embedded broker in %s: %w", dir, err)
	}
	ready(at)
	<-ctx.Done()
	return closer()
}
