package actors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// maxHangs is how many handlers may hang at once before the node ends: each keeps its goroutine, and what it holds.
const maxHangs = 100

// maxStacks bounds the bytes that are read to find one goroutine's stack: those of some hundred thousand goroutines.
const maxStacks = 64 << 20

var (
	errLate = errors.New("the handler has passed its deadline")
	errHung = errors.New("the handler hangs: it has not returned though its context has ended")
)

// overdueCheck has an agent's actor look whether the turn at hand has passed its deadline.
type overdueCheck struct {
	incarnation int64
	turn        int64 // that had passed its deadline when the check was set; 0: none
	lane        int
}

// lookIn sends the actor an overdueCheck after a while.
func (a *agentActor) lookIn(self *actor.PID, incarnation int64, d time.Duration) {
	a.lookAt(self, overdueCheck{incarnation, 0, 0}, d)
}

func (a *agentActor) lookAt(self *actor.PID, w overdueCheck, d time.Duration) {
	g := a.ground
	g.After(d, func() { g.Send(self, w) })
}

// watch ends the context of a turn that has passed its deadline, and gives it up when it has not ended a while later.
func (a *agentActor) watch(c actor.Context, m overdueCheck) {
	if !a.runs(m.incarnation) {
		return
	}
	r := a.runners[m.lane]
	p := a.agent.Policy
	turn, left := r.worker.overdue(p.Deadline)
	switch {
	case turn == 0:
		a.lookAt(c.Self(), overdueCheck{m.incarnation, 0, m.lane}, left)
	case m.turn != turn:
		a.lookAt(c.Self(), overdueCheck{m.incarnation, turn, m.lane}, p.Grace)
	default:
		err := fmt.Errorf("%w: deadline %v, then %v", errHung, p.Deadline, p.Grace)
		id, ended := r.goroutine()
		if call := r.worker.awaited(); call != "" { // the turn waits for it, and ends with it
			id = call
		}
		stack := stackOf(id)
		if r.worker.abandon(turn, err, stack) {
			a.hangs.watch(id, ended, fmt.Sprintf("agent %s, partition %d", a.agent.Name, a.partition), stack)
			panic(failure{a.agent.Name, err})
		}
	}
}

// overdue says which turn has passed the deadline, having ended its context; or 0 and when to look again.
func (k *worker) overdue(deadline time.Duration) (turn int64, left time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.busy || k.failed {
		return 0, deadline
	}
	if left := deadline - k.now().Sub(k.since); left > 0 {
		return 0, left
	}
	k.expired = true
	k.cancel()
	return k.turns, 0
}

// abandon fails the turn at hand while its handler still runs; whatever that does is refused from now on. False if the turn has
// ended meanwhile.
func (k *worker) abandon(turn int64, err error, stack string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.busy || k.failed || k.turns != turn {
		return false
	}
	k.report(0, false)
	f := k.at
	f.Err, f.Stack = err, stack
	k.failed, k.busy = true, false
	k.post(f)
	if k.final != 0 {
		k.report(k.final, false)
		k.final = 0
	}
	return true
}

// late is what a turn fails with that has passed its deadline. Called with mu held.
func (k *worker) late() error { return fmt.Errorf("%w of %v", errLate, k.agent.Policy.Deadline) }

// lateTurn returns late if the turn at hand has passed its deadline.
func (k *worker) lateTurn() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.expired && k.busy && !k.failed {
		return k.late()
	}
	return nil
}

// enter notes which goroutine this is.
func (r *runner) enter(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.ended = id, make(chan struct{})
}

func (r *runner) leave() { close(r.ended) }

// goroutine is the one that was entered last, and what is closed when it leaves.
func (r *runner) goroutine() (id string, ended <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id, r.ended
}

// hangs keeps the goroutines of handlers that were given up, until they end.
type hangs struct {
	ground Ground
	log    *slog.Logger
	fail   func(error) // of the node
	mu     sync.Mutex
	open   map[string]time.Time // since when, by goroutine
}

func newHangs(g Ground, log *slog.Logger, fail func(error)) *hangs {
	return &hangs{ground: g, log: log, fail: fail, open: map[string]time.Time{}}
}

// watch reports a goroutine that hangs, with its stack, and watches it until it ends.
func (h *hangs) watch(id string, ended <-chan struct{}, of, stack string) {
	h.mu.Lock()
	began := h.ground.Now()
	h.open[id] = began
	n := len(h.open)
	h.mu.Unlock()
	h.log.Error("handler hangs: it was given up, its goroutine remains until it ends", "of", of, "hanging", n, "stack", stack)
	if n > maxHangs {
		h.fail(fmt.Errorf("%d handlers hang, each with a goroutine that cannot be ended; the last of %s: let handlers heed their context", n, of))
	}
	h.ground.Go(func() { // it ends with the goroutine that it waits for
		if h.ground.Await(context.Background(), ended) != nil {
			return
		}
		h.mu.Lock()
		delete(h.open, id)
		h.mu.Unlock()
		h.log.Info("handler that hung has ended: what it did is refused", "of", of, "took", h.ground.Now().Sub(began))
	})
}

// goroutineID is what stacks call the calling goroutine: for finding its stack among all, nothing else.
func goroutineID() string {
	var b [64]byte
	line := b[:runtime.Stack(b[:], false)]
	if i := bytes.IndexByte(line, '['); i > 0 {
		line = line[:i]
	}
	return string(bytes.TrimSpace(line))
}

// stackOf finds the stack of a goroutine.
func stackOf(id string) string {
	all := make([]byte, 1<<20)
	n := runtime.Stack(all, true)
	for n == len(all) && n < maxStacks { // it has been cut
		all = make([]byte, 2*n)
		n = runtime.Stack(all, true)
	}
	all = all[:n]
	for part := range bytes.SplitSeq(all, []byte("\n\n")) {
		if bytes.HasPrefix(part, []byte(id+" [")) {
			return string(part)
		}
	}
	return "not found among " + fmt.Sprint(runtime.NumGoroutine()) + " goroutines"
}
