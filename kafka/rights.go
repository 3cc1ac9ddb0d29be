package kafka

import (
	"context"
	"strings"
)

// What a right is for, as kafka-acls.sh names it.
const (
	OnTopic           = "topic"
	OnGroup           = "group"
	OnTransactionalID = "transactional-id"
	OnCluster         = "cluster"
)

// Right is what an ACL grants: an operation on one thing.
type Right struct {
	Op   string // as kafka-acls.sh names it: Read, Write, DescribeConfigs …
	Kind string // OnTopic, OnGroup …
	Name string // empty for the cluster
}

// String is a right in words.
func (r Right) String() string {
	if r.Kind == OnCluster {
		return r.Op + " on the cluster"
	}
	return r.Op + " on " + strings.ReplaceAll(r.Kind, "-", " ") + " " + r.Name
}

// Rights is an Admin that can ask the brokers which rights this client has.
type Rights interface {
	// Lacking returns an error that is ErrDenied and names those of the rights that are missing, with the commands that grant
	// them; nil where none is. Where nothing at all is allowed with a topic, it names the rights in whole as well: those that
	// are needed there sooner or later. Rights on topics and groups only; what is not known to the brokers lacks nothing.
	Lacking(ctx context.Context, needed, whole []Right) error
}
