package command

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/embedded"
	"github.com/troupe-stream/troupe/licenses"
	"github.com/troupe-stream/troupe/topology"
)

// askTimeout bounds each question that a command asks the broker.
const askTimeout = 30 * time.Second

func (c *cli) topologiesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "topologies",
		Short: "List the topologies that this program has",
		Args:  exactly("no arguments", 0, 0),
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(c.app.Out, 0, 4, 2, ' ', 0)
			var errs []error
			for _, t := range c.app.Topologies {
				p, err := planOf(t)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				name, rest, _ := strings.Cut(summary(p), ", ")
				_, _ = fmt.Fprintf(w, "%s\t%s\n", name, rest) // errors stick until Flush
			}
			return errors.Join(w.Flush(), errors.Join(errs...))
		},
	}
}

func (c *cli) describeCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "describe [TOPOLOGY]",
		Short: "Describe a topology: its stages, topics, agents and tables",
		Args:  exactly("at most one topology", 0, 1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.completeTopology(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				c.topology = args[0]
				if err := c.hand(cmd); err != nil {
					return err
				}
			}
			p, err := c.chosen()
			if err != nil {
				return err
			}
			if !slices.Contains([]string{"text", "mermaid", "dot", "json"}, format) {
				return wrongUse("--format %q: use text, mermaid, dot or json", format)
			}
			s, err := topology.Describe(p, format)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.app.Out, strings.TrimRight(s, "\n"))
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT`: text, mermaid, dot or json")
	return cmd
}

func (c *cli) brokerCommand() *cobra.Command {
	var addr, advertise string
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker alone, for nodes in several data directories",
		Long: `Runs the embedded broker of a data directory until it is interrupted. Nodes with other data directories are given its
address with --brokers. It is for trying things out and for tests: it ends transactions partition by partition with no
logged decision, so killing it may tear the last one. Stopping it in order does not.`,
		Args: exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.directory("broker")
			if err != nil {
				return err
			}
			if len(c.brokers) > 0 {
				return wrongUse("broker runs a broker of its own: leave out --brokers; --listen says where")
			}
			return host.RunBroker(cmd.Context(), embedded.Config{DataDir: dir, Addr: addr, Advertise: advertise, Logger: c.quietLogger()}, func(at string) {
				c.app.say("broker: %s, data in %s", at, dir)
				_, _ = fmt.Fprintln(c.app.Out, at) // it runs on without a reader
			})
		},
	}
	cmd.Flags().StringVar(&addr, "listen", "", "`HOST:PORT` to listen on (default: a free port on the loopback interface)")
	cmd.Flags().StringVar(&advertise, "advertise", "", "`HOST[:PORT]` that clients are told to connect to (default: where it listens)")
	return cmd
}

func (c *cli) versionCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, or with --licenses the notices of all that is compiled in",
		Args:  exactly("no arguments", 0, 0),
		RunE: func(*cobra.Command, []string) error {
			if all {
				_, err := fmt.Fprintln(c.app.Out, strings.TrimRight(licenses.Text, "\n"))
				return err
			}
			_, err := fmt.Fprintf(c.app.Out, "%s %s, %s, %s/%s\n", c.app.Name, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "licenses", false, "print the licenses of all that is compiled in")
	return cmd
}

// Version is that of this module in the build, with the commit where it is known.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, d := range info.Deps {
		if d.Path == "github.com/troupe-stream/troupe" {
			v = "troupe " + d.Version
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += " " + s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	return v
}

// lagLine is how far a topology is in one partition of a source.
type lagLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing yet
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
}

func (c *cli) lagCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "lag",
		Short: "Tell how far a topology is behind in each partition that it reads",
		Args:  exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkFormat(format); err != nil {
				return err
			}
			p, err := c.chosen()
			if err != nil {
				return err
			}
			cluster, err := c.connect(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cluster.Close()) }()
			ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
			defer cancel()
			tps, err := sourcePartitions(ctx, cluster.Admin, p)
			if err != nil {
				return err
			}
			lines, err := lagOf(ctx, cluster.Admin, p.Name, tps)
			if err != nil {
				return err
			}
			out := newTable(c.app.Out, format, "topic", "partition", "committed", "end", "lag")
			for _, l := range lines {
				out.row(l, l.Topic, fmt.Sprint(l.Partition), fmt.Sprint(l.Committed), fmt.Sprint(l.End), fmt.Sprint(l.Lag))
			}
			return out.close()
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

// lagOf asks for committed offsets and ends. Committed comes first: a lag is never negative by the order of asking.
func lagOf(ctx context.Context, admin kafka.Admin, group string, tps []kafka.TopicPartition) ([]lagLine, error) {
	committed, err := admin.CommittedOffsets(ctx, group, tps...)
	if err != nil {
		return nil, err
	}
	ends, err1 := admin.Ends(ctx, kafka.ReadCommitted, tps...)
	starts, err2 := admin.Starts(ctx, tps...)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	lines := make([]lagLine, len(tps))
	for i, tp := range tps {
		at := offsetOf(committed, tp)
		lines[i] = lagLine{Topic: tp.Topic, Partition: tp.Partition, Committed: at, End: ends[tp], Lag: max(0, ends[tp]-max(at, starts[tp]))}
	}
	return lines, nil
}
