package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/troupe-stream/troupe/kafka/confluent"
)

// kind is a program that contends.
type kind string

const (
	kindOurs    kind = "troupe"
	kindBefore  kind = "before" // the engine in an earlier build of this command
	kindBare    kind = "bare"
	kindStreams kind = "streams"
	kindGoka    kind = "goka"
	kindFaust   kind = "faust"
)

// contender is one program with its settings.
type contender struct {
	kind    kind
	variant string
	client  string // what it must report that it runs on
	label   string // in reports
	share   int    // it is given 1/share of the records: the slow ones would take all the time
	most    int    // rounds that it takes part in; 0: all
	task    string // its own way of doing what the suite asks for; empty: the suite's
	at      int    // where it stands on the suite's scale: partitions, keys and others; 0: the suite has none
}

func (c contender) slug() string {
	s := string(c.kind) + "-" + c.client + "-" + c.variant + c.task
	if c.at > 0 {
		s += fmt.Sprintf("-%d", c.at)
	}
	return slug(s)
}

// scaled is the contender at a point of a suite's scale.
func (c contender) scaled(at int, label string) contender {
	c.at, c.label = at, c.label+", "+label
	return c
}

// sharing is the contender with a part of the records.
func (c contender) sharing(share int) contender {
	c.share = share
	return c
}

// before is the engine's contender in an earlier build.
func (c contender) before() contender {
	c.kind, c.label = kindBefore, "earlier "+c.label
	return c
}

// isOurs says whether it is one of this module's own, which are told their client and write profiles.
func (c contender) isOurs() bool {
	return c.kind == kindOurs || c.kind == kindBefore || c.kind == kindBare
}

// does is a contender with a task of its own.
func (c contender) does(task, label string) contender {
	c.task, c.label = task, c.label+label
	return c
}

// ourVariants are the engine's contenders, on the clients that were asked for; else on its default, the batched one.
func ourVariants(s settings) []contender { return variantsOn(s, confluent.Batched) }

func variantsOn(s settings, standard ...string) (out []contender) {
	if s.client != "" {
		standard = strings.Split(s.client, ",")
	}
	for _, client := range standard {
		for _, v := range []string{atLeastOnce, exactlyOnce} {
			out = append(out, contender{kind: kindOurs, variant: v, client: client, label: "Troupe, " + client + " client, " + v, share: 1})
		}
	}
	return out
}

var (
	barePublic   = contender{kind: kindBare, variant: atLeastOnce, client: confluent.Public, label: "bare loop, public API, at-least-once", share: 2}
	bareBatched  = contender{kind: kindBare, variant: atLeastOnce, client: confluent.Batched, label: "bare loop, batched, at-least-once", share: 1}
	bareLimit    = contender{kind: kindBare, variant: exactlyOnce, client: confluent.Batched, label: "bare loop, batched, exactly-once", share: 1}
	memoryMap    = contender{kind: kindBare, variant: plainMap, client: "none", label: "a map of Go's alone, without Kafka", share: 1, task: taskPlain}
	memoryTable  = contender{kind: kindBare, variant: plainTable, client: "none", label: "the engine's table alone, without Kafka", share: 1, task: taskPlain}
	brokerAlone  = contender{kind: kindBare, client: "none", label: "nothing between: source and output are one topic", share: 1, task: taskNothing}
	streamsPlain = contender{kind: kindStreams, variant: "defaults", client: "kafka-streams", label: "Kafka Streams, defaults (at-least-once, 30 s)", share: 3}
	streamsALO   = contender{kind: kindStreams, variant: atLeastOnce, client: "kafka-streams", label: "Kafka Streams, at-least-once, 100 ms", share: 3}
	streamsEOS   = contender{kind: kindStreams, variant: exactlyOnce, client: "kafka-streams", label: "Kafka Streams, exactly-once, 100 ms", share: 3}
	streamsFast  = contender{kind: kindStreams, variant: "latency", client: "kafka-streams", label: "Kafka Streams, tuned for latency (at-least-once, no cache, no linger)", share: 3}
	streamsStay  = contender{kind: kindStreams, variant: "static", client: "kafka-streams", label: "Kafka Streams, exactly-once, 100 ms, static membership", share: 3}
	gokaPlain    = contender{kind: kindGoka, variant: atLeastOnce, client: "sarama", label: "goka 1.1.14 (at-least-once)", share: 5, most: 2}
	faustPlain   = contender{kind: kindFaust, variant: atLeastOnce, client: "aiokafka", label: "Faust 0.15.3, table in memory (at-least-once)", share: 100, most: 1}
)

// programs are how contenders are started, by kind. One that cannot be installed is missing, and says why.
type programs struct {
	root    string // of this module's checkout
	cache   string
	command map[kind][]string
	missing map[kind]error
}

// build makes everything that contends.
func build(ctx context.Context, kinds []kind, before string) (*programs, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/troupe-stream/troupe").Output()
	if err != nil {
		return nil, fmt.Errorf("find the checkout: run this in it: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &programs{root: strings.TrimSpace(string(out)), cache: filepath.Join(cache, "troupe-bench"), command: map[kind][]string{}, missing: map[kind]error{}}
	if err := os.MkdirAll(p.cache, 0o750); err != nil {
		return nil, err
	}
	for _, k := range kinds {
		switch k {
		case kindOurs, kindBare:
			p.command[k] = []string{self, "--contend", string(k)}
		case kindBefore:
			p.command[k] = []string{before, "--contend", string(kindOurs)}
		case kindStreams:
			err = p.buildStreams(ctx)
		case kindGoka:
			err = p.buildGoka(ctx)
		case kindFaust:
			err = p.buildFaust(ctx)
		}
		if err != nil {
			p.missing[k], err = err, nil
		}
	}
	return p, nil
}

func (p *programs) source(k string) string {
	return filepath.Join(p.root, "integration", "bench", k)
}

// buildStreams compiles the Java program with Maven, in the cache: the checkout stays clean.
func (p *programs) buildStreams(ctx context.Context) error {
	dir := filepath.Join(p.cache, "streams")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(dir, os.DirFS(p.source("streams"))); err != nil {
		return err
	}
	if err := command(ctx, dir, "mvn", "--batch-mode", "--quiet", "package", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=target/lib"); err != nil {
		return err
	}
	p.command[kindStreams] = []string{"java", "-cp", filepath.Join(dir, "target", "bench-streams-1.jar") + ":" + filepath.Join(dir, "target", "lib", "*"), "Bench"}
	return nil
}

func (p *programs) buildGoka(ctx context.Context) error {
	path := filepath.Join(p.cache, "goka")
	p.command[kindGoka] = []string{path}
	return command(ctx, p.source("goka"), "go", "build", "-o", path, ".")
}

// buildFaust installs Faust in a virtual environment; that takes half a minute the first time.
func (p *programs) buildFaust(ctx context.Context) error {
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("install Faust: python3 is not in PATH: %w", err)
	}
	venv := filepath.Join(p.cache, "faust")
	if _, err := os.Stat(filepath.Join(venv, "bin", "faust")); err != nil {
		if err := command(ctx, p.cache, python, "-m", "venv", "--clear", venv); err != nil {
			return err
		}
	}
	if err := command(ctx, p.cache, filepath.Join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "-r", filepath.Join(p.source("faust"), "requirements.txt")); err != nil {
		return err
	}
	p.command[kindFaust] = []string{filepath.Join(venv, "bin", "python"), filepath.Join(p.source("faust"), "bench.py")}
	return nil
}

// command runs a tool and returns its output in the error.
func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), errors.Join(err, ctx.Err()), out.Bytes())
	}
	return nil
}
