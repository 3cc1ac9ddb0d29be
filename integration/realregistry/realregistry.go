//go:build unix

// Package realregistry installs Apicurio Registry and runs it on this machine, for tests: a schema registry that speaks the API of
// Confluent's, whose own is not on Maven Central.
//
//	r, err := realregistry.Start(ctx)
//	defer r.Stop(ctx)
//	reg, err := registry.New(registry.Config{URLs: []string{r.URL()}})
//
// It listens on 127.0.0.1 at a random port, keeps everything in memory, and ends with the process that started it.
package realregistry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/troupe-stream/troupe/integration/proc"
)

// Version is the version of Apicurio Registry that is installed: the newest that runs on Java 17.
const Version = "2.6.13.Final"

const (
	// installTimeout bounds the download, some 140 MB.
	installTimeout = 5 * time.Minute
	startTimeout   = 2 * time.Minute
	stopTimeout    = 20 * time.Second
	// listening is what it says before the address that it listens on.
	listening = "Listening on: "
)

// Registry is a registry that runs.
type Registry struct {
	process *proc.Process
	url     string
}

// Start installs the registry where it is missing and starts it. It blocks until it answers.
func Start(ctx context.Context) (*Registry, error) {
	jar, err := Install(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("java", "-Xmx512m", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port=0", "-jar", jar) //nolint:noctx // it outlives ctx
	cmd.Dir = filepath.Dir(jar)
	p, err := proc.Start("registry", cmd, nil)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	line, err := p.WaitLine(waiting, func(line string) bool { return strings.Contains(line, listening) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Apicurio Registry %s: %w", Version, err), p.Kill(context.WithoutCancel(ctx)))
	}
	_, at, _ := strings.Cut(line, listening)
	return &Registry{p, strings.TrimSpace(at) + "/apis/ccompat/v7"}, nil
}

// URL is where it speaks the API of Confluent's registry.
func (r *Registry) URL() string { return r.url }

// Stop ends it, by force where that takes too long. It is safe to call twice.
func (r *Registry) Stop(ctx context.Context) error {
	if err := r.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if _, err := r.process.Wait(waiting); err != nil {
		return r.process.Kill(ctx)
	}
	return nil
}

// Install makes sure that the registry is in the user's cache directory and returns its jar. The first call on a machine takes it from
// Maven Central, which needs a JDK (17 or later) and Maven. It blocks for up to five minutes.
func Install(ctx context.Context) (jar string, err error) {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("install Apicurio Registry %s: %s is not in PATH: install a JDK (17 or later) and Maven: %w", Version, tool, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("install Apicurio Registry %s: %w", Version, err)
	}
	dir := filepath.Join(cache, "troupe-registry-"+Version)
	jar = filepath.Join(dir, "apicurio-registry-app-"+Version+"-runner.jar")
	if _, err := os.Stat(jar); err == nil {
		return jar, nil
	}
	if err := download(ctx, dir); err != nil {
		return "", fmt.Errorf("install Apicurio Registry %s in %s: %w", Version, dir, err)
	}
	return jar, nil
}

// download fills a fresh directory and gives it its name when it is complete; of processes that do so at once one wins.
func download(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".part")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part) //nolint:errcheck // it is gone if all went well
	cmd := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "dependency:unpack",
		"-Dartifact=io.apicurio:apicurio-registry-app:"+Version+":tar.gz:all", "-DoutputDirectory="+part)
	cmd.Dir = part
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mvn dependency:unpack: %w\n%s", errors.Join(err, ctx.Err()), out.Bytes())
	}
	if err := os.Rename(part, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
