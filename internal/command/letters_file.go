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

// filedLetter is a dead letter in a file: one JSON object in a line. Bytes are in base64; null is null. Behind the last one
// stands a filedEnd.
type filedLetter struct {
	Letter    string          `json:"letter,omitempty"` // where it lay
	State     string          `json:"state,omitempty"`
	Failure   kafka.Failure   `json:"failure"`
	History   []kafka.Failure `json:"history,omitempty"`
	Timestamp *int64          `json:"timestamp"` // of the record, in milliseconds
	Key       *[]byte         `json:"key"`
	Value     *[]byte         `json:"value"`
	Headers   []filedHeader   `json:"headers,omitempty"`

	line int // of the file
}

// filedEnd is the last line of a file: how many letters are in the lines before. Without it the file was cut, or is of an
// older version.
type filedEnd struct {
	Letters *int `json:"letters"`
}

// closed says whether the letter had been redriven or dropped when it was written to the file.
func (l *filedLetter) closed() bool { return l.State != "" && l.State != stateOpen }

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
a line, with keys, values and headers in base64, and a last line that counts them. They stay as they are in the topic: drop
them there before they are redriven elsewhere, or they may be done twice.`,
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
	if err := enc.Encode(filedEnd{new(len(letters))}); err != nil {
		return err
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

// readFiled reads a file of letters; its error names all bad lines, the first ten in full. The file must be whole, unless partial
// says that what is there of it is taken: then half a line at its end is passed over. Files may be put behind each other.
func readFiled(in io.Reader, partial bool) ([]filedLetter, error) {
	var letters []filedLetter
	var faults []error
	r := bufio.NewReader(in)
	since, whole := 0, false // letters since the last line that counts them; whether nothing came behind that
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			end, isEnd := parseEnd(line)
			switch {
			case !isEnd:
				l, fault := parseFiled(line)
				if half := err != nil; fault != nil && (!partial || !half) {
					faults = append(faults, fmt.Errorf("line %d: %w", n, fault))
				}
				if l.line = n; fault == nil {
					letters = append(letters, l)
				}
				since++
			case end != since && !partial:
				faults = append(faults, fmt.Errorf("line %d: it counts %s before it, and there are %d: export it again, or take what is there with --partial", n, count(end, "letter", "letters"), since))
				fallthrough
			default:
				since = 0
			}
			whole = isEnd
		}
		if err != nil {
			break
		}
	}
	if n := len(faults); n > faultsShown {
		faults = append(faults[:faultsShown], fmt.Errorf("and %d more lines", n-faultsShown))
	}
	if !whole && !partial {
		faults = append(faults, errors.New("its last line does not count its letters: the file was cut, or is of an older version: export it again, or take what is there with --partial"))
	}
	return letters, errors.Join(faults...)
}

// parseEnd reads a filedEnd; ok is false if the line is none.
func parseEnd(line []byte) (n int, ok bool) {
	var end filedEnd
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if d.Decode(&end) != nil || d.More() || end.Letters == nil {
		return 0, false
	}
	return *end.Letters, true
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
	case l.closed() && l.State != kafka.ReceiptDropped && !strings.HasPrefix(l.State, kafka.ReceiptRedriven):
		return l, fmt.Errorf("its state is %q: there are %s, %s and %s", l.State, stateOpen, kafka.ReceiptRedriven, kafka.ReceiptDropped)
	}
	return l, nil
}
