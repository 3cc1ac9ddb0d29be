package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
	"github.com/troupe-stream/troupe/topology/plan"
)

// atLeastOnce and exactlyOnce are variants of the engine's.
const (
	atLeastOnce = "at-least-once"
	exactlyOnce = "exactly-once"
)

// logger shows warnings on standard error.
func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// ours runs a node with the topology of a task until all of the source is committed.
func ours(ctx context.Context, j job) error {
	p, err := topologyOf(j)
	if err != nil {
		return err
	}
	d, err := confluent.New(confluent.Config{Brokers: strings.Split(j.Brokers, ","), Logger: logger()})
	if err != nil {
		return err
	}
	admin, err := d.OpenAdmin()
	if err != nil {
		return err
	}
	defer admin.Close() //nolint:errcheck // nothing is lost by that
	if j.Client != "" && j.Client != clientPublic {
		return fmt.Errorf("the engine has no client %s", j.Client)
	}
	say("client %s", clientPublic)
	n, err := actors.NewNode(p, d, actors.Config{DataDir: j.Dir, Instance: j.Name, Nonce: fmt.Sprint(os.Getpid()), AtLeastOnce: j.Variant == atLeastOnce, Logger: logger()})
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	err = until(ctx, n, func() (bool, error) { return committed(ctx, admin, p, j) })
	if err == nil {
		finish()
	}
	return errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
}

// committed says whether the whole source is.
func committed(ctx context.Context, admin kafka.Admin, p *plan.Plan, j job) (bool, error) {
	var tps []kafka.TopicPartition
	for i := range int32(partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: j.Source, Partition: i})
	}
	at, err := admin.CommittedOffsets(ctx, p.Name, tps...)
	sum := int64(0)
	for _, o := range at {
		sum += max(o.Offset, 0)
	}
	return sum >= int64(j.Records), err
}

// until asks until the answer is yes, some fifty times a second.
func until(ctx context.Context, n *actors.Node, ask func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-n.Done():
			return errors.Join(n.Err(), errors.New("the node ended"))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
