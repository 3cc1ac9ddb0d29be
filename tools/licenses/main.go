// Command licenses writes licenses/THIRD_PARTY.txt: the notices of every module that is linked into cmd/node. With -check
// it only says whether the file is up to date.
package main

import (
	"bytes"
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
	for _, m := range mods {
		files, err := texts(m.Dir)
		if err != nil {
			return nil, err
		}
		if strings.Contains(m.Path, "confluent-kafka-go") { // librdkafka is linked in
			more, err := filepath.Glob(filepath.Join(m.Dir, "kafka", "librdkafka_vendor", "LICENSES*"))
			if err != nil {
				return nil, err
			}
			files = append(files, more...)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("module %s has no license file", m.Path)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&out, "\n%s\n%s %s: %s\n%s\n\n", strings.Repeat("=", 80), m.Path, m.Version, filepath.Base(f), strings.Repeat("=", 80))
			out.Write(bytes.TrimSpace(b))
			out.WriteByte('\n')
		}
	}
	return out.Bytes(), nil
}

// modules lists what cmd/node is linked from, beside this module.
func modules() ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Module", "./cmd/node")
	cmd.Env = append(os.Environ(), "GOOS=linux")
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
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
