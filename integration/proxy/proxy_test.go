package proxy

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends at once
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close() //nolint:errcheck // a test
				for in := bufio.NewReader(c); ; {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(line))
				}
			}()
		}
	}()
	return l.Addr().String()
}

type client struct {
	t  *testing.T
	c  net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr()) //nolint:noctx // local
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

// ask sends a line and returns the answer, or an error within the given time.
func (c *client) ask(within time.Duration) error {
	c.t.Helper()
	require.NoError(c.t, c.c.SetDeadline(time.Now().Add(within)))
	if _, err := c.c.Write([]byte("hello\n")); err != nil {
		return err
	}
	_, err := c.in.ReadString('\n')
	return err
}

func open(t *testing.T) *Proxy {
	t.Helper()
	p, err := Listen()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()); require.NoError(t, p.Close()) })
	return p
}

func TestPassesOnOnceItHasATarget(t *testing.T) {
	p := open(t)
	c := dial(t, p)
	err := c.ask(50 * time.Millisecond)
	require.Error(t, err)
	p.Forward(echo(t))
	require.NoError(t, c.c.SetDeadline(time.Now().Add(5*time.Second)))
	line, err := c.in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
}

func TestCutHoldSlowHeal(t *testing.T) {
	p := open(t)
	p.Forward(echo(t))
	old := dial(t, p)
	err := old.ask(5 * time.Second)
	require.NoError(t, err)

	p.Slow(60 * time.Millisecond)
	begun := time.Now()
	err = old.ask(5 * time.Second)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begun), 120*time.Millisecond, "there and back")

	p.Hold()
	err = old.ask(100 * time.Millisecond)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "held, not closed")
	p.Heal()
	require.NoError(t, old.c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = old.in.ReadString('\n')
	require.NoError(t, err, "what was held back comes")

	p.Cut()
	err = old.ask(5 * time.Second)
	require.Error(t, err)
	if c, err := net.Dial("tcp", p.Addr()); err == nil { //nolint:noctx // local; it is refused, or closed at once
		t.Cleanup(func() { _ = c.Close() })
		require.Error(t, (&client{t, c, bufio.NewReader(c)}).ask(5*time.Second))
	}
	p.Heal()
	err = dial(t, p).ask(5 * time.Second)
	require.NoError(t, err)
}
