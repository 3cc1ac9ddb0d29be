package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/kafka"
)

// memberLine is a member of a topology's group as JSON.
type memberLine struct {
	Instance string  `json:"instance"`
	Member   string  `json:"member"`
	Host     string  `json:"host"`
	Slots    []int32 `json:"slots"`
}

func (c *cli) evictCommand() *cobra.Command {
	var format string
	var yes bool
	cmd := &cobra.Command{
		Use:   "evict [MEMBER...]",
		Short: "Take nodes that will not come back out of a topology's group; without MEMBER: list them",
		Long: `Takes members out of a topology's group, by their instance or member ids, so that the others get their partitions at
once instead of when the session ends. Without MEMBER the members are listed.

A node that was stopped with --keep-slots, or whose machine has died, keeps its partitions until its session ends (45
seconds, unless --kafka session.timeout.ms says otherwise). Evicting one that is alive is safe, but in vain: it comes back
as a new member.`,
		Args: exactly("any number of members", 0, -1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := checkFormat(format); err != nil {
				return err
			}
			p, err := c.chosen()
			if err != nil {
				return err
			}
			cluster, err := c.connect(cmd.Context(), p.Name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cluster.Close()) }()
			members, err := membersOf(cmd.Context(), cluster.Admin, p.Name)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return c.listMembers(p.Name, members, format)
			}
			return c.evict(cmd.Context(), cluster.Admin, p.Name, members, args, yes)
		},
	}
	formatFlag(cmd, &format)
	yesFlag(cmd.Flags(), &yes)
	return cmd
}

func membersOf(ctx context.Context, admin kafka.Operator, topology string) ([]kafka.GroupMember, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	g, err := admin.Group(ctx, topology)
	return g.Members, err
}

func (c *cli) listMembers(topology string, members []kafka.GroupMember, format string) error {
	if len(members) == 0 && format == "table" {
		c.app.say("topology %s has no members", topology)
		return nil
	}
	out := newTable(c.app.Out, format, "instance", "member", "host", "slots")
	for _, m := range members {
		slots := slotsOf(topology, m)
		out.row(memberLine{m.Instance, m.ID, m.Host, slots}, cmp.Or(m.Instance, "-"), m.ID, m.Host, slotList(slots))
	}
	return out.close()
}

// evict takes the members that were named out of the group.
func (c *cli) evict(ctx context.Context, admin kafka.Operator, topology string, members []kafka.GroupMember, names []string, yes bool) error {
	var out []kafka.GroupMember
	for _, name := range names {
		i := slices.IndexFunc(members, func(m kafka.GroupMember) bool { return m.Instance == name || m.ID == name })
		if i < 0 {
			return unknown("member", name, memberNames(members))
		}
		if !slices.ContainsFunc(out, func(m kafka.GroupMember) bool { return m.ID == members[i].ID }) {
			out = append(out, members[i])
		}
	}
	if !yes {
		var lines []string
		for _, m := range out {
			lines = append(lines, describeMember(topology, m))
		}
		if err := c.confirm(ctx, fmt.Sprintf("Take %s out of topology %s?", strings.Join(lines, " and "), topology)); err != nil {
			return err
		}
	}
	for _, m := range out {
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		err := admin.Evict(ask, topology, m)
		cancel()
		if err != nil {
			return err
		}
		c.app.say("%s is out of topology %s", describeMember(topology, m), topology)
	}
	return nil
}

// memberNames are the names by which members can be named: instances, or ids where there is none.
func memberNames(members []kafka.GroupMember) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = cmp.Or(m.Instance, m.ID)
	}
	return names
}

// describeMember says in a few words which member is meant.
func describeMember(topology string, m kafka.GroupMember) string {
	s := "member " + cmp.Or(m.Instance, m.ID)
	if m.Host != "" {
		s += " at " + m.Host
	}
	if slots := slotsOf(topology, m); len(slots) > 0 {
		s += " with slots " + slotList(slots)
	}
	return s
}

// slotsOf are the slots that a member owns.
func slotsOf(topology string, m kafka.GroupMember) []int32 {
	slots := []int32{}
	for _, tp := range m.Assigned {
		if tp.Topic == kafka.SlotsTopic(topology) {
			slots = append(slots, tp.Partition)
		}
	}
	return slots
}

// slotList writes slots, with runs of them as ranges: 0-3,7.
func slotList(slots []int32) string {
	var parts []string
	for i := 0; i < len(slots); {
		j := i
		for j+1 < len(slots) && slots[j+1] == slots[j]+1 {
			j++
		}
		part := strconv.Itoa(int(slots[i]))
		if j > i {
			part += "-" + strconv.Itoa(int(slots[j]))
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
