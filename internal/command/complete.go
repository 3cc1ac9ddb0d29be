package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology/plan"
)

// completeWithin bounds what completing asks of the brokers: who presses the tab key waits.
const completeWithin = time.Second

// completion is what cobra asks for what may stand at a place of a command line.
type completion = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeFlags says what may stand behind the flags of a command, as far as it has them.
func (c *cli) completeFlags(cmd *cobra.Command) {
	for name, f := range map[string]completion{
		"topology":   c.completeTopology,
		"guarantee":  cobra.FixedCompletions([]string{ExactlyOnce, AtLeastOnce}, cobra.ShellCompDirectiveNoFileComp),
		"client":     cobra.FixedCompletions([]string{host.PublicClient, host.BatchedClient}, cobra.ShellCompDirectiveNoFileComp),
		"log-format": cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp),
		"data-dir":   directories,
		"config":     cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
		"show":       c.completePlan(-1, tableNames),
		"feed":       c.completeFeed,
		"agent":      c.completeTopics(-1, failingNames), // of dead letters
		"to":         c.completeTopics(-1, failingNames),
	} {
		if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, f) // fails for a flag that is not there only
		}
	}
}

// directories completes names of directories.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeTopology completes the names of the topologies of the program, or the directory of a package.
func (c *cli) completeTopology(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if isPackage(toComplete) {
		return directories(cmd, args, toComplete)
	}
	return c.names(), cobra.ShellCompDirectiveNoFileComp
}

// completePlan completes names of something that the topology has, which is one of the first most arguments; -1: of any. It
// reads flags, environment and file as the command would; where they do not say which topology, there is nothing to complete.
func (c *cli) completePlan(most int, names func(*plan.Plan) []string) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if err := c.readForCompletion(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		p, err := c.chosen()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(p), cobra.ShellCompDirectiveNoFileComp
	}
}

// readForCompletion reads what the command would. If a package is meant, its program completes.
func (c *cli) readForCompletion(cmd *cobra.Command) error {
	if err := c.readLayers(cmd); err != nil {
		return err
	}
	if isPackage(c.topology) && c.app.builtFrom == c.topology && len(c.app.Topologies) == 1 {
		c.topology = c.app.Topologies[0].Name()
	}
	if isPackage(c.topology) {
		// It returns only if it is not built: completing is no time to build.
		_ = c.handCompletion(cmd.Context())
	}
	return nil
}

// completeStopped completes names of partitions that are stopped, if a node can be asked at once.
func (c *cli) completeStopped(address *string) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if c.readForCompletion(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a, err := c.ask(*address)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer a.client.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		l, err := a.look(ctx, false)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, n := range l.answer.Nodes {
			for _, p := range n.Partitions {
				if p.State == status.Stopped && !slices.Contains(args, p.Name()) {
					names = append(names, p.Name())
				}
			}
		}
		slices.Sort(names)
		return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTopics is completePlan of names of topics: those that match the topology's patterns too, if the brokers can be asked.
func (c *cli) completeTopics(most int, names func(*plan.Plan) []string) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return c.completePlan(most, func(p *plan.Plan) []string { return names(c.matched(cmd.Context(), p)) })(cmd, args, toComplete)
	}
}

// matched is a plan with the topics that match its patterns, or as it is where no broker answers at once. It starts none.
func (c *cli) matched(ctx context.Context, p *plan.Plan) *plan.Plan {
	if len(p.Patterns) == 0 {
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	cluster, err := c.connectTo(ctx, p.Name, true)
	if err != nil {
		return p
	}
	defer cluster.Close() //nolint:errcheck // it has been asked
	if with, err := resolved(ctx, cluster, p); err == nil {
		return with
	}
	return p
}

// completeFeed completes TOPIC= and leaves the file to the shell.
func (c *cli) completeFeed(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(toComplete, "=") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, directive := c.completeTopics(-1, sourceNames)(cmd, args, toComplete)
	for i := range names {
		names[i] += "="
	}
	return names, directive | cobra.ShellCompDirectiveNoSpace
}

func tableNames(p *plan.Plan) []string {
	var names []string
	for _, t := range p.Tables {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

// sourceNames are the topics that come from outside.
func sourceNames(p *plan.Plan) []string {
	return append(topicNames(p, func(t *plan.Topic) bool { return t.Source && t.Kind == plan.External }), openChannels(p)...)
}

// externalNames are the topics that others may write.
func externalNames(p *plan.Plan) []string {
	return append(topicNames(p, func(t *plan.Topic) bool { return t.Kind == plan.External }), openChannels(p)...)
}

// openChannels are the channels that take records from outside.
func openChannels(p *plan.Plan) (names []string) {
	for _, ch := range p.Channels {
		if ch.Puts != nil {
			names = append(names, ch.Name)
		}
	}
	slices.Sort(names)
	return names
}

func allTopicNames(p *plan.Plan) []string {
	return topicNames(p, func(*plan.Topic) bool { return true })
}

func topicNames(p *plan.Plan, which func(*plan.Topic) bool) []string {
	var names []string
	for _, t := range p.Topics {
		if which(t) {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names
}
