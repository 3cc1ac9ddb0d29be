package confluent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// fenceEvery is how long to wait before asking again to end a transaction whose markers are on their way.
const fenceEvery = 5 * time.Millisecond

// Group returns the members of a group, by instance and id.
func (a *admin) Group(ctx context.Context, group string) (kafka.GroupState, error) {
	var state kafka.GroupState
	err := a.retry(ctx, func(ctx context.Context) error {
		state = kafka.GroupState{Stable: true}
		rq := kmsg.NewPtrDescribeGroupsRequest()
		rq.Groups = []string{group}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		for _, g := range r.Groups {
			switch err := kerr.ErrorForCode(g.ErrorCode); {
			case errors.Is(err, kerr.GroupIDNotFound):
				continue
			case err != nil:
				return err
			}
			state.Exists = g.State != "Dead" // what older brokers say of a group that does not exist
			state.Stable = g.State == "Stable" || g.State == "Empty" || g.State == "Dead"
			for _, m := range g.Members {
				x, err := groupMember(&m)
				if err != nil {
					return err
				}
				state.Members = append(state.Members, x)
			}
		}
		return nil
	})
	if err != nil {
		return kafka.GroupState{}, fmt.Errorf("describe group %s: %w", group, err)
	}
	slices.SortFunc(state.Members, func(x, y kafka.GroupMember) int {
		return cmp.Or(cmp.Compare(x.Instance, y.Instance), cmp.Compare(x.ID, y.ID))
	})
	return state, nil
}

func groupMember(m *kmsg.DescribeGroupsResponseGroupMember) (kafka.GroupMember, error) {
	x := kafka.GroupMember{ID: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
	if m.InstanceID != nil {
		x.Instance = *m.InstanceID
	}
	if len(m.MemberAssignment) == 0 {
		return x, nil // it waits for a rebalance to end
	}
	var as kmsg.ConsumerMemberAssignment
	if err := as.ReadFrom(m.MemberAssignment); err != nil {
		return x, fmt.Errorf("assignment of member %s: %w", m.MemberID, err)
	}
	for _, t := range as.Topics {
		for _, p := range t.Partitions {
			x.Assigned = append(x.Assigned, kafka.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	slices.SortFunc(x.Assigned, func(a, b kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return x, nil
}

// Evict takes a member out of a group, by its instance and its id.
func (a *admin) Evict(ctx context.Context, group string, member kafka.GroupMember) error {
	err := a.retry(ctx, func(ctx context.Context) error {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = member.ID
		if member.Instance != "" {
			m.InstanceID = &member.Instance
		}
		rq := kmsg.NewPtrLeaveGroupRequest()
		rq.Group, rq.MemberID, rq.Members = group, member.ID, []kmsg.LeaveGroupRequestMember{m}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(r.ErrorCode)
		for _, x := range r.Members {
			err = errors.Join(err, kerr.ErrorForCode(x.ErrorCode))
		}
		if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.FencedInstanceID) {
			return nil // gone, or back under another id
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("take member %s out of group %s: %w", cmp.Or(member.Instance, member.ID), group, err)
	}
	return nil
}

// DeleteGroup deletes a group that has no members, with all its committed offsets.
func (a *admin) DeleteGroup(ctx context.Context, group string) error {
	err := a.retry(ctx, func(ctx context.Context) error {
		rq := kmsg.NewPtrDeleteGroupsRequest()
		rq.Groups = []string{group}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		for _, g := range r.Groups {
			if err := kerr.ErrorForCode(g.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete group %s: %w", group, err)
	}
	return nil
}

// Fence ends whatever an instance's producer has open: it has ended when this returns.
func (a *admin) Fence(ctx context.Context, group, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	id := group + "-" + instance
	rq := kmsg.NewPtrInitProducerIDRequest()
	rq.TransactionalID, rq.ProducerID, rq.ProducerEpoch = &id, -1, -1
	rq.TransactionTimeoutMillis = int32(kafka.TransactionTimeout.Milliseconds())
	for {
		r, err := rq.RequestWith(ctx, a.raw)
		if err == nil {
			err = kerr.ErrorForCode(r.ErrorCode)
		}
		if err == nil {
			return nil
		}
		again := errors.Is(err, kerr.ConcurrentTransactions) || kerr.IsRetriable(err)
		if ctx.Err() != nil || !again || !pause(ctx, fenceEvery) {
			return fmt.Errorf("end the transactions of %s: %w", id, err)
		}
	}
}

// Brokers returns the brokers that are up, with their settings as far as this client may see them.
func (a *admin) Brokers(ctx context.Context) ([]kafka.BrokerState, error) {
	var states []kafka.BrokerState
	err := a.retry(ctx, func(ctx context.Context) error {
		states = nil
		rq := kmsg.NewPtrMetadataRequest()
		rq.Topics = []kmsg.MetadataRequestTopic{} // none, where nil would be all
		meta, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		for _, b := range meta.Brokers {
			config, err := a.brokerConfig(ctx, b.NodeID)
			if err != nil {
				return fmt.Errorf("settings of broker %d: %w", b.NodeID, err)
			}
			states = append(states, kafka.BrokerState{ID: b.NodeID, Config: config})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("describe the brokers: %w", err)
	}
	slices.SortFunc(states, func(x, y kafka.BrokerState) int { return cmp.Compare(x.ID, y.ID) })
	return states, nil
}

// brokerConfig returns the settings of a broker, nil where they are not for this client to see, or it does not answer.
func (a *admin) brokerConfig(ctx context.Context, id int32) (map[string]string, error) {
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(id))
	rq := kmsg.NewPtrDescribeConfigsRequest()
	rq.Resources = append(rq.Resources, res)
	r, err := rq.RequestWith(ctx, a.raw.Broker(int(id)))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil:
		return nil, nil //nolint:nilerr // it went down just now
	}
	config := map[string]string{}
	for _, x := range r.Resources {
		switch err := kerr.ErrorForCode(x.ErrorCode); {
		case kerr.IsRetriable(err):
			return nil, err
		case err != nil: // not allowed, or by the policy of who runs the cluster
			return nil, nil //nolint:nilerr // then nothing is known
		}
		for _, c := range x.Configs {
			if c.Value != nil {
				config[c.Name] = *c.Value
			}
		}
	}
	return config, nil
}
