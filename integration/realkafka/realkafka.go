// Package realkafka starts a real Kafka for tests and benchmarks: one broker in KRaft mode, from the artifacts of Maven
// Central. It needs Java 17 or newer and Maven; what it fetches is kept in the user's cache directory.
package realkafka

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Version is the Kafka that is started.
const Version = "4.4.0"

//go:embed pom.xml
var pom []byte

// Kafka is a running broker.
type Kafka struct {
	// Addr is where it listens: host:port.
	Addr string
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a broker that keeps its data in dir, and waits until it answers, for a minute at most beside the first
// installation.
func Start(ctx context.Context, dir string) (*Kafka, error) {
	lib, err := install(ctx)
	if err != nil {
		return nil, err
	}
	k := &Kafka{dir: dir}
	port, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	k.Addr = fmt.Sprintf("127.0.0.1:%d", port[0])
	config := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%[3]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
`, port[0], port[1], filepath.Join(dir, "log"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	classpath := filepath.Join(lib, "*")
	format := exec.CommandContext(ctx, "java", "-Xmx128m", "-cp", classpath, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", config)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format the storage of Kafka: %w: %s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "kafka.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	k.cmd = exec.Command("java", "-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-cp", classpath, "kafka.Kafka", config)
	k.cmd.Stdout, k.cmd.Stderr = log, log
	if err := k.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	k.done = make(chan struct{})
	go func() {
		defer close(k.done)
		_ = k.cmd.Wait()
	}()
	if err := k.await(ctx); err != nil {
		k.Stop()
		return nil, err
	}
	return k, nil
}

// await waits until the broker answers.
func (k *Kafka) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Addr))
	if err != nil {
		return err
	}
	defer c.Close()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		if c.Ping(ctx) == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-k.done:
			b, _ := os.ReadFile(filepath.Join(k.dir, "kafka.log"))
			return fmt.Errorf("Kafka ended: %s", b) //nolint:staticcheck // its name
		case <-ctx.Done():
			return fmt.Errorf("Kafka does not answer at %s: %w", k.Addr, ctx.Err()) //nolint:staticcheck // its name
		}
	}
}

// Stop ends the broker.
func (k *Kafka) Stop() {
	if k.cmd == nil || k.cmd.Process == nil {
		return
	}
	_ = k.cmd.Process.Kill()
	<-k.done
}

// install fetches Kafka's jars, once per user.
func install(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "troupe-kafka-"+Version)
	lib := filepath.Join(dir, "lib")
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return lib, nil
	}
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("tests on a real Kafka need %s: install a JDK of 17 or newer, and Maven", tool)
		}
	}
	if err := os.MkdirAll(lib, 0o750); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), pom, 0o600); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join(dir, "pom.xml"),
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Kafka %s with Maven: %w: %s", Version, err, strings.TrimSpace(string(out)))
	}
	return lib, os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600)
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err2 := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends at once
		if err2 != nil {
			return nil, err2
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // of tcp
	}
	return ports, nil
}
