package confluent

import (
	"context"
	"slices"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// requester sends single requests of the protocol. An answer that refuses something for want of a right is an error that
// names the right.
type requester struct {
	*kgo.Client
	who identity
}

// Request implements kmsg.Requestor.
func (r *requester) Request(ctx context.Context, rq kmsg.Request) (kmsg.Response, error) {
	answer, err := r.Client.Request(ctx, rq)
	if err != nil {
		return nil, r.who.denied(r.who.refused(err), neededFor(rq)...)
	}
	if code, rights := refused(rq, answer); len(rights) > 0 {
		return nil, &deniedError{who: r.who, rights: rights, err: kerr.ErrorForCode(code)}
	}
	return answer, nil
}

// neededFor are the rights on groups and transactional ids that a request needs.
func neededFor(rq kmsg.Request) []kafka.Right {
	switch rq := rq.(type) {
	case *kmsg.OffsetCommitRequest:
		return []kafka.Right{right("Read", kafka.OnGroup, rq.Group)}
	case *kmsg.OffsetFetchRequest:
		var rights []kafka.Right
		for _, g := range rq.Groups {
			rights = append(rights, right("Describe", kafka.OnGroup, g.Group))
		}
		return rights
	case *kmsg.DescribeGroupsRequest:
		return onEach("Describe", kafka.OnGroup, rq.Groups)
	case *kmsg.DeleteGroupsRequest:
		return onEach("Delete", kafka.OnGroup, rq.Groups)
	case *kmsg.LeaveGroupRequest:
		return []kafka.Right{right("Read", kafka.OnGroup, rq.Group)}
	case *kmsg.InitProducerIDRequest:
		if rq.TransactionalID != nil {
			return []kafka.Right{right("Write", kafka.OnTransactionalID, *rq.TransactionalID)}
		}
	}
	return nil
}

func onEach(op, kind string, names []string) (rights []kafka.Right) {
	for _, n := range names {
		rights = append(rights, right(op, kind, n))
	}
	return rights
}

// refusals gathers what an answer refuses for want of rights.
type refusals struct {
	code   int16 // the first
	rights []kafka.Right
}

// note takes down a code of the answer, with the right that it is about if it is about rights.
func (x *refusals) note(code int16, op, kind, name string) {
	if deniedKind(rdk.ErrorCode(code)) != kind {
		return
	}
	if r := right(op, kind, name); !slices.Contains(x.rights, r) {
		x.rights = append(x.rights, r)
	}
	if x.code == 0 {
		x.code = code
	}
}

// refused reads from an answer which rights are missing.
func refused(rq kmsg.Request, answer kmsg.Response) (code int16, rights []kafka.Right) {
	var x refusals
	switch a := answer.(type) {
	case *kmsg.MetadataResponse:
		for _, t := range a.Topics {
			if t.Topic != nil {
				x.note(t.ErrorCode, "Describe", kafka.OnTopic, *t.Topic)
			}
		}
	case *kmsg.DescribeConfigsResponse:
		for _, r := range a.Resources {
			x.note(r.ErrorCode, "DescribeConfigs", kafka.OnTopic, r.ResourceName)
		}
	case *kmsg.CreateTopicsResponse:
		for _, t := range a.Topics {
			x.note(t.ErrorCode, "Create", kafka.OnTopic, t.Topic)
		}
	case *kmsg.CreatePartitionsResponse:
		for _, t := range a.Topics {
			x.note(t.ErrorCode, "Alter", kafka.OnTopic, t.Topic)
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range a.Topics {
			if t.Topic != nil {
				x.note(t.ErrorCode, "Delete", kafka.OnTopic, *t.Topic)
			}
		}
	case *kmsg.DeleteRecordsResponse:
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				x.note(p.ErrorCode, "Delete", kafka.OnTopic, t.Topic)
			}
		}
	case *kmsg.ListOffsetsResponse:
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				x.note(p.ErrorCode, "Describe", kafka.OnTopic, t.Topic)
			}
		}
	default:
		x.noteCoordinated(rq, answer)
	}
	return x.code, x.rights
}

// noteCoordinated reads the answers of coordinators of groups and transactions.
func (x *refusals) noteCoordinated(rq kmsg.Request, answer kmsg.Response) {
	needed := neededFor(rq)
	whole := func(code int16) {
		for _, r := range needed {
			x.note(code, r.Op, r.Kind, r.Name)
		}
	}
	switch a := answer.(type) {
	case *kmsg.OffsetCommitResponse:
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				whole(p.ErrorCode)
				x.note(p.ErrorCode, "Read", kafka.OnTopic, t.Topic)
			}
		}
	case *kmsg.OffsetFetchResponse:
		for _, g := range a.Groups {
			x.note(g.ErrorCode, "Describe", kafka.OnGroup, g.Group)
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					x.note(p.ErrorCode, "Describe", kafka.OnTopic, t.Topic)
				}
			}
		}
	case *kmsg.DescribeGroupsResponse:
		for _, g := range a.Groups {
			x.note(g.ErrorCode, "Describe", kafka.OnGroup, g.Group)
		}
	case *kmsg.DeleteGroupsResponse:
		for _, g := range a.Groups {
			x.note(g.ErrorCode, "Delete", kafka.OnGroup, g.Group)
		}
	case *kmsg.LeaveGroupResponse:
		whole(a.ErrorCode)
		for _, m := range a.Members {
			whole(m.ErrorCode)
		}
	case *kmsg.InitProducerIDResponse:
		whole(a.ErrorCode)
	}
}
