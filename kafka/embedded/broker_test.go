package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/kafka/embedded"
)

// childEnv makes this test program a broker that runs until it is killed.
const childEnv = "TROUPE_TEST_EMBEDDED_BROKER"

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		b, err := embedded.Start(embedded.Config{DataDir: dir})
		if err != nil {
			_, _ = fmt.Fprintln(os.Stdout, "error:", err)
			os.Exit(1)
		}
		_, _ = fmt.Fprintln(os.Stdout, b.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, dir string) *embedded.Broker {
	t.Helper()
	b, err := embedded.Start(embedded.Config{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func create(t *testing.T, cl *kgo.Client, partitions int32) {
	t.Helper()
	const topic = "a"
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, -1
	rq := kmsg.NewPtrCreateTopicsRequest()
	rq.Topics = append(rq.Topics, rt)
	r, err := rq.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Zero(t, r.Topics[0].ErrorCode)
}

// ends returns the ends of a topic's partitions.
func ends(t *testing.T, cl *kgo.Client, isolation int8, topic string, partitions int32) map[int32]int64 { //nolint:unparam // so far it is one topic
	t.Helper()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	rq := kmsg.NewPtrListOffsetsRequest()
	rq.IsolationLevel, rq.Topics = isolation, append(rq.Topics, rt)
	r, err := rq.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	m := map[int32]int64{}
	for _, p := range r.Topics[0].Partitions {
		require.Zero(t, p.ErrorCode)
		m[p.Partition] = p.Offset
	}
	return m
}

// committed reads all committed records of a topic to its end, by partition.
func committed(t *testing.T, addr string, partitions int32) map[int32][]string {
	t.Helper()
	const topic = "a"
	cl := client(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer cl.Close()
	stable, all := ends(t, cl, 1, topic, partitions), ends(t, cl, 0, topic, partitions)
	require.Equal(t, all, stable, "an open transaction hides records")
	got, at := map[int32][]string{}, map[int32]int64{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for behind := true; behind; {
		behind = false
		for p, end := range all {
			behind = behind || at[p] < end
		}
		if !behind {
			break
		}
		fs := cl.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "at %v of %v", at, all)
		fs.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				got[r.Partition] = append(got[r.Partition], string(r.Value))
			}
		})
	}
	return got
}

func TestABrokerKeepsItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "dir")
	b := start(t, dir)
	host, port, err := net.SplitHostPort(b.Addr())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", host)
	require.NotEqual(t, "0", port)
	cl := client(t, b.Addr())
	create(t, cl, -1)
	require.Len(t, ends(t, cl, 0, "a", embedded.DefaultPartitions), embedded.DefaultPartitions)
	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Partition: 3, Value: []byte("x")}).FirstErr())
	require.Error(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "unmade", Value: []byte("x")}).FirstErr(), "topics are made on purpose only")
	cl.Close()
	require.NoError(t, b.Close())
	require.NoError(t, b.Close(), "twice")
	b = start(t, dir)
	require.Equal(t, map[int32][]string{3: {"x"}}, committed(t, b.Addr(), 4))
}

// A topic that is purged goes on where it was, however often the broker is stopped and started.
func TestABrokerKeepsTheEndsOfWhatWasDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for run := range int64(4) {
		b := start(t, dir)
		cl := client(t, b.Addr())
		if run == 0 {
			create(t, cl, 2)
		}
		if run != 2 { // that one writes nothing
			end := min(run, 2)
			require.Equal(t, map[int32]int64{0: end, 1: 0}, ends(t, cl, 0, "a", 2))
			r, err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("x")}).First()
			require.NoError(t, err)
			require.Equal(t, end, r.Offset)
			deleteRecords(t, cl, -1)
		}
		cl.Close()
		require.NoError(t, b.Close())
	}
}

// deleteRecords deletes what is before an offset of the first partition of topic a; -1: all of it.
func deleteRecords(t *testing.T, cl *kgo.Client, before int64) {
	t.Helper()
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = before
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic, rt.Partitions = "a", append(rt.Partitions, rp)
	rq := kmsg.NewPtrDeleteRecordsRequest()
	rq.Topics = append(rq.Topics, rt)
	deleted, err := rq.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Zero(t, deleted.Topics[0].Partitions[0].ErrorCode)
}

// The same with a broker that is killed, and with one that has stopped in order before that.
func TestAKilledBrokerKeepsTheEndsOfWhatWasDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for run := range int64(4) {
		if run == 2 {
			require.NoError(t, start(t, dir).Close())
		}
		b := spawn(t, dir)
		cl := client(t, b.addr)
		if run == 0 {
			create(t, cl, 2)
		}
		require.Equal(t, map[int32]int64{0: run, 1: 0}, ends(t, cl, 0, "a", 2))
		r, err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("x")}).First()
		require.NoError(t, err)
		require.Equal(t, run, r.Offset)
		if run%2 == 0 {
			deleteRecords(t, cl, -1)
		} else {
			deleteRecords(t, cl, run+1)
		}
		cl.Close()
		b.kill(t)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, alive := embedded.Find(dir)
	require.False(t, alive)
	b := start(t, dir)
	addr, alive := embedded.Find(dir)
	require.True(t, alive)
	require.Equal(t, b.Addr(), addr)
	require.NoError(t, b.Close())
	_, alive = embedded.Find(dir)
	require.False(t, alive)
	require.NoFileExists(t, filepath.Join(dir, "broker.address"))
}

func TestASecondBrokerIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, dir)
	_, err := embedded.Start(embedded.Config{DataDir: dir})
	require.ErrorContains(t, err, "data directory "+dir+" has a broker running already at "+b.Addr())
	require.ErrorContains(t, err, "--brokers")
	require.NoError(t, b.Close())
	start(t, dir)
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	_, err := embedded.Start(embedded.Config{})
	require.ErrorContains(t, err, "--data-dir")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = embedded.Start(embedded.Config{DataDir: file})
	require.ErrorContains(t, err, file)
	_, err = embedded.Start(embedded.Config{DataDir: t.TempDir(), Addr: "nonsense"})
	require.ErrorContains(t, err, `"nonsense" is not host:port`)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	dir := t.TempDir()
	_, err = embedded.Start(embedded.Config{DataDir: dir, Addr: l.Addr().String()})
	require.ErrorContains(t, err, "cannot listen on "+l.Addr().String())
	start(t, dir) // and lets go of the directory
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	require.NoError(t, embedded.Run(ctx, embedded.Config{DataDir: dir, Addr: "0.0.0.0:0", Advertise: "localhost"}, func(addr string) {
		require.True(t, strings.HasPrefix(addr, "localhost:"), addr)
		cl := client(t, addr)
		create(t, cl, 1)
		cl.Close()
		cancel()
	}))
}

// child is a broker in a process of its own.
type child struct {
	cmd  *exec.Cmd
	addr string
}

func spawn(t *testing.T, dir string) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, line)
	require.NotContains(t, line, "error")
	return &child{cmd, strings.TrimSpace(line)}
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
}

// TestABrokerThatIsKilledAmongTransactions kills it again and again while transactions over all partitions run. Whatever
// was acknowledged as committed is there, once; what was aborted or open is not; nothing hangs.
func TestABrokerThatIsKilledAmongTransactions(t *testing.T) {
	t.Parallel()
	const partitions = 3
	dir := t.TempDir()
	number, uncertain := 0, map[string]bool{}
	var want []string
	port := ""
	for round := range 8 {
		b := spawn(t, dir)
		if port == "" {
			port = b.addr
		}
		require.Equal(t, port, b.addr, "it comes back where it was")
		addr, alive := embedded.Find(dir)
		require.True(t, alive)
		require.Equal(t, b.addr, addr)
		cl := client(t, b.addr, kgo.TransactionalID("x"), kgo.RecordDeliveryTimeout(time.Second), kgo.RequestRetries(0))
		if round == 0 {
			create(t, cl, partitions)
		}
		killed := make(chan struct{})
		last := 5 + 7*round
		for i := range 1000 {
			if i == last {
				go func() {
					defer close(killed)
					b.kill(t)
					cl.Close() // or it would wait for the broker with what it has under way
				}()
			}
			value := strconv.Itoa(number)
			number++
			committing, err := transact(t, cl, value, i%4 != 3)
			switch {
			case err == nil && committing:
				want = append(want, value)
			case err != nil && committing:
				uncertain[value] = true
			}
			if err != nil {
				break
			}
		}
		<-killed
		_, alive = embedded.Find(dir)
		require.False(t, alive, "its address is left, but nobody is there")
	}
	b := start(t, dir)
	got := committed(t, b.Addr(), partitions)
	seen := map[int32]map[string]bool{}
	for p := range int32(partitions) {
		seen[p] = map[string]bool{}
		for _, v := range got[p] {
			require.False(t, seen[p][v], "%s twice in partition %d", v, p)
			seen[p][v] = true
		}
		for _, v := range want {
			require.True(t, seen[p][v], "%s was committed and is not in partition %d", v, p)
			delete(seen[p], v)
		}
		for v := range seen[p] {
			require.True(t, uncertain[v], "%s was not committed and is in partition %d", v, p)
		}
	}
}

// transact writes one record to each partition and ends the transaction. committing says whether a commit was asked for.
func transact(t *testing.T, cl *kgo.Client, value string, commit bool) (committing bool, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := cl.BeginTransaction(); err != nil {
		return false, err
	}
	var rs []*kgo.Record
	for p := range int32(3) {
		rs = append(rs, &kgo.Record{Topic: "a", Partition: p, Value: []byte(value)})
	}
	if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		return false, err
	}
	if err := cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		return commit, err
	}
	return commit, nil
}

// TestOpenTransactionsOfAKilledBrokerStayAborted: the broker is killed under an open transaction, a later one of the same
// producer commits, and the broker is killed again. Without markers, that commit would commit the dead transaction too.
func TestOpenTransactionsOfAKilledBrokerStayAborted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := spawn(t, dir)
	cl := client(t, b.addr, kgo.TransactionalID("x"), kgo.RecordDeliveryTimeout(time.Second), kgo.RequestRetries(0))
	create(t, cl, 3)
	_, err := transact(t, cl, "first", true)
	require.NoError(t, err)
	require.NoError(t, cl.BeginTransaction())
	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("dead")}).FirstErr())
	b.kill(t)
	cl.Close()

	b = spawn(t, dir)
	require.Equal(t, []string{"first"}, committed(t, b.addr, 3)[0])
	cl = client(t, b.addr, kgo.TransactionalID("x"))
	_, err = transact(t, cl, "second", true)
	require.NoError(t, err)
	cl.Close()
	require.Equal(t, []string{"first", "second"}, committed(t, b.addr, 3)[0])
	b.kill(t)

	last := start(t, dir)
	require.Equal(t, []string{"first", "second"}, committed(t, last.Addr(), 3)[0])
}

// TestAClientThatOutlivesTheBrokerIsNotToldACommit: its transaction was open when the broker was killed.
func TestAClientThatOutlivesTheBrokerIsNotToldACommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := spawn(t, dir)
	cl := client(t, b.addr)
	create(t, cl, 3)
	tx := client(t, b.addr, kgo.TransactionalID("x"))
	_, err := transact(t, tx, "first", true)
	require.NoError(t, err)
	require.NoError(t, tx.BeginTransaction())
	require.NoError(t, tx.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("dead")}).FirstErr())
	b.kill(t)

	b = spawn(t, dir)
	defer b.kill(t)
	id, epoch, err := tx.ProducerID(t.Context())
	require.NoError(t, err)
	rq := kmsg.NewPtrEndTxnRequest() // version 4 and before: as librdkafka asks
	rq.TransactionalID, rq.ProducerID, rq.ProducerEpoch, rq.Commit = "x", id, epoch, true
	r, err := rq.RequestWith(t.Context(), client(t, b.addr))
	require.NoError(t, err)
	require.NotZero(t, r.ErrorCode, "a commit of what was aborted")
	require.Equal(t, []string{"first"}, committed(t, b.addr, 3)[0])
}

func TestAnOrderlyStopKeepsOpenTransactionsOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, dir)
	tx := client(t, b.Addr(), kgo.TransactionalID("x"))
	create(t, tx, 1)
	require.NoError(t, tx.BeginTransaction())
	require.NoError(t, tx.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("kept")}).FirstErr())
	addr := b.Addr()
	require.NoError(t, b.Close())
	b, err := embedded.Start(embedded.Config{DataDir: dir, Addr: addr})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	require.NoError(t, tx.EndTransaction(t.Context(), kgo.TryCommit))
	require.Equal(t, []string{"kept"}, committed(t, b.Addr(), 1)[0])
}
