package gateway

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/internal/status"
)

const (
	membersTimeout = 3 * time.Second // to ask for the members of a group
	peerTimeout    = 4 * time.Second // to ask one of them: longer than its own actors may take
)

// advertMark is between a client.id and the address that its node advertises.
const advertMark = "@http"

// Advertised is the URL in a client.id; empty: there is none.
func Advertised(clientID string) string {
	if i := strings.LastIndex(clientID, advertMark); i >= 0 {
		return clientID[i+1:]
	}
	return ""
}

// gathered is what a node and its peers answered.
type gathered[A any] struct {
	answers     []A // this node's first
	unreachable []status.Unreachable
}

// gather asks this node and, unless the question is a local one, the other members of a topology's group, all at once.
func gather[A any](ctx context.Context, g *Gateway, q question, topology string, own func(context.Context, string) A, ask func(ctx context.Context, at string, q Query) (A, error)) gathered[A] {
	var all gathered[A]
	_, members := g.node(topology)
	if q.local || members == nil {
		all.answers = []A{own(ctx, topology)}
		return all
	}
	var wg sync.WaitGroup
	var mine A
	wg.Go(func() { mine = own(ctx, topology) })
	theirs, unreachable := g.others(ctx, topology, members)
	answers, errs := make([]A, len(theirs)), make([]error, len(theirs))
	for i, p := range theirs {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, peerTimeout)
			defer cancel()
			answers[i], errs[i] = ask(ctx, p.Address, Query{Topology: topology, Instance: p.Instance, Local: true})
		})
	}
	wg.Wait()
	all.answers, all.unreachable = []A{mine}, unreachable
	for i, p := range theirs {
		if errs[i] != nil {
			p.Why = errs[i].Error()
			all.unreachable = append(all.unreachable, p)
			continue
		}
		all.answers = append(all.answers, answers[i])
	}
	return all
}

// gatherAll gathers for all topologies that a question is about, at once.
func gatherAll[A any](ctx context.Context, g *Gateway, q question, own func(context.Context, string) A, ask func(ctx context.Context, at string, q Query) (A, error)) []gathered[A] {
	topologies := g.wants(q)
	all := make([]gathered[A], len(topologies))
	var wg sync.WaitGroup
	for i, topology := range topologies {
		wg.Go(func() { all[i] = gather(ctx, g, q, topology, own, ask) })
	}
	wg.Wait()
	return all
}

// others are the members of a group besides this node that advertise an address, and those that do not.
func (g *Gateway) others(ctx context.Context, topology string, members Members) (with, without []status.Unreachable) {
	ctx, cancel := context.WithTimeout(ctx, membersTimeout)
	defer cancel()
	all, err := members(ctx, topology)
	if err != nil {
		return nil, []status.Unreachable{{Topology: topology, Why: "the brokers do not say who the other nodes are: " + err.Error()}}
	}
	for _, m := range all {
		p := status.Unreachable{Topology: topology, Instance: m.Instance, Address: Advertised(m.ClientID)}
		switch {
		case m.Instance == g.cfg.Instance:
		case p.Address == "":
			p.Why = "it serves no HTTP: start it without --http off"
			without = append(without, p)
		default:
			with = append(with, p)
		}
	}
	return with, without
}
