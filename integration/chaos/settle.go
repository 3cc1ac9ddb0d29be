package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// lookEvery is the time between two looks at offsets.
const lookEvery = 200 * time.Millisecond

// errBehind says that something has not caught up in time.
var errBehind = errors.New("not caught up")

// caughtUp waits until everything that the load has written has been processed and committed, and read by the audit. What
// it waits for at each moment is in the error when ctx ends.
func (c *cluster) caughtUp(ctx context.Context, a *audit) error {
	for {
		why := c.behind(ctx, a)
		if why == nil {
			return nil
		}
		if !pause(ctx, lookEvery) {
			return fmt.Errorf("%w: %w", errBehind, why)
		}
	}
}

// behind says what has not caught up yet. Once all of a group's sources are committed up to their last record, what its
// agents have written is complete: it is in the same transactions.
func (c *cluster) behind(ctx context.Context, a *audit) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, s := range subjects() {
		for _, topic := range a.sources(s) {
			all := places(topic)
			if err := c.unread(ctx, a, all); err != nil {
				return err
			}
			at, err := c.committed(ctx, s.name, all)
			if err != nil {
				return err
			}
			for p, due := range a.due(all) {
				if at[p] < due {
					return fmt.Errorf("group %s has committed %d of %s, whose last record is at %d", s.name, at[p], p, due-1)
				}
			}
		}
	}
	_, written := topics()
	if err := c.unread(ctx, a, append(places(written...), place{troublesLetters, 0})); err != nil {
		return err
	}
	if left := a.outstanding(); left != "" {
		return errors.New(left)
	}
	return nil
}

// unread says which partition the audit has not read to its end: of all that is written, transactions in flight included.
func (c *cluster) unread(ctx context.Context, a *audit, of []place) error {
	ends, err := c.ends(ctx, of)
	if err != nil {
		return err
	}
	at := a.position()
	for p, end := range ends {
		if at[p] < end {
			return fmt.Errorf("%s is read up to %d of %d, committed records only: a transaction is open or its marker is missing", p, at[p], end)
		}
	}
	return nil
}

// scan reads a table with the node command, as a user would.
func scan(ctx context.Context, binary, brokers, dir, topology, table string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "scan", table, "--topology", topology, "--brokers", brokers, "--format", "tsv", "--data-dir", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("scan table %s: %w: %s", table, err, stderr.String())
	}
	if stderr.Len() > 0 {
		return nil, fmt.Errorf("scan table %s: %s", table, stderr.String())
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(out)) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return nil, fmt.Errorf("scan table %s: line %q has no value", table, line)
		}
		rows[k] = v
	}
	return rows, nil
}

// compareTables compares all tables with the fold.
func (r *run) compareTables(ctx context.Context, v *verdict) error {
	for _, s := range subjects() {
		for _, c := range r.audit.contents(s) {
			texts, err := scan(ctx, r.fleet.binary, r.cluster.addrs(0), r.dir, s.name, c.table)
			if err == nil {
				err = c.compare(v, texts)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
