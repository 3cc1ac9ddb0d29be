package confluent

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// Lacking implements kafka.Rights.
func (a *admin) Lacking(ctx context.Context, needed, whole []kafka.Right) error {
	var missing []kafka.Right
	err := a.retry(ctx, func(ctx context.Context) error {
		found, barred, err := lacking(ctx, a.raw.Client, needed)
		missing = found
		for _, r := range whole {
			if slices.Contains(barred, r.Name) && r.Kind == kafka.OnTopic {
				missing = append(missing, r)
			}
		}
		return err
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	slices.SortFunc(missing, byName)
	return &deniedError{who: a.driver.who, rights: slices.Compact(missing)}
}

// lacking asks which of some rights on topics and groups are missing, and of which topics not even the existence is shown.
// Brokers that do not tell (before 2.3) lack nothing.
func lacking(ctx context.Context, ask kmsg.Requestor, rights []kafka.Right) (missing []kafka.Right, barred []string, err error) {
	about := kmsg.NewPtrMetadataRequest()
	about.Topics, about.IncludeTopicAuthorizedOperations = []kmsg.MetadataRequestTopic{}, true
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.IncludeAuthorizedOperations = true
	var topics []string
	for _, r := range rights {
		switch {
		case r.Kind == kafka.OnTopic && !slices.Contains(topics, r.Name):
			topics = append(topics, r.Name)
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = &r.Name
			about.Topics = append(about.Topics, t)
		case r.Kind == kafka.OnGroup && !slices.Contains(groups.Groups, r.Name):
			groups.Groups = append(groups.Groups, r.Name)
		}
	}
	meta, err := about.RequestWith(ctx, ask)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range meta.Topics {
		if t.Topic == nil {
			continue
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			barred = append(barred, *t.Topic)
			missing = append(missing, without(rights, kafka.OnTopic, *t.Topic, 0)...)
		case err == nil:
			missing = append(missing, without(rights, kafka.OnTopic, *t.Topic, t.AuthorizedOperations)...)
		}
	}
	if len(groups.Groups) == 0 {
		return missing, barred, nil
	}
	described, err := groups.RequestWith(ctx, ask)
	if err != nil && !errors.Is(err, kerr.GroupAuthorizationFailed) {
		return nil, nil, err
	}
	if err != nil { // not even its coordinator is told
		for _, g := range groups.Groups {
			missing = append(missing, without(rights, kafka.OnGroup, g, 0)...)
		}
		return missing, barred, nil
	}
	for _, g := range described.Groups {
		switch err := kerr.ErrorForCode(g.ErrorCode); {
		case errors.Is(err, kerr.GroupAuthorizationFailed):
			missing = append(missing, without(rights, kafka.OnGroup, g.Group, 0)...)
		case err == nil:
			missing = append(missing, without(rights, kafka.OnGroup, g.Group, g.AuthorizedOperations)...)
		case kerr.IsRetriable(err):
			return nil, nil, err
		}
	}
	return missing, barred, nil
}

// untold is what brokers say that do not tell which operations are allowed.
const untold = -1 << 31

// without returns those rights on a thing that are not among the allowed operations: bits, by their numbers in the protocol.
func without(rights []kafka.Right, kind, name string, allowed int32) (missing []kafka.Right) {
	for _, r := range rights {
		if r.Kind != kind || r.Name != name || allowed == untold {
			continue
		}
		op, err := kmsg.ParseACLOperation(r.Op)
		if err == nil && allowed&(1<<uint(op)) == 0 {
			missing = append(missing, r)
		}
	}
	return missing
}
