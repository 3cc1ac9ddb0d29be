package troupe

import (
	"context"
	"errors"
	"log/slog"

	"github.com/troupe-stream/troupe/internal/ask"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// ClientConfig says how OpenClient finds the brokers. It needs one of Brokers and DataDir.
type ClientConfig struct {
	// Brokers are addresses, host:port. Defaults to none: the embedded broker of the node that runs in DataDir is used.
	Brokers []string
	// DataDir is that of a node with an embedded broker; a node that starts there later uses the client's broker, and loses it when
	// the client is closed. Not needed with Brokers.
	DataDir string
	// Kafka are settings of librdkafka, as in Config. Defaults to none.
	Kafka map[string]string
	// Logger takes the log. Defaults to none: nothing is logged.
	Logger *slog.Logger
}

// Client asks agents that run on nodes, from any program: it is what AgentRef.Ask and its like take. Any goroutine may use it. It is
// meant to be kept: opening it connects to the brokers.
//
// It needs the rights to write the topics of the agents that it asks, to read the topic of replies (TOPOLOGY-replies) and that of slots
// (TOPOLOGY-slots), and to describe the group.
type Client struct {
	cluster *host.Cluster
	asks    *ask.Client
}

var _ topology.Asker = (*Client)(nil)

// OpenClient connects to the brokers; it blocks until one answers, ten seconds at most. Close the client in the end.
func OpenClient(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if len(cfg.Brokers) == 0 && cfg.DataDir == "" {
		return nil, errors.New("troupe.ClientConfig: it has neither Brokers nor DataDir: say where the brokers are")
	}
	cluster, err := host.Connect(ctx, host.ClusterConfig{Brokers: cfg.Brokers, DataDir: cfg.DataDir, Settings: cfg.Kafka, ClientID: "troupe-client", Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &Client{cluster: cluster, asks: ask.New(cluster.Admin, cluster.Driver.OpenReader)}, nil
}

// Close ends the client: what still waits for an answer fails with topology.ErrAskerClosed. It is safe to call twice.
func (c *Client) Close() error { return errors.Join(c.asks.Close(), c.cluster.Close()) }

// Request implements topology.Asker.
func (c *Client) Request(ctx context.Context, r plan.Request, done func(answer []byte, err error)) error {
	return c.asks.Request(ctx, r, done)
}

// Cast implements topology.Asker.
func (c *Client) Cast(ctx context.Context, r plan.Request) error { return c.asks.Cast(ctx, r) }
