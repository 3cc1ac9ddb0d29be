package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// reachTimeout is how long opening a client waits for the first answer of a broker.
const reachTimeout = 10 * time.Second

const (
	// pingTimeout is how long each try of opening a client waits: a broker may take a connection and say nothing.
	pingTimeout = 5 * time.Second
	// diagnoseTimeout is how long one broker may take to show what is wrong with it.
	diagnoseTimeout = 3 * time.Second
)

// closeTimeout is how long closing a client of librdkafka may take: Close is known to hang now and then.
const closeTimeout = 10 * time.Second

// Config says which cluster a driver opens clients for.
type Config struct {
	// Brokers are the addresses to begin with, as host:port.
	Brokers []string
	// Settings are librdkafka's, as the user gave them. Those that the engine must own are refused by name.
	Settings map[string]string
	// ClientID is how the clients name themselves to the broker. Defaults to "troupe".
	ClientID string
	// Topologies are those that the clients are for, by name: what is missing in rights for one of their topics or transactional
	// ids is then mended for all of them. Defaults to none.
	Topologies []string
	// Client is how librdkafka is used: Public or Batched. Defaults to Batched where that can work, else Public.
	Client string
	// Logger takes what the clients have to say. Defaults to slog's discarding handler.
	Logger *slog.Logger
}

// Driver implements kafka.Driver with librdkafka, and with franz-go's protocol messages for what librdkafka does not
// offer. It holds no connection itself; its methods may be called from any goroutine.
type Driver struct {
	cfg     Config
	who     identity
	log     *slog.Logger
	figures figures
	said    sync.Once    // which client is used
	trial   func() error // whether the batched client works here; it may wait
	timed   bool         // connections that are closed are not counted, as where that cannot be
}

var _ kafka.Driver = (*Driver)(nil)

// New returns a driver. It connects to nothing yet, but refuses settings that are unknown or the engine's own.
func New(cfg Config) (*Driver, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("no broker addresses given; use --brokers host:port")
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "troupe"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(Validate(cfg.Settings), checkClient(cfg.Client)); err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, who: identityOf(cfg), log: cfg.Logger, trial: trial}
	for _, role := range []string{roleGroup, roleProducer} {
		if _, err := d.config(role); err != nil {
			return nil, err
		}
	}
	if cfg.Client != Public {
		go func() { _ = trial() }() // whoever opens a client waits for it
	}
	return d, nil
}

// OpenAdmin opens a client for topics and offsets.
func (d *Driver) OpenAdmin() (kafka.Admin, error) { return openAdmin(context.Background(), d) }

// OpenOperator opens a client for all that those who run a topology do, once a broker answers; ctx ends the wait.
func (d *Driver) OpenOperator(ctx context.Context) (kafka.Operator, error) { return openAdmin(ctx, d) }

// OpenReader opens a client that reads outside the group.
func (d *Driver) OpenReader() (kafka.Reader, error) { return openReader(d) }

// Roles of clients, as settings wants them.
const (
	roleGroup    = "consumer"
	roleProducer = "producer"
)

// config returns the user's settings for a role, with what every client of the driver has.
func (d *Driver) config(role string) (*rdk.ConfigMap, error) {
	cm, err := settings(d.cfg.Settings, role)
	if err != nil {
		return nil, err
	}
	own(cm, map[string]rdk.ConfigValue{
		"bootstrap.servers":      strings.Join(d.cfg.Brokers, ","),
		"go.logs.channel.enable": true,
	})
	unless(cm, map[string]rdk.ConfigValue{
		"client.id": d.cfg.ClientID, "enable.metrics.push": false,
		"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 1000, // librdkafka's ten seconds are how much later a broker that is back would be seen
	})
	return cm, nil
}

// openRaw opens a client for single requests of the protocol, once a broker answers.
func (d *Driver) openRaw(ctx context.Context) (*requester, error) {
	raw, err := rawClient(d.cfg.Brokers, d.cfg.Settings, d.cfg.ClientID)
	if err != nil {
		return nil, err
	}
	if err := d.reach(ctx, raw); err != nil {
		raw.Close()
		return nil, err
	}
	return &requester{raw, d.who}, nil
}

// own sets what the engine relies on.
func own(cm *rdk.ConfigMap, values map[string]rdk.ConfigValue) {
	maps.Copy((*cm), values)
}

// unless sets what the user has not set.
func unless(cm *rdk.ConfigMap, values map[string]rdk.ConfigValue) {
	for k, v := range values {
		if _, set := (*cm)[k]; !set {
			(*cm)[k] = v
		}
	}
}

// reach waits until a broker answers, ten seconds at most; not that long for what waiting does not mend.
func (d *Driver) reach(ctx context.Context, raw *kgo.Client) error {
	told := ctx
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	var last error
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if d.answers(ctx, raw) {
			return nil
		}
		// Until the deadline only what lasts is of interest; at the end it is what is wrong now.
		if faults, lasting := d.faults(ctx); len(faults) > 0 && (ctx.Err() == nil || last == nil) {
			if last = errors.Join(faults...); lasting {
				return last
			}
		}
		if !pause(ctx, wait) {
			if told.Err() != nil {
				return told.Err()
			}
			if last == nil {
				last = ctx.Err()
			}
			return fmt.Errorf("no broker answers at %s within %v: %w", strings.Join(d.cfg.Brokers, ","), reachTimeout, last)
		}
	}
}

// answers says whether a broker answers at once, and one of those that it tells of does.
func (d *Driver) answers(ctx context.Context, raw *kgo.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if raw.Ping(ctx) != nil {
		return false
	}
	told := raw.DiscoveredBrokers()
	answers := make(chan bool, len(told))
	for _, b := range told {
		go func() {
			_, err := b.Request(ctx, kmsg.NewPtrApiVersionsRequest())
			answers <- err == nil
		}()
	}
	found := len(told) == 0
	for range told {
		if <-answers {
			found = true
			cancel() // the others need not be waited for
		}
	}
	return found
}

// pause waits and says whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// closesInTime runs f, which closes a client, but waits for it no longer than closeTimeout. It says whether f is done.
func closesInTime(f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// forward writes a client's log lines to the logger until done is closed.
func forward(log *slog.Logger, lines <-chan rdk.LogEvent, done <-chan struct{}) {
	for {
		select {
		case e, ok := <-lines:
			if !ok {
				return
			}
			level := slog.LevelDebug
			switch {
			case e.Level <= 3: // syslog: emergency to error
				level = slog.LevelError
			case e.Level == 4:
				level = slog.LevelWarn
			case e.Level <= 6:
				level = slog.LevelInfo
			}
			log.Log(context.Background(), level, "librdkafka", "client", e.Name, "tag", e.Tag, "text", e.Message)
		case <-done:
			return
		}
	}
}
