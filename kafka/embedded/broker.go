package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// DefaultAddr is a free port of the loopback interface.
	DefaultAddr = "127.0.0.1:0"
	// DefaultPartitions is how many partitions a topic has that is made without a number of them.
	DefaultPartitions = 4

	lockFile    = "broker.lock"
	addressFile = "broker.address"
	dataFolder  = "broker"

	// lockWait is how long Start waits for a lock that a Find of another process may hold for a moment.
	lockWait = time.Second
	// dialWait is how long Find waits for a broker to take a connection.
	dialWait = time.Second
	// minSession is the shortest session timeout that group members may ask for.
	minSession = time.Second
)

// Config says how a broker runs.
type Config struct {
	// DataDir is the directory that keeps its data; it is made if it does not exist. It may hold other things too: the
	// broker's own begin with "broker".
	DataDir string
	// Addr is where it listens, as host:port. Defaults to a free port of the loopback interface; after a crash the port
	// it had, if that is free.
	Addr string
	// Advertise is the address that clients are told to connect to, as host or host:port. Defaults to where it listens,
	// and where that is every interface, to the host's name.
	Advertise string
	// Partitions is how many partitions a topic has that is made without a number. Defaults to 4.
	Partitions int
	// SyncWrites has every write reach the disk before it is acknowledged. Defaults to false, as with Kafka.
	SyncWrites bool
	// Logger takes what the broker has to say. Defaults to none.
	Logger *slog.Logger
}

// Broker is a running broker. Its methods may be called from any goroutine.
type Broker struct {
	dir     string
	addr    string
	cluster *kfake.Cluster
	lock    *os.File
	once    sync.Once
	err     error
}

// Start starts the broker of a data directory and returns when it takes connections. A directory has one broker at a
// time: a second one is refused.
func Start(cfg Config) (*Broker, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("the embedded broker needs a data directory; use --data-dir")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = DefaultPartitions
	}
	if cfg.Partitions < 0 {
		return nil, fmt.Errorf("the embedded broker cannot make topics of %d partitions", cfg.Partitions)
	}
	data := filepath.Join(cfg.DataDir, dataFolder)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory of the embedded broker: %w", err)
	}
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	b := &Broker{dir: cfg.DataDir, lock: lock}
	if err := b.start(cfg, data); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return b, nil
}

func (b *Broker) start(cfg Config, data string) error {
	mended, err := mend(data)
	if err != nil {
		return fmt.Errorf("mend what an earlier broker left in %s: %w", data, err)
	}
	if mended.any() {
		cfg.Logger.Info("the embedded broker did not stop in order last time; open transactions were aborted",
			"transactions", mended.aborted, "torn_bytes", mended.torn, "data_dir", data)
	}
	if err := keepEmptied(data); err != nil {
		return fmt.Errorf("keep the ends of what was emptied in %s: %w", data, err)
	}
	listen, err := listener(cfg, b.lastAddr())
	if err != nil {
		return err
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.DataDir(data), kfake.ClusterID("troupe-embedded"),
		kfake.DefaultNumPartitions(cfg.Partitions), kfake.GroupMinSessionTimeout(minSession),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return listen, nil }),
		kfake.WithLogger(logger{cfg.Logger}), kfake.BrokerConfigs(brokerConfigs()),
	}
	if cfg.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	if b.cluster, err = kfake.NewCluster(opts...); err != nil {
		return errors.Join(fmt.Errorf("start the embedded broker on %s: %w", data, err), ignoreClosed(listen.Close()))
	}
	b.cluster.ControlKey(int16(kmsg.DeleteRecords), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		if r, ok := req.(*kmsg.DeleteRecordsRequest); ok {
			if err := noteDeleted(data, r); err != nil {
				cfg.Logger.Error("the embedded broker cannot note what is deleted: partitions that are emptied may begin at offset 0 again if it is killed", "error", err)
			}
		}
		return nil, nil, false
	})
	b.addr = listen.Addr().String()
	if err := writeAtomically(filepath.Join(b.dir, addressFile), b.addr+"\n"); err != nil {
		b.cluster.Close()
		return fmt.Errorf("tell where the embedded broker listens: %w", err)
	}
	return nil
}

// brokerConfigs are settings of the broker that differ from Kafka's defaults.
func brokerConfigs() map[string]string {
	return map[string]string{
		"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms":     strconv.FormatInt(minSession.Milliseconds(), 10),
		// Compaction and retention hold the broker up for some 100 ns a record of the topics concerned.
		"log.cleaner.backoff.ms": "60000",
		// A machine that nobody works on for a week keeps its offsets: ten years.
		"offset.retention.ms": "315360000000",
	}
}

// Addr is the address to connect to, as host:port.
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker, with its state on disk, and lets go of the data directory. It may be called twice.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.cluster.Close()
		err := os.Remove(filepath.Join(b.dir, addressFile))
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		b.err = errors.Join(err, b.lock.Close())
	})
	return b.err
}

// Run starts a broker, calls ready with its address, and stops it when ctx ends.
func Run(ctx context.Context, cfg Config, ready func(addr string)) error {
	b, err := Start(cfg)
	if err != nil {
		return err
	}
	if ready != nil {
		ready(b.Addr())
	}
	<-ctx.Done()
	return b.Close()
}

// Find returns where the broker of a data directory listens, and whether one is running and takes connections. It waits
// a second at most.
func Find(dataDir string) (addr string, alive bool) {
	text, err := os.ReadFile(filepath.Join(dataDir, addressFile))
	if err != nil {
		return "", false
	}
	addr = strings.TrimSpace(string(text))
	if !locked(filepath.Join(dataDir, lockFile)) {
		return addr, false // left by a broker that was killed
	}
	conn, err := (&net.Dialer{Timeout: dialWait}).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return addr, false
	}
	return addr, conn.Close() == nil
}

// lastAddr is where the broker listened that was killed; empty if it stopped in order.
func (b *Broker) lastAddr() string {
	text, err := os.ReadFile(filepath.Join(b.dir, addressFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// listener opens the socket.
func listener(cfg Config, last string) (net.Listener, error) {
	addr := cfg.Addr
	if addr == "" {
		addr = DefaultAddr
		if host, _, err := net.SplitHostPort(last); err == nil && net.ParseIP(host).IsLoopback() {
			if l, err := listenOn(last, cfg.Advertise); err == nil {
				return l, nil
			}
		}
	}
	return listenOn(addr, cfg.Advertise)
}

func listenOn(addr, advertise string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("address of the embedded broker: %q is not host:port", addr)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the embedded broker cannot listen on %s: %w; name another address", addr, err)
	}
	shown, err := advertised(l.Addr().String(), advertise)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return named{l, shown}, nil
}

// advertised returns the address that clients are told.
func advertised(listens, advertise string) (string, error) {
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return "", fmt.Errorf("address of the embedded broker: %w", err)
	}
	if advertise != "" {
		if _, _, err := net.SplitHostPort(advertise); err == nil {
			return advertise, nil
		}
		return net.JoinHostPort(advertise, port), nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("name of this host, for clients of the embedded broker: %w", err)
		}
		return net.JoinHostPort(host, port), nil
	}
	return listens, nil
}

// named is a listener that says it listens at the address that clients are to use.
type named struct {
	net.Listener
	at string
}

// Addr is what the broker tells its clients.
func (n named) Addr() net.Addr { return address(n.at) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// lockDir takes the data directory for this process.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory of the embedded broker: %w", err)
	}
	deadline := time.NewTimer(lockWait)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if err = flock(f); err == nil {
			return f, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-again.C:
			continue
		case <-deadline.C:
		}
		where := ""
		if text, err := os.ReadFile(filepath.Join(dir, addressFile)); err == nil {
			where = " at " + strings.TrimSpace(string(text))
		}
		return nil, errors.Join(fmt.Errorf("data directory %s has a broker running already%s; use it with --brokers, or name another --data-dir", dir, where), f.Close())
	}
}

// writeAtomically writes a file that is never seen half written.
func writeAtomically(path, text string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// logger passes the broker's lines on.
type logger struct{ to *slog.Logger }

// Logf takes one line. What the broker calls info is one line per request, and slow is a commit of five milliseconds: debug here.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch {
	case level == kfake.LogLevelError:
		to = slog.LevelError
	case level == kfake.LogLevelWarn && !strings.Contains(format, " slow "):
		to = slog.LevelWarn
	}
	if l.to.Enabled(context.Background(), to) {
		l.to.Log(context.Background(), to, "embedded broker", "text", fmt.Sprintf(format, args...))
	}
}
