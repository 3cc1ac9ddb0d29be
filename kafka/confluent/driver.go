package confluent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"syscall"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
)

// reachTimeout is how long opening a client waits for the first answer of a broker.
const reachTimeout = 10 * time.Second

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
	// Logger takes what the clients have to say. Defaults to slog's discarding handler.
	Logger *slog.Logger
}

// Driver implements kafka.Driver with librdkafka, and with franz-go's protocol messages for what librdkafka does not
// offer. It holds no connection itself; its methods may be called from any goroutine.
type Driver struct {
	cfg     Config
	log     *slog.Logger
	figures figures
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
	if err := Validate(cfg.Settings); err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, log: cfg.Logger}
	for _, role := range []string{roleGroup, roleProducer} {
		if _, err := d.config(role); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// OpenAdmin opens a client for topics and offsets.
func (d *Driver) OpenAdmin() (kafka.Admin, error) { return openAdmin(d) }

// OpenOperator opens a client for all that those who run a topology do.
func (d *Driver) OpenOperator() (kafka.Operator, error) { return openAdmin(d) }

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
	unless(cm, map[string]rdk.ConfigValue{"client.id": d.cfg.ClientID, "enable.metrics.push": false})
	return cm, nil
}

// openRaw opens a client for single requests of the protocol, once a broker answers.
func (d *Driver) openRaw(ctx context.Context) (*kgo.Client, error) {
	raw, err := rawClient(d.cfg.Brokers, d.cfg.Settings, d.cfg.ClientID)
	if err != nil {
		return nil, err
	}
	if err := d.reach(ctx, raw); err != nil {
		raw.Close()
		return nil, err
	}
	return raw, nil
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

// reach waits until a broker answers, ten seconds at most.
func (d *Driver) reach(ctx context.Context, raw *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	var cause error
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := raw.Ping(ctx)
		if err == nil {
			return nil
		}
		if cause == nil || ctx.Err() == nil {
			cause = err
		}
		at := strings.Join(d.cfg.Brokers, ",")
		if errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) || errors.Is(err, kerr.IllegalSaslState) {
			return fmt.Errorf("the broker at %s refuses the SASL login: %w; check the settings sasl.mechanism, sasl.username and sasl.password", at, err)
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("no broker answers at %s within %v: %w; check --brokers%s", at, reachTimeout, cause, hangUpHint(cause))
		}
	}
}

// hangUpHint says what else to check where a broker takes the connection and drops it.
func hangUpHint(cause error) string {
	if errors.Is(cause, io.EOF) || errors.Is(cause, syscall.ECONNRESET) {
		return " and security.protocol: the connection is taken and dropped, as by a broker that wants TLS or SASL, or another login"
	}
	return ""
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
