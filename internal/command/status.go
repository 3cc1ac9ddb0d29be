package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/status"
)

// statusFlags are those of the command that shows the state of nodes.
type statusFlags struct {
	address, format string
	tree, watch     bool
	interval        time.Duration
}

func (c *cli) statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the nodes of a topology are about: states, lags, rates, failures",
		Long: `Shows the nodes of a topology, their partitions and states, lags, rates, restarts and last errors. One node is asked, over HTTP, and
asks the others: the one that runs in --data-dir, that at --address, or one that the group at --brokers knows. A node that does not answer is
shown as unreachable, with the reason.

--tree shows the actors instead, with the messages that wait for each, restarts and incarnations. --watch shows it anew until q is
pressed.`,
		Example: fmt.Sprintf("  %[1]s status --topology wordcount --watch\n  %[1]s status --address 10.0.0.7:6066 --format json", c.app.Name),
		Args:    exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.format != "table" && f.format != "json" {
				return wrongUse("--format %q: use table or json", f.format)
			}
			if f.interval < 100*time.Millisecond {
				return wrongUse("--interval %s: use 100ms or more", f.interval)
			}
			a, err := c.ask(f.address)
			if err != nil {
				return err
			}
			defer a.client.Close()
			look := func(ctx context.Context) (*looked, error) { return a.look(ctx, f.tree) }
			switch {
			case !f.watch:
				return c.showOnce(cmd.Context(), f, look)
			case c.app.Terminal && f.format == "table":
				return c.watchScreen(cmd.Context(), f, look)
			default:
				return c.watchLines(cmd.Context(), f, look)
			}
		},
	}
	c.askFlags(cmd, &f.address)
	fl := cmd.Flags()
	fl.BoolVar(&f.tree, "tree", false, "show the actors")
	fl.BoolVarP(&f.watch, "watch", "w", false, "show it anew, again and again")
	fl.DurationVar(&f.interval, "interval", time.Second, "time between two looks of --watch")
	fl.StringVar(&f.format, "format", "table", "`FORMAT`: table for people, json for programs")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// looked is what nodes answered: one of both.
type looked struct {
	answer *status.Answer
	trees  *status.Trees
}

func (a *asking) look(ctx context.Context, tree bool) (*looked, error) {
	l := &looked{}
	err := a.first(ctx, func(ctx context.Context, at string, q gateway.Query) error {
		if tree {
			t, err := a.client.Trees(ctx, at, q)
			l.trees = &t
			return err
		}
		s, err := a.client.Status(ctx, at, q)
		l.answer = &s
		return err
	})
	return l, err
}

// write writes it as JSON, in one line, or for people.
func (l *looked) write(w io.Writer, format string, p paint) error {
	if format == "table" {
		_, err := io.WriteString(w, l.text(p))
		return err
	}
	var x any = l.answer
	if l.trees != nil {
		x = l.trees
	}
	return json.NewEncoder(w).Encode(x)
}

func (l *looked) text(p paint) string {
	if l.trees != nil {
		return p.trees(*l.trees)
	}
	return p.overviews(status.Overviews(*l.answer))
}

type looker func(context.Context) (*looked, error)

func (c *cli) showOnce(ctx context.Context, f statusFlags, look looker) error {
	l, err := look(ctx)
	if err != nil {
		return err
	}
	return l.write(c.app.Out, f.format, c.paint())
}

// watchLines shows it anew where there is no screen. The first look must succeed; later ones may fail: nodes are restarted.
func (c *cli) watchLines(ctx context.Context, f statusFlags, look looker) error {
	t := time.NewTicker(f.interval)
	defer t.Stop()
	for first := true; ; first = false {
		l, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			c.app.say("%s", oneLine(err))
		default:
			if err := l.write(c.app.Out, f.format, c.paint()); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
