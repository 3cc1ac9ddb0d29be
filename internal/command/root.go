package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology/plan"
)

// cli is one execution of the command line: its flags, as read.
type cli struct {
	app *App

	// Of every command.
	topology  string
	brokers   []string
	dataDir   string
	kafka     []string
	fileKafka []string // of the file
	config    string
	debug     bool
	logFormat string

	origins map[string]origin // of the flags that are not at their defaults

	run runFlags
	web gateway.Security // of the node, and of those who ask it
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   c.app.Name + " --topology NAME",
		Short: "Run a node of a topology, and look into it",
		Long: `Runs one node of a topology; run as many as its topics have partitions. Without --brokers an embedded broker runs
inside the node, with its data in --data-dir, and the commands below find it there.

Every flag may also be given in the environment (--data-dir as TROUPE_DATA_DIR, a --kafka setting such as
sasl.password as TROUPE_KAFKA_SASL_PASSWORD) or in a YAML file named by --config (data-dir: …, and kafka: with settings
below it). A flag wins over the environment, the environment over the file.

A topology that is not in this program is named by its package: --topology ./shop builds the Go package in that directory, which
exports func Topology() *topology.Topology, with the go command and the module of the current directory, and runs it in place of
this program, with the same flags. Programs are kept in the directory that TROUPE_PROGRAMS names (default: troupe/programs in the
user's cache directory), so that the next start is quick.

Exit codes: 0 a clean end, 1 a failure, 2 wrong use.`,
		Example: fmt.Sprintf(`  %[1]s --topology wordcount --feed lines=book.txt --show counts
  %[1]s --topology wordcount --feed lines=book.txt --drain && %[1]s scan counts --topology wordcount`, c.app.Name),
		Version:           Version(),
		Args:              c.noCommand,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: c.layer,
		RunE:              c.runNode,
	}
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVarP(&c.topology, "topology", "t", "", "the topology, by `NAME`, or the Go package that exports Topology() (./shop, example.org/shop); may be left out where the program has only one")
	f.StringSliceVarP(&c.brokers, "brokers", "b", nil, "Kafka's addresses, `HOST:PORT,…`; none: the embedded broker of the data directory")
	f.StringVarP(&c.dataDir, "data-dir", "d", "", "where checkpoints, identity and the embedded broker's data are kept (default: troupe/<topology> in the user's state directory)")
	f.StringArrayVar(&c.kafka, "kafka", nil, "a setting of librdkafka, `KEY=VALUE`; repeatable. Passwords are safer in the environment or a file")
	f.StringVar(&c.config, "config", "", "read flags from a YAML `FILE`")
	f.BoolVar(&c.debug, "debug", false, "log in detail, with stacks")
	f.StringVar(&c.logFormat, "log-format", "text", "`FORMAT` of the log: text or json")
	c.run.register(root.Flags())
	c.webFlags(root.Flags())
	root.AddCommand(c.topologiesCommand(), c.describeCommand(), c.sendCommand(), c.askCommand(), c.tailCommand(), c.getCommand(),
		c.scanCommand(), c.lagCommand(), c.statusCommand(), c.resumeCommand(), c.verifyCommand(), c.resetCommand(), c.evictCommand(), c.lettersCommand(), c.brokerCommand(), c.configCommand(), c.newCommand(), c.versionCommand())
	c.completeFlags(root)
	return root
}

// noCommand refuses arguments that are no command.
func (c *cli) noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if slices.Contains(c.names(), args[0]) {
		return wrongUse("unknown command %q: to run that topology, say --topology %s", args[0], args[0])
	}
	if isPackage(args[0]) {
		return wrongUse("unknown command %q: to run the topology of that package, say --topology %s", args[0], args[0])
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return unknown("command", args[0], names)
}

// flagError names the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	name := ""
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name = missing.GetSpecifiedName()
	}
	if name == "" {
		return wrongUse("%w: see %s --help", err, cmd.CommandPath())
	}
	if n := nearest(name, flagNames(cmd)); n != "" && len(name) > 1 {
		return wrongUse("unknown flag --%s: did you mean --%s? See %s --help", name, n, cmd.CommandPath())
	}
	return wrongUse("%w: see %s --help", err, cmd.CommandPath())
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// names are those of all topologies of the program, sorted.
func (c *cli) names() []string {
	names := make([]string, len(c.app.Topologies))
	for i, t := range c.app.Topologies {
		names[i] = t.Name()
	}
	slices.Sort(names)
	return names
}

// chosen returns the plan of the topology that --topology names.
func (c *cli) chosen() (*plan.Plan, error) {
	all := c.app.Topologies
	if c.topology == "" && len(all) == 1 {
		return planOf(all[0])
	}
	if c.topology == "" {
		return nil, wrongUse("no topology named: add --topology NAME; there are %s", strings.Join(c.names(), ", "))
	}
	for _, t := range all {
		if t.Name() == c.topology {
			return planOf(t)
		}
	}
	err := unknown("topology", c.topology, c.names())
	if hint := packageHint(c.topology); hint != "" {
		return nil, wrongUse("%w%s", err, hint)
	}
	return nil, err
}

func planOf(t Topology) (*plan.Plan, error) {
	p, err := t.Plan()
	if err == nil {
		return p, nil
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) > 1 { // the error itself, not one in it
		return nil, &faultsError{t.Name(), all.Unwrap()}
	}
	return nil, fmt.Errorf("topology %s cannot run: %w", t.Name(), err)
}

// directory is the data directory for a topology.
func (c *cli) directory(topology string) (string, error) {
	if c.dataDir != "" {
		return c.dataDir, nil
	}
	return host.DefaultDir(topology)
}

// connect connects a command to the brokers of a topology.
func (c *cli) connect(ctx context.Context, topology string) (*host.Cluster, error) {
	return c.connectTo(ctx, topology, false)
}

// connectTo is connect. With find, it starts no embedded broker.
func (c *cli) connectTo(ctx context.Context, topology string, find bool) (*host.Cluster, error) {
	settings, err := c.settings()
	if err != nil {
		return nil, err
	}
	cfg := host.ClusterConfig{Brokers: c.brokers, Settings: settings, Topologies: []string{topology}, Transient: true, Find: find, Logger: c.quietLogger()}
	if len(c.brokers) == 0 {
		if cfg.DataDir, err = c.directory(topology); err != nil {
			return nil, err
		}
	}
	return host.Connect(ctx, cfg)
}

// exactly says how many arguments a command takes, as an error of use.
func exactly(usage string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return wrongUse("%s takes %s: see %s --help", cmd.Name(), usage, cmd.CommandPath())
		}
		return nil
	}
}

// resolved is the plan with the topics of the cluster that match its patterns.
func resolved(ctx context.Context, cluster *host.Cluster, p *plan.Plan) (*plan.Plan, error) {
	p, _, err := actors.Resolve(ctx, p, cluster.Admin)
	return p, err
}

// madePartitions is how many partitions a topic of a pattern is made with on an embedded broker.
const madePartitions = 4

// matching finds the topic of a name that matches a pattern of a plan, whether it is there or not; nil if none does.
func matching(p *plan.Plan, name string) (*plan.Topic, error) {
	matches, left := p.Matches([]string{name})
	if len(left) > 0 {
		return nil, wrongUse("%w", left[0])
	}
	if len(matches) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	t := *matches[0].Pattern.Topic
	t.Name, t.Kind, t.Pattern, t.Partitions = name, plan.External, matches[0].Pattern, madePartitions
	return &t, nil
}

// topicOf finds a topic of a plan by its name.
func topicOf(p *plan.Plan, name string) (*plan.Topic, error) {
	var names []string
	for _, t := range p.Topics {
		if t.Name == name {
			return t, nil
		}
		if t.Kind == plan.External {
			names = append(names, t.Name)
		}
	}
	if t, err := matching(p, name); t != nil || err != nil {
		return t, err
	}
	for _, x := range p.Patterns {
		names = append(names, "those that match "+x.Expr)
	}
	for _, ch := range p.Channels {
		if ch.Name == name && ch.Puts != nil {
			return ch.Puts, nil
		}
		if ch.Name == name {
			return nil, wrongUse("%q is a channel, in memory between agents: nothing from outside gets into it: define it with topology.Puts, or use a topic that the topology reads, such as %s", name, strings.Join(sourcesOf(p), ", "))
		}
	}
	return nil, unknown("topic", name, names)
}

// sourcesOf are the names of the topics that agents read and others may send to.
func sourcesOf(p *plan.Plan) (names []string) {
	for _, t := range p.Topics {
		if t.Source && t.Kind == plan.External {
			names = append(names, t.Name)
		}
	}
	return names
}

// tableOf finds a table of a plan by its name.
func tableOf(p *plan.Plan, name string) (*plan.Table, error) {
	var names []string
	for _, t := range p.Tables {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	for _, g := range p.Globals {
		if g.Name == name {
			return nil, wrongUse("%s is a global table, a copy of topic %s: look at that with tail %s --once", name, g.Topic.Name, g.Topic.Name)
		}
	}
	return nil, unknown("table", name, names)
}
