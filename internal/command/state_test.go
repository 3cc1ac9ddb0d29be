package command

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	example "github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
)

// text is what the nodes of these tests count.
const counted = "to be or not to be\nthat is the question\nwhether tis nobler in the mind to suffer\nthe slings and arrows\n"

// counts is the table that makes, as scan prints it.
const counts = "and\t1\narrows\t1\nbe\t2\nin\t1\nis\t1\nmind\t1\nnobler\t1\nnot\t1\nor\t1\nquestion\t1\nslings\t1\nsuffer\t1\nthat\t1\nthe\t3\ntis\t1\nto\t3\nwhether\t1\n"

// state is a data directory with an embedded broker and a topology that has run and stopped.
type state struct {
	t   *testing.T
	dir string
}

// ran makes the state of a wordcount that has counted a text.
func ran(t *testing.T) state {
	t.Helper()
	s := state{t, t.TempDir()}
	file := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(file, []byte(counted), 0o600))
	r := s.run("--feed", "lines="+file, "--drain")
	require.Zero(t, r.code, r.err)
	require.NotContains(t, r.err, "level=WARN", "an embedded broker has nothing to be warned of")
	return s
}

// clone copies it, for a test that spoils it.
func (s state) clone(t *testing.T) state {
	t.Helper()
	c := state{t, t.TempDir()}
	require.NoError(t, os.CopyFS(c.dir, skipLocks{os.DirFS(s.dir)}))
	return c
}

// skipLocks hides files that only the process has that made them.
type skipLocks struct{ fs.FS }

func (f skipLocks) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(f.FS, name)
	var kept []fs.DirEntry
	for _, e := range all {
		if !strings.HasSuffix(e.Name(), "lock") {
			kept = append(kept, e)
		}
	}
	return kept, err
}

// run runs a command line on it.
func (s state) run(args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	return runWith(ctx, nil, []Topology{example.Topology()}, append(args, "--data-dir", s.dir)...)
}

// verified runs verify and requires its exit code.
func (s state) verified(code int) string {
	s.t.Helper()
	r := s.run("verify")
	require.Equal(s.t, code, r.code, r.out+r.err)
	return r.out
}

// recount requires that a start makes the table what it was.
func (s state) recount() {
	s.t.Helper()
	r := s.run("--drain")
	require.Zero(s.t, r.code, r.err)
	r = s.run("scan", "counts", "--format", "tsv")
	require.Equal(s.t, counts, r.out, r.err)
}

// change does something on the broker by hand.
func (s state) change(f func(ctx context.Context, admin kafka.Operator) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	c, err := host.Connect(ctx, host.ClusterConfig{DataDir: s.dir, Transient: true})
	require.NoError(s.t, err)
	err = f(ctx, c.Admin)
	require.NoError(s.t, c.Close())
	require.NoError(s.t, err)
}

// commit sets an offset with its metadata.
func (s state) commit(topic string, partition int32, offset int64, metadata string) {
	s.t.Helper()
	s.change(func(ctx context.Context, admin kafka.Operator) error {
		return admin.SetOffsets(ctx, "wordcount", kafka.Position{
			TopicPartition: kafka.TopicPartition{Topic: topic, Partition: partition}, Offset: offset, Metadata: metadata,
		})
	})
}

// put writes a record.
func (s state) put(topic string, partition int32, key, value []byte) {
	s.t.Helper()
	s.change(func(ctx context.Context, admin kafka.Operator) error {
		out := new(kafka.Outputs)
		out.Append(0, partition, 0, key, value, nil)
		_, err := admin.Produce(ctx, []string{topic}, out)
		return err
	})
}

// node is a node that runs.
type liveNode struct {
	stop  context.CancelFunc
	ended chan result
	err   *buffer
}

// start starts a node and waits until it has all partitions; it is stopped at the end of the test.
func (s state) start(args ...string) *liveNode {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &liveNode{stop: cancel, ended: make(chan result, 1), err: new(buffer)}
	app := &App{Name: "node", Topologies: []Topology{example.Topology()}, In: strings.NewReader(""), Out: new(buffer), Err: n.err}
	go func() {
		code := app.Run(ctx, append(args, "--data-dir", s.dir))
		n.ended <- result{code: code, err: n.err.String()}
		close(n.ended)
	}()
	s.t.Cleanup(n.end)
	require.Eventually(s.t, func() bool { return strings.Count(n.err.String(), "partition running") >= 9 }, 30*time.Second, 10*time.Millisecond, n.err)
	return n
}

// end stops the node in order and waits for it.
func (n *liveNode) end() {
	n.stop()
	for range n.ended { // until it is closed
	}
}
