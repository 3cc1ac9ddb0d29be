package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/integration/chaos/work"
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
	for _, g := range sources {
		for _, topic := range g.topics {
			all := places(topic)
			if err := c.unread(ctx, a, all); err != nil {
				return err
			}
			at, err := c.committed(ctx, g.group, all)
			if err != nil {
				return err
			}
			for p, due := range a.due(all) {
				if at[p] < due {
					return fmt.Errorf("group %s has committed %d of %s, whose last record is at %d", g.group, at[p], p, due-1)
				}
			}
		}
	}
	if err := c.unread(ctx, a, append(places(outputs...), place{troublesLetters, 0})); err != nil {
		return err
	}
	if left := a.outstanding(); left != "" {
		return errors.New(left)
	}
	return nil
}

// unread says which partition the audit has not read to its end: of all that is written, transactions in flight included.
func (c *cluster) unread(ctx context.Context, a *audit, of []place) error {
	ends, err := c.ends(ctx, false, of)
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
	counts, quicks, serves, balances := r.audit.tables()
	prices, sold, owed := r.audit.marketTables()
	number := func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
	if err := compareTable(ctx, r, v, "wordcount", "counts", counts, number); err != nil {
		return err
	}
	for _, table := range []string{"quicks", "slows"} {
		if err := compareTable(ctx, r, v, "jobs", table, quicks, number); err != nil {
			return err
		}
	}
	if err := compareTable(ctx, r, v, "troubles", "serves", serves, number); err != nil {
		return err
	}
	if err := compareTable(ctx, r, v, "errands", "open", nil, number); err != nil { // each has been reminded of
		return err
	}
	for table, want := range map[string]map[string]int64{"price": prices, "sold": sold, "owed": owed} {
		if err := compareTable(ctx, r, v, "market", table, want, number); err != nil {
			return err
		}
	}
	return compareTable(ctx, r, v, "ledger", "balances", balances, func(s string) (b work.Balance, err error) {
		return b, json.Unmarshal([]byte(s), &b)
	})
}

func compareTable[V comparable](ctx context.Context, r *run, v *verdict, topology, table string, want map[string]V, parse func(string) (V, error)) error {
	texts, err := scan(ctx, r.fleet.binary, r.cluster.addrs(0), r.dir, topology, table)
	if err != nil {
		return err
	}
	got := map[string]V{}
	for k, text := range texts {
		x, err := parse(text)
		if err != nil {
			return fmt.Errorf("table %s: key %q: %w", table, k, err)
		}
		got[k] = x
	}
	rows(v, "table "+table, want, got)
	return nil
}
