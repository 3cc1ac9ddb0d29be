package command

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/kafka"
)

// importFlags are those of import.
type importFlags struct {
	reopen      bool
	partial     bool
	anyTopology bool
}

func (c *cli) lettersImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Write dead letters of a file that export has made to the topic of dead letters",
		Long: `Writes the dead letters of a file, "-" for standard input, to the topic of dead letters, as open ones. Letters that are in
the topic already, open or closed, are left out, so that importing twice does nothing; so are those that were redriven or
dropped before they were exported, for to redrive them once more would do their records twice. If one line of the file is
bad, the file is not whole, or no agent of the topology reads a letter's topic, nothing is written.`,
		Args: exactly("one file", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in := c.app.In
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return wrongUse("%w", err)
				}
				defer f.Close() //nolint:errcheck // only read
				in = f
			}
			letters, err := readFiled(in, f.partial)
			if err != nil {
				return fmt.Errorf("nothing was imported: file %s: %w", args[0], err)
			}
			return c.withLetters(cmd.Context(), func(ctx context.Context, m *mailbox) error { return m.importAll(ctx, letters, f) })
		},
	}
	cmd.Flags().BoolVar(&f.reopen, "reopen", false, "take letters that were redriven or dropped too, as open ones")
	cmd.Flags().BoolVar(&f.partial, "partial", false, "take what is there of a file that is not whole, or that is of an older version")
	cmd.Flags().BoolVar(&f.anyTopology, "any-topology", false, "take letters of topics that no agent of the topology reads")
	return cmd
}

// failureID tells failures apart.
type failureID struct {
	topic     string
	partition int32
	offset    int64
	agent     string
	nanos     int64
}

func idOf(f *kafka.Failure) failureID {
	return failureID{f.Topic, f.Partition, f.Offset, f.Agent, f.Time.UnixNano()}
}

// importAll writes letters that are not there yet, as the only one that does.
func (m *mailbox) importAll(ctx context.Context, letters []filedLetter, f importFlags) error {
	session, err := m.cluster.Admin.Session(ctx, m.plan.Name+"-"+lettersSession)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := m.load(ctx); err != nil {
		return err
	}
	if !m.whole {
		return fmt.Errorf("topic %s: a transaction has been open for %s, and letters may lie behind it: run it again in a minute", m.topic.Name, openWait)
	}
	states, err := m.cluster.Admin.Topics(ctx, m.topic.Name)
	if err != nil {
		return err
	}
	state := states[m.topic.Name]
	letters, there, closed := m.missing(letters, f.reopen)
	if !f.anyTopology {
		if err := m.checkTopics(letters); err != nil {
			return err
		}
	}
	done := 0
	out := new(kafka.Outputs)
	for i := range letters {
		if err := m.file(out, &letters[i], &state); err != nil {
			return fmt.Errorf("line %d of the file: %w (%d letters before it are imported: run it again when it is mended)", letters[i].line, err, done)
		}
		if i+1 < len(letters) && out.Len() < actLetters && len(out.Arena) < actBytes {
			continue
		}
		if err := session.Commit(ctx, []string{m.topic.Name}, out); err != nil {
			return fmt.Errorf("%d letters are imported, the next few perhaps: run it again to go on: %w", done, err)
		}
		done, out = done+out.Len(), new(kafka.Outputs)
	}
	m.app.say("%s imported into topology %s; %d were there already", count(done, "dead letter", "dead letters"), m.plan.Name, there)
	if closed > 0 {
		m.app.say("%s left out: redriven or dropped before the export, and would be done twice; --reopen takes such as open ones",
			count(closed, "closed letter was", "closed letters were"))
	}
	return nil
}

// missing returns the letters that are to be written, and counts those that are there already and those that are left out
// because they were closed. A closed letter cannot be written with its receipt: that names the letter's offset, which is known only
// when it is committed, and a letter without one is open until then.
func (m *mailbox) missing(letters []filedLetter, reopen bool) (todo []filedLetter, there, closed int) {
	have := map[failureID]bool{}
	for _, l := range m.all {
		have[idOf(&l.Failure)] = true
	}
	for _, l := range letters {
		id := idOf(&l.Failure)
		switch {
		case have[id]:
			there++
		case l.closed() && !reopen:
			closed++
		default:
			have[id] = true
			todo = append(todo, l)
		}
	}
	return todo, there, closed
}

// checkTopics refuses letters that cannot be of this topology, of which redrive could make nothing.
func (m *mailbox) checkTopics(letters []filedLetter) error {
	var foreign []string // topics
	n, line := 0, 0
	for _, l := range letters {
		if len(readersOf(m.plan, l.Failure.Topic)) > 0 {
			continue
		}
		if n++; n == 1 {
			line = l.line
		}
		if !slices.Contains(foreign, l.Failure.Topic) {
			foreign = append(foreign, l.Failure.Topic)
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("nothing was imported: no agent of topology %s reads %s, of which %s (line %d first): if they are of another topology, name it with --topology; else take them with --any-topology",
		m.plan.Name, strings.Join(foreign, ", "), count(n, "letter is", "letters are"), line)
}

// file adds a letter of a file to what is written.
func (m *mailbox) file(out *kafka.Outputs, l *filedLetter, state *kafka.TopicState) error {
	var headers []byte
	for _, h := range l.Headers {
		headers = kafka.AppendHeaders(headers, kafka.Header{Key: h.Name, Value: unfiled(h.Value)})
	}
	key, value := unfiled(l.Key), unfiled(l.Value)
	letter := kafka.Letter{Failure: l.Failure, History: l.History}
	headers, err := letter.Append(headers, len(key)+len(value)+len(headers), maxMessage(state))
	if err != nil {
		return err
	}
	out.Append(0, l.Failure.Partition%max(state.Partitions, 1), *l.Timestamp, key, value, headers)
	return nil
}
