//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/integration/nodes"
)

// acl is one operation of a line of kafka-acls.sh.
type acl struct {
	op       string
	kind     string // the flag of the resource, without dashes
	name     string
	prefixed bool
}

func (a acl) String() string {
	if a.prefixed {
		return fmt.Sprintf("%s on %s %s*", a.op, a.kind, a.name)
	}
	return fmt.Sprintf("%s on %s %s", a.op, a.kind, a.name)
}

// documentedACLs reads the rights that docs/guarantees.md says a node needs, and those that reset needs in addition.
func documentedACLs(t *testing.T) (node, reset []acl) {
	t.Helper()
	f, err := os.Open("../docs/guarantees.md")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	into := &node
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "`node reset` needs"):
			into = &reset
		case strings.HasPrefix(line, "kafka-acls.sh ") && strings.Contains(line, "User:shop"): // of who asks
		case strings.HasPrefix(line, "kafka-acls.sh "):
			*into = append(*into, parseACL(t, line)...)
		}
	}
	require.NotEmpty(t, node)
	require.NotEmpty(t, reset)
	return node, reset
}

// parseACL reads a command line of kafka-acls.sh.
func parseACL(t *testing.T, line string) (acls []acl) {
	t.Helper()
	args := strings.Fields(line)[1:]
	var a acl
	var ops []string
	for i := 0; i < len(args); i++ {
		flag := args[i]
		if flag == "--add" {
			continue
		}
		i++
		require.Less(t, i, len(args), line)
		switch flag {
		case "--bootstrap-server":
		case "--allow-principal":
			require.Equal(t, "User:troupe", args[i])
		case "--operation":
			ops = append(ops, args[i])
		case "--topic", "--group", "--transactional-id":
			a.kind, a.name = strings.TrimPrefix(flag, "--"), args[i]
		case "--resource-pattern-type":
			require.Equal(t, "prefixed", args[i])
			a.prefixed = true
		default:
			t.Fatalf("kafka-acls.sh has no flag %s, as far as this test knows: %s", flag, line)
		}
	}
	for _, op := range ops {
		a.op = op
		acls = append(acls, a)
	}
	require.NotEmpty(t, acls, line)
	return acls
}

// coded are the numbers that the protocol has for an ACL.
func (a acl) coded(t *testing.T) (kind kmsg.ACLResourceType, pattern kmsg.ACLResourcePatternType, op kmsg.ACLOperation) {
	t.Helper()
	kind = map[string]kmsg.ACLResourceType{"topic": kmsg.ACLResourceTypeTopic, "group": kmsg.ACLResourceTypeGroup, "transactional-id": kmsg.ACLResourceTypeTransactionalId}[a.kind]
	pattern = kmsg.ACLResourcePatternTypeLiteral
	if a.prefixed {
		pattern = kmsg.ACLResourcePatternTypePrefixed
	}
	op, err := kmsg.ParseACLOperation(a.op)
	require.NoError(t, err)
	return kind, pattern, op
}

// grant gives rights to the user troupe.
func (s *secured) grant(t *testing.T, acls ...acl) {
	t.Helper()
	rq := kmsg.NewPtrCreateACLsRequest()
	for _, a := range acls {
		x := kmsg.NewCreateACLsRequestCreation()
		x.ResourceType, x.ResourcePatternType, x.Operation = a.coded(t)
		x.ResourceName, x.Principal, x.Host, x.PermissionType = a.name, "User:troupe", "*", kmsg.ACLPermissionTypeAllow
		rq.Creations = append(rq.Creations, x)
	}
	r, err := rq.RequestWith(t.Context(), s.root)
	require.NoError(t, err)
	for _, x := range r.Results {
		require.NoError(t, kerr.ErrorForCode(x.ErrorCode))
	}
}

// revoke takes rights from the user troupe.
func (s *secured) revoke(t *testing.T, acls ...acl) {
	t.Helper()
	rq := kmsg.NewPtrDeleteACLsRequest()
	for _, a := range acls {
		x := kmsg.NewDeleteACLsRequestFilter()
		x.ResourceType, x.ResourcePatternType, x.Operation = a.coded(t)
		x.ResourceName, x.Principal, x.PermissionType = &a.name, new("User:troupe"), kmsg.ACLPermissionTypeAllow
		rq.Filters = append(rq.Filters, x)
	}
	r, err := rq.RequestWith(t.Context(), s.root)
	require.NoError(t, err)
	for i, x := range r.Results {
		require.NoError(t, kerr.ErrorForCode(x.ErrorCode))
		require.Len(t, x.MatchingACLs, 1, acls[i])
	}
}

// guardedWordcount is the wordcount run by the user troupe, who has rights and no more.
type guardedWordcount struct {
	*secured
	dir         string
	node, reset []acl
	want        map[string]int64 // what is counted when all is done
}

// args are the arguments of a node that comes in by TLS and SCRAM.
func (g *guardedWordcount) args(dir string, more ...string) []string {
	return append(g.argsAt(g.Listener(saslTLSListener)[0], dir), more...)
}

func (g *guardedWordcount) argsAt(at, dir string) []string {
	return append([]string{"--topology", "wordcount", "--brokers", at, "--data-dir", dir}, kafkaArgs(g.login("security.protocol=sasl_ssl", "session.timeout.ms=6000")...)...)
}

// feed sends a line that is to be counted.
func (g *guardedWordcount) feed(t *testing.T, line string) {
	t.Helper()
	feed(t, g.Brokers()[0], []string{line}, 0).wait(t)
	for w, n := range plainCount([]string{line}) {
		g.want[w] += n
	}
}

// check drains what is there, with the rights that are documented, and compares: nothing lost, nothing doubled.
func (g *guardedWordcount) check(t *testing.T) {
	t.Helper()
	out, err := run(t, time.Minute, g.args(g.dir, "--drain")...)
	require.NoError(t, err)
	require.NotContains(t, out, "was given up")
	require.NotContains(t, out, "were given up")
	same(t, g.want, tableOf(t, g.Brokers()[0]), "table counts")
}

// lacks is what a message says of a right that is missing, and how it is mended.
func (g *guardedWordcount) lacks(t *testing.T, out string, a acl) {
	t.Helper()
	require.Contains(t, out, "User:troupe lacks "+a.op+" on "+strings.ReplaceAll(a.kind, "-", " "))
	line := fmt.Sprintf("`kafka-acls.sh --bootstrap-server %s --add --allow-principal User:troupe --operation %s --%s %s", g.Listener(saslTLSListener)[0], a.op, a.kind, a.name)
	if a.prefixed {
		line += " --resource-pattern-type prefixed"
	}
	require.Contains(t, out, line+"`")
}

// testDocumented: without rights all of them are named at once, and their commands are those of the documentation, which are enough.
func (g *guardedWordcount) testDocumented(t *testing.T) {
	g.node, g.reset = documentedACLs(t)
	out, err := run(t, soon, g.args(g.dir)...)
	require.ErrorContains(t, err, "exit status 1")
	var told []acl
	for _, line := range regexp.MustCompile("`(kafka-acls.sh [^`]*)`").FindAllStringSubmatch(out, -1) {
		told = append(told, parseACL(t, line[1])...)
	}
	var known []acl // the brokers tell of rights on topics and groups; the transactional id comes later
	for _, a := range g.node {
		if a.kind != "transactional-id" {
			known = append(known, a)
		}
	}
	require.ElementsMatch(t, known, told)
	for _, a := range g.node {
		if a.op != "Create" {
			g.grant(t, a)
		}
	}
	out, err = run(t, soon, g.args(g.dir)...)
	require.ErrorContains(t, err, "exit status 1")
	for _, a := range g.node {
		if a.op == "Create" {
			g.lacks(t, out, a)
			g.grant(t, a)
		}
	}
	g.feed(t, "one two three")
	g.feed(t, "two three three")
	g.check(t)
}

// notMissed are rights without which a node starts: Describe is implied by others, and the rest is needed only when a topic is
// to be made, to grow, or to be purged.
func notMissed(a acl) bool {
	return slices.Contains([]string{"Describe", "Create", "Alter", "Delete"}, a.op)
}

func (g *guardedWordcount) testMissing(t *testing.T) {
	for _, a := range g.node {
		if notMissed(a) {
			continue
		}
		t.Run(strings.ReplaceAll(a.String(), " ", "-"), func(t *testing.T) {
			g.revoke(t, a)
			defer g.grant(t, a)
			g.feed(t, "start")
			out, err := run(t, soon, g.args(g.dir)...)
			require.ErrorContains(t, err, "exit status 1")
			g.lacks(t, out, a)
		})
	}
	t.Run("Describe", func(t *testing.T) { // the brokers take it as given with others
		for _, a := range g.node {
			if a.op == "Describe" {
				g.revoke(t, a)
				defer g.grant(t, a)
			}
		}
		g.check(t)
	})
	t.Run("at least once", func(t *testing.T) { // it fences others, and so needs the transactional id too; see testFencing
		a := acl{"Read", "group", "wordcount", false}
		g.revoke(t, a)
		defer g.grant(t, a)
		out, err := run(t, soon, g.args(g.dir, "--guarantee", "at-least-once")...)
		require.ErrorContains(t, err, "exit status 1")
		g.lacks(t, out, a)
	})
}

// testTakenAway: a node that runs ends with the error, and nothing is lost.
func (g *guardedWordcount) testTakenAway(t *testing.T) {
	for _, a := range g.node {
		if notMissed(a) || a.op == "DescribeConfigs" && a.name != "lines" || a.op == "Read" && a.prefixed { // one is enough; of use when tables are restored
			continue
		}
		t.Run(strings.ReplaceAll(a.String(), " ", "-"), func(t *testing.T) {
			n := g.begin(t, g.args(g.dir))
			g.revoke(t, a)
			defer g.grant(t, a)
			g.feed(t, "gone away")
			out := ends(t, n, soon)
			g.lacks(t, out, a)
		})
	}
	g.check(t)
}

// begin starts a node and waits until it runs.
func (g *guardedWordcount) begin(t *testing.T, args []string) *nodes.Node {
	t.Helper()
	n, err := nodes.Start(binary, nil, args...)
	require.NoError(t, err)
	t.Cleanup(n.Kill)
	awaitRunning(t, n)
	return n
}

// testPasswordChanged: a node that runs and cannot log in any more says so and ends, and nothing is lost.
func (g *guardedWordcount) testPasswordChanged(t *testing.T) {
	n := g.begin(t, g.argsAt(g.Listener(shortListener)[0], g.dir))
	g.setPassword(t, "troupe", "changed")
	g.feed(t, "another day")
	out := ends(t, n, soon)
	require.Contains(t, out, `refuse the SASL login of user "troupe" by SCRAM-SHA-512: check sasl.username and sasl.password, whether the password was changed`)
	g.setPassword(t, "troupe", password)
	g.check(t)
}

// testFencing: a node needs the right for the transactional ids of all nodes, for it ends what dead ones have left open.
func (g *guardedWordcount) testFencing(t *testing.T) {
	n := g.begin(t, g.args(t.TempDir(), "--instance-id", "a"))
	n.Kill()
	for _, a := range g.node {
		if a.kind != "transactional-id" {
			continue
		}
		own := a
		own.name, own.prefixed = "wordcount-b", false
		g.revoke(t, a)
		g.grant(t, own)
		defer g.grant(t, a)
		defer g.revoke(t, own)
	}
	for _, guarantee := range []string{"exactly-once", "at-least-once"} {
		out, err := run(t, soon, g.args(t.TempDir(), "--instance-id", "b", "--guarantee", guarantee)...)
		require.ErrorContains(t, err, "exit status 1")
		require.Contains(t, out, "end the transactions of wordcount-a")
		g.lacks(t, out, acl{"Write", "transactional-id", "wordcount-", true})
	}
}

// testCommands: what only grown topics and a reset need.
func (g *guardedWordcount) testCommands(t *testing.T) {
	g.check(t)
	same(t, g.want, wordsOf(t, g.Brokers()[0], sum(g.want)), "topic words")
	topics := acl{"Delete", "topic", "wordcount-", true}
	reset := func() (string, error) {
		return run(t, soon, append([]string{"reset", "--yes"}, g.args(g.dir)...)...)
	}
	out, err := reset()
	require.ErrorContains(t, err, "exit status 1")
	g.lacks(t, out, g.reset[0])
	g.grant(t, g.reset...)
	g.revoke(t, topics)
	out, err = reset()
	require.ErrorContains(t, err, "exit status 1")
	g.lacks(t, out, topics)
	g.grant(t, topics)
	_, err = reset()
	require.NoError(t, err)
	g.check(t) // lines are counted anew
	alter := acl{"Alter", "topic", "wordcount-", true}
	g.revoke(t, alter)
	require.NoError(t, admin(t, g.Brokers()[0]).Grow(t.Context(), "lines", 6))
	out, err = run(t, soon, g.args(g.dir)...)
	require.ErrorContains(t, err, "exit status 1")
	g.lacks(t, out, alter)
}
