package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
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
	p, err := programOf(j)
	if err != nil {
		return err
	}
	d, err := confluent.New(confluent.Config{Brokers: strings.Split(j.Brokers, ","), Client: j.Client, Logger: logger()})
	if err != nil {
		return err
	}
	admin, err := d.OpenAdmin()
	if err != nil {
		return err
	}
	defer admin.Close()     //nolint:errcheck // nothing is lost by that
	client, _ := d.Client() // why it is another one is in the log
	say("client %s", client)
	restored := make(chan struct{})
	n, err := actors.NewNode(p.plan, d, actors.Config{
		DataDir: j.Dir, Instance: j.instance(), Nonce: fmt.Sprint(os.Getpid()), AtLeastOnce: j.Variant == atLeastOnce, Logger: logger(), Hooks: watched(j, restored),
	})
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	switch j.Task {
	case taskPass, taskEndless:
		_, _ = os.Stdin.Read(make([]byte, 1))
	case taskRestore:
		if err = wait(ctx, n, restored); err == nil {
			figure("restored", float64(entries(n)))
			finish()
		}
	default:
		if err = until(ctx, n, func() (bool, error) { return p.committed(ctx, admin, j) }); err == nil {
			finish()
		}
	}
	return errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
}

// entries are those of all shards of a node.
func entries(n *actors.Node) (sum int64) {
	for _, p := range n.Look().Partitions {
		for _, s := range p.Shards {
			sum += s.Entries
		}
	}
	return sum
}

// watched says when a restore begins, and closes done when all partitions of the source run. Of several processes each says how many it has.
func watched(j job, done chan struct{}) (h actors.Hooks) {
	if j.Task != taskRestore && j.Instance == "" {
		return h
	}
	running := map[int32]bool{}
	var once sync.Once
	h.OnStateChange = func(c actors.StateChange) {
		if c.Stage != j.Source {
			return
		}
		if j.Task == taskRestore {
			first()
		}
		if running[c.Partition] = c.To == "running"; !running[c.Partition] {
			delete(running, c.Partition)
		}
		if j.Instance != "" {
			say("running %d", len(running))
		}
		if len(running) == j.parts() {
			once.Do(func() { close(done) })
		}
	}
	return h
}

// committed says whether all that the program was to do is.
func (p *program) committed(ctx context.Context, admin kafka.Admin, j job) (bool, error) {
	var last []int64
	if p.last != nil {
		if last = p.last(); last == nil {
			return false, nil
		}
	}
	var tps []kafka.TopicPartition
	for i := range int32(j.parts()) {
		tps = append(tps, kafka.TopicPartition{Topic: p.source, Partition: i})
	}
	at, err := admin.CommittedOffsets(ctx, p.plan.Name, tps...)
	if err != nil {
		return false, err
	}
	sum := int64(0)
	for i, tp := range tps {
		sum += max(at[tp].Offset, 0)
		if last != nil && at[tp].Offset < last[i] {
			return false, nil
		}
	}
	return last != nil || sum >= int64(j.Records), nil
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

func wait(ctx context.Context, n *actors.Node, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-n.Done():
		return errors.Join(n.Err(), errors.New("the node ended"))
	case <-ctx.Done():
		return ctx.Err()
	}
}
