package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

func (c *cli) lettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Look at records that were given up, send them again or drop them",
		Long: `Looks at the records that a topology has given up: they are in the topic TOPOLOGY-dead-letters, each with what went wrong.
A letter is open until it is redriven or dropped. Nodes may run meanwhile.`,
		Args: c.noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.lettersListCommand(), c.lettersShowCommand(), c.lettersRedriveCommand(), c.lettersDropCommand(),
		c.lettersExportCommand(), c.lettersImportCommand())
	for _, sub := range cmd.Commands() {
		c.completeFlags(sub)
	}
	return cmd
}

// stateOpen is the state of a letter that is neither redriven nor dropped.
const stateOpen = "open"

// letter is one dead letter as it was found.
type letter struct {
	kafka.Letter
	place    kafka.Place
	batch    *kafka.Batch
	index    int
	original []byte         // the record's own headers, encoded
	receipt  *kafka.Receipt // what became of it; nil: it is open
	fault    error          // its headers cannot be read
}

func (l *letter) key() []byte          { return l.batch.Key(l.index) }
func (l *letter) value() []byte        { return l.batch.Value(l.index) }
func (l *letter) timestamp() time.Time { return time.UnixMilli(l.millis()).UTC() }
func (l *letter) millis() int64        { return l.batch.Records[l.index].Timestamp }

// record names the record that was given up.
func (l *letter) record() string { return fmt.Sprintf("%s/%d@%d", l.Topic, l.Partition, l.Offset) }

// state says in a word or two what became of a letter.
func (l *letter) state() string {
	switch {
	case l.fault != nil:
		return "unreadable"
	case l.receipt == nil:
		return stateOpen
	case l.receipt.Agent != "":
		return l.receipt.Done + " to " + l.receipt.Agent
	}
	return l.receipt.Done
}

// mailbox is the dead letters of a topology.
type mailbox struct {
	*cli
	plan    *plan.Plan
	topic   *plan.Topic
	cluster *host.Cluster

	all   []*letter
	at    map[kafka.Place]*letter
	other int  // records that are no letters
	whole bool // nothing may be missing at the end
}

// withLetters connects, and hands the letters to use once they are read.
func (c *cli) withLetters(ctx context.Context, use func(context.Context, *mailbox) error) (err error) {
	p, err := c.chosen()
	if err != nil {
		return err
	}
	m := &mailbox{cli: c, plan: p}
	i := slices.IndexFunc(p.Topics, func(t *plan.Topic) bool { return t.Kind == plan.DeadLetters })
	if i < 0 {
		return fmt.Errorf("topology %s has no dead letters", p.Name)
	}
	m.topic = p.Topics[i]
	if m.cluster, err = c.connect(ctx, p.Name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.cluster.Close()) }()
	if m.plan, err = resolved(ctx, m.cluster, p); err != nil {
		return err
	}
	if err := m.load(ctx); err != nil {
		return err
	}
	return use(ctx, m)
}

// load reads all letters and receipts that are committed now.
func (m *mailbox) load(ctx context.Context) error {
	m.all, m.at, m.other = nil, map[kafka.Place]*letter{}, 0
	from, err := allFrom(ctx, m.cluster.Admin, m.topic.Name)
	if err != nil {
		return err
	}
	m.whole, err = reading{driver: m.cluster.Driver, admin: m.cluster.Admin}.through(ctx, from, m.take)
	if err != nil {
		return fmt.Errorf("topic %s: %w", m.topic.Name, err)
	}
	slices.SortStableFunc(m.all, func(a, b *letter) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.place.Partition, b.place.Partition), cmp.Compare(a.place.Offset, b.place.Offset))
	})
	return nil
}

// take sorts the records of a batch into letters and receipts.
func (m *mailbox) take(b *kafka.Batch) error {
	for i, r := range b.Records {
		place := kafka.Place{Partition: b.Partition, Offset: r.Offset}
		if receipt, ok, err := kafka.ParseReceipt(b.RawHeaders(i)); ok {
			at, err2 := kafka.ParsePlace(receipt.Letter)
			if err = errors.Join(err, err2); err != nil {
				return fmt.Errorf("the receipt at %s cannot be read, so what became of its letter is not known: %w", place, err)
			}
			if l := m.at[at]; l != nil && l.receipt == nil { // else the letter has expired
				l.receipt = &receipt
			}
			continue
		}
		l := &letter{place: place, batch: b, index: i}
		var ok bool
		if l.Letter, l.original, ok, l.fault = kafka.ParseLetter(b.RawHeaders(i)); !ok {
			m.other++
			continue
		}
		m.all, m.at[place] = append(m.all, l), l
	}
	return nil
}

// selection says which letters are meant.
type selection struct {
	agent, err, key, since, until string
	places                        []string

	pattern  *regexp.Regexp
	from, to time.Time
	at       map[kafka.Place]bool
}

func (s *selection) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.agent, "agent", "", "only letters of the agent `NAME`")
	f.StringVar(&s.err, "error", "", "only letters whose error matches the regular expression `RE`")
	f.StringVar(&s.key, "key", "", "only letters of records with the key `KEY`")
	f.StringVar(&s.since, "since", "", "only letters from `TIME` on: as in 2006-01-02T15:04:05Z, or how long ago, as in 90m")
	f.StringVar(&s.until, "until", "", "only letters before `TIME`")
}

// parse checks what was given; args are places.
func (s *selection) parse(args []string, now time.Time) (err error) {
	s.places = args
	if s.err != "" {
		if s.pattern, err = regexp.Compile(s.err); err != nil {
			return wrongUse("--error: %w", err)
		}
	}
	if s.from, err = moment("--since", s.since, now); err != nil {
		return err
	}
	if s.to, err = moment("--until", s.until, now); err != nil {
		return err
	}
	for _, a := range args {
		p, err := kafka.ParsePlace(a)
		if err != nil {
			return wrongUse("%w", err)
		}
		if s.at == nil {
			s.at = map[kafka.Place]bool{}
		}
		s.at[p] = true
	}
	return nil
}

// moment reads a time, or how long ago it is.
func moment(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, wrongUse("%s %q: use a time such as 2006-01-02T15:04:05Z, or how long ago such as 90m", flag, s)
	}
	return t, nil
}

// of returns the letters that are meant, in order. A place where no letter lies is an error.
func (s *selection) of(m *mailbox) ([]*letter, error) {
	for place := range s.at {
		if m.at[place] == nil {
			return nil, fmt.Errorf("topic %s has no dead letter at %s: see dead-letters list --all", m.topic.Name, place)
		}
	}
	if err := s.checkAgent(m); err != nil {
		return nil, err
	}
	var out []*letter
	for _, l := range m.all {
		switch {
		case s.at != nil && !s.at[l.place],
			s.agent != "" && l.Agent != s.agent,
			s.pattern != nil && !s.pattern.MatchString(l.Error),
			!s.from.IsZero() && l.Time.Before(s.from),
			!s.to.IsZero() && !l.Time.Before(s.to),
			s.key != "" && m.keyText(l) != s.key:
		default:
			out = append(out, l)
		}
	}
	return out, nil
}

// checkAgent refuses the name of an agent that the topology does not have, unless it had it when a letter was written.
func (s *selection) checkAgent(m *mailbox) error {
	if s.agent == "" || slices.ContainsFunc(m.all, func(l *letter) bool { return l.Agent == s.agent }) {
		return nil
	}
	names := failingNames(m.plan)
	if slices.Contains(names, s.agent) {
		return nil
	}
	return unknown("agent", s.agent, names)
}

// failingNames are the agents whose records may become dead letters, by the names that stand there.
func failingNames(p *plan.Plan) (names []string) {
	for _, st := range p.Stages {
		for _, a := range st.Agents {
			if a.Role == plan.Processor {
				names = append(names, a.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// source returns the topic that a letter's record comes from; nil if the topology has it no more.
func (m *mailbox) source(l *letter) *plan.Topic {
	if i := slices.IndexFunc(m.plan.Topics, func(t *plan.Topic) bool { return t.Name == l.Topic }); i >= 0 {
		return m.plan.Topics[i]
	}
	return nil
}

// bytesText shows bytes of a topic that the topology does not know any more.
var bytesText = plan.Text{Type: "[]byte", Format: func(b []byte) (string, error) { return string(b), nil }}

func (m *mailbox) codecs(l *letter) (key, value plan.Text) {
	if t := m.source(l); t != nil && t.Key.Format != nil {
		return t.Key, t.Value
	}
	return bytesText, bytesText
}

func (m *mailbox) keyText(l *letter) string {
	key, _ := m.codecs(l)
	return text(key, l.key())
}

// warn says what the list cannot show.
func (m *mailbox) warn() {
	if !m.whole {
		m.app.say("topic %s: a transaction has been open for %s: what it will commit is not shown", m.topic.Name, openWait)
	}
	if m.other > 0 {
		m.app.say("topic %s holds %d records that are no dead letters: another program has written them", m.topic.Name, m.other)
	}
}
