package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/troupe-stream/troupe/internal/cmem"
	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// The names of the guarantees.
const (
	ExactlyOnce = "exactly-once"
	AtLeastOnce = "at-least-once"
)

// runFlags are the flags of the command that runs a node.
type runFlags struct {
	feed           []string
	feedKeyed      bool
	drain          bool
	show           []string
	guarantee      string
	client         string
	createTopics   bool
	commitInterval time.Duration
	topicRefresh   time.Duration
	stopTimeout    time.Duration
	instanceID     string
	keepSlots      bool
	strict         bool
	logValues      bool
	http           string
	advertise      string
}

func (r *runFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&r.feed, "feed", nil, "send the lines of a file to a topic, `TOPIC=FILE`; repeatable; - is standard input. Feeding twice counts twice")
	f.BoolVar(&r.feedKeyed, "feed-keyed", false, "the lines of --feed are KEY<TAB>VALUE")
	f.BoolVar(&r.drain, "drain", false, "stop when everything is fed, processed and committed, by this node and all others of the topology")
	f.StringArrayVar(&r.show, "show", nil, "print the changes of a `TABLE` as they are committed; repeatable")
	f.StringVar(&r.guarantee, "guarantee", ExactlyOnce, "what a crash may do: `exactly-once` as if it had not happened, or at-least-once")
	f.StringVar(&r.client, "client", "", "how librdkafka is used: public or batched (default: `batched` where that can work: on Linux)")
	f.BoolVar(&r.createTopics, "create-topics", false, "make source and output topics that are missing (always so on the embedded broker)")
	f.DurationVar(&r.topicRefresh, "topic-refresh", 30*time.Second, "how often topics are looked for that match the topology's topic patterns")
	f.DurationVar(&r.commitInterval, "commit-interval", 100*time.Millisecond, "time between two commits")
	f.DurationVar(&r.stopTimeout, "stop-timeout", host.DefaultStopTimeout, "how long a stop in order may take")
	f.StringVar(&r.instanceID, "instance-id", "", "identity of this node in its group (default: made once and kept in the data directory)")
	f.BoolVar(&r.strict, "strict", false, "refuse to start where settings of the brokers endanger the guarantee, instead of warning")
	f.BoolVar(&r.logValues, "log-values", false, "log keys and values of records that fail, and what codecs say of them, which may quote them")
	f.StringVar(&r.http, "http", "", "`HOST:PORT` to serve health, state and metrics on, or off (default: "+gateway.DefaultAddr+", or any free port if that is taken)")
	f.StringVar(&r.advertise, "advertise", "", "`HOST[:PORT]` under which other nodes reach that (default: where it listens)")
	f.BoolVar(&r.keepSlots, "keep-slots", false, "stop without leaving the group: for rolling restarts")
}

// running is a node that runs, with what feeds it and what watches it.
type running struct {
	*cli
	log   *slog.Logger
	plan  *plan.Plan
	host  *host.Host
	feeds []*feed
	shows []*show
}

func (c *cli) runNode(cmd *cobra.Command, _ []string) (err error) {
	cmem.Bound() // before librdkafka has threads
	r, err := c.prepare()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range r.feeds {
			f.close()
		}
	}()
	cfg, err := r.hostConfig()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if r.host, err = host.Open(ctx, cfg, r.plan); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while connecting
		}
		return err
	}
	defer func() { err = errors.Join(err, r.host.Close()) }()
	r.banner()
	return r.serve(ctx)
}

// prepare checks everything that can be checked before anything starts.
func (c *cli) prepare() (*running, error) {
	p, err := c.chosen()
	if err != nil {
		return nil, err
	}
	r := &running{cli: c, plan: p, log: c.logger()}
	flags := &c.run
	if flags.guarantee != ExactlyOnce && flags.guarantee != AtLeastOnce {
		return nil, wrongUse("--guarantee %q: use %s or %s", flags.guarantee, ExactlyOnce, AtLeastOnce)
	}
	if c := flags.client; c != "" && c != host.PublicClient && c != host.BatchedClient {
		return nil, wrongUse("--client %q: use %s or %s, or leave it out", c, host.PublicClient, host.BatchedClient)
	}
	if flags.commitInterval <= 0 || flags.stopTimeout <= 0 || flags.topicRefresh <= 0 {
		return nil, wrongUse("--commit-interval, --stop-timeout and --topic-refresh must be more than 0")
	}
	if flags.http == httpOff && flags.advertise != "" {
		return nil, wrongUse("--advertise says where others reach --http, which is off: leave out one of them")
	}
	if flags.feedKeyed && len(flags.feed) == 0 {
		return nil, wrongUse("--feed-keyed says how --feed reads lines: add --feed TOPIC=FILE, or leave it out")
	}
	for _, name := range flags.show {
		t, err := tableOf(p, name)
		if err != nil {
			return nil, fmt.Errorf("--show: %w", err)
		}
		r.shows = append(r.shows, newShow(c, t))
	}
	for _, arg := range flags.feed {
		f, err := c.openFeed(p, arg)
		if err == nil && f.stdin && slices.ContainsFunc(r.feeds, func(o *feed) bool { return o.stdin }) {
			err = wrongUse("--feed %s: standard input can be fed to one topic only", arg)
		}
		if err != nil {
			for _, open := range r.feeds {
				open.close()
			}
			return nil, err
		}
		r.feeds = append(r.feeds, f)
	}
	return r, nil
}

func (r *running) hostConfig() (host.Config, error) {
	f := &r.run
	settings, err := r.settings()
	if err != nil {
		return host.Config{}, err
	}
	dir, err := r.directory(r.plan.Name)
	if err != nil {
		return host.Config{}, err
	}
	return host.Config{
		Gateway: r.gatewayConfig(),
		Brokers: r.brokers, Settings: settings, Client: f.client, DataDir: dir, InstanceID: f.instanceID,
		AtLeastOnce: f.guarantee == AtLeastOnce, CreateTopics: f.createTopics, KeepSlots: f.keepSlots, Strict: f.strict,
		CommitInterval: f.commitInterval, StopTimeout: f.stopTimeout, TopicRefresh: f.topicRefresh, Logger: r.log, LogValues: f.logValues,
		OnRestore: newRestoreReport(r.app, r.log).report,
	}, nil
}

// gatewayConfig is nil if nothing is to be served.
func (r *running) gatewayConfig() *gateway.Config {
	if r.run.http == httpOff {
		return nil
	}
	return &gateway.Config{Addr: r.run.http, Advertise: r.run.advertise, Security: r.web, Debug: r.debug, Version: Version()}
}

// errDrained ends a node that has nothing left to do.
var errDrained = errors.New("drained")

// errEnded says that the node has ended by itself; its Stop tells why.
var errEnded = errors.New("the node ended by itself")

// serve runs the node, its feeds and its shows until ctx ends, the node gives up, or it is drained.
func (r *running) serve(ctx context.Context) error {
	for _, s := range r.shows {
		if err := s.open(ctx, r.host.Cluster); err != nil {
			return err
		}
	}
	if err := r.host.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	stopBoard := r.openBoard(ctx)
	why := r.work(ctx)
	if errors.Is(why, errDrained) {
		r.tellLetters()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.run.stopTimeout)
	defer cancel()
	err := r.host.Stop(stop)
	// What the stop has committed is shown too.
	for _, s := range r.shows {
		if err == nil {
			err = s.finish(stop, r.host.Cluster.Admin)
		}
		s.close()
	}
	stopBoard()
	if errors.Is(why, errDrained) || errors.Is(why, errEnded) && err != nil || ctx.Err() != nil && errors.Is(why, context.Canceled) {
		why = nil
	}
	return errors.Join(why, err)
}

// openBoard shows the tables on a board, if there is a terminal to draw it on. The function that it returns ends it.
func (r *running) openBoard(ctx context.Context) (stop func()) {
	errs, ok := r.app.Err.(*lockedWriter)
	if !r.app.Terminal || len(r.shows) == 0 || !ok {
		return func() {}
	}
	b := newBoard(r.paint(), time.Now, r.busy)
	for _, s := range r.shows {
		s.out = b.add(s.table)
	}
	return b.run(ctx, os.Stdout, errs)
}

// tellLetters says how many records were given up: a drained node has done all that could be done.
func (r *running) tellLetters() {
	n := int64(0)
	for _, st := range r.host.Look() {
		if st.State == status.Busy {
			r.log.Warn("dead letters not counted", "error", st.Why)
			return
		}
		for _, p := range st.Partitions {
			for _, a := range p.Agents {
				n += a.DeadLettered
			}
		}
	}
	if n > 0 {
		r.app.say("%s given up, see node dead-letters list: written to the topic %s-dead-letters, each with its error", count(int(n), "record was", "records were"), r.plan.Name)
	}
}

// work runs everything beside the node, and returns why it ended.
func (r *running) work(ctx context.Context) error {
	watch, stopShows := context.WithCancel(context.WithoutCancel(ctx))
	var shows errgroup.Group
	failed := make(chan error, len(r.shows))
	for _, s := range r.shows {
		shows.Go(func() error {
			err := s.follow(watch)
			if err != nil {
				failed <- err
			}
			return err
		})
	}
	defer func() {
		stopShows()
		_ = shows.Wait() // their errors came by failed
	}()
	g, ctx := errgroup.WithContext(ctx)
	fed := make(chan struct{})
	g.Go(func() error {
		defer close(fed)
		return r.feedAll(ctx)
	})
	if r.run.drain {
		g.Go(func() error {
			d := drain{plan: r.plan, admin: r.host.Cluster.Admin, busy: r.busy, stopped: r.stopped}
			d.say = func(waits string) { r.app.say("--drain waits: %s", waits) }
			if err := d.wait(ctx, fed); err != nil {
				return err
			}
			return errDrained
		})
	}
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.host.Done():
			return errEnded
		case err := <-failed:
			return err
		}
	})
	return g.Wait()
}

// busy says what the node holds back, a record that is tried again, a partition that is not running yet; empty if nothing.
func (r *running) busy() string {
	for _, n := range r.host.Look() {
		if n.State == status.Busy {
			return "the node has no time to answer"
		}
		for _, p := range n.Partitions {
			switch p.State {
			case status.Running:
			case status.Retrying:
				return "records are tried again: " + p.Why
			default:
				return fmt.Sprintf("partition %s is %s", p.Name(), p.State)
			}
		}
	}
	return ""
}

// stopped says why a partition of the node goes on no more; nil if none has stopped.
func (r *running) stopped() error {
	for _, n := range r.host.Look() {
		for _, p := range n.Partitions {
			if p.State == status.Stopped {
				return fmt.Errorf("partition %s is stopped, and nothing behind that is done: %s", p.Name(), p.Why)
			}
		}
	}
	return nil
}

// feedAll feeds all files at once and returns at the first error.
func (r *running) feedAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range r.feeds {
		g.Go(func() error {
			n, err := f.run(ctx, r.host.Cluster.Admin)
			if err != nil {
				return err
			}
			if n == 0 {
				r.app.say("--feed %s: %s is empty: nothing to feed", f.topic.Name, f.name)
				return nil
			}
			r.log.InfoContext(ctx, "fed", "topic", f.topic.Name, "file", f.name, "lines", n)
			return nil
		})
	}
	return g.Wait()
}

// openFeed checks a --feed and opens its file.
func (c *cli) openFeed(p *plan.Plan, arg string) (*feed, error) {
	name, file, ok := strings.Cut(arg, "=")
	if !ok || name == "" || file == "" {
		return nil, wrongUse("--feed %q: use TOPIC=FILE, as in --feed lines=book.txt", arg)
	}
	t, err := topicOf(p, name)
	if err != nil {
		return nil, fmt.Errorf("--feed: %w", err)
	}
	if t.Kind != plan.External && t.Name == name { // else it is that of a channel
		return nil, wrongUse("--feed: topic %q is internal to the topology: feed one that it reads", name)
	}
	f := &feed{topic: t, name: file, keyed: c.run.feedKeyed, limit: maxMessage(nil)}
	if file == "-" {
		f.name, f.stdin, f.in = "standard input", true, c.app.In
		return f, nil
	}
	opened, err := os.Open(file)
	if err == nil {
		var info os.FileInfo
		if info, err = opened.Stat(); err == nil && info.IsDir() {
			err = errors.New("it is a directory")
		}
	}
	if err != nil {
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			err = pe.Err
		}
		return nil, wrongUse("--feed %s: cannot read file %s: %w", name, file, err)
	}
	f.in, f.closer = opened, opened
	return f, nil
}

// maxMessage is a topic's limit on the size of a record.
func maxMessage(state *kafka.TopicState) int {
	const standard = 1048588
	if state == nil {
		return standard
	}
	var n int
	if _, err := fmt.Sscan(state.Config["max.message.bytes"], &n); err != nil || n <= 0 {
		return standard
	}
	return n
}
