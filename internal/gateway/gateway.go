package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
)

// DefaultAddr is where a node listens if nobody says otherwise.
const DefaultAddr = "127.0.0.1:6066"

// Config says how to serve.
type Config struct {
	// Addr is host:port to listen on; port 0: any free one. Empty: DefaultAddr, or any free port of that host if another
	// process has it.
	Addr string
	// Advertise is host[:port] under which other nodes and commands reach this one. Defaults to Addr, with the name of the
	// machine where that names all its addresses.
	Advertise string
	Security
	Debug      bool // serve pprof
	Instance   string
	Version    string
	Topologies []string
	Logger     *slog.Logger
}

// Node is one topology in this process.
type Node interface {
	Alive() bool                             // it has not ended, or given up
	Look() status.Node                       // without lags
	Inspect(ctx context.Context) status.Node // with them
	Tree() (status.Tree, error)
	Resume(wanted []status.Wanted) ([]status.Resumed, error)
	Digest(table string, partition int32) (status.Digest, error)
	Put(ctx context.Context, channel string, key, value *string) (status.Put, error)
	Meters() status.Meters
	HooksDropped() int64
}

// Members asks for the members of a topology's group.
type Members func(ctx context.Context, topology string) ([]Member, error)

// Member is one member of a topology's group.
type Member struct {
	Instance string
	ClientID string // holds what it advertises
}

// Gateway serves HTTP for the nodes of this process. It answers from Listen on; what it says of nodes that do not run yet is that
// they start.
type Gateway struct {
	cfg     Config
	url     string
	server  *http.Server
	peers   *Client
	metrics *prometheus.Registry
	done    chan struct{}

	mu      sync.Mutex // of what comes later
	nodes   map[string]Node
	members Members
	figures func() []kafka.ClientFigures
}

// Listen begins to serve. Errors say what is wrong with the configuration, or with the address.
func Listen(cfg Config) (*Gateway, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	peers, err := NewClient(cfg.Security)
	if err != nil {
		return nil, err
	}
	l, err := listen(cfg.Addr)
	if err != nil {
		return nil, err
	}
	g := &Gateway{cfg: cfg, peers: peers, done: make(chan struct{}), nodes: map[string]Node{}}
	port := l.Addr().(*net.TCPAddr).Port
	if g.url, err = cfg.advertised(port); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	g.metrics = g.registry()
	g.server = &http.Server{
		Handler: g.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	if g.server.TLSConfig, err = cfg.serverTLS(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	go func() {
		defer close(g.done)
		serve := g.server.Serve
		if g.server.TLSConfig != nil {
			serve = func(l net.Listener) error { return g.server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("HTTP is served no more", "error", err)
		}
	}()
	return g, nil
}

// listen opens the address that was asked for, or the default one.
func listen(addr string) (net.Listener, error) {
	asked := addr
	if addr == "" {
		addr = DefaultAddr
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		if asked == "" {
			host, _, _ := net.SplitHostPort(DefaultAddr)
			return lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, "0"))
		}
		return nil, fmt.Errorf("--http %s: another process listens there: stop it, name another port, or let any be taken with port 0", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w: name an address of this machine, as HOST:PORT", addr, err)
	}
	return l, nil
}

// advertised is the URL that others are told, given the port that is listened on.
func (c Config) advertised(port int) (string, error) {
	scheme := "http"
	if c.CertFile != "" {
		scheme = "https"
	}
	if err := checkAdvertise(c.Advertise); err != nil {
		return "", err
	}
	host, own := c.Advertise, strconv.Itoa(port)
	if host == "" {
		host, _, _ = net.SplitHostPort(c.addr())
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			name, err := os.Hostname()
			if err != nil {
				return "", fmt.Errorf("--http %s: this machine has no name for others (%w): add --advertise HOST:PORT", c.Addr, err)
			}
			host = name
		}
	} else if h, p, err := net.SplitHostPort(host); err == nil {
		host, own = h, p
	}
	return scheme + "://" + net.JoinHostPort(strings.Trim(host, "[]"), own), nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// checkAdvertise returns what is wrong with HOST or HOST:PORT; nothing with an empty one.
func checkAdvertise(s string) error {
	if s == "" {
		return nil
	}
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("--advertise %q: %q is no port", s, p)
		}
		host = h
	}
	if host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"); !hostName.MatchString(host) && net.ParseIP(host) == nil {
		return fmt.Errorf("--advertise %q: use HOST or HOST:PORT, without http://", s)
	}
	return nil
}

func (c Config) addr() string {
	if c.Addr == "" {
		return DefaultAddr
	}
	return c.Addr
}

// URL is what this node advertises.
func (g *Gateway) URL() string { return g.url }

// Set tells the gateway of nodes that run, and of whom to ask for the others.
func (g *Gateway) Set(topology string, n Node, m Members) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes[topology], g.members = n, m
}

// SetFigures tells the gateway whom to ask for what the Kafka clients say of themselves.
func (g *Gateway) SetFigures(ask func() []kafka.ClientFigures) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.figures = ask
}

func (g *Gateway) clients() []kafka.ClientFigures {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.figures == nil {
		return nil
	}
	return g.figures()
}

// node is the node of a topology; nil: it does not run yet.
func (g *Gateway) node(topology string) (Node, Members) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[topology], g.members
}

// Close lets answers be finished, for two seconds at most.
func (g *Gateway) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := g.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = g.server.Close()
	}
	<-g.done
	g.peers.Close()
	return err
}
