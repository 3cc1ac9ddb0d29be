package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/kafka"
)

// faultsShown is how many bad lines an import names.
const faultsShown = 10

// filedLetter is a dead letter in a file: one JSON object in a line. Bytes are in base64; null is null.
type filedLetter struct {
	Letter    string          `json:"letter,omitempty"` // where it lay
	State     string          `json:"state,omitempty"`
	Failure   kafka.Failure   `json:"failure"`
	History   []kafka.Failure `json:"history,omitempty"`
	Timestamp *int64          `json:"timestamp"` // of the record, in milliseconds
	Key       *[]byte         `json:"key"`
	Value     *[]byte         `json:"value"`
	Headers   []filedHeader   `json:"headers,omitempty"`
}

type filedHeader struct {
	Name  string  `json:"name"`
	Value *[]byte `json:"value"`
}

// filed points to bytes, nil to null.
func filed(b []byte) *[]byte {
	if b == nil {
		return nil
	}
	return &b
}

// unfiled is the reverse of filed.
func unfiled(p *[]byte) []byte {
	switch {
	case p == nil:
		return nil
	case *p == nil:
		return []byte{}
	}
	return *p
}

func (c *cli) lettersExportCommand() *cobra.Command {
	var all bool
	var s selection
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write dead letters to a file, as JSON lines",
		Long: `Writes the dead letters that are open, or those that flags select, to a new file, "-" for standard output: one JSON object in
a line, with keys, values and headers in base64. They stay as they are in the topic.`,
		Args: exactly("one file", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.parse(nil, time.Now()); err != nil {
				return err
			}
			return c.withLetters(cmd.Context(), func(_ context.Context, m *mailbox) error {
				letters, err := s.of(m)
				if err != nil {
					return err
				}
				if !all {
					letters = slices.DeleteFunc(letters, func(l *letter) bool { return l.receipt != nil })
				}
				letters = slices.DeleteFunc(letters, func(l *letter) bool {
					if l.fault != nil {
						m.app.say("letter %s cannot be read and is left out: %s", l.place, oneLine(l.fault))
					}
					return l.fault != nil
				})
				m.warn()
				return m.export(letters, args[0])
			})
		},
	}
	s.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also letters that were redriven or dropped")
	return cmd
}

func (m *mailbox) export(letters []*letter, file string) (err error) {
	w := m.app.Out
	if file != "-" {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("file %s exists: name another, or remove it", file)
		} else if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	for _, l := range letters {
		if err := enc.Encode(fileOf(l)); err != nil {
			return fmt.Errorf("letter %s: %w", l.place, err)
		}
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	m.app.say("%s of topology %s exported", count(len(letters), "dead letter", "dead letters"), m.plan.Name)
	return nil
}

func fileOf(l *letter) filedLetter {
	at := l.millis()
	x := filedLetter{
		Letter: l.place.String(), State: l.state(), Failure: l.Failure, History: l.History, Timestamp: &at, Key: filed(l.key()), Value: filed(l.value()),
	}
	for h := range kafka.Headers(l.original) {
		x.Headers = append(x.Headers, filedHeader{h.Key, filed(h.Value)})
	}
	return x
}

func (c *cli) lettersImportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Write dead letters of a file that export has made to the topic of dead letters",
		Long: `Writes the dead letters of a file, "-" for standard input, to the topic of dead letters, as open ones. Letters that are in
the topic already, open or closed, are left out, so that importing twice does nothing. If one line of the file is bad,
nothing is written.`,
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
			letters, err := readFiled(in)
			if err != nil {
				return fmt.Errorf("nothing was imported: file %s: %w", args[0], err)
			}
			return c.withLetters(cmd.Context(), func(ctx context.Context, m *mailbox) error { return m.importAll(ctx, letters) })
		},
	}
}

// readFiled reads a file of letters; its error names all bad lines, the first ten in full.
func readFiled(in io.Reader) ([]filedLetter, error) {
	var letters []filedLetter
	var faults []error
	r := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			l, fault := parseFiled(line)
			if fault != nil {
				faults = append(faults, fmt.Errorf("line %d: %w", n, fault))
			}
			letters = append(letters, l)
		}
		if err != nil {
			break
		}
	}
	if n := len(faults); n > faultsShown {
		faults = append(faults[:faultsShown], fmt.Errorf("and %d more lines", n-faultsShown))
	}
	return letters, errors.Join(faults...)
}

func parseFiled(line []byte) (l filedLetter, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, fmt.Errorf("it is no dead letter: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return l, errors.New("there is more behind the JSON object")
	}
	f := l.Failure
	switch {
	case f.Topic == "":
		return l, errors.New("its failure names no topic")
	case f.Agent == "":
		return l, errors.New("its failure names no agent")
	case f.Partition < 0 || f.Offset < 0:
		return l, fmt.Errorf("its failure is at partition %d, offset %d", f.Partition, f.Offset)
	case f.Time.IsZero():
		return l, errors.New("its failure has no time")
	case l.Timestamp == nil:
		return l, errors.New("its record has no timestamp")
	}
	return l, nil
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
func (m *mailbox) importAll(ctx context.Context, letters []filedLetter) error {
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
	have := map[failureID]bool{}
	for _, l := range m.all {
		have[idOf(&l.Failure)] = true
	}
	done, there := 0, 0
	out := new(kafka.Outputs)
	for i := range letters {
		id := idOf(&letters[i].Failure)
		if have[id] {
			there++
		} else if err := m.file(out, &letters[i], &state); err != nil {
			return fmt.Errorf("letter %d of the file: %w (%d letters before it are imported: run it again when it is mended)", i+1, err, done)
		}
		have[id] = true
		if out.Len() == 0 || i+1 < len(letters) && out.Len() < actLetters && len(out.Arena) < actBytes {
			continue
		}
		if err := session.Commit(ctx, []string{m.topic.Name}, out); err != nil {
			return fmt.Errorf("%d letters are imported, the next few perhaps: run it again to go on: %w", done, err)
		}
		done, out = done+out.Len(), new(kafka.Outputs)
	}
	m.app.say("%d dead letters imported into topology %s; %d were there already", done, m.plan.Name, there)
	return nil
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
