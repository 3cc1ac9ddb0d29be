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
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// machine is where a run took place.
type machine struct {
	CPU      string
	Cores    int
	MemoryGB float64
	Kernel   string
	Busy     float64 // cores that others took in some seconds before the run
	Versions []string
}

// idleSpan is how long a run looks at what others take of the machine, before it begins.
const idleSpan = 3 * time.Second

// thisMachine blocks for idleSpan.
func thisMachine(ctx context.Context) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), CPU: field(text("/proc/cpuinfo"), "model name"), Kernel: strings.TrimSpace(text("/proc/sys/kernel/osrelease"))}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(field(text("/proc/meminfo"), "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGB = kb / (1 << 20)
	}
	before, err := busy(text("/proc/stat"))
	if err != nil {
		return m, err
	}
	began := time.Now()
	if err := pause(ctx, idleSpan); err != nil {
		return m, err
	}
	now, err := busy(text("/proc/stat"))
	m.Busy = (now - before) / time.Since(began).Seconds()
	return m, err
}

// busy is what all processes have taken of all cores since the machine was started, in seconds: the first line of /proc/stat (proc(5)).
func busy(stat string) (seconds float64, err error) {
	first, _, _ := strings.Cut(stat, "\n")
	at := strings.Fields(first)
	if len(at) < 9 || at[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q: the bench needs Linux", first)
	}
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // not idle, nor waiting for a disk
		ticks, err := strconv.ParseInt(at[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		seconds += float64(ticks) / clockTicks
	}
	return seconds, nil
}

// commit is what is checked out where the command runs, and whether files differ from it.
func commit(ctx context.Context) string {
	said, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty= with changes").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(said))
}

// String is a sentence or two for the report.
func (m machine) String() string {
	s := fmt.Sprintf("On %d cores (%s) with %.0f GiB of memory, Linux %s; %s.", m.Cores, m.CPU, m.MemoryGB, m.Kernel, strings.Join(m.Versions, ", "))
	if m.Busy > float64(m.Cores)/4 {
		s += fmt.Sprintf(" **The machine was not idle when the run began (others took %.1f cores): these figures are no more than a hint.**", m.Busy)
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
