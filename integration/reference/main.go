// Command reference makes the golden outputs that Troupe's joins and aggregations are compared with: random scripts, run through Kafka
// Streams' own TopologyTestDriver.
//
//	go run ./integration/reference
//
// It needs a JDK (17 or later) and Maven, takes Kafka Streams from Maven Central into the user's cache directory, and writes
// golden.gz beside its source, which ordinary tests replay.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// version is that of Kafka Streams in pom.xml.
const version = "4.1.1"

//go:embed pom.xml
var pom []byte

//go:embed Reference.java
var program []byte

func main() {
	if err := regenerate(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// regenerate runs all scripts and writes golden.gz.
func regenerate(ctx context.Context) error {
	dir, err := install(ctx)
	if err != nil {
		return err
	}
	var in bytes.Buffer
	var all []golden
	for _, k := range kinds {
		for seed := range uint64(seedsPerKind) {
			records := script(k, seed)
			s := text(k, records)
			in.WriteString(s)
			all = append(all, golden{kind: k.name, seed: seed, sum: crc32.ChecksumIEEE([]byte(s)), made: make([][]record, len(records))})
		}
	}
	cmd := exec.CommandContext(ctx, "java", "-Djava.io.tmpdir="+scratch(), "-cp", filepath.Join(dir, "lib", "*"), filepath.Join(dir, "Reference.java"))
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the reference: %w", err)
	}
	if err := collect(all, out.String()); err != nil {
		return err
	}
	_, here, _, _ := runtime.Caller(0)
	return write(filepath.Join(filepath.Dir(here), "golden.gz"), all)
}

// scratch is where Kafka Streams syncs its files to: after each record.
func scratch() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// collect puts what the reference has made beside its scripts.
func collect(all []golden, out string) error {
	at, n := -1, -1
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch f[0] {
		case "in":
			n++
		case "out":
			t, err := strconv.ParseInt(f[3], 10, 64)
			if err != nil {
				return fmt.Errorf("output of the reference: %q: %w", line, err)
			}
			all[at].made[n] = append(all[at].made[n], record{topic: "out", key: read(f[1]), value: read(f[2]), at: t, headers: f[4]})
		case "end":
		default:
			at, n = at+1, -1
		}
	}
	if at != len(all)-1 {
		return fmt.Errorf("the reference has run %d scripts of %d", at+1, len(all))
	}
	return nil
}

func write(path string, all []golden) error {
	var plain []byte
	for _, g := range all {
		plain = g.append(plain)
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(plain); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stdout, "%d scripts, %d bytes, compressed %d\n", len(all), len(plain), b.Len())
	return os.WriteFile(path, b.Bytes(), 0o600)
}

// install makes sure that Kafka Streams and the program are in the user's cache directory.
func install(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "troupe-reference-"+version)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	err = errors.Join(os.WriteFile(filepath.Join(dir, "pom.xml"), pom, 0o600), os.WriteFile(filepath.Join(dir, "Reference.java"), program, 0o600))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "--file", filepath.Join(dir, "pom.xml"),
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "lib"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mvn dependency:copy-dependencies (it needs a JDK and Maven): %w\n%s", err, out)
	}
	return dir, nil
}
