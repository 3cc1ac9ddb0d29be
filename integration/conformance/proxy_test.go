package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between clients and a cluster of one broker on 127.0.0.1. The broker's answers name it instead of the broker,
// so that every connection goes through it. It can break a connection when an answer is on its way, or hold the answer back.
type proxy struct {
	l        net.Listener
	upstream string
	lose     atomic.Int32 // the kind of the request whose answer is lost next; -1: none
	hold     atomic.Bool  // it is only held back, and the connection stays
	lost     atomic.Bool
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
	closed   bool
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{l: l, upstream: upstream}
	p.lose.Store(-1)
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) close() {
	_ = p.l.Close()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// keep has a connection closed in the end; false if that is now.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	return !p.closed
}

func (p *proxy) accept() {
	for {
		down, err := p.l.Accept()
		if err != nil {
			return
		}
		up, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.upstream)
		if err != nil {
			_ = down.Close()
			continue
		}
		if !p.keep(down) || !p.keep(up) {
			_ = down.Close()
			_ = up.Close()
			return
		}
		c := &passage{p: p, lost: -1, from: address(p.upstream), to: address(p.addr())}
		p.wg.Go(func() { c.run(down, up, c.request) })
		p.wg.Go(func() { c.run(up, down, c.answer) })
	}
}

// address is how answers of the protocol name a broker: its host, and its port in four bytes.
func address(addr string) []byte {
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.ParseUint(port, 10, 16)
	return binary.BigEndian.AppendUint32([]byte(host), uint32(n)) //nolint:gosec // a port
}

// passage is one connection.
type passage struct {
	p        *proxy
	lost     int64 // the correlation id of the request whose answer is lost; -1: none
	mu       sync.Mutex
	from, to []byte
}

// run passes on the frames that f does not refuse, until one of the ends is closed.
func (c *passage) run(from, to net.Conn, f func([]byte) bool) {
	defer from.Close() //nolint:errcheck // broken or not
	defer to.Close()   //nolint:errcheck // broken or not
	for {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(from, frame); err != nil {
			return
		}
		frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
		if _, err := io.ReadFull(from, frame[4:]); err != nil {
			return
		}
		if !f(frame) {
			if c.p.hold.Load() {
				continue
			}
			return
		}
		if _, err := to.Write(frame); err != nil {
			return
		}
	}
}

// request looks at a request: its kind, its version, its correlation id.
func (c *passage) request(frame []byte) bool {
	kind := int32(binary.BigEndian.Uint16(frame[4:]))
	if c.p.lose.CompareAndSwap(kind, -1) {
		c.mu.Lock()
		c.lost = int64(binary.BigEndian.Uint32(frame[8:]))
		c.mu.Unlock()
	}
	return true
}

// answer looks at an answer, which begins with the correlation id.
func (c *passage) answer(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if int64(binary.BigEndian.Uint32(frame[4:])) == c.lost {
		c.p.lost.Store(true)
		return false
	}
	copy(frame, bytes.ReplaceAll(frame, c.from, c.to))
	return true
}
