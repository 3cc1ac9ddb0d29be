package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// machine is where a run took place.
type machine struct {
	CPU      string
	Cores    int
	MemoryGB float64
	Kernel   string
	Load     float64 // average of the minute before the run
	Versions []string
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), CPU: field(text("/proc/cpuinfo"), "model name"), Kernel: strings.TrimSpace(text("/proc/sys/kernel/osrelease"))}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(field(text("/proc/meminfo"), "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGB = kb / (1 << 20)
	}
	if at := strings.Fields(text("/proc/loadavg")); len(at) > 0 {
		m.Load, _ = strconv.ParseFloat(at[0], 64)
	}
	return m
}

// String is a sentence or two for the report.
func (m machine) String() string {
	s := fmt.Sprintf("On %d cores (%s) with %.0f GiB of memory, Linux %s; %s.", m.Cores, m.CPU, m.MemoryGB, m.Kernel, strings.Join(m.Versions, ", "))
	if m.Load > float64(m.Cores)/4 {
		s += fmt.Sprintf(" **The machine was not idle when the run began (load %.1f): these figures are no more than a hint.**", m.Load)
	}
	return s
}

func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// field is the value of the first line "name : value" of a file's content.
func field(content, name string) string {
	in := bufio.NewScanner(strings.NewReader(content))
	for in.Scan() {
		if k, v, ok := strings.Cut(in.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// versions are those of everything that took part.
func versions(ctx context.Context, b *bench) []string {
	_, rd := rdk.LibraryVersion()
	out := []string{"Kafka " + realkafka.Version, runtime.Version(), "librdkafka " + rd}
	for _, k := range []struct {
		kind kind
		name string
		args []string
	}{
		{kindStreams, "Kafka Streams " + pomVersion(b.programs.source("streams")) + " on Java", []string{"java", "-version"}},
		{kindGoka, "goka " + gokaVersion(b.programs.source("goka")), nil},
		{kindFaust, strings.Join(strings.Fields(text(filepath.Join(b.programs.source("faust"), "requirements.txt"))), ", "), []string{"python3", "--version"}},
	} {
		if b.programs.command[k.kind] == nil || b.programs.missing[k.kind] != nil {
			continue
		}
		name := k.name
		if len(k.args) > 0 {
			if said, err := exec.CommandContext(ctx, k.args[0], k.args[1:]...).CombinedOutput(); err == nil {
				first, _, _ := strings.Cut(string(said), "\n")
				name += " (" + strings.TrimSpace(first) + ")"
			}
		}
		out = append(out, name)
	}
	return out
}

// pomVersion is the version of Kafka Streams in the program's pom.xml.
func pomVersion(dir string) string {
	_, rest, _ := strings.Cut(text(filepath.Join(dir, "pom.xml")), "<artifactId>kafka-streams</artifactId>")
	_, rest, _ = strings.Cut(rest, "<version>")
	v, _, _ := strings.Cut(rest, "</version>")
	return v
}

func gokaVersion(dir string) string {
	_, rest, _ := strings.Cut(text(filepath.Join(dir, "go.mod")), "github.com/lovoo/goka ")
	v, _, _ := strings.Cut(rest, "\n")
	return v
}
