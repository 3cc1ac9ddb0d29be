package host

import (
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
	"github.com/troupe-stream/troupe/kafka/embedded"
)

// The ways to use librdkafka.
const (
	PublicClient  = confluent.Public
	BatchedClient = confluent.Batched
)

// openDriver makes the client. It refuses settings that the engine must own.
func openDriver(cfg ClusterConfig, brokers []string) (kafka.Driver, error) {
	id := cfg.ClientID
	if id == "" {
		id = "troupe"
	}
	client := cfg.Client
	if client == "" && cfg.Transient {
		client = PublicClient // what tries the batched one takes longer than what it would save
	}
	return confluent.New(confluent.Config{Brokers: brokers, Settings: cfg.Settings, Client: client, ClientID: id, Topologies: cfg.Topologies, Logger: cfg.Logger})
}

// findEmbedded looks for a running embedded broker of a data directory.
func findEmbedded(dir string) (addr string, ok bool) { return embedded.Find(dir) }

// startEmbedded starts the embedded broker of a data directory and returns its address and what closes it.
func startEmbedded(cfg embedded.Config) (string, func() error, error) {
	b, err := embedded.Start(cfg)
	if err != nil {
		return "", nil, err
	}
	return b.Addr(), b.Close, nil
}

// Redacted returns settings of the client with every secret replaced, to be shown.
func Redacted(settings map[string]string) map[string]string { return confluent.Redacted(settings) }
