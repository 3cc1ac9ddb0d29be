// Command licenses writes licenses/THIRD_PARTY.txt: the notices of every module that is linked into cmd/node, of librdkafka
// and the C libraries that its build brings along, and of Go itself. With -check it only says whether the file is up to date.
// It is run at the root of the module.
package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// bundled are the notices of libraries that are inside the static build of librdkafka, and are not in its own notices.
//
//go:embed bundled/*.txt
var bundled embed.FS

// client is the module that librdkafka comes with.
const client = "github.com/confluentinc/confluent-kafka-go/v2"

type module struct{ Path, Version, Dir string }

func main() {
	check := flag.Bool("check", false, "only check that the file is up to date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	text, err := notices()
	if err != nil {
		return err
	}
	const path = "licenses/THIRD_PARTY.txt"
	if !check {
		return os.WriteFile(path, text, 0o600)
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, text) {
		return errors.New(path + " is out of date: go run ./tools/licenses")
	}
	return nil
}

// notices gathers the texts.
func notices() ([]byte, error) {
	mods, err := modules()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("Notices of the software that is part of this program.\n")
	root, err := output("go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("the license of Go: %w", err)
	}
	section(&out, "Go: LICENSE", text)
	for _, m := range mods {
		if err := ofModule(&out, m); err != nil {
			return nil, fmt.Errorf("module %s: %w", m.Path, err)
		}
	}
	return out.Bytes(), nil
}

// ofModule appends the notices of a module.
func ofModule(out *bytes.Buffer, m module) error {
	files, err := texts(m.Dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("it has no license file")
	}
	if m.Path == client {
		files = append(files, filepath.Join(m.Dir, "kafka", "librdkafka_vendor", "LICENSES.txt"))
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		section(out, m.Path+" "+m.Version+": "+filepath.Base(f), text)
	}
	if m.Path != client {
		return nil
	}
	entries, err := bundled.ReadDir("bundled")
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := bundled.ReadFile("bundled/" + e.Name())
		if err != nil {
			return err
		}
		section(out, "linked into librdkafka: "+strings.TrimSuffix(e.Name(), ".txt"), text)
	}
	return nil
}

// section appends one notice under its title.
func section(out *bytes.Buffer, title string, text []byte) {
	line := strings.Repeat("=", 80)
	fmt.Fprintf(out, "\n%s\n%s\n%s\n\n%s\n", line, title, line, bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
}

// modules lists what cmd/node is linked from, beside this module.
func modules() ([]module, error) {
	b, err := output("go", "list", "-deps", "-json=Module", "./cmd/node")
	if err != nil {
		return nil, err
	}
	seen := map[string]module{}
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var p struct {
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if p.Module != nil && !p.Module.Main {
			seen[p.Module.Path] = module{p.Module.Path, p.Module.Version, p.Module.Dir}
		}
	}
	var all []module
	for _, m := range seen {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// output runs a command, for Linux as the target, and returns what it prints.
func output(name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Env = append(os.Environ(), "GOOS=linux")
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(append([]string{name}, args...), " "), err)
	}
	return b, nil
}

// texts finds the license and notice files of a module.
func texts(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		for _, p := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE"} {
			if strings.HasPrefix(name, p) && !e.IsDir() {
				files = append(files, filepath.Join(dir, e.Name()))
				break
			}
		}
	}
	return files, nil
}
