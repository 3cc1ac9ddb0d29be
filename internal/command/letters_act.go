package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// How much one transaction holds.
const (
	actLetters = 200
	actBytes   = 4 << 20
	// lettersSession ends the transactional id under which letters are dealt with.
	lettersSession = "dead-letters"
)

// actFlags are those of redrive and drop.
type actFlags struct {
	s       selection
	yes     bool
	dryRun  bool
	to      string
	receipt string // what is done
}

func (c *cli) lettersRedriveCommand() *cobra.Command {
	a := &actFlags{receipt: kafka.ReceiptRedriven}
	cmd := &cobra.Command{
		Use:   "redrive [P@OFFSET...]",
		Short: "Send dead letters to their topics again, each for the agent it failed in",
		Long: `Sends the records of dead letters to their topics and partitions again, unchanged, with a header by which only the agent
that they failed in takes them: all letters that are open, or those that flags or arguments select. Order among other
records is not kept: they come behind what is in their partitions by now.

Each record and the receipt that closes its letter are written in one transaction: stopped half-way it goes on when it is
run again, and run twice it does nothing. A record that fails again is a new letter, with its history.`,
		Args: exactly("letters, as PARTITION@OFFSET", 0, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.actOn(cmd.Context(), a, args) },
	}
	a.register(cmd)
	cmd.Flags().StringVar(&a.to, "to", "", "redrive to the agent `NAME` instead: where an agent was renamed")
	return cmd
}

func (c *cli) lettersDropCommand() *cobra.Command {
	a := &actFlags{receipt: kafka.ReceiptDropped}
	cmd := &cobra.Command{
		Use:   "drop [P@OFFSET...]",
		Short: "Close dead letters without doing anything about their records",
		Long: `Closes dead letters, all that are open or those that flags or arguments select: nothing is done about their records. They
are still in the topic, and dead-letters list --all and show show them.`,
		Args: exactly("letters, as PARTITION@OFFSET", 0, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.actOn(cmd.Context(), a, args) },
	}
	a.register(cmd)
	return cmd
}

func (a *actFlags) register(cmd *cobra.Command) {
	a.s.register(cmd)
	yesFlag(cmd.Flags(), &a.yes)
	cmd.Flags().BoolVar(&a.dryRun, "dry-run", false, "list the letters that are meant, and do nothing")
}

func (c *cli) actOn(ctx context.Context, a *actFlags, args []string) error {
	if err := a.s.parse(args, time.Now()); err != nil {
		return err
	}
	return c.withLetters(ctx, func(ctx context.Context, m *mailbox) error { return m.act(ctx, a) })
}

// act redrives or drops the letters that are meant.
func (m *mailbox) act(ctx context.Context, a *actFlags) error {
	letters, err := m.open(&a.s)
	if err != nil {
		return err
	}
	if len(letters) == 0 {
		m.app.say("nothing to do: topology %s has no open dead letters of that kind", m.plan.Name)
		return nil
	}
	d := &deed{mailbox: m, actFlags: a, targets: map[string]target{}}
	if err := d.check(ctx, letters); err != nil {
		return err
	}
	if a.dryRun {
		return m.list(letters, "table")
	}
	if !a.yes {
		if err := m.confirm(ctx, d.question(letters)); err != nil {
			return err
		}
	}
	return d.run(ctx, letters)
}

// open returns the letters that are meant and open, and says of those that were named and are not what became of them.
func (m *mailbox) open(s *selection) ([]*letter, error) {
	letters, err := s.of(m)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(letters, func(l *letter) bool {
		if l.receipt != nil && len(s.places) > 0 {
			m.app.say("letter %s is closed: %s at %s", l.place, l.state(), l.receipt.Time.UTC().Format(time.RFC3339))
		}
		return l.receipt != nil
	}), nil
}

// target is what the broker says of a topic that records go to.
type target struct {
	partitions int32
	limit      int
}

// deed is one run of redrive or drop.
type deed struct {
	*mailbox
	*actFlags
	targets map[string]target
}

func (d *deed) question(letters []*letter) string {
	agents := map[string]int{}
	for _, l := range letters {
		agents[d.agent(l)]++
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		parts = append(parts, fmt.Sprintf("%d of agent %s", agents[name], name))
	}
	verb := "Redrive"
	if d.receipt == kafka.ReceiptDropped {
		verb = "Drop"
	}
	return fmt.Sprintf("%s %s of topology %s (%s)?", verb, count(len(letters), "dead letter", "dead letters"), d.plan.Name, strings.Join(parts, ", "))
}

// agent is the one that a letter's record goes to.
func (d *deed) agent(l *letter) string {
	if d.to != "" {
		return d.to
	}
	return l.Agent
}

// check refuses letters that cannot be redriven, before anything is done.
func (d *deed) check(ctx context.Context, letters []*letter) error {
	if d.receipt == kafka.ReceiptDropped {
		return nil
	}
	var names []string
	for _, l := range letters {
		if l.fault != nil {
			return fmt.Errorf("letter %s cannot be read (%w): select others, or drop it", l.place, l.fault)
		}
		if !slices.Contains(names, l.Topic) {
			names = append(names, l.Topic)
		}
		if err := d.checkAgent(l); err != nil {
			return err
		}
	}
	states, err := d.cluster.Admin.Topics(ctx, names...)
	if err != nil {
		return err
	}
	for name, state := range states {
		d.targets[name] = target{state.Partitions, maxMessage(&state)}
	}
	for _, l := range letters {
		t, ok := d.targets[l.Topic]
		switch {
		case !ok:
			return fmt.Errorf("letter %s: its topic %s does not exist any more: select others, or drop it", l.place, l.Topic)
		case l.Partition < 0 || l.Partition >= t.partitions:
			return fmt.Errorf("letter %s: topic %s has no partition %d any more: select others, or drop it", l.place, l.Topic, l.Partition)
		}
		if size := l.size() + len(d.headers(l)) + recordOverhead; size > t.limit {
			return fmt.Errorf("letter %s: with its header for the agent it has %d bytes, and topic %s takes %d: raise the topic's max.message.bytes", l.place, size, l.Topic, t.limit)
		}
	}
	return nil
}

// checkAgent says whether the agent that a letter goes to reads its topic.
func (d *deed) checkAgent(l *letter) error {
	readers := readersOf(d.plan, l.Topic)
	if slices.Contains(readers, d.agent(l)) {
		return nil
	}
	if slices.ContainsFunc(d.plan.Tables, func(t *plan.Table) bool { return t.Timers && t.Name == l.Topic }) {
		return fmt.Errorf("letter %s: it is a timer of %s, which no record can be redriven as: send what sets it anew, and drop the letter", l.place, l.Topic)
	}
	if len(readers) == 0 {
		return fmt.Errorf("letter %s: no agent of topology %s reads topic %s any more: select others, or drop it", l.place, d.plan.Name, l.Topic)
	}
	return fmt.Errorf("letter %s: topology %s has no agent %s on topic %s; if it was renamed, add --to with one of %s",
		l.place, d.plan.Name, d.agent(l), l.Topic, strings.Join(readers, ", "))
}

// readersOf are the names of the agents that read a topic.
func readersOf(p *plan.Plan, topic string) (names []string) {
	for _, st := range p.Stages {
		for _, a := range st.Agents {
			if a.Role == plan.Processor && a.Source != nil && a.Source.Name == topic {
				if names = append(names, a.Name); a.Of != a.Name {
					names = append(names, a.Of)
				}
			}
		}
	}
	return names
}

// size is that of key and value.
func (l *letter) size() int { return len(l.key()) + len(l.value()) }

// headers are those of the redriven record.
func (d *deed) headers(l *letter) []byte {
	r := kafka.NewRedrive(d.plan.Name, l.Letter, l.place)
	r.Agent = d.agent(l)
	return r.Append(slices.Clone(l.original), l.size()+len(l.original), d.targets[l.Topic].limit)
}

// run does it, as the only one that does: a session ends those of others, and then all their receipts are there to be read.
func (d *deed) run(ctx context.Context, letters []*letter) error {
	session, err := d.cluster.Admin.Session(ctx, d.plan.Name+"-"+lettersSession)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := d.load(ctx); err != nil {
		return err
	}
	if !d.whole {
		return fmt.Errorf("topic %s: a transaction has been open for %s, and receipts may lie behind it: run it again in a minute", d.topic.Name, openWait)
	}
	done, n := 0, 0
	for begin := 0; begin < len(letters); begin += n {
		var out *kafka.Outputs
		var names []string
		var closed int
		out, names, n, closed = d.transaction(letters[begin:])
		if out.Len() == 0 {
			continue
		}
		if err := session.Commit(ctx, names, out); err != nil {
			return fmt.Errorf("%d of %d letters are %s, the rest is as it was, or the next few with it: run it again to go on: %w", done, len(letters), d.receipt, err)
		}
		done += closed
	}
	d.app.say("%s of topology %s %s", count(done, "dead letter", "dead letters"), d.plan.Name, d.receipt)
	return nil
}

// transaction makes the records of one transaction from the first n letters, those of them that are still open.
func (d *deed) transaction(letters []*letter) (out *kafka.Outputs, names []string, n, closed int) {
	out, names = new(kafka.Outputs), []string{d.topic.Name}
	now := time.Now().UTC()
	for _, was := range letters {
		if closed >= actLetters || len(out.Arena) >= actBytes {
			break
		}
		n++
		l := d.at[was.place] // as it is now
		if l == nil || l.receipt != nil {
			continue // it has expired, or somebody else was faster
		}
		receipt := kafka.Receipt{Letter: l.place.String(), Done: d.receipt, Time: now}
		if d.receipt == kafka.ReceiptRedriven {
			topic := slices.Index(names, l.Topic)
			if topic < 0 {
				topic, names = len(names), append(names, l.Topic)
			}
			receipt.Agent = d.agent(l)
			out.Append(int32(topic), l.Partition, l.millis(), l.key(), l.value(), d.headers(l))
		}
		out.Append(0, l.place.Partition, now.UnixMilli(), nil, nil, receipt.Headers())
		closed++
	}
	return out, names, n, closed
}
