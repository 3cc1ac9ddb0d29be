package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/topology/plan"
)

// entry is one entry of a table as JSON.
type entry struct {
	Key   any `json:"key"`
	Value any `json:"value"`
}

// element is one element of a set table as JSON.
type element struct {
	Key     any `json:"key"`
	Element any `json:"element"`
}

// columns are the headings of a table's entries.
func columns(t *plan.Table) []string {
	if t.Split != nil {
		return []string{"key", "element"}
	}
	return []string{"key", "value"}
}

func printRow(out *table, t *plan.Table, r row) {
	key, value := t.Entry(r.key, r.value)
	if t.Split != nil {
		out.row(element{jsonText(t.Key, key), jsonText(t.Value, value)}, text(t.Key, key), text(t.Value, value))
		return
	}
	out.row(entry{jsonText(t.Key, key), jsonText(t.Value, value)}, text(t.Key, key), text(t.Value, value))
}

func (c *cli) getCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "get TABLE KEY...",
		Short: "Print entries of a table by their keys; no node needs to run",
		Long:  "Prints entries of a table by their keys, as committed: read from the table's changelog, whether a node runs or not.\nOf a set table, all elements of each key. It fails if one of the keys is not in the table.",
		Args:  exactly("a table and at least one key", 2, -1),

		ValidArgsFunction: c.completePlan(1, tableNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			return c.withTable(cmd.Context(), args[0], func(t *plan.Table, image tableImage) error {
				return c.printKeys(t, image, format, args[1:])
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}

func (c *cli) printKeys(t *plan.Table, image tableImage, format string, keys []string) error {
	var missing []string
	var found []row
	for _, k := range keys {
		key, err := t.Key.Parse(k)
		if err != nil {
			return wrongUse("key %q of table %s is not %s: %w", k, t.Name, article(t.Key.Type), err)
		}
		rows := image.get(t, key)
		if len(rows) == 0 {
			missing = append(missing, fmt.Sprintf("%q", k))
		}
		found = append(found, rows...)
	}
	if len(found) > 0 || format != "table" { // a heading of nothing would hide what is missing
		out := newTable(c.app.Out, format, columns(t)...)
		for _, r := range found {
			printRow(out, t, r)
		}
		if err := out.close(); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("table %s has no key %s", t.Name, strings.Join(missing, ", "))
	}
	return nil
}

func (c *cli) scanCommand() *cobra.Command {
	var format, prefix string
	var limit int
	cmd := &cobra.Command{
		Use:   "scan TABLE",
		Short: "Print all entries of a table, sorted by key; no node needs to run",
		Long:  "Prints all entries of a table, sorted by key, as committed: read from the table's changelog, whether a node runs or not.",
		Args:  exactly("one table", 1, 1),

		ValidArgsFunction: c.completePlan(1, tableNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if limit < 0 {
				return wrongUse("--limit %d: use a positive number", limit)
			}
			return c.withTable(cmd.Context(), args[0], func(t *plan.Table, image tableImage) error {
				out := newTable(c.app.Out, format, columns(t)...)
				n := 0
				for _, r := range image.all() {
					if key, _ := t.Entry(r.key, nil); !strings.HasPrefix(text(t.Key, key), prefix) {
						continue
					}
					if n++; limit > 0 && n > limit {
						break
					}
					printRow(out, t, r)
				}
				return out.close()
			})
		},
	}
	formatFlag(cmd, &format)
	cmd.Flags().StringVar(&prefix, "prefix", "", "only keys that begin with `TEXT`")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N` entries; 0: all")
	return cmd
}

// withTable reads a table's changelog, committed records only, and hands its state to use.
func (c *cli) withTable(ctx context.Context, name string, use func(*plan.Table, tableImage) error) (err error) {
	p, err := c.chosen()
	if err != nil {
		return err
	}
	t, err := tableOf(p, name)
	if err != nil {
		return err
	}
	cluster, err := c.connect(ctx, p.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	from, err := allFrom(ctx, cluster.Admin, t.Changelog.Name)
	if err != nil {
		return fmt.Errorf("table %s: %w", name, err)
	}
	image := tableImage{}
	whole, err := reading{driver: cluster.Driver, admin: cluster.Admin}.through(ctx, from, image.take(t))
	if err != nil {
		return fmt.Errorf("table %s: %w", name, err)
	}
	if !whole {
		c.app.say("table %s: a transaction has been open for %s: what it will commit is not shown", name, openWait)
	}
	return use(t, image)
}
