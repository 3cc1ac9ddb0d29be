package command

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins every variable that the commands read.
const envPrefix = "TROUPE_"

// layer runs before every command: it reads the layers of settings, and hands over to the program of a topology that is built.
func (c *cli) layer(cmd *cobra.Command, _ []string) error {
	if alone(cmd) {
		return nil // a script for the shell must come out though a variable is wrong
	}
	if err := c.readLayers(cmd); err != nil {
		return err
	}
	return c.hand(cmd)
}

// readLayers fills the flags that were not given from the environment and then from the file.
func (c *cli) readLayers(cmd *cobra.Command) error {
	flags, env := cmd.Flags(), c.environment()
	given := map[string]bool{}
	c.origins = map[string]origin{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name], c.origins[f.Name] = true, fromFlag() })
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v := env[name]
		if v == "" || given[f.Name] || f.Name == "help" {
			return
		}
		given[f.Name], c.origins[f.Name] = true, fromEnvironment(name)
		if err := setFlag(f, v); err != nil {
			errs = append(errs, wrongUse("environment variable %s=%q: %w", name, v, err))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if c.config != "" {
		if err := c.layerFile(cmd, given); err != nil {
			return err
		}
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return wrongUse("--log-format %q: use text or json", c.logFormat)
	}
	return nil
}

// setFlag sets a flag from text; a flag that takes a list is set to the list's elements.
func setFlag(f *pflag.Flag, values ...string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		if len(values) == 1 && f.Value.Type() == "stringSlice" {
			values = strings.Split(values[0], ",")
		}
		return list.Replace(values)
	}
	if len(values) != 1 {
		return fmt.Errorf("%d values where one is wanted", len(values))
	}
	return f.Value.Set(values[0])
}

// layerFile reads the file that --config names.
func (c *cli) layerFile(cmd *cobra.Command, given map[string]bool) error {
	f, err := os.Open(c.config)
	if err != nil {
		return wrongUse("--config: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	values := map[string]any{}
	if err := yaml.NewDecoder(f).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return wrongUse("--config %s: %s", c.config, oneLine(err))
	}
	known := allFlags(cmd.Root())
	for key, v := range values {
		if !slices.Contains(known, key) {
			if n := nearest(key, known); n != "" {
				return wrongUse("--config %s: unknown key %q: did you mean %q?", c.config, key, n)
			}
			return wrongUse("--config %s: unknown key %q: keys are named as the flags are", c.config, key)
		}
		flag := cmd.Flags().Lookup(key)
		if flag == nil || given[key] && key != "kafka" {
			continue // of another command, or overruled
		}
		texts, err := yamlTexts(key, v)
		if key == "kafka" {
			c.fileKafka = texts // the lowest layer of three that are merged
		} else if err == nil {
			c.origins[key] = fromFile(c.config)
			err = setFlag(flag, texts...)
		}
		if err != nil {
			return wrongUse("--config %s: %s: %w", c.config, key, err)
		}
	}
	return nil
}

// yamlTexts turns a value of the file into what flags take: a list for lists, KEY=VALUE for mappings.
func yamlTexts(key string, v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, errors.New("it has no value")
	case []any:
		out := make([]string, len(v))
		for i, e := range v {
			out[i] = fmt.Sprint(e)
		}
		return out, nil
	case map[string]any:
		if key != "kafka" && key != "feed" {
			return nil, errors.New("it takes no mapping")
		}
		out := make([]string, 0, len(v))
		for k, e := range v {
			out = append(out, fmt.Sprintf("%s=%v", k, e))
		}
		slices.Sort(out)
		return out, nil
	default:
		return []string{fmt.Sprint(v)}, nil
	}
}

// allFlags are the names of the flags of all commands.
func allFlags(root *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) {
		if !slices.Contains(names, f.Name) && f.Name != "config" && f.Name != "help" {
			names = append(names, f.Name)
		}
	}
	root.PersistentFlags().VisitAll(add)
	root.LocalFlags().VisitAll(add)
	for _, sub := range root.Commands() {
		sub.LocalFlags().VisitAll(add)
	}
	return names
}

// environment is the process's environment as a map.
func (c *cli) environment() map[string]string {
	env := make(map[string]string, len(c.app.Environ))
	for _, kv := range c.app.Environ {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

// settings merges the librdkafka settings of the file, the environment and the flags, the later over the earlier. Values
// may be secrets: they are in no message.
func (c *cli) settings() (map[string]string, error) {
	out := map[string]string{}
	if err := addSettings(out, c.fileKafka); err != nil {
		return nil, err
	}
	if err := addSettings(out, c.environmentKafka()); err != nil {
		return nil, err
	}
	return out, addSettings(out, c.kafka)
}

// environmentKafka are the settings of librdkafka in the environment, as KEY=VALUE.
func (c *cli) environmentKafka() []string {
	var out []string
	for name, value := range c.environment() {
		if key, ok := strings.CutPrefix(name, envPrefix+"KAFKA_"); ok && key != "" {
			out = append(out, strings.ToLower(strings.ReplaceAll(key, "_", "."))+"="+value)
		}
	}
	return out
}

// kafkaVariable is the variable that a setting of librdkafka is read from.
func kafkaVariable(key string) string {
	return envPrefix + "KAFKA_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func addSettings(to map[string]string, settings []string) error {
	for _, kv := range settings {
		key, value, ok := strings.Cut(kv, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return wrongUse("a --kafka setting without '=': use KEY=VALUE, as in --kafka security.protocol=SASL_SSL")
		}
		to[key] = value
	}
	return nil
}

// quietLogger is the log of commands that answer and end: warnings only, unless --debug.
func (c *cli) quietLogger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelWarn}
	if c.debug {
		opts.Level = slog.LevelDebug
	}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(c.app.Err, opts))
	}
	return slog.New(slog.NewTextHandler(c.app.Err, opts))
}
