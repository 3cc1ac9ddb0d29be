// Package proxy is a TCP proxy that harms what passes through it, for tests: connections are cut, refused, held back without
// a word, or slowed down.
//
//	p, err := proxy.Listen()
//	p.Forward("127.0.0.1:9092") // until then connections wait
//	defer p.Close()
//	p.Cut()                     // as an unplugged host whose neighbour answers for it
//	p.Heal()
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// bufferSize is how much is read at once.
const bufferSize = 32 << 10

// dialTimeout bounds a connection to the target.
const dialTimeout = 2 * time.Second

// mode is what a proxy does to connections.
type mode struct {
	refuse bool          // close what is open, and what comes, at once
	hold   bool          // keep connections, and pass nothing on
	delay  time.Duration // before each piece is passed on
}

// Proxy passes connections on to one target. All methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	wait     sync.WaitGroup

	mu      sync.Mutex
	target  string
	mode    mode
	changed chan struct{} // closed and renewed at each change of mode or target
	conns   map[net.Conn]bool
	closed  bool
}

// Listen opens a port of 127.0.0.1. Connections are accepted at once and wait until Forward has named a target.
func Listen() (*Proxy, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a proxy: %w", err)
	}
	p := &Proxy{listener: l, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.wait.Go(p.serve)
	return p, nil
}

// Addr is where the proxy listens, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Forward names the target, host:port, of connections from now on.
func (p *Proxy) Forward(target string) {
	p.change(func() { p.target = target })
}

// Cut closes all connections, and every new one at once, until Heal.
func (p *Proxy) Cut() { p.change(func() { p.mode = mode{refuse: true} }) }

// Hold keeps all connections open and passes nothing on, as a network does that loses every packet, until Heal; then
// everything goes on.
func (p *Proxy) Hold() { p.change(func() { p.mode = mode{hold: true} }) }

// Slow passes each piece on only after a delay, until Heal.
func (p *Proxy) Slow(delay time.Duration) { p.change(func() { p.mode = mode{delay: delay} }) }

// Heal ends what Cut, Hold or Slow began.
func (p *Proxy) Heal() { p.change(func() { p.mode = mode{} }) }

// Close ends the proxy and all its connections, and waits for its goroutines. It is safe to call twice.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.change(func() { p.closed = true })
	p.wait.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// change changes the proxy, ends the connections that may not live on, and wakes those that wait.
func (p *Proxy) change(how func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	how()
	if p.mode.refuse || p.closed {
		for c := range p.conns {
			abort(c) // its reader sees it
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// abort ends a connection with a reset, as the host of a dead process does: an orderly end would say that the peer is alive
// and does not want to talk.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // where it does not work, the end is an orderly one
	}
	_ = c.Close() // it may be closed already
}

// state is what holds now, and a channel that is closed when that changes.
func (p *Proxy) state() (m mode, target string, closed bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.target, p.closed, p.changed
}

func (p *Proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wait.Go(func() { p.connection(c) })
	}
}
