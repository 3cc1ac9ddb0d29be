//go:build unix

// Package realkafka installs Apache Kafka and runs brokers of it on this machine, for tests and benchmarks:
//
//	k, err := realkafka.Start(ctx, t.TempDir())
//	defer k.Stop(ctx)
//	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...))
//
// Brokers listen on 127.0.0.1 at random ports, keep everything in the directory that was given, and end with the process
// that started them.
package realkafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/integration/proc"
)

const (
	// startTimeout bounds a start; stopTimeout an orderly stop, after which the broker is killed.
	startTimeout = time.Minute
	stopTimeout  = 20 * time.Second
	// probeEvery is the time between two questions to a broker that starts.
	probeEvery = 50 * time.Millisecond
	// tries is how often a start is tried: another process may take a port that was free a moment ago.
	tries = 3
)

// Config says how a cluster is made.
type Config struct {
	// Brokers is how many there are. Defaults to 1.
	Brokers int
	// Lanes give clients ways of their own to the cluster: each broker listens once more for every lane, and tells clients
	// that come by a lane to use that lane's addresses, such as those of proxies. Lanes[l][i] is what broker i, counted
	// from 0, advertises on lane l, host:port; Lane tells where the broker itself listens. Defaults to none.
	Lanes [][]string
	// Listeners are further doors with TLS, logins or both; Kafka.Listener tells their addresses. Defaults to none.
	Listeners []Listener
	// Properties are set over those of the package, the same for each broker. Defaults to none.
	Properties map[string]string
	// Java are the options of the brokers' Java. Defaults to a small heap that is collected by one thread, and to code that is compiled once and quickly: what
	// starts fast and leaves the cores to tests. Use JavaOfKafka to measure.
	Java []string
}

// JavaOfKafka are the options that Kafka's own scripts start a broker with.
func JavaOfKafka() []string {
	return []string{"-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"}
}

// Validate returns every fault of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Brokers < 0 {
		errs = append(errs, fmt.Errorf("%d brokers: use 1 or more", c.Brokers))
	}
	for l, lane := range c.Lanes {
		if len(lane) != max(c.Brokers, 1) {
			errs = append(errs, fmt.Errorf("lane %d has %d addresses: it needs one for each of %d brokers", l, len(lane), max(c.Brokers, 1)))
		}
	}
	for i, l := range c.Listeners {
		if err := l.validate(); err != nil {
			errs = append(errs, fmt.Errorf("listener %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Kafka is a cluster. Its methods are for one goroutine at a time, except for those that only ask.
type Kafka struct {
	dir   string
	lib   string
	cfg   Config
	nodes []*broker
}

// broker is one JVM, broker and controller at once.
type broker struct {
	id         int
	dir        string
	port       int
	controller int
	lanes      []int // the ports of its lanes
	secure     []int // and of its listeners with security
	process    *proc.Process
}

// Start installs Kafka where it is missing and starts one broker with its data in dir, which must be empty or new. It
// blocks until the broker answers.
func Start(ctx context.Context, dir string) (*Kafka, error) { return StartCluster(ctx, dir, 1) }

// StartCluster is like Start with n brokers. Internal topics are replicated three times where n allows it, with two in sync.
func StartCluster(ctx context.Context, dir string, n int) (*Kafka, error) {
	if n < 1 {
		return nil, fmt.Errorf("start Kafka: %d brokers: use 1 or more", n)
	}
	return StartConfig(ctx, dir, Config{Brokers: n})
}

// StartConfig is like StartCluster, with everything that can be configured.
func StartConfig(ctx context.Context, dir string, cfg Config) (*Kafka, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	cfg.Brokers = max(cfg.Brokers, 1)
	lib, err := Install(ctx)
	if err != nil {
		return nil, err
	}
	k := &Kafka{dir: dir, lib: lib, cfg: cfg}
	for try := 1; ; try++ {
		if err = k.create(ctx, cfg.Brokers); err == nil {
			return k, nil
		}
		if try == tries || ctx.Err() != nil {
			return nil, fmt.Errorf("start Kafka %s in %s: %w", Version, dir, err)
		}
	}
}

// create makes and starts all brokers; on an error nothing of them is left.
func (k *Kafka) create(ctx context.Context, n int) (err error) {
	defer func() {
		if err != nil {
			for _, b := range k.nodes {
				err = errors.Join(err, k.kill(b), os.RemoveAll(b.dir))
			}
			k.nodes = nil
		}
	}()
	each, lanes := 2+len(k.cfg.Lanes)+len(k.cfg.Listeners), 2+len(k.cfg.Lanes)
	ports, err := freePorts(each * n)
	if err != nil {
		return err
	}
	for i := range n {
		own := ports[each*i : each*(i+1)]
		k.nodes = append(k.nodes, &broker{id: i + 1, dir: filepath.Join(k.dir, fmt.Sprintf("broker-%d", i+1)), port: own[0], controller: own[1], lanes: own[2:lanes], secure: own[lanes:]})
	}
	for _, b := range k.nodes {
		if err := k.format(ctx, b); err != nil {
			return err
		}
	}
	for i := range k.nodes {
		if err := k.launch(i); err != nil {
			return err
		}
	}
	return k.ready(ctx)
}

// Brokers are the addresses, host:port.
func (k *Kafka) Brokers() []string {
	out := make([]string, len(k.nodes))
	for i, b := range k.nodes {
		out[i] = fmt.Sprintf("127.0.0.1:%d", b.port)
	}
	return out
}

// Lane is where the brokers listen for a lane, host:port: what is advertised there must lead here.
func (k *Kafka) Lane(l int) []string {
	out := make([]string, len(k.nodes))
	for i, b := range k.nodes {
		out[i] = fmt.Sprintf("127.0.0.1:%d", b.lanes[l])
	}
	return out
}

// Running says whether the process of broker i runs.
func (k *Kafka) Running(i int) bool { return k.nodes[i].process.Running() }

// Pid is the process id of broker i, counted from 0.
func (k *Kafka) Pid(i int) int { return k.nodes[i].process.Pid() }

// Kill ends broker i with SIGKILL.
func (k *Kafka) Kill(i int) error { return k.kill(k.nodes[i]) }

// StopBroker ends broker i in order: it hands its partitions over first. It is killed where that takes too long.
func (k *Kafka) StopBroker(ctx context.Context, i int) error {
	b := k.nodes[i]
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := b.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if _, err := b.process.Wait(ctx); err != nil {
		return k.kill(b)
	}
	return nil
}

// Restart starts broker i, which was killed or stopped, again on its data and ports, and blocks until the whole cluster
// answers. Where several are away, Launch them all and then call Ready.
func (k *Kafka) Restart(ctx context.Context, i int) error {
	if err := k.Launch(i); err != nil {
		return err
	}
	return k.ready(ctx)
}

// Launch starts broker i, which was killed or stopped, again on its data and ports, and does not wait for it.
func (k *Kafka) Launch(i int) error {
	if k.nodes[i].process.Running() {
		return fmt.Errorf("restart broker %d: it is running: kill it first", i)
	}
	return k.launch(i)
}

// Ready blocks until the whole cluster answers, for a minute at most.
func (k *Kafka) Ready(ctx context.Context) error { return k.ready(ctx) }

// Stop ends all brokers in order, and by force where that takes too long. It is safe to call twice.
func (k *Kafka) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for _, b := range k.nodes {
		if err := b.process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	var errs []error
	for _, b := range k.nodes {
		if _, err := b.process.Wait(ctx); err != nil {
			errs = append(errs, k.kill(b))
		}
	}
	return errors.Join(errs...)
}

func (k *Kafka) kill(b *broker) error {
	if b.process == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return b.process.Kill(ctx)
}

// format writes the configuration of a broker and formats its storage.
func (k *Kafka) format(ctx context.Context, b *broker) error {
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return err
	}
	secured, err := k.secured(b)
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.config(b), []byte(k.properties(b, secured)), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(k.lib, "*"), "kafka.tools.StorageTool", "format",
		"-t", "dHJvdXBlLXJlYWwta2Fma2E", "-c", k.config(b)) // any fixed id of 16 bytes
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format broker %d: %w\n%s", b.id, err, out)
	}
	return nil
}

func (k *Kafka) config(b *broker) string { return filepath.Join(b.dir, "server.properties") }

func (k *Kafka) launch(i int) error {
	b := k.nodes[i]
	options := k.cfg.Java
	if options == nil {
		options = []string{"-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
	}
	cmd := exec.Command("java", slices.Concat(options, []string{"-cp", filepath.Join(k.lib, "*"), "kafka.Kafka", k.config(b)})...) //nolint:noctx // it outlives the call; Stop ends it
	cmd.Dir = b.dir
	var err error
	b.process, err = proc.Start(fmt.Sprintf("kafka-%d", b.id), cmd, nil)
	return err
}

// properties is the configuration of a broker.
func (k *Kafka) properties(b *broker, secured []string) string {
	voters := make([]string, len(k.nodes))
	for i, v := range k.nodes {
		voters[i] = fmt.Sprintf("%d@127.0.0.1:%d", v.id, v.controller)
	}
	replicas, inSync := min(3, len(k.nodes)), min(2, len(k.nodes))
	listeners, advertised, protocols := k.listeners(b)
	lines := []string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", b.id),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		"listeners=" + listeners,
		"advertised.listeners=" + advertised,
		"listener.security.protocol.map=" + protocols,
		"inter.broker.listener.name=PLAINTEXT",
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(b.dir, "data"),
		"auto.create.topics.enable=false",
		"group.initial.rebalance.delay.ms=0",
		"group.min.session.timeout.ms=1000",
		"num.network.threads=2",
		"num.io.threads=4",
		"offsets.topic.num.partitions=4",
		fmt.Sprintf("offsets.topic.replication.factor=%d", replicas),
		"transaction.state.log.num.partitions=4",
		fmt.Sprintf("transaction.state.log.replication.factor=%d", replicas),
		fmt.Sprintf("transaction.state.log.min.isr=%d", inSync),
		"share.coordinator.state.topic.num.partitions=2",
		fmt.Sprintf("share.coordinator.state.topic.replication.factor=%d", replicas),
		fmt.Sprintf("share.coordinator.state.topic.min.isr=%d", inSync),
		fmt.Sprintf("default.replication.factor=%d", replicas),
		fmt.Sprintf("min.insync.replicas=%d", inSync),
		"log.cleaner.dedupe.buffer.size=16777216",
		// A partition maps two index files of this size. With Kafka's 10 MB, the first look into each zeroes megabytes of memory on kernels that read
		// ahead in large pages: seconds of a core for topics of 64 partitions. Segments end at some 350 MB then, when an index is full.
		"log.index.size.max.bytes=1048576",
	}
	lines = append(lines, secured...)
	for _, name := range slices.Sorted(maps.Keys(k.cfg.Properties)) { // of two lines with one name, the later counts
		lines = append(lines, name+"="+k.cfg.Properties[name])
	}
	return strings.Join(lines, "\n") + "\n"
}

// listeners are where a broker listens, what it tells clients, and with which security.
func (k *Kafka) listeners(b *broker) (listeners, advertised, protocols string) {
	at := []string{fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", b.port), fmt.Sprintf("CONTROLLER://127.0.0.1:%d", b.controller)}
	tells := []string{fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", b.port)}
	speaks := []string{"PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	for l, port := range b.lanes {
		at = append(at, fmt.Sprintf("LANE%d://127.0.0.1:%d", l, port))
		tells = append(tells, fmt.Sprintf("LANE%d://%s", l, k.cfg.Lanes[l][b.id-1]))
		speaks = append(speaks, fmt.Sprintf("LANE%d:PLAINTEXT", l))
	}
	for i, port := range b.secure {
		at = append(at, fmt.Sprintf("SECURE%d://127.0.0.1:%d", i, port))
		tells = append(tells, fmt.Sprintf("SECURE%d://127.0.0.1:%d", i, port))
		speaks = append(speaks, fmt.Sprintf("SECURE%d:%s", i, k.cfg.Listeners[i].Protocol))
	}
	return strings.Join(at, ","), strings.Join(tells, ","), strings.Join(speaks, ",")
}

// ready waits until every broker is known to the cluster and takes connections.
func (k *Kafka) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.DialTimeout(time.Second), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		err := k.probe(ctx, client)
		if err == nil {
			return nil
		}
		if ended := k.Ended(); ended != nil {
			return ended
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", startTimeout, err)
		}
	}
}

// probe asks each broker for all of them: others know one that was killed until its session ends.
func (k *Kafka) probe(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, b := range client.SeedBrokers() {
		got, err := b.Request(ctx, kmsg.NewPtrMetadataRequest())
		if err != nil {
			return err
		}
		if answer, ok := got.(*kmsg.MetadataResponse); !ok || len(answer.Brokers) < len(k.nodes) {
			return fmt.Errorf("%d brokers are not all up", len(k.nodes))
		}
	}
	return nil
}

// Ended says which broker does not run, with the last that it said; nil where all do.
func (k *Kafka) Ended() error {
	for _, b := range k.nodes {
		if !b.process.Running() {
			return fmt.Errorf("broker %d has ended:\n%s\n%s", b.id, b.process.Tail(30), b.logTail())
		}
	}
	return nil
}

// logTail is the end of what a broker has logged, empty where it logs nowhere.
func (b *broker) logTail() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "logs", "server.log"))
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-4096):])
}

// freePorts finds ports that nobody listens at, below those that the system gives to outgoing connections: one of these might have the port of a
// broker that is away, which then could not come back.
func freePorts(n int) ([]int, error) {
	first := outgoing()
	const least = 10_000
	var ports []int
	var last error
	for range 100 * n {
		if len(ports) == n {
			break
		}
		at := fmt.Sprintf("127.0.0.1:%d", least+rand.IntN(first-least))
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", at)
		if err != nil {
			last = err
			continue
		}
		defer l.Close() //nolint:errcheck // all are held until the last is found
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("find %d free ports from %d to %d: %w", n, least, first-1, last)
	}
	return ports, nil
}

// outgoing is the first port that the system gives to outgoing connections.
func outgoing() int {
	first := 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var low int
		if _, err := fmt.Sscan(string(text), &low); err == nil && low > 20_000 {
			first = low
		}
	}
	return first
}

// DataDir is where broker i keeps its logs, and how far its cleaner is with them.
func (k *Kafka) DataDir(i int) string { return filepath.Join(k.nodes[i].dir, "data") }
