//go:build unix

package main

import (
	"context"
	"sync"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/plan"
)

// asker is a client for the handlers of a node, which is opened when the first of them asks.
type asker struct {
	brokers []string

	mu     sync.Mutex
	client *troupe.Client
}

var _ topology.Asker = (*asker)(nil)

func (a *asker) open(ctx context.Context) (*troupe.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		return a.client, nil
	}
	client, err := troupe.OpenClient(ctx, troupe.ClientConfig{Brokers: a.brokers})
	if err == nil {
		a.client = client
	}
	return client, err
}

// Request implements topology.Asker.
func (a *asker) Request(ctx context.Context, r plan.Request, done func(answer []byte, err error)) error {
	client, err := a.open(ctx)
	if err != nil {
		return err
	}
	return client.Request(ctx, r, done)
}

// Cast implements topology.Asker.
func (a *asker) Cast(ctx context.Context, r plan.Request) error {
	client, err := a.open(ctx)
	if err != nil {
		return err
	}
	return client.Cast(ctx, r)
}

func (a *asker) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client == nil {
		return nil
	}
	return a.client.Close()
}
