package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// verified is one line of what verify finds, as JSON.
type verified struct {
	Result string `json:"result"` // ok, note or wrong
	Of     string `json:"of"`     // what was looked at
	Found  string `json:"found"`
	Mend   string `json:"mend,omitempty"`
}

func (c *cli) verifyCommand() *cobra.Command {
	var format, address string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that a topology's tables, checkpoints, offsets and keys agree; nodes may run",
		Long: `Checks what a topology has on the broker and in the data directory: its topics, the slot map, the marks of slots, committed
offsets with their metadata, and each table: that its checkpoint and the changelog behind it give what the whole changelog
says, and that its keys are in the partitions where they belong; the same for the keys of repartition topics.

Each line is ok, a note (worth knowing, nothing is wrong) or wrong, then with the mend. Nodes may run meanwhile: checkpoints
are read from copies, what moves is read in an order that keeps it comparable, and what they have in memory is compared too, if they
can be asked over HTTP: each shard stands still for that, some 0.2 seconds for a million keys. It needs memory for three copies of the
largest partition of a table. The exit code is 1 if something is wrong.`,
		Args: exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if format != "text" && format != "json" {
				return wrongUse("--format %q: use text or json", format)
			}
			p, err := c.chosen()
			if err != nil {
				return err
			}
			dir, err := c.directory(p.Name)
			if err != nil {
				return err
			}
			cluster, err := c.connect(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cluster.Close()) }()
			nodes, err := c.ask(address)
			if err != nil {
				return err
			}
			defer nodes.client.Close()
			p, left, err := actors.Resolve(cmd.Context(), p, cluster.Admin)
			if err != nil {
				return err
			}
			v := &verify{cli: c, plan: p, left: left, admin: cluster.Admin, dir: dir, json: format == "json", asking: nodes, keepers: map[shardName]keeper{}}
			v.reading = reading{driver: cluster.Driver, admin: cluster.Admin}
			defer func() { err = errors.Join(err, v.close()) }()
			c.app.say("checking topology %s on %s, and copies of the checkpoints in %s", p.Name, strings.Join(cluster.Brokers, ","), host.StateDir(dir, p.Name))
			return v.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT`: text, or json with one object in a line")
	c.askFlags(cmd, &address)
	return cmd
}

// verify looks a topology over. It changes nothing.
type verify struct {
	*cli
	plan    *plan.Plan
	left    []error // why topics that match patterns are not read
	admin   kafka.Operator
	reading reading
	dir     string // data directory; it need not exist
	json    bool

	asking  *asking
	keepers map[shardName]keeper // of shards, on nodes that run

	topics map[string]kafka.TopicState
	group  kafka.GroupState
	slots  *kafka.SlotMap
	// committed holds the positions of all sources; nil if they could not be read.
	committed map[kafka.TopicPartition]kafka.Position
	faults    int
	notes     int
	printed   error
}

func (v *verify) print(line verified) {
	text := fmt.Sprintf("%-5s  %s: %s\n", line.Result, line.Of, line.Found)
	if line.Mend != "" {
		text += "       mend: " + line.Mend + "\n"
	}
	if v.json {
		b, err := json.Marshal(line)
		if err != nil {
			v.printed = err
		}
		text = string(b) + "\n"
	}
	if _, err := fmt.Fprint(v.app.Out, text); err != nil {
		v.printed = err
	}
}

func (v *verify) ok(of, format string, args ...any) {
	v.print(verified{Result: "ok", Of: of, Found: fmt.Sprintf(format, args...)})
}

func (v *verify) note(of, format string, args ...any) {
	v.notes++
	v.print(verified{Result: "note", Of: of, Found: fmt.Sprintf(format, args...)})
}

func (v *verify) wrong(of, mend, format string, args ...any) {
	v.faults++
	v.print(verified{Result: "wrong", Of: of, Found: fmt.Sprintf(format, args...), Mend: mend})
}

// sound prints that something is ok, unless faults were found in it since there were as many.
func (v *verify) sound(since int, of, format string, args ...any) {
	if v.faults == since {
		v.ok(of, format, args...)
	}
}

func (v *verify) run(ctx context.Context) error {
	steps := []func(context.Context) error{v.checkTopics, v.checkSettings, v.checkSlots, v.checkMarks, v.checkOffsets, v.findNodes, v.checkTables, v.checkRepartition}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("verify topology %s: %w", v.plan.Name, err)
		}
	}
	if v.printed != nil {
		return v.printed
	}
	if v.faults > 0 {
		return fmt.Errorf("topology %s: %s wrong", v.plan.Name, count(v.faults, "thing is", "things are"))
	}
	v.app.say("topology %s: nothing is wrong; %s", v.plan.Name, count(v.notes, "note", "notes"))
	return nil
}

// open opens a reader for the partitions of one topic: for a second one, librdkafka would take a second to find its leaders.
func (v *verify) open() error {
	if err := v.close(); err != nil {
		return err
	}
	var err error
	v.reading.reader, err = v.reading.driver.OpenReader()
	return err
}

func (v *verify) close() error {
	r := v.reading.reader
	v.reading.reader = nil
	if r == nil {
		return nil
	}
	return r.Close()
}

// count writes a number with the noun for one or for many.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// asked bounds one question to the broker.
func asked(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, askTimeout+10*time.Second) // the admin gives up a question by itself after askTimeout
}

// checkTopics looks whether the topics are there and fit each other.
func (v *verify) checkTopics(ctx context.Context) error {
	ctx, cancel := asked(ctx)
	defer cancel()
	names := make([]string, 0, len(v.plan.Topics))
	for _, t := range v.plan.Topics {
		names = append(names, t.Name)
	}
	var err error
	if v.topics, err = v.admin.Topics(ctx, names...); err != nil {
		return err
	}
	if v.group, err = v.admin.Group(ctx, v.plan.Name); err != nil {
		return err
	}
	before, internal := v.faults, 0
	var absent []string
	for _, t := range v.plan.Topics {
		_, ok := v.topics[t.Name]
		switch {
		case !ok && t.Kind == plan.External:
			v.wrong("topics", "make it, or start a node with --create-topics", "topic %s does not exist", t.Name)
		case !ok:
			absent = append(absent, t.Name)
		case t.Kind != plan.External:
			internal++
		}
	}
	switch {
	case internal == 0:
		v.note("topics", "the topology has none of its own here: it has not run yet, or was reset")
	case len(absent) > 0:
		v.note("topics", "%s not there: the next start makes them", strings.Join(absent, ", "))
	}
	for _, err := range v.left {
		v.wrong("topics", "", "%s", err)
	}
	for _, x := range v.plan.Patterns {
		if !slices.ContainsFunc(v.plan.Topics, func(t *plan.Topic) bool { return t.Pattern == x }) {
			v.note("topics", "no topic matches topic pattern %s (%s): its agents wait for one", x.Name, x.Expr)
		}
	}
	for _, err := range actors.TopicFaults(v.plan, v.topics) {
		v.wrong("topics", "", "%s", err)
	}
	v.sound(before, "topics", "%s there, with the numbers of partitions that they need", count(len(v.topics), "is", "are"))
	return nil
}

// checkSettings looks for settings of the brokers that endanger what is promised, as a node does when it starts.
func (v *verify) checkSettings(ctx context.Context) error {
	ctx, cancel := asked(ctx)
	defer cancel()
	dangers, unseen, err := actors.Dangers(ctx, v.plan, v.admin)
	if err != nil {
		return err
	}
	for _, t := range v.plan.Topics {
		if danger := host.LettersExpire(t, v.topics[t.Name]); t.Kind == plan.DeadLetters && danger != "" {
			dangers = append(dangers, danger)
		}
	}
	for _, d := range dangers {
		v.note("settings", "%s", d)
	}
	if unseen != "" {
		v.note("settings", "not all checked: %s", unseen)
	} else if len(dangers) == 0 {
		v.ok("settings", "none endangers what is promised")
	}
	return nil
}

// checkSlots reads the slot map and looks whether it is whole.
func (v *verify) checkSlots(ctx context.Context) error {
	v.slots = kafka.NewSlotMap(v.plan.Name)
	topic := kafka.SlotsTopic(v.plan.Name)
	state, ok := v.topics[topic]
	if !ok {
		return nil
	}
	before := v.faults
	whole, err := v.readSlots(ctx, topic)
	if err != nil || !whole {
		return err
	}
	var sizes []kafka.StageSize
	for i, st := range v.plan.Stages {
		if i > 0 {
			sizes = append(sizes, kafka.StageSize{Key: st.Key, Partitions: v.partitions(st)})
		}
	}
	missing, contradictions := v.slots.Plan(sizes, actors.SlotPatterns(v.plan, v.topics)...)
	for _, err := range contradictions {
		v.wrong("slot map", "", "%s", err)
	}
	late := slices.DeleteFunc(slices.Clone(missing), func(e kafka.SlotEntry) bool { return e.Pattern == "" })
	switch {
	case len(missing) == 0 || len(contradictions) > 0:
	case len(v.group.Members) > 0 && len(late) == len(missing):
		v.note("slot map", "%s no slot yet, of topics that match a pattern: nodes look for such topics every --topic-refresh (30s, unless it is set); if they do not take these up, see their logs",
			count(len(late), "partition has", "partitions have"))
	case len(v.group.Members) > 0:
		v.wrong("slot map", "restart the nodes with this version of the topology: they append them",
			"%s of this topology no slot, though nodes run: nobody reads them", count(len(missing), "partition has", "partitions have"))
	default:
		v.note("slot map", "%s of this topology no slot yet: the next start appends them", count(len(missing), "partition has", "partitions have"))
	}
	if state.Partitions < v.slots.Len() {
		v.wrong("slot map", "start a node: it grows the topic", "topic %s has %d partitions, but the map has %d slots: those beyond are nobody's", topic, state.Partitions, v.slots.Len())
	}
	v.sound(before, "slot map", "%s, for every partition of every stage", count(int(v.slots.Len()), "slot", "slots"))
	return nil
}

// readSlots folds the slot map. whole is false if it is damaged.
func (v *verify) readSlots(ctx context.Context, topic string) (whole bool, err error) {
	ctx, cancel := asked(ctx)
	defer cancel()
	if err := v.open(); err != nil {
		return false, err
	}
	tp := kafka.TopicPartition{Topic: topic}
	starts, err := v.admin.Starts(ctx, tp)
	if err != nil {
		return false, err
	}
	if starts[tp] > 0 {
		v.wrong("slot map", kafka.StartOver(v.plan.Name), "the first %d records of topic %s are gone, so who owns what is no longer known", starts[tp], topic)
		return false, nil
	}
	var fault error
	_, err = v.reading.through(ctx, starts, func(b *kafka.Batch) error {
		for i := range b.Records {
			if err := v.slots.Fold(b.Key(i), b.Value(i)); err != nil && fault == nil {
				fault = fmt.Errorf("offset %d: %w", b.Records[i].Offset, err)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(fault, kafka.ErrResetBegun):
		v.wrong("slot map", fmt.Sprintf("run `%s reset --topology %s` again", v.app.Name, v.plan.Name), "a reset of the topology was begun and is not through")
	case fault != nil:
		v.wrong("slot map", "stop what else writes the topic; then "+kafka.StartOver(v.plan.Name), "topic %s, %s", topic, fault)
	}
	return fault == nil, nil
}

// partitions is how many partitions a stage has.
func (v *verify) partitions(st *plan.Stage) int32 { return v.topics[st.Sources[0].Name].Partitions }

// markWait is how long a slot's mark may name another than the member that has it: a take is under way.
const markWait = 10 * time.Second

// checkMarks looks whether each slot is marked as that of the member that has it.
func (v *verify) checkMarks(ctx context.Context) error {
	n := v.topics[kafka.SlotsTopic(v.plan.Name)].Partitions
	if n == 0 {
		return nil
	}
	before := v.faults
	ctx, cancel := asked(ctx)
	defer cancel()
	tick := time.NewTicker(markWait / 50)
	defer tick.Stop()
	for end := time.Now().Add(markWait); ; {
		marks, err := v.marks(ctx, n)
		if err != nil {
			return err
		}
		if v.group, err = v.admin.Group(ctx, v.plan.Name); err != nil {
			return err
		}
		astray := v.astray(marks)
		if len(astray) > 0 && time.Now().Before(end) {
			select {
			case <-tick.C:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for _, slot := range slices.Sorted(maps.Keys(astray)) {
			v.wrong("marks", "look at that node's log; restart it if the slot stays so", "slot %d %s", slot, astray[slot])
		}
		v.tellMarks(marks)
		if !v.group.Stable {
			v.note("marks", "the group is in a rebalance: what is found may be of the moment; run again when it is over")
		}
		v.sound(before, "marks", "%s, %s", count(len(v.group.Members), "member", "members"), "every slot is marked as its owner's, or let go of")
		return nil
	}
}

// marks reads the marks of all slots; text that is none is wrong.
func (v *verify) marks(ctx context.Context, n int32) (map[int32]string, error) {
	slots := make([]int32, n)
	for i := range slots {
		slots[i] = int32(i)
	}
	return v.admin.Marks(ctx, v.plan.Name, slots...)
}

// astray says of slots that a member has how their marks contradict that.
func (v *verify) astray(marks map[int32]string) map[int32]string {
	found := map[int32]string{}
	if !v.group.Stable {
		return found
	}
	for _, m := range v.group.Members {
		for _, slot := range slotsOf(v.plan.Name, m) {
			mark, err := kafka.ParseMark(marks[slot])
			switch {
			case err != nil || m.Instance == "":
			case len(mark.Owners) == 1 && mark.Owners[0].Instance == m.Instance:
			default:
				found[slot] = fmt.Sprintf("is given to %s, but its mark is %q", describeMember(v.plan.Name, kafka.GroupMember{ID: m.ID, Instance: m.Instance, Host: m.Host}), marks[slot])
			}
		}
	}
	return found
}

// tellMarks tells of marks that are none, and of those of nodes that are gone.
func (v *verify) tellMarks(marks map[int32]string) {
	gone := map[string][]int32{}
	for _, slot := range slices.Sorted(maps.Keys(marks)) {
		mark, err := kafka.ParseMark(marks[slot])
		if err != nil {
			v.wrong("marks", "stop what else commits offsets to group "+v.plan.Name+"; the next owner of the slot marks it anew", "slot %d: %s", slot, err)
			continue
		}
		for _, o := range mark.Owners {
			if !slices.ContainsFunc(v.group.Members, func(m kafka.GroupMember) bool { return m.Instance == o.Instance }) {
				gone[o.Instance] = append(gone[o.Instance], slot)
			}
		}
	}
	for _, instance := range slices.Sorted(maps.Keys(gone)) {
		v.note("marks", "slots %s are marked as those of node %s, which is no member and did not let go of them in order: who takes them ends its transaction first",
			slotList(gone[instance]), instance)
	}
}
