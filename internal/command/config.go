package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/host"
)

// hidden stands for a secret that is set.
const hidden = "(hidden)"

// origin is where a setting comes from.
type origin struct {
	From string // flag, environment, file or default
	At   string // the variable or the file
}

func (o origin) String() string {
	if o.At == "" {
		return o.From
	}
	return o.From + " " + o.At
}

func fromFlag() origin { return origin{From: "flag"} }

func fromEnvironment(variable string) origin { return origin{"environment", variable} }

func fromFile(path string) origin { return origin{"file", path} }

// setting is one line of node config. Value is a string, a bool or a list of strings; null where nothing is set.
type setting struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	From  string `json:"from"`
	At    string `json:"at,omitempty"`
	note  string // what holds where nothing is set, for people
}

func (c *cli) configCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print every setting that a node would have, and where each comes from",
		Long: `Prints every setting that a node with the same flags, environment and file would have, and where each comes from. Nothing is
started and no broker is asked. Secrets are hidden. Settings of librdkafka are listed as kafka.NAME; those that are not listed have
the values that the engine or librdkafka gives them.`,
		Example: fmt.Sprintf("  %[1]s config --topology wordcount --config node.yaml\n  %[1]s config --topology wordcount --format json", c.app.Name),
		Args:    exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				if c.origins["format"].From == "flag" {
					return err
				}
				format = "table" // a file for all commands may name a format that only others have
			}
			all, err := c.allSettings(cmd)
			if err != nil {
				return err
			}
			out := newTable(c.app.Out, format, "setting", "value", "from")
			for _, s := range all {
				out.row(s, s.Name, s.text(), origin{s.From, s.At}.String())
			}
			return out.close()
		},
	}
	// Whatever a node takes, so that one word put into its command line shows what it makes of it.
	c.run.register(cmd.Flags())
	c.webFlags(cmd.Flags())
	formatFlag(cmd, &format)
	c.completeFlags(cmd)
	return cmd
}

// allSettings are the settings of a node, by name.
func (c *cli) allSettings(cmd *cobra.Command) ([]setting, error) {
	var all []setting
	add := func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "kafka" || f.Name == "format" || f.Name == "version" {
			return
		}
		all = append(all, c.settingOf(f))
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	kafka, err := c.kafkaSettings()
	if err != nil {
		return nil, err
	}
	all = append(all, kafka...)
	slices.SortFunc(all, func(a, b setting) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// settingOf is a flag as it holds. What has no value of its own gets the one that a node would find.
func (c *cli) settingOf(f *pflag.Flag) setting {
	from, ok := c.origins[f.Name]
	if !ok {
		from = origin{From: "default"}
	}
	s := setting{Name: f.Name, Value: f.Value.String(), From: from.From, At: from.At}
	switch list, ok := f.Value.(pflag.SliceValue); {
	case ok:
		s.Value = append([]string{}, list.GetSlice()...)
	case f.Value.Type() == "bool":
		s.Value = f.Value.String() == "true"
	}
	if s.Value != "" {
		if f.Name == "http-token" {
			s.Value = hidden
		}
		return s.noted(f.Name)
	}
	switch f.Name {
	case "topology":
		if len(c.app.Topologies) == 1 {
			s.Value = c.app.Topologies[0].Name()
			return s
		}
		s.note = "not set: a node of this program needs one"
	case "data-dir":
		if p, err := c.chosen(); err == nil {
			if dir, err := host.DefaultDir(p.Name); err == nil {
				s.Value = dir
				return s
			}
		}
		s.note = "troupe/TOPOLOGY in the user's state directory"
	case "http":
		s.Value = gateway.DefaultAddr
		return s
	case "instance-id":
		s.note = "made once and kept in the data directory"
	case "client":
		s.note = "batched where that can work, else public"
	case "advertise":
		s.note = "where --http listens"
	}
	s.Value = nil
	return s
}

// noted adds what an empty list means.
func (s setting) noted(name string) setting {
	if list, ok := s.Value.([]string); ok && len(list) == 0 && name == "brokers" {
		s.note = "none: the embedded broker"
	}
	return s
}

// kafkaSettings are the settings of librdkafka that are passed through.
func (c *cli) kafkaSettings() ([]setting, error) {
	layers := []struct {
		from     func(key string) origin
		settings []string
	}{
		{func(string) origin { return fromFile(c.config) }, c.fileKafka},
		{func(key string) origin { return fromEnvironment(kafkaVariable(key)) }, c.environmentKafka()},
		{func(string) origin { return fromFlag() }, c.kafka},
	}
	values, from := map[string]string{}, map[string]origin{}
	for _, l := range layers {
		of := map[string]string{}
		if err := addSettings(of, l.settings); err != nil {
			return nil, err
		}
		for key, value := range of {
			values[key], from[key] = value, l.from(key)
		}
	}
	shown := host.Redacted(values)
	all := make([]setting, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := shown[key]
		if value != values[key] {
			value = hidden
		}
		all = append(all, setting{Name: "kafka." + key, Value: value, From: from[key].From, At: from[key].At})
	}
	return all, nil
}

// text is the value for people.
func (s setting) text() string {
	if s.note != "" {
		return "(" + s.note + ")"
	}
	switch v := s.Value.(type) {
	case nil:
		return "(not set)"
	case []string:
		if len(v) == 0 {
			return "(none)"
		}
		return strings.Join(v, ",")
	default:
		return fmt.Sprint(v)
	}
}
