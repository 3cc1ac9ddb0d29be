package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// victim takes a running node in hand.
func (r *run) victim(rng *rand.Rand) (*member, error) {
	all := r.fleet.running()
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, m := range all {
		if m.take() {
			if m.up() {
				return m, nil
			}
			m.release()
		}
	}
	return nil, errBusy
}

func killNode(_ context.Context, r *run, rng *rand.Rand) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	return m.name, errors.Join(m.end(false), m.start())
}

func killLate(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	if err := m.end(false); err != nil {
		return m.name, err
	}
	pause(ctx, between(rng, sessionTimeout, sessionTimeout+5*time.Second))
	return m.name, m.start()
}

// exitRecord writes an order that ends every process which is given it. What follows is up to the nodes: the fleet starts again what
// has ended, as whatever runs services would. It is waited for until the order is given up.
func exitRecord(ctx context.Context, r *run, _ *rand.Rand) (string, error) {
	if !r.exiting.CompareAndSwap(false, true) { // two such records would be in each other's way
		return "", errBusy
	}
	defer r.exiting.Store(false)
	id := -1 - r.exitOrders.Add(1)
	before := r.fleet.ordered.Load()
	r.load.order(ctx, id)
	for !r.audit.gaveUp(id) {
		if !pause(ctx, lookEvery) {
			return fmt.Sprintf("order %d, not given up yet", id), nil // the comparison after the phase waits for it
		}
	}
	return fmt.Sprintf("order %d is given up; %d processes ended", id, r.fleet.ordered.Load()-before), nil
}

func freezeNode(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	return freeze(ctx, r, rng, between(rng, sessionTimeout/2, sessionTimeout+6*time.Second))
}

func freezeLong(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	return freeze(ctx, r, rng, between(rng, transactionTimeout+3*time.Second, transactionTimeout+8*time.Second))
}

func freeze(ctx context.Context, r *run, rng *rand.Rand, d time.Duration) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	p, _ := m.now()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return m.name, err
	}
	pause(ctx, d)
	return fmt.Sprintf("%s for %s", m.name, d.Round(time.Millisecond)), p.Signal(syscall.SIGCONT)
}

// leave stops a node in order; a new one, with nothing, comes in its place.
func leave(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	begun := time.Now()
	err = m.end(true)
	what := fmt.Sprintf("%s stopped in %s", m.name, time.Since(begun).Round(time.Millisecond))
	pause(ctx, between(rng, 0, 6*time.Second))
	m.fresh()
	r.odd("stop", err)
	return what, m.start()
}

// join starts one more node on a spare lane for a while.
func join(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	for _, m := range r.fleet.members {
		if m.up() || !m.take() {
			continue
		}
		defer m.release()
		if m.up() {
			return "", errBusy
		}
		m.fresh()
		if err := m.start(); err != nil {
			return m.name, err
		}
		pause(ctx, between(rng, 4*time.Second, 15*time.Second))
		r.odd("stop", m.end(true))
		return m.name, nil
	}
	return "", errBusy
}

func cutOne(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	p := r.cluster.lanes[m.lane][rng.IntN(brokers)]
	defer p.Heal()
	if rng.IntN(2) == 0 {
		p.Cut()
	} else {
		p.Hold()
	}
	pause(ctx, between(rng, time.Second, 12*time.Second))
	return m.name, nil
}

func cutAll(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	d := between(rng, time.Second, sessionTimeout+6*time.Second)
	return r.onLane(ctx, rng, d, func(l int) {
		for _, p := range r.cluster.lanes[l] {
			p.Cut()
		}
	})
}

func holdAll(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	d := between(rng, time.Second, sessionTimeout+6*time.Second)
	return r.onLane(ctx, rng, d, func(l int) {
		for _, p := range r.cluster.lanes[l] {
			p.Hold()
		}
	})
}

func slowNetwork(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	delay := between(rng, 20*time.Millisecond, 300*time.Millisecond)
	return r.onLane(ctx, rng, between(rng, 3*time.Second, 12*time.Second), func(l int) {
		for _, p := range r.cluster.lanes[l] {
			p.Slow(delay)
		}
	})
}

// onLane harms all connections of a node for a while.
func (r *run) onLane(ctx context.Context, rng *rand.Rand, d time.Duration, harm func(lane int)) (string, error) {
	m, err := r.victim(rng)
	if err != nil {
		return "", err
	}
	defer m.release()
	harm(m.lane)
	pause(ctx, d)
	for _, p := range r.cluster.lanes[m.lane] {
		p.Heal()
	}
	return fmt.Sprintf("%s for %s", m.name, d.Round(time.Millisecond)), nil
}

func idle(ctx context.Context, r *run, rng *rand.Rand) (string, error) {
	d := between(rng, 8*time.Second, 15*time.Second)
	r.load.hush(true)
	pause(ctx, d)
	r.load.hush(false)
	return d.Round(time.Millisecond).String(), nil
}
