package command

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// pollWait is how long one poll for records waits: as long as it takes at most to notice that a command is to end.
const pollWait = 100 * time.Millisecond

// show prints the changes of a table as they are committed, read from its changelog: as lines, or on the board of a terminal.
type show struct {
	cli    *cli
	table  *plan.Table
	out    interface{ print(b *kafka.Batch) error } // lines, or a table of the board
	driver kafka.Driver
	reader kafka.Reader
	at     map[kafka.TopicPartition]int64 // next offset to read
}

func newShow(c *cli, t *plan.Table) *show {
	return &show{cli: c, table: t, out: newChanges(c.app.Out, t, len(c.run.show) > 1), at: map[kafka.TopicPartition]int64{}}
}

// open notes where the changelog ends, before the node starts: what comes after is shown.
func (s *show) open(ctx context.Context, cluster *host.Cluster) error {
	s.driver = cluster.Driver
	topic := s.table.Changelog.Name
	states, err := cluster.Admin.Topics(ctx, topic)
	if err != nil {
		return s.wrap(err)
	}
	state, ok := states[topic]
	if !ok {
		return nil // the node makes it, empty
	}
	tps := make([]kafka.TopicPartition, state.Partitions)
	for i := range tps {
		tps[i] = kafka.TopicPartition{Topic: topic, Partition: int32(i)}
	}
	ends, err := cluster.Admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	if err != nil {
		return s.wrap(err)
	}
	s.at = ends
	return nil
}

// assign opens the reader, once the changelog exists for certain.
func (s *show) assign(ctx context.Context) error {
	admin, err := s.driver.OpenAdmin()
	if err != nil {
		return err
	}
	defer admin.Close() //nolint:errcheck // it has answered
	tps, err := partitionsOf(ctx, admin, s.table.Changelog.Name)
	if err != nil {
		return err
	}
	if s.reader, err = s.driver.OpenReader(); err != nil {
		return err
	}
	for _, tp := range tps {
		if _, ok := s.at[tp]; !ok {
			s.at[tp] = 0
		}
		if err := s.reader.Assign(tp, s.at[tp]); err != nil {
			return err
		}
	}
	return nil
}

// follow prints changes until ctx ends. The node must have started.
func (s *show) follow(ctx context.Context) error {
	if err := s.assign(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop
		}
		return s.wrap(err)
	}
	for ctx.Err() == nil {
		if err := s.poll(); err != nil {
			return s.wrap(err)
		}
	}
	return nil
}

// poll prints what comes next, if something comes soon.
func (s *show) poll() error {
	b, err := s.reader.Poll(pollWait)
	if err != nil || b == nil {
		return err
	}
	s.at[kafka.TopicPartition{Topic: b.Topic, Partition: b.Partition}] = b.Next
	return s.out.print(b)
}

// close closes the reader, when follow has ended.
func (s *show) close() {
	if s.reader != nil {
		_ = s.reader.Close() // it has been read
		s.reader = nil
	}
}

// finish prints what is committed by now. It may be called when follow has ended.
func (s *show) finish(ctx context.Context, admin kafka.Admin) error {
	if s.reader == nil {
		return nil
	}
	tps := make([]kafka.TopicPartition, 0, len(s.at))
	for tp := range s.at {
		tps = append(tps, tp)
	}
	ends, err := admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	if err != nil {
		return s.wrap(err)
	}
	for ctx.Err() == nil && behind(s.at, ends) {
		if err := s.poll(); err != nil {
			return s.wrap(err)
		}
	}
	return nil
}

// behind says whether some position has not reached its end.
func behind(at, ends map[kafka.TopicPartition]int64) bool {
	for tp, end := range ends {
		if at[tp] < end {
			return true
		}
	}
	return false
}

func (s *show) wrap(err error) error { return fmt.Errorf("show %s: %w", s.table.Name, err) }

// text formats bytes of a record for people. What does not decode is shown as it is, quoted, rather than hidden.
func text(t plan.Text, b []byte) string {
	if b == nil {
		return "(null)"
	}
	if t.Format == nil { // a topic of many types, such as that of the dead letters
		if utf8.Valid(b) {
			return string(b)
		}
		return fmt.Sprintf("%q", b)
	}
	s, err := t.Format(b)
	if err != nil && t.Secrets {
		return fmt.Sprintf("(not %s, and not shown: it has secret fields)", article(t.Type))
	}
	if err != nil {
		return fmt.Sprintf("(not %s: %q)", article(t.Type), b)
	}
	return s
}

// cell makes text fit one cell of a line of tab-separated values.
func cell(s string) string {
	if !strings.ContainsAny(s, "\t\n\r") {
		return s
	}
	return strings.NewReplacer("\t", `\t`, "\n", `\n`, "\r", `\r`).Replace(s)
}

// printable is a text without what a terminal would take for a command.
func printable(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
