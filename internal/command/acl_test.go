package command

import (
	"bufio"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	example "github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// documentedACLs reads the rights that docs/guarantees.md says are needed: those of a node, those with what reset needs, and those of who asks.
func documentedACLs(t *testing.T) (node, all, asker []kfake.ACL) {
	t.Helper()
	f, err := os.Open("../../docs/guarantees.md")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "`node reset` needs") {
			node = all
		}
		if strings.HasPrefix(line, "kafka-acls.sh ") && strings.Contains(line, "User:shop") {
			asker = append(asker, parseACL(t, strings.Fields(line)[1:])...)
		} else if strings.HasPrefix(line, "kafka-acls.sh ") {
			all = append(all, parseACL(t, strings.Fields(line)[1:])...)
		}
	}
	require.Len(t, all, len(node)+1, "reset needs one more")
	require.NotEmpty(t, asker)
	return node, all, asker
}

// parseACL reads the arguments of kafka-acls.sh.
func parseACL(t *testing.T, args []string) (acls []kfake.ACL) {
	t.Helper()
	a := kfake.ACL{Pattern: kmsg.ACLResourcePatternTypeLiteral, Allow: true}
	var ops []string
	for len(args) > 0 {
		flag := args[0]
		if args = args[1:]; flag == "--add" {
			continue
		}
		require.NotEmpty(t, args, flag)
		value := args[0]
		args = args[1:]
		switch flag {
		case "--allow-principal":
			require.Contains(t, []string{"User:troupe", "User:shop"}, value)
		case "--operation":
			ops = append(ops, value)
		case "--topic":
			a.Resource, a.Name = kmsg.ACLResourceTypeTopic, value
		case "--group":
			a.Resource, a.Name = kmsg.ACLResourceTypeGroup, value
		case "--transactional-id":
			a.Resource, a.Name = kmsg.ACLResourceTypeTransactionalId, value
		case "--resource-pattern-type":
			require.Equal(t, "prefixed", value)
			a.Pattern = kmsg.ACLResourcePatternTypePrefixed
		default:
			t.Fatalf("kafka-acls.sh has no flag %s, as far as this test knows", flag)
		}
	}
	for _, op := range ops {
		o, err := kmsg.ParseACLOperation(op)
		require.NoError(t, err, op)
		a.Operation = o
		acls = append(acls, a)
	}
	require.NotEmpty(t, acls)
	return acls
}

// guarded is a broker that gives the user troupe certain rights and no more, and the user shop others, with a text to count. It returns the
// flags with which each connects.
func guarded(t *testing.T, acls []kfake.ACL, shops ...kfake.ACL) (args, shop []string) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "root"),
		kfake.User("PLAIN", "troupe", "pass", acls...), kfake.User("PLAIN", "shop", "pass", shops...), kfake.SeedTopics(4, "lines", "words"),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	login := func(user, password string) map[string]string {
		return map[string]string{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": password}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	root, err := host.Connect(ctx, host.ClusterConfig{Brokers: c.ListenAddrs(), Settings: login("root", "root")})
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	out := new(kafka.Outputs)
	out.Append(0, 0, 0, nil, []byte(counted), nil)
	_, err = root.Admin.Produce(ctx, []string{"lines"}, out)
	require.NoError(t, err)
	flags := func(user string) []string {
		args := []string{"--brokers", c.ListenAddrs()[0], "--data-dir", t.TempDir()}
		for k, v := range login(user, "pass") {
			args = append(args, "--kafka", k+"="+v)
		}
		return args
	}
	return flags("troupe"), flags("shop")
}

// TestACLs: the rights that the documentation names are enough for a node, and for the commands.
func TestACLs(t *testing.T) {
	t.Parallel()
	node, all, asker := documentedACLs(t)
	for name, guarantee := range map[string]string{"exactly once": ExactlyOnce, "at least once": AtLeastOnce} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, _ := guarded(t, node)
			run := func(args ...string) result {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				return runWith(ctx, nil, []Topology{example.Topology()}, append(args, at...)...)
			}
			r := run("--drain", "--guarantee", guarantee)
			require.Zero(t, r.code, r.err)
			require.Equal(t, counts, run("scan", "counts", "--format", "tsv").out)
			r = run("verify")
			require.Zero(t, r.code, r.out+r.err)
			require.Contains(t, r.out, "note   settings: not all checked: the brokers do not show this client the settings of broker 0")
			r = run("evict")
			require.Zero(t, r.code, r.err)
			require.Contains(t, r.err, "topology wordcount has no members")
			r = run("reset", "--yes")
			require.Equal(t, exitFailed, r.code)
			require.Contains(t, r.err, "delete group wordcount: User:troupe lacks Delete on group wordcount: grant with `kafka-acls.sh --bootstrap-server ")
			require.Contains(t, r.err, " --add --allow-principal User:troupe --operation Delete --group wordcount` (GROUP_AUTHORIZATION_FAILED")
		})
	}
	t.Run("reset", func(t *testing.T) {
		t.Parallel()
		at, _ := guarded(t, all)
		for range 2 {
			r := runWith(t.Context(), nil, []Topology{example.Topology()}, append([]string{"--drain"}, at...)...)
			require.Zero(t, r.code, r.err)
			r = runWith(t.Context(), nil, []Topology{example.Topology()}, append([]string{"scan", "counts", "--format", "tsv"}, at...)...)
			require.Equal(t, counts, r.out)
			r = runWith(t.Context(), nil, []Topology{example.Topology()}, append([]string{"reset", "--yes"}, at...)...)
			require.Zero(t, r.code, r.err)
		}
	})
	t.Run("ask", func(t *testing.T) {
		t.Parallel()
		topo := topology.New("wordcount")
		words := topology.NewTopic(topo, "words", codec.String, codec.String)
		topology.Answer(topo, "length", words, func(_ *topology.Context, w topology.Event[string, string]) (int64, error) {
			return int64(len(w.Key + w.Value)), nil
		}, codec.Int64)
		at, shop := guarded(t, node, asker...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		running, stop := context.WithCancel(ctx)
		ended := make(chan result, 1)
		go func() { ended <- runWith(running, nil, []Topology{topo}, append([]string{"--http", "off"}, at...)...) }()
		r := runWith(ctx, nil, []Topology{topo}, append([]string{"ask", "@length", "four", "five5"}, shop...)...)
		require.Equal(t, "9\n", r.out, r.err)
		require.Zero(t, r.code)
		stop()
		require.Zero(t, (<-ended).code)
	})
}
