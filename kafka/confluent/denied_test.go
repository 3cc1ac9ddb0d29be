package confluent

import (
	"context"
	"errors"
	"fmt"
	"testing"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

var someone = identity{principal: "User:me", brokers: "kafka:9093", topologies: []string{"t"}, user: "me", mechanism: "PLAIN"}

// TestDeniedNames: the error names the right, on what, and the command; and what the broker said stays in it.
func TestDeniedNames(t *testing.T) {
	t.Parallel()
	const acls = "`kafka-acls.sh --bootstrap-server kafka:9093 --add --allow-principal User:me "
	topic := rdk.NewError(rdk.ErrTopicAuthorizationFailed, "Fetch from broker 1 failed: Broker: Topic authorization failed", false)
	group := rdk.NewError(rdk.ErrGroupAuthorizationFailed, "JoinGroup failed: Broker: Group authorization failed", false)
	id := rdk.NewError(rdk.ErrTransactionalIDAuthorizationFailed, "Failed to acquire transactional PID from broker TxnCoordinator/1: Broker: Transactional Id authorization failed", true)
	both := []kafka.Right{right("Read", kafka.OnGroup, "t"), right("Read", kafka.OnTopic, "lines")}
	for name, x := range map[string]struct {
		err    error
		needed []kafka.Right
		says   string
	}{
		"topic": {topic, both, "User:me lacks Read on topic lines: grant with " + acls + "--operation Read --topic lines`"},
		"group": {group, both, "User:me lacks Read on group t: grant with " + acls + "--operation Read --group t`"},
		"transactional id": {
			id,
			[]kafka.Right{right("Write", kafka.OnTransactionalID, "t-1")},
			"User:me lacks Write on transactional id t-1: grant with " + acls + "--operation Write --transactional-id t- --resource-pattern-type prefixed`",
		},
		"another's transactional id": {
			id,
			[]kafka.Right{right("Write", kafka.OnTransactionalID, "u-1")},
			"User:me lacks Write on transactional id u-1: grant with " + acls + "--operation Write --transactional-id u-1`",
		},
		"cluster": {
			kerr.ClusterAuthorizationFailed,
			[]kafka.Right{right("IdempotentWrite", kafka.OnCluster, "")},
			"User:me lacks IdempotentWrite on cluster: grant with " + acls + "--operation IdempotentWrite --cluster`",
		},
		"several": {
			kerr.TopicAuthorizationFailed,
			[]kafka.Right{
				right("Write", kafka.OnTopic, "t-slots"), right("Read", kafka.OnTopic, "t-slots"), right("Read", kafka.OnTopic, "t-leader"),
				right("Read", kafka.OnTopic, "b"), right("Read", kafka.OnTopic, "a"), right("Read", kafka.OnTopic, "a"),
			},
			"User:me lacks Read on topics a, b, t-leader; Read, Write on topic t-slots: grant with " + acls + "--operation Read --topic a` and " +
				acls + "--operation Read --topic b` and " + acls + "--operation Read --operation Write --topic t- --resource-pattern-type prefixed`",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := someone.denied(x.err, x.needed...)
			require.EqualError(t, err, fmt.Sprintf("%s (%v)", x.says, x.err))
			require.ErrorIs(t, err, kafka.ErrDenied)
			require.Equal(t, codeOf(x.err), codeOf(err))
			require.Equal(t, err, someone.denied(err, x.needed...), "said once")
			require.Equal(t, protocol.Other, protocol.KindOf(classify(err)), "no bundle is sick for want of a right")
		})
	}
	for _, err := range []error{nil, errors.New("x"), kerr.NotLeaderForPartition, topic} {
		require.Equal(t, err, someone.denied(err, right("Read", kafka.OnGroup, "t")), "not about a group")
	}
}

// TestRefusedNamesTheUser and how the login was tried, but no password.
func TestRefusedNamesTheUser(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		rdk.NewError(rdk.ErrAuthentication, "SASL authentication error: Authentication failed during re-authentication due to invalid credentials with SASL mechanism PLAIN", false),
		fmt.Errorf("%w: invalid credentials", kerr.SaslAuthenticationFailed),
	} {
		got := someone.refused(err)
		require.ErrorIs(t, got, kafka.ErrDenied)
		require.EqualError(t, got, `the brokers at kafka:9093 refuse the SASL login of user "me" by PLAIN: check sasl.username and sasl.password, whether the password was changed or the user deleted (`+err.Error()+")")
	}
	require.Equal(t, kerr.NotLeaderForPartition, someone.refused(kerr.NotLeaderForPartition))
}

// TestRefusedAnswers: each answer of a broker that denies something leads to the right that docs/guarantees.md names.
func TestRefusedAnswers(t *testing.T) {
	t.Parallel()
	topic, group, id := kerr.TopicAuthorizationFailed.Code, kerr.GroupAuthorizationFailed.Code, kerr.TransactionalIDAuthorizationFailed.Code
	name, txn := "x", "t-1"
	for _, x := range []struct {
		rq     kmsg.Request
		answer kmsg.Response
		want   kafka.Right
	}{
		{&kmsg.MetadataRequest{}, &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{{ErrorCode: topic, Topic: &name}}}, right("Describe", kafka.OnTopic, "x")},
		{&kmsg.DescribeConfigsRequest{}, &kmsg.DescribeConfigsResponse{Resources: []kmsg.DescribeConfigsResponseResource{{ErrorCode: topic, ResourceName: "x"}}}, right("DescribeConfigs", kafka.OnTopic, "x")},
		{&kmsg.CreateTopicsRequest{}, &kmsg.CreateTopicsResponse{Topics: []kmsg.CreateTopicsResponseTopic{{ErrorCode: topic, Topic: "x"}}}, right("Create", kafka.OnTopic, "x")},
		{&kmsg.CreatePartitionsRequest{}, &kmsg.CreatePartitionsResponse{Topics: []kmsg.CreatePartitionsResponseTopic{{ErrorCode: topic, Topic: "x"}}}, right("Alter", kafka.OnTopic, "x")},
		{&kmsg.DeleteTopicsRequest{}, &kmsg.DeleteTopicsResponse{Topics: []kmsg.DeleteTopicsResponseTopic{{ErrorCode: topic, Topic: &name}}}, right("Delete", kafka.OnTopic, "x")},
		{&kmsg.DeleteRecordsRequest{}, &kmsg.DeleteRecordsResponse{Topics: []kmsg.DeleteRecordsResponseTopic{{Topic: "x", Partitions: []kmsg.DeleteRecordsResponseTopicPartition{{ErrorCode: topic}}}}}, right("Delete", kafka.OnTopic, "x")},
		{&kmsg.ListOffsetsRequest{}, &kmsg.ListOffsetsResponse{Topics: []kmsg.ListOffsetsResponseTopic{{Topic: "x", Partitions: []kmsg.ListOffsetsResponseTopicPartition{{ErrorCode: topic}}}}}, right("Describe", kafka.OnTopic, "x")},
		{&kmsg.OffsetCommitRequest{Group: "t"}, &kmsg.OffsetCommitResponse{Topics: []kmsg.OffsetCommitResponseTopic{{Topic: "x", Partitions: []kmsg.OffsetCommitResponseTopicPartition{{ErrorCode: topic}}}}}, right("Read", kafka.OnTopic, "x")},
		{&kmsg.OffsetCommitRequest{Group: "t"}, &kmsg.OffsetCommitResponse{Topics: []kmsg.OffsetCommitResponseTopic{{Topic: "x", Partitions: []kmsg.OffsetCommitResponseTopicPartition{{ErrorCode: group}}}}}, right("Read", kafka.OnGroup, "t")},
		{&kmsg.OffsetFetchRequest{}, &kmsg.OffsetFetchResponse{Groups: []kmsg.OffsetFetchResponseGroup{{Group: "t", ErrorCode: group}}}, right("Describe", kafka.OnGroup, "t")},
		{&kmsg.DescribeGroupsRequest{}, &kmsg.DescribeGroupsResponse{Groups: []kmsg.DescribeGroupsResponseGroup{{Group: "t", ErrorCode: group}}}, right("Describe", kafka.OnGroup, "t")},
		{&kmsg.DeleteGroupsRequest{}, &kmsg.DeleteGroupsResponse{Groups: []kmsg.DeleteGroupsResponseGroup{{Group: "t", ErrorCode: group}}}, right("Delete", kafka.OnGroup, "t")},
		{&kmsg.LeaveGroupRequest{Group: "t"}, &kmsg.LeaveGroupResponse{ErrorCode: group}, right("Read", kafka.OnGroup, "t")},
		{&kmsg.InitProducerIDRequest{TransactionalID: &txn}, &kmsg.InitProducerIDResponse{ErrorCode: id}, right("Write", kafka.OnTransactionalID, "t-1")},
	} {
		_, got := refused(x.rq, x.answer)
		require.Equal(t, []kafka.Right{x.want}, got, "%T", x.answer)
	}
	_, none := refused(&kmsg.MetadataRequest{}, &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{{ErrorCode: kerr.UnknownTopicOrPartition.Code, Topic: &name}}})
	require.Empty(t, none)
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string]map[string]string{
		"User:ANONYMOUS": {"security.protocol": "ssl"},
		"User:me":        {"security.protocol": "SASL_SSL", "sasl.username": "me"},
	} {
		require.Equal(t, want, identityOf(Config{Settings: settings}).principal)
	}
	require.Equal(t, `'User:CN=me, O=us'`, shellWord("User:CN=me, O=us"))
}

// answers is a broker that says which operations are allowed.
type answers struct {
	meta   *kmsg.MetadataResponse
	groups *kmsg.DescribeGroupsResponse
	err    error // of the question about groups
}

func (a answers) Request(_ context.Context, rq kmsg.Request) (kmsg.Response, error) {
	if _, ok := rq.(*kmsg.MetadataRequest); ok {
		return a.meta, nil
	}
	return a.groups, a.err
}

// TestLacking reads the bits by which brokers tell what is allowed.
func TestLacking(t *testing.T) {
	t.Parallel()
	name := func(s string) *string { return &s }
	read, write := int32(1<<kmsg.ACLOperationRead), int32(1<<kmsg.ACLOperationWrite)
	needed := []kafka.Right{
		right("Read", kafka.OnTopic, "a"), right("Write", kafka.OnTopic, "a"), right("Read", kafka.OnTopic, "b"), right("Read", kafka.OnTopic, "c"),
		right("Read", kafka.OnTopic, "old"), right("Read", kafka.OnTopic, "none"), right("Read", kafka.OnGroup, "g"),
	}
	meta := &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{
		{Topic: name("a"), AuthorizedOperations: read},
		{Topic: name("b"), AuthorizedOperations: read | write},
		{Topic: name("c"), ErrorCode: kerr.TopicAuthorizationFailed.Code, AuthorizedOperations: untold},
		{Topic: name("old"), AuthorizedOperations: untold},
		{Topic: name("none"), ErrorCode: kerr.UnknownTopicOrPartition.Code, AuthorizedOperations: untold},
	}}
	missing, barred, err := lacking(t.Context(), answers{meta: meta, groups: &kmsg.DescribeGroupsResponse{Groups: []kmsg.DescribeGroupsResponseGroup{{Group: "g", AuthorizedOperations: read}}}}, needed)
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, barred)
	require.Equal(t, []kafka.Right{right("Write", kafka.OnTopic, "a"), right("Read", kafka.OnTopic, "c")}, missing)
	missing, _, err = lacking(t.Context(), answers{meta: meta, err: kerr.GroupAuthorizationFailed}, needed)
	require.NoError(t, err)
	require.Contains(t, missing, right("Read", kafka.OnGroup, "g"))
}
