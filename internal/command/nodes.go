package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/internal/status"
)

// httpOff is what --http is given to serve nothing.
const httpOff = "off"

// nodeTimeout bounds a question to a node: longer than it may take itself.
const nodeTimeout = 10 * time.Second

// webFlags registers what a node and those who ask it must agree about.
func (c *cli) webFlags(f *pflag.FlagSet) {
	f.StringVar(&c.web.Token, "http-token", "", "what whoever asks a node over HTTP has to know; the same for all nodes. Safer in the environment or a file")
	f.StringVar(&c.web.CertFile, "http-cert", "", "certificate for HTTP, a PEM `FILE`; read anew when it changes")
	f.StringVar(&c.web.KeyFile, "http-key", "", "its key, a PEM `FILE`")
	f.StringVar(&c.web.CAFile, "http-ca", "", "who may sign the certificates of others, a PEM `FILE`; with it, whoever asks needs one (mutual TLS), or the token if there is one")
}

// asking is how a command reaches nodes.
type asking struct {
	*cli
	address string
	client  *gateway.Client
}

func (c *cli) askFlags(cmd *cobra.Command, address *string) {
	cmd.Flags().StringVar(address, "address", "", "`URL` or HOST:PORT of a node (default: the one that runs in --data-dir, or one that the group at --brokers knows)")
	c.webFlags(cmd.Flags())
}

// ask opens a way to nodes. Close its client.
func (c *cli) ask(address string) (*asking, error) {
	client, err := gateway.NewClient(c.web)
	if err != nil {
		return nil, wrongUse("%w", err)
	}
	return &asking{c, address, client}, nil
}

// place is where a node may be asked.
type place struct{ at, instance string }

// first asks one node after the other until one answers. Topology is empty if --topology is not given and the program has
// several: then an address, or a data directory, has to be named.
func (a *asking) first(ctx context.Context, ask func(ctx context.Context, at string, q gateway.Query) error) error {
	topology := a.topology
	if topology != "" || len(a.app.Topologies) == 1 || a.address == "" && (a.dataDir == "" || len(a.brokers) > 0) {
		p, err := a.chosen()
		if err != nil {
			return err
		}
		topology = p.Name
	}
	var errs []error
	try := func(all []place) bool {
		for _, p := range all {
			ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
			err := ask(ctx, p.at, gateway.Query{Topology: topology, Instance: p.instance})
			cancel()
			if err == nil {
				return true
			}
			errs = append(errs, err)
		}
		return false
	}
	if a.address != "" {
		_ = try([]place{{a.address, ""}}) // its error is kept
		return errors.Join(errs...)
	}
	dir, err := a.directory(topology)
	if err != nil {
		return err
	}
	at, instance, err := host.AddressIn(dir)
	if err != nil {
		return err
	}
	if at != "" && try([]place{{at, instance}}) {
		return nil
	}
	if len(a.brokers) > 0 {
		all, err := a.members(ctx, topology)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if try(all) {
			return nil
		}
		if len(all) == 0 {
			errs = append(errs, fmt.Errorf("no member of the group of topology %s serves HTTP", topology))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("no node runs in data directory %s that serves HTTP: name one with --address HOST:PORT, its --data-dir, or --brokers to find it by", dir))
	}
	return errors.Join(errs...)
}

// members are those of the group that advertise an address.
func (a *asking) members(ctx context.Context, topology string) ([]place, error) {
	cluster, err := a.connect(ctx, topology)
	if err != nil {
		return nil, err
	}
	g, err := membersOf(ctx, cluster.Admin, topology)
	if err := errors.Join(err, cluster.Close()); err != nil {
		return nil, err
	}
	var all []place
	for _, m := range g {
		if at := gateway.Advertised(m.Client); at != "" {
			all = append(all, place{at, m.Instance})
		}
	}
	return all, nil
}

func (c *cli) resumeCommand() *cobra.Command {
	var address string
	var all bool
	cmd := &cobra.Command{
		Use:   "resume-partition [PARTITION...]",
		Short: "Let partitions go on that a policy, or a fault, has stopped",
		Long: `Lets stopped partitions go on, on whichever node they are: PARTITION is a number, or a stage and a number as status shows them,
orders/3; --all takes all that are stopped. The record at which a partition stopped is tried again, with all its attempts. To restart
the node does the same.`,
		Example: fmt.Sprintf("  %[1]s resume-partition orders/3 --topology flaky\n  %[1]s resume-partition --all --topology flaky --address 10.0.0.7:6066", c.app.Name),
		Args:    exactly("partitions, or --all", 0, -1),

		ValidArgsFunction: c.completeStopped(&address),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) != all {
				return wrongUse("resume-partition takes partitions, as in 3 or orders/3, or --all: see %s --help", cmd.CommandPath())
			}
			var wanted []status.Wanted
			for _, arg := range args {
				w, err := status.ParseWanted(arg)
				if err != nil {
					return wrongUse("%w", err)
				}
				wanted = append(wanted, w)
			}
			a, err := c.ask(address)
			if err != nil {
				return err
			}
			defer a.client.Close()
			var done status.Resumes
			if err := a.first(cmd.Context(), func(ctx context.Context, at string, q gateway.Query) (err error) {
				done, err = a.client.Resume(ctx, at, q, wanted)
				return err
			}); err != nil {
				return err
			}
			return c.tellResumed(done, wanted)
		},
	}
	c.askFlags(cmd, &address)
	cmd.Flags().BoolVar(&all, "all", false, "all partitions that are stopped")
	return cmd
}

// tellResumed says what became of each partition. It fails if one that was named does not go on.
func (c *cli) tellResumed(done status.Resumes, wanted []status.Wanted) error {
	var errs []error
	found := 0
	for _, r := range done.Resumed {
		if r.Resumed {
			found++
			c.app.say("partition %s of topology %s goes on", status.Name(r.Stage, r.Partition), r.Topology)
		}
	}
	for _, w := range wanted { // a number may mean partitions of several stages, of which one was stopped
		meant := slices.DeleteFunc(slices.Clone(done.Resumed), func(r status.Resumed) bool { return !w.Is(r.Stage, r.Partition) })
		if len(meant) == 0 {
			errs = append(errs, fmt.Errorf("partition %s: no node that answers has it", w))
		}
		if slices.ContainsFunc(meant, func(r status.Resumed) bool { return r.Resumed }) {
			continue
		}
		for _, r := range meant {
			errs = append(errs, fmt.Errorf("partition %s of topology %s: %s", status.Name(r.Stage, r.Partition), r.Topology, r.Why))
		}
	}
	for _, u := range slices.Concat(done.Failed, done.Unreachable) {
		errs = append(errs, errors.New(describeUnreachable(u)))
	}
	if found == 0 && len(wanted) == 0 && len(errs) == 0 {
		c.app.say("no partition is stopped")
	}
	return errors.Join(errs...)
}

func describeUnreachable(u status.Unreachable) string {
	if u.Instance == "" {
		return fmt.Sprintf("topology %s: %s", u.Topology, u.Why)
	}
	return fmt.Sprintf("node %s of topology %s: %s", u.Instance, u.Topology, u.Why)
}
