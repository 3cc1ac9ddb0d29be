package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// sendFlags are the flags of send.
type sendFlags struct {
	key       string
	null      bool
	headers   []string
	partition int32
	timestamp string
}

func (c *cli) sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send TOPIC VALUE",
		Short: "Send one record to a topic, or to a channel that takes some",
		Long: `Sends one record to a topic, or to a channel with topology.Puts, and prints where it went, when all replicas have it. The value and the key are read as the
topic's codecs write them: numbers as digits, JSON as JSON. For many records, see the flag --feed of the node.`,
		Args:              exactly("a topic and a value, or a topic and --null; the key goes into --key", 1, 2),
		ValidArgsFunction: c.completeTopics(1, externalNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.chosen()
			if err != nil {
				return err
			}
			t, err := topicOf(p, args[0])
			if err != nil {
				return err
			}
			if t.Kind != plan.External && t.Name == args[0] {
				return wrongUse("topic %q is internal to the topology: send to one that it reads", t.Name)
			}
			if f.null == (len(args) == 2) {
				return wrongUse("send takes a value, or --null instead of one")
			}
			var key []byte
			if cmd.Flags().Changed("key") {
				if key, err = t.Key.Parse(f.key); err != nil {
					return wrongUse("key %sof topic %s is not %s: %w", quoted(t.Key, f.key), t.Name, article(t.Key.Type), err)
				}
			}
			var value []byte
			if !f.null {
				if value, err = t.Value.Parse(args[1]); err != nil {
					return wrongUse("value %sof topic %s is not %s: %w", quoted(t.Value, args[1]), t.Name, article(t.Value.Type), err)
				}
			}
			return c.send(cmd.Context(), p, t, &f, key, value)
		},
	}
	cmd.Flags().StringVarP(&f.key, "key", "k", "", "the record's `KEY` (default: null)")
	cmd.Flags().BoolVar(&f.null, "null", false, "send a null value, which deletes a key where the topic feeds a table")
	cmd.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "a header, `NAME=VALUE`; repeatable")
	cmd.Flags().Int32Var(&f.partition, "partition", -1, "send to partition `N` (default: by the key; without a key, 0)")
	cmd.Flags().StringVar(&f.timestamp, "timestamp", "", "event `TIME` as RFC 3339, as in 2026-01-31T12:00:00Z (default: now)")
	return cmd
}

// quoted is a text that cannot be read, to stand in a message; nothing where it may hold what is not shown.
func quoted(t plan.Text, s string) string {
	if t.Secrets {
		return ""
	}
	return fmt.Sprintf("%q ", s)
}

func (c *cli) send(ctx context.Context, p *plan.Plan, t *plan.Topic, f *sendFlags, key, value []byte) (err error) {
	var headers []kafka.Header
	for _, h := range f.headers {
		name, v, ok := strings.Cut(h, "=")
		if !ok {
			return wrongUse("--header %q: use NAME=VALUE", h)
		}
		headers = append(headers, kafka.Header{Key: name, Value: []byte(v)})
	}
	var at int64
	if f.timestamp != "" {
		when, err := time.Parse(time.RFC3339Nano, f.timestamp)
		if err != nil {
			return wrongUse("--timestamp %q: use a time like 2026-01-31T12:00:00Z", f.timestamp)
		}
		at = when.UnixMilli()
	}
	cluster, err := c.connect(ctx, p.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	n, err := c.topicFor(ctx, cluster, t)
	if err != nil {
		return err
	}
	if f.partition >= n {
		return wrongUse("--partition %d: topic %s has %d, numbered from 0", f.partition, t.Name, n)
	}
	to := f.partition
	if to < 0 {
		to = 0
		if key != nil {
			to = t.PartitionOf(key, n)
		}
	}
	var out kafka.Outputs
	out.Append(0, to, at, key, value, kafka.AppendHeaders(nil, headers...))
	offsets, err := cluster.Admin.Produce(ctx, []string{t.Name}, &out)
	if err != nil {
		return fmt.Errorf("send to %s: %w", t.Name, err)
	}
	_, err = fmt.Fprintf(c.app.Out, "%s/%d@%d\n", t.Name, to, offsets[0])
	return err
}

// topicFor returns the number of partitions of a topic; on an embedded broker a missing topic is made.
func (c *cli) topicFor(ctx context.Context, cluster *host.Cluster, t *plan.Topic) (int32, error) {
	for made := false; ; made = true {
		states, err := cluster.Admin.Topics(ctx, t.Name)
		if err != nil {
			return 0, err
		}
		if s, ok := states[t.Name]; ok && s.Partitions > 0 {
			return s.Partitions, nil
		}
		if t.Pattern != nil && cluster.Kind == host.External {
			return 0, fmt.Errorf("topic %s does not exist on this broker: make it, and nodes will find it; or check --brokers", t.Name)
		}
		if made || cluster.Kind == host.External || t.Partitions == 0 {
			return 0, fmt.Errorf("topic %s does not exist on this broker: run the node once with --create-topics, or check --brokers and --data-dir", t.Name)
		}
		if err := cluster.Admin.Create(ctx, kafka.TopicSpec{Name: t.Name, Partitions: t.Partitions, Config: t.Config}); err != nil {
			return 0, err
		}
	}
}
