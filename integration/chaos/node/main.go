//go:build unix

// Command node is the node that the chaos command starts and harms: the command line of any node for its topologies,
// and besides it
//
//	node all BROKERS DIR SETTING...
//
// runs them all in one process, or the one that TROUPE_ONLY names, with settings of librdkafka, KEY=VALUE.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology"
)

// topicRefresh is how often topics are looked for that match a pattern: some are made while nodes run.
const topicRefresh = 5 * time.Second

func main() {
	asks := &asker{}
	bazaar, _ := work.Bazaar(asks)
	topologies := []*topology.Topology{wordcount.Topology(), work.Ledger(), work.Jobs(), work.Troubles(), work.Errands(), work.Market(), bazaar}
	if len(os.Args) < 4 || os.Args[1] != "all" {
		troupe.Main(topologies...)
	}
	if only := os.Getenv("TROUPE_ONLY"); only != "" {
		topologies = slices.DeleteFunc(topologies, func(t *topology.Topology) bool { return t.Name() != only })
	}
	// A file that may not grow is an error of the write then, as a full disk is, and no reason to die.
	signal.Ignore(syscall.SIGXFSZ)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	settings := map[string]string{}
	for _, s := range os.Args[4:] {
		name, value, _ := strings.Cut(s, "=")
		settings[name] = value
	}
	asks.brokers = strings.Split(os.Args[2], ",")
	err := troupe.Run(ctx, troupe.Config{
		Brokers: asks.brokers, DataDir: os.Args[3], CreateTopics: true, Kafka: settings, TopicRefresh: topicRefresh,
		HTTP:    troupe.HTTP{Addr: "127.0.0.1:0"},
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Started: func() { fmt.Fprintln(os.Stderr, "started") },
	}, topologies...)
	if err = errors.Join(err, asks.close()); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be done
	}
}
