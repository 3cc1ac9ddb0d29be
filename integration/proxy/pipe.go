package proxy

import (
	"context"
	"net"
	"sync"
	"time"
)

// connection passes one connection on until either side ends it, or the proxy does.
func (p *Proxy) connection(client net.Conn) {
	defer p.end(client)
	if !p.keep(client) {
		return
	}
	target, ok := p.pass()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return // the client is told by a reset, as by a host where nobody listens
	}
	defer p.end(server)
	if !p.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(client, server) })
	both.Go(func() { p.pump(server, client) })
	both.Wait()
}

// keep notes a connection, so that it can be cut; false if it may not live.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode.refuse || p.closed {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) end(c net.Conn) {
	abort(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// pass waits until something may be passed on, and how long it takes; ok is false if nothing may be any more.
func (p *Proxy) pass() (target string, ok bool) {
	for {
		m, target, closed, changed := p.state()
		switch {
		case closed || m.refuse:
			return "", false
		case m.hold || target == "":
			<-changed // Close changes it too
		case m.delay > 0:
			timer := time.NewTimer(m.delay)
			select {
			case <-timer.C:
				return target, true
			case <-changed:
				timer.Stop()
			}
		default:
			return target, true
		}
	}
}

// pump passes on what one side sends. Both sides end together.
func (p *Proxy) pump(from, to net.Conn) {
	defer abort(from)
	defer abort(to)
	buffer := make([]byte, bufferSize)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, ok := p.pass(); !ok {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
