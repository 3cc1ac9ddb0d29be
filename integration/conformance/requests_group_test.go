package conformance

import (
	"slices"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// later runs a request that may be answered late on a connection of its own: a broker reads nothing more from one until it
// has answered.
func later[T any](c *requests, f func(cl *kgo.Client) T) func() (T, bool) {
	c.t.Helper()
	cl := connect(c.t, c.brokers)
	answer := make(chan T, 1)
	done := make(chan struct{})
	c.t.Cleanup(func() { cl.Close(); <-done })
	go func() { defer close(done); answer <- f(cl) }()
	return func() (T, bool) {
		select {
		case x := <-answer:
			answer <- x // it may be asked for again
			return x, true
		default:
			var none T
			return none, false
		}
	}
}

func (c *requests) join(group string, as kafka.Member, owned []int32) func() (joined, bool) {
	c.coordinator(0, group)
	rq := kmsg.NewPtrJoinGroupRequest()
	rq.Group, rq.MemberID, rq.InstanceID, rq.ProtocolType = group, as.ID, instance(as), "consumer"
	rq.SessionTimeoutMillis, rq.RebalanceTimeoutMillis = int32(sessionTimeout.Milliseconds()), int32(rebalanceTimeout.Milliseconds())
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "cooperative-sticky", subscription(owned)
	rq.Protocols = append(rq.Protocols, p)
	ctx := c.t.Context()
	return later(c, func(cl *kgo.Client) joined {
		r, err := send[*kmsg.JoinGroupResponse](ctx, cl, rq)
		for err == nil && (r.ErrorCode == kerr.MemberIDRequired.Code || notThereYet(kerr.ErrorForCode(r.ErrorCode))) {
			if r.ErrorCode == kerr.MemberIDRequired.Code {
				rq.MemberID = r.MemberID
			}
			r, err = send[*kmsg.JoinGroupResponse](ctx, cl, rq)
		}
		if err == nil {
			err = errOf(kerr.ErrorForCode(r.ErrorCode))
		}
		if err != nil {
			return joined{err: err}
		}
		j := joined{member: kafka.Member{ID: r.MemberID, Instance: as.Instance, Generation: r.Generation}, leader: r.LeaderID == r.MemberID, members: map[string]string{}}
		for _, m := range r.Members {
			key := m.MemberID
			if m.InstanceID != nil {
				key = *m.InstanceID
			}
			j.members[key] = m.MemberID
		}
		return j
	})
}

// subscription is what a member says about itself.
func subscription(owned []int32) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 1, []string{"slots"}
	o := kmsg.NewConsumerMemberMetadataOwnedPartition()
	o.Topic, o.Partitions = "slots", owned
	m.OwnedPartitions = append(m.OwnedPartitions, o)
	return m.AppendTo(nil)
}

func (c *requests) sync(group string, as kafka.Member, assignment map[string][]int32) func() (synced, bool) {
	rq := kmsg.NewPtrSyncGroupRequest()
	rq.Group, rq.MemberID, rq.InstanceID, rq.Generation = group, as.ID, instance(as), as.Generation
	for id, slots := range assignment {
		x, a, topic := kmsg.NewSyncGroupRequestGroupAssignment(), kmsg.NewConsumerMemberAssignment(), kmsg.NewConsumerMemberAssignmentTopic()
		topic.Topic, topic.Partitions = "slots", slots
		a.Topics = append(a.Topics, topic)
		x.MemberID, x.MemberAssignment = id, a.AppendTo(nil)
		rq.GroupAssignment = append(rq.GroupAssignment, x)
	}
	ctx := c.t.Context()
	return later(c, func(cl *kgo.Client) synced {
		r, err := send[*kmsg.SyncGroupResponse](ctx, cl, rq)
		if err == nil {
			err = errOf(kerr.ErrorForCode(r.ErrorCode))
		}
		if err != nil {
			return synced{err: err}
		}
		var a kmsg.ConsumerMemberAssignment
		if err := a.ReadFrom(r.MemberAssignment); err != nil {
			return synced{err: err}
		}
		var slots []int32
		for _, x := range a.Topics {
			slots = append(slots, x.Partitions...)
		}
		slices.Sort(slots)
		return synced{slots: slots}
	})
}

func (c *requests) heartbeat(group string, as kafka.Member) error {
	rq := kmsg.NewPtrHeartbeatRequest()
	rq.Group, rq.MemberID, rq.InstanceID, rq.Generation = group, as.ID, instance(as), as.Generation
	_, err := ask(c, rq, func(r *kmsg.HeartbeatResponse) int16 { return r.ErrorCode })
	return err
}

func (c *requests) leave(group string, as kafka.Member) error {
	rq := kmsg.NewPtrLeaveGroupRequest()
	rq.Group = group
	x := kmsg.NewLeaveGroupRequestMember()
	x.MemberID, x.InstanceID = as.ID, instance(as)
	rq.Members = append(rq.Members, x)
	_, err := ask(c, rq, func(r *kmsg.LeaveGroupResponse) int16 {
		if r.ErrorCode == 0 && len(r.Members) > 0 {
			return r.Members[0].ErrorCode
		}
		return r.ErrorCode
	})
	return err
}

func (c *requests) members(group string) int {
	c.coordinator(0, group)
	rq := kmsg.NewPtrDescribeGroupsRequest()
	rq.Groups = []string{group}
	r, err := ask(c, rq, func(r *kmsg.DescribeGroupsResponse) int16 { return r.Groups[0].ErrorCode })
	require.NoError(c.t, err)
	return len(r.Groups[0].Members)
}
