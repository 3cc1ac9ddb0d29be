package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// tailed is one record as JSON.
type tailed struct {
	Topic     string         `json:"topic"`
	Partition int32          `json:"partition"`
	Offset    int64          `json:"offset"`
	Timestamp string         `json:"timestamp"`
	Key       any            `json:"key"`
	Value     any            `json:"value"`
	Headers   []tailedHeader `json:"headers,omitempty"`
}

type tailedHeader struct {
	Name  string  `json:"name"`
	Value *string `json:"value"`
}

func (c *cli) tailCommand() *cobra.Command {
	var format string
	var start, once bool
	cmd := &cobra.Command{
		Use:   "tail TOPIC",
		Short: "Print the committed records of a topic as they come",
		Long: `Prints the committed records of a topic as they come, until interrupted: lines of key<TAB>value, or with --format json
one object in a line. Internal topics (changelogs, dead letters) may be named too. On the embedded broker with nothing
running, what is there is printed and the command ends.`,
		Args:              exactly("one topic", 1, 1),
		ValidArgsFunction: c.completeTopics(1, allTopicNames),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if !slices.Contains([]string{"tsv", "json"}, format) {
				return wrongUse("--format %q: use tsv or json", format)
			}
			p, err := c.chosen()
			if err != nil {
				return err
			}
			t, err := topicOf(p, args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			cluster, err := c.connect(ctx, p.Name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cluster.Close()) }()
			if p, err = resolved(ctx, cluster, p); err != nil {
				return err
			}
			return c.tail(ctx, cluster, p, t, format, start, once)
		},
	}
	cmd.Flags().StringVar(&format, "format", "tsv", "`FORMAT`: tsv or json")
	cmd.Flags().BoolVar(&start, "from-start", false, "begin with the first record instead of the next one")
	cmd.Flags().BoolVar(&once, "once", false, "end with the last record that is there now; implies --from-start")
	return cmd
}

func (c *cli) tail(ctx context.Context, cluster *host.Cluster, p *plan.Plan, t *plan.Topic, format string, start, once bool) error {
	from, err := allFrom(ctx, cluster.Admin, t.Name)
	if err != nil {
		return err
	}
	take := func(b *kafka.Batch) error { return printRecords(c.app.Out, p, t, b, format) }
	// Nobody else can write to a broker that runs in this process: waiting would only keep a node from starting.
	if once || cluster.Kind == host.Embedded {
		whole, err := reading{driver: cluster.Driver, admin: cluster.Admin}.through(ctx, from, take)
		if err == nil && !whole {
			c.app.say("topic %s: a transaction has been open for %s: what it will commit is not shown", t.Name, openWait)
		}
		return ignoreStop(ctx, err)
	}
	if !start {
		tps := make([]kafka.TopicPartition, 0, len(from))
		for tp := range from {
			tps = append(tps, tp)
		}
		if from, err = cluster.Admin.Ends(ctx, kafka.ReadUncommitted, tps...); err != nil {
			return err
		}
	}
	reader, err := cluster.Driver.OpenReader()
	if err != nil {
		return err
	}
	defer reader.Close() //nolint:errcheck // it has been read
	for tp, offset := range from {
		if err := reader.Assign(tp, offset); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		b, err := reader.Poll(pollWait)
		if err == nil && b != nil {
			err = take(b)
		}
		if err != nil {
			return ignoreStop(ctx, err)
		}
	}
	return nil
}

// ignoreStop drops an error of a command that was told to stop.
func ignoreStop(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// textsOf says how a record of a topic is written: as the topic says. A dead letter is written as it is, unless the topic that it comes
// from has fields that are not shown.
func textsOf(p *plan.Plan, t *plan.Topic, b *kafka.Batch, i int) (key, value plan.Text) {
	if t.Kind == plan.Replies {
		if r := kafka.ParseReply(b.RawHeaders(i)); r != nil {
			for _, a := range p.Agents {
				if a.Name == r.Agent && a.Reply != nil {
					return t.Key, a.Reply.Value
				}
			}
		}
	}
	if t.Kind != plan.DeadLetters {
		return t.Key, t.Value
	}
	l, _, ok, err := kafka.ParseLetter(b.RawHeaders(i))
	if !ok || err != nil {
		return t.Key, t.Value
	}
	for _, from := range p.Topics {
		if from.Name == l.Topic && (from.Key.Secrets || from.Value.Secrets) {
			return from.Key, from.Value
		}
	}
	return t.Key, t.Value
}

// printRecords prints a batch of a topic in one write.
func printRecords(w io.Writer, p *plan.Plan, t *plan.Topic, b *kafka.Batch, format string) error {
	var out []byte
	for i, r := range b.Records {
		key, value := textsOf(p, t, b, i)
		if format == "tsv" {
			out = append(out, cell(text(key, b.Key(i)))+"\t"+cell(text(value, b.Value(i)))+"\n"...)
			continue
		}
		rec := tailed{
			Topic: b.Topic, Partition: b.Partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp).UTC().Format(time.RFC3339Nano),
			Key: jsonText(key, b.Key(i)), Value: jsonText(value, b.Value(i)),
		}
		for h := range b.Headers(i) {
			th := tailedHeader{Name: h.Key}
			if h.Value != nil {
				v := string(h.Value)
				th.Value = &v
			}
			rec.Headers = append(rec.Headers, th)
		}
		line, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		out = append(append(out, line...), '\n')
	}
	if len(out) == 0 {
		return nil
	}
	_, err := w.Write(out)
	return err
}
