package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/integration/proc"
	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/host"
)

const (
	// sessionTimeout is when a group gives up a node that is silent; transactionTimeout when the coordinator ends its
	// transaction.
	sessionTimeout     = 6 * time.Second
	transactionTimeout = 20 * time.Second
	// stopWait bounds an orderly stop of a node, killWait one by force.
	stopWait = 45 * time.Second
	killWait = 10 * time.Second
	// reviveAfter is when a node that ended by itself is started again, as whatever runs services would.
	reviveAfter = time.Second
)

// fleet is all nodes.
type fleet struct {
	binary  string
	dir     string
	cluster *cluster
	members []*member // one for each lane; some are not wanted at the moment
	exits   exits
	ordered atomic.Int64 // nodes that a record has ended which does that
	wait    sync.WaitGroup
}

// exits are nodes that ended by themselves.
type exits struct {
	mu   sync.Mutex
	list []exit
}

// exit is a node that ended by itself.
type exit struct {
	Node  string    `json:"node"`
	At    time.Time `json:"at"`
	Code  int       `json:"code"`
	Ran   string    `json:"ran"`
	Why   string    `json:"why"` // its last line
	Under []string  `json:"under,omitempty"`
}

// member is a place for a node: a lane, and a data directory.
type member struct {
	name  string
	lane  int
	fleet *fleet

	mu       sync.Mutex
	dir      string // of its data; a new one for each new node
	log      *os.File
	process  *proc.Process
	watch    *watch
	wanted   bool   // it should run
	handled  bool   // a fault has it in hand: nobody else touches it
	expected bool   // its process was told to end
	born     int    // new data directories so far
	only     string // the one topology that it runs; empty: all
}

// buildNode builds the node command.
func buildNode(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "node")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "crashpoints", "-o", path, // with its trace
		"github.com/troupe-stream/troupe/integration/chaos/node")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the node: %w: %s", err, out)
	}
	return path, nil
}

func newFleet(c *cluster, binary, dir string, lanes int) (*fleet, error) {
	f := &fleet{binary: binary, dir: dir, cluster: c}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o750); err != nil {
		return nil, err
	}
	for l := range lanes {
		name := fmt.Sprintf("node-%d", l+1)
		log, err := os.OpenFile(filepath.Join(dir, "logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		f.members = append(f.members, &member{name: name, lane: l, fleet: f, log: log})
	}
	return f, nil
}

// fresh gives a member a data directory that is empty: it is a node nobody has seen before.
func (m *member) fresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.born++
	m.dir = filepath.Join(m.fleet.dir, "data", fmt.Sprintf("%s-%d", m.name, m.born))
}

// runOnly says which topology the next node of the member runs; empty: all.
func (m *member) runOnly(topology string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.only = topology
}

// start starts the member's node on its data directory.
func (m *member) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.launch()
}

func (m *member) launch() error {
	cmd := exec.Command(m.fleet.binary, "all", m.fleet.cluster.addrs(m.lane), m.dir, //nolint:noctx // kill and stop end it
		fmt.Sprintf("session.timeout.ms=%d", sessionTimeout.Milliseconds()), "heartbeat.interval.ms=1000",
		fmt.Sprintf("transaction.timeout.ms=%d", transactionTimeout.Milliseconds()))
	cmd.Env = append(os.Environ(), "TROUPE_TRACE=1", "TROUPE_ONLY="+m.only)
	_, _ = fmt.Fprintf(m.log, "%s === started on %s\n", time.Now().Format("15:04:05.000"), m.dir) // a test's log
	w := &watch{log: m.log, started: time.Now(), owned: map[string]time.Time{}, held: map[string]int{}}
	p, err := proc.Start(m.name, cmd, w)
	if err != nil {
		return err
	}
	m.process, m.watch, m.wanted, m.expected = p, w, true, false
	m.fleet.wait.Go(func() { m.mind(p) })
	return nil
}

// mind waits for a process to end, and starts the node again if nobody has told it to end.
func (m *member) mind(p *proc.Process) {
	<-p.Done()
	m.mu.Lock()
	mine, expected := m.process == p, m.expected
	m.mu.Unlock()
	if !mine || expected {
		return
	}
	code, _ := p.Wait(context.Background()) // it has ended
	last := p.Lines()
	why := ""
	for _, l := range last {
		if !strings.HasPrefix(l, "trace ") {
			why = l
		}
	}
	if code == work.ExitCode {
		m.fleet.ordered.Add(1)
	} else {
		m.fleet.exits.add(exit{Node: m.name, At: time.Now(), Code: code, Ran: time.Since(p.Started).Round(time.Millisecond).String(), Why: why})
	}
	timer := time.NewTimer(reviveAfter)
	defer timer.Stop()
	<-timer.C
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != p || m.expected || !m.wanted {
		return
	}
	if err := m.launch(); err != nil {
		m.fleet.exits.add(exit{Node: m.name, At: time.Now(), Code: -1, Why: err.Error()})
	}
}

// end ends the member's process, in order or at once, and waits for it. A process that does not stop in order is
// killed, and that is an error.
func (m *member) end(inOrder bool) error {
	m.mu.Lock()
	p := m.process
	m.expected, m.wanted = true, false
	m.mu.Unlock()
	if p == nil || !p.Running() {
		return nil
	}
	if !inOrder {
		ctx, cancel := context.WithTimeout(context.Background(), killWait)
		defer cancel()
		return p.Kill(ctx)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := p.Wait(ctx)
	if err != nil {
		kill, cancel := context.WithTimeout(context.Background(), killWait)
		defer cancel()
		return errors.Join(fmt.Errorf("%s did not stop within %s", m.name, stopWait), p.Kill(kill))
	}
	if code != 0 {
		return fmt.Errorf("%s stopped with exit code %d: %s", m.name, code, p.Tail(1))
	}
	return nil
}

// quit ends the member's process with the stacks of all goroutines in its log, and what its actors wait for before them.
func (m *member) quit() error {
	m.mu.Lock()
	p, dir := m.process, m.dir
	m.expected, m.wanted = true, false
	m.mu.Unlock()
	if tree, err := treeOf(dir); err != nil {
		_, _ = fmt.Fprintf(m.log, "no tree of actors: %v\n", err) // a test's log
	} else {
		_, _ = fmt.Fprintf(m.log, "%s\n", tree)
	}
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	if _, err := p.Wait(ctx); err == nil {
		return nil
	}
	return m.end(false)
}

// treeOf asks the node of a data directory for its actors.
func treeOf(dir string) ([]byte, error) {
	at, _, err := host.AddressIn(dir)
	if err != nil {
		return nil, err
	}
	client, err := gateway.NewClient(gateway.Security{})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	trees, err := client.Trees(ctx, at, gateway.Query{Local: true})
	if err != nil {
		return nil, err
	}
	return json.Marshal(trees)
}

// now returns the member's process and what it has said.
func (m *member) now() (*proc.Process, *watch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process, m.watch
}

// data is the member's data directory.
func (m *member) data() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dir
}

// up says whether the member's process runs.
func (m *member) up() bool {
	p, _ := m.now()
	return p != nil && p.Running()
}

// take takes a member in hand for a fault, so that no other fault touches it; false if one has it.
func (m *member) take() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.handled {
		return false
	}
	m.handled = true
	return true
}

func (m *member) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handled = false
}

// running are the members whose processes run.
func (f *fleet) running() []*member {
	var out []*member
	for _, m := range f.members {
		if m.up() {
			out = append(out, m)
		}
	}
	return out
}

// close ends all processes and waits for who minds them.
func (f *fleet) close() error {
	var errs []error
	for _, m := range f.members {
		if p, _ := m.now(); p != nil {
			_ = p.Signal(syscall.SIGCONT) // it may be stopped; one that has ended takes no signal
		}
		errs = append(errs, m.end(false))
	}
	f.wait.Wait()
	for _, m := range f.members {
		errs = append(errs, m.log.Close())
	}
	return errors.Join(errs...)
}

func (e *exits) add(x exit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, x)
}

func (e *exits) all() []exit {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]exit(nil), e.list...)
}
