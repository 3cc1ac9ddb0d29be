//go:build unix

package realkafka

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Version is the version of Kafka that is installed: that of pom.xml.
const Version = "4.4.0"

// installTimeout bounds the download, some 45 MB.
const installTimeout = 5 * time.Minute

// pom asks Maven for the broker and nothing of its tools: kafka-tools does not resolve in this version.
//
//go:embed pom.xml
var pom []byte

// Install makes sure that the jars of Kafka are in the user's cache directory and returns their directory. The first call on
// a machine takes them from Maven Central, which needs a JDK (17 or later) and Maven; processes that install at
// once wait for each other. It blocks for up to five minutes.
func Install(ctx context.Context) (lib string, err error) {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("install Kafka %s: %s is not in PATH: install a JDK (17 or later) and Maven: %w", Version, tool, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("install Kafka %s: %w", Version, err)
	}
	root := filepath.Join(cache, "troupe-kafka-"+Version)
	if err := os.MkdirAll(root, 0o750); err != nil {
		return "", fmt.Errorf("install Kafka %s: %w", Version, err)
	}
	lib = filepath.Join(root, "lib")
	unlock, err := lock(filepath.Join(root, "lock"))
	if err != nil {
		return "", fmt.Errorf("install Kafka %s: %w", Version, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if jars, err := filepath.Glob(filepath.Join(lib, "kafka_2.13-*.jar")); err == nil && len(jars) > 0 {
		return lib, nil
	}
	if err := download(ctx, root, lib); err != nil {
		return "", fmt.Errorf("install Kafka %s in %s: %w", Version, root, err)
	}
	return lib, nil
}

// download fills a fresh directory and gives it its name when it is complete.
func download(ctx context.Context, root, lib string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	part := lib + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	file := filepath.Join(root, "pom.xml")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "--file", file,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+part)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mvn dependency:copy-dependencies: %w\n%s", errors.Join(err, ctx.Err()), out.Bytes())
	}
	return os.Rename(part, lib)
}

// lock takes the lock of a file, waiting for its holder.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}
