package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/ask"
	"github.com/troupe-stream/troupe/topology/plan"
)

func (c *cli) askCommand() *cobra.Command {
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "ask @AGENT KEY VALUE",
		Short: "Ask an agent, and print its answer",
		Long: `Sends a record to an agent that answers, waits for the answer and prints it. Key and value are read as the codecs of the agent's
topic write them. The answer is one that is committed. A record that the agent gives up, a topology that does not run, a node that is
gone or busy: each has its own message, and the exit code is 1.`,
		Example:           "  node ask --topology visits @count ann /about",
		Args:              exactly("an agent as @NAME, a key and a value", 3, 3),
		ValidArgsFunction: c.completePlan(1, askedNames),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if within <= 0 {
				return wrongUse("--timeout %s: use a positive duration", within)
			}
			p, err := c.chosen()
			if err != nil {
				return err
			}
			r, err := requestOf(p, args)
			if err != nil {
				return err
			}
			cluster, err := c.connect(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			client := ask.New(cluster.Admin, cluster.Driver.OpenReader)
			defer func() { err = errors.Join(err, client.Close(), cluster.Close()) }()
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			type answer struct {
				value []byte
				err   error
			}
			got := make(chan answer, 1)
			if err := client.Request(ctx, r, func(b []byte, err error) { got <- answer{b, err} }); err != nil {
				return fmt.Errorf("ask agent %s of topology %s: %w", r.Agent.Name, p.Name, err)
			}
			a := <-got
			if a.err != nil {
				return fmt.Errorf("ask agent %s of topology %s: %w", r.Agent.Name, p.Name, a.err)
			}
			_, err = fmt.Fprintln(c.app.Out, text(r.Agent.Reply.Value, a.value))
			return err
		},
	}
	cmd.Flags().DurationVar(&within, "timeout", 30*time.Second, "how long to wait for the answer")
	return cmd
}

// requestOf makes a request of the arguments of ask.
func requestOf(p *plan.Plan, args []string) (r plan.Request, err error) {
	name, ok := strings.CutPrefix(args[0], "@")
	if !ok {
		return r, wrongUse("%q is no agent: write @%s", args[0], args[0])
	}
	r.Plan = p
	names := askedNames(p)
	for _, a := range p.Agents {
		if a.Name != name {
			continue
		}
		if a.Reply == nil {
			return r, wrongUse("agent %s of topology %s does not answer: define it with topology.Answer; those that do: %s", name, p.Name, orNone(names))
		}
		r.Agent = a
	}
	if r.Agent == nil {
		return r, wrongUse("topology %s has no agent %q; those that answer: %s", p.Name, name, orNone(names))
	}
	t := r.Agent.Source
	if r.Key, err = t.Key.Parse(args[1]); err != nil {
		return r, wrongUse("key %sof topic %s is not %s: %w", quoted(t.Key, args[1]), t.Name, article(t.Key.Type), err)
	}
	if r.Value, err = t.Value.Parse(args[2]); err != nil {
		return r, wrongUse("value %sof topic %s is not %s: %w", quoted(t.Value, args[2]), t.Name, article(t.Value.Type), err)
	}
	return r, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// askedNames are the agents that answer, as ask takes them.
func askedNames(p *plan.Plan) (names []string) {
	for _, a := range p.Agents {
		if a.Reply != nil {
			names = append(names, "@"+a.Name)
		}
	}
	return names
}
