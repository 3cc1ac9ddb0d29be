// Command goka runs the benchmark's tasks on goka. It takes the flags of integration/bench/job.go and speaks as job.go says. It is in a
// module of its own, so that nothing else depends on goka.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync/atomic"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
)

type job struct{ task, variant, client, brokers, name, source, out, dir string }

func main() {
	var j job
	for name, at := range map[string]*string{"task": &j.task, "variant": &j.variant, "client": &j.client, "brokers": &j.brokers, "name": &j.name, "source": &j.source, "out": &j.out, "dir": &j.dir} {
		flag.StringVar(at, name, "", "")
	}
	records := flag.Int64("records", 0, "")
	flag.Parse()
	log.SetOutput(io.Discard)
	if err := run(j, *records); err != nil {
		if errors.Is(err, errOver) {
			return
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	say("end")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func run(j job, records int64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var seen atomic.Int64
	note := func() {
		switch seen.Add(1) {
		case 1:
			say("begin")
		}
		if seen.Load() == records {
			cancel() // what was handled is committed on the way out
		}
	}
	var group *goka.GroupGraph
	switch j.task {
	case "count", "getset": // its one model of state
		group = goka.DefineGroup(goka.Group(j.name), goka.Input(goka.Stream(j.source), new(codec.Bytes), func(c goka.Context, _ any) {
			note()
			n, _ := c.Value().(int64)
			c.SetValue(n + 1)
		}), goka.Persist(new(codec.Int64)))
	case "map":
		group = goka.DefineGroup(goka.Group(j.name), goka.Input(goka.Stream(j.source), new(codec.Bytes), func(c goka.Context, msg any) {
			v, _ := msg.([]byte)
			c.Emit(goka.Stream(j.out), c.Key(), append(binary.BigEndian.AppendUint64(make([]byte, 0, len(v)), binary.BigEndian.Uint64(v)+1), v[8:]...))
			note()
		}), goka.Output(goka.Stream(j.out), new(codec.Bytes)))
	case "pass":
		group = goka.DefineGroup(goka.Group(j.name), goka.Input(goka.Stream(j.source), new(codec.Bytes), func(c goka.Context, msg any) {
			note()
			n, _ := c.Value().(int64)
			c.SetValue(n + 1)
			c.Emit(goka.Stream(j.out), c.Key(), msg)
		}), goka.Persist(new(codec.Int64)), goka.Output(goka.Stream(j.out), new(codec.Bytes)))
	case "restore":
		group = goka.DefineGroup(goka.Group(j.name), goka.Input(goka.Stream(j.source), new(codec.Bytes), func(goka.Context, any) {}), goka.Persist(new(codec.Int64)))
	default:
		return fmt.Errorf("no task %q", j.task)
	}
	cfg := goka.DefaultConfig()
	cfg.Consumer.Offsets.Initial = -2 // the oldest
	goka.ReplaceGlobalConfig(cfg)
	tmc := goka.NewTopicManagerConfig()
	tmc.Table.Replication, tmc.Stream.Replication = 1, 1
	p, err := goka.NewProcessor(strings.Split(j.brokers, ","), group,
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithTopicManagerConfig(tmc)),
		goka.WithStorageBuilder(storage.DefaultBuilder(j.dir)))
	if err != nil {
		return err
	}
	say("client sarama")
	switch j.task {
	case "pass": // without end
		go func() {
			_, _ = os.Stdin.Read(make([]byte, 1))
			cancel()
		}()
	case "restore":
		say("begin")
		go func() {
			if p.WaitForReadyContext(ctx) == nil {
				say("end")
				_, _ = os.Stdin.Read(make([]byte, 1))
			}
			cancel()
		}()
	}
	if err := p.Run(ctx); err != nil {
		return err
	}
	if j.task == "pass" || j.task == "restore" {
		return errOver
	}
	return nil
}

// errOver ends the command without a further word.
var errOver = errors.New("over")

func say(what string) { fmt.Println("@bench " + what) }
