package main

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	// snapshotEvery is the time between two snapshots of the ledger.
	snapshotEvery = time.Second
	// halfFor bounds how long a transfer may be seen by half: as long as a transaction of a dead node may hide the end of
	// a partition.
	halfFor = 2 * time.Minute
)

// snapshotReport is what the snapshots of the ledger have shown.
type snapshotReport struct {
	Taken      int   `json:"taken"`
	WithHalves int   `json:"with_halves"`
	MostHalves int   `json:"most_halves"`
	SlowestMs  int64 `json:"slowest_ms"` // until all halves of a snapshot were whole
}

// snapshots takes read-committed snapshots of the ledger while it is written. Kafka makes a transaction visible in one
// partition after the other: so a snapshot may hold one posting of a transfer and not yet the other. Everything else sums
// to zero, and what is half must be whole as soon as all partitions have been read to where they ended at the snapshot: a
// half that stays is a transaction that was torn.
type snapshots struct {
	cluster *cluster
	audit   *audit
	report  *report
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

func startSnapshots(ctx context.Context, c *cluster, a *audit, r *report) *snapshots {
	ctx, stop := context.WithCancel(ctx)
	s := &snapshots{cluster: c, audit: a, report: r, stop: stop}
	s.wait.Go(func() {
		for pause(ctx, snapshotEvery) {
			s.take(ctx)
		}
	})
	return s
}

func (s *snapshots) close() {
	s.stop()
	s.wait.Wait()
}

// take takes one snapshot and waits until its halves are whole.
func (s *snapshots) take(ctx context.Context) {
	at := time.Now()
	s.audit.mu.Lock()
	halves := maps.Clone(s.audit.halves)
	s.audit.mu.Unlock()
	if len(halves) > 0 && !s.whole(ctx, halves, at) {
		return // the run ends
	}
	s.report.mu.Lock()
	defer s.report.mu.Unlock()
	x := &s.report.Snapshots
	if x.Taken++; len(halves) > 0 {
		x.WithHalves++
		x.MostHalves, x.SlowestMs = max(x.MostHalves, len(halves)), max(x.SlowestMs, time.Since(at).Milliseconds())
	}
}

func (s *snapshots) whole(ctx context.Context, halves map[int64]int64, at time.Time) bool {
	var ends map[place]int64
	for {
		if ends == nil {
			asked, cancel := context.WithTimeout(ctx, 5*time.Second)
			ends, _ = s.cluster.ends(asked, places("postings")) // asked again while brokers are away
			cancel()
		}
		read := ends != nil && reached(s.audit.position(), ends)
		left := s.left(halves)
		if left == 0 {
			return true
		}
		if read || time.Since(at) > halfFor {
			s.report.fail("ledger: %d transfers of the snapshot at %s are torn: one posting is committed, the other is not, though all partitions are read to their ends (%t)", left, at.Format(time.TimeOnly), read)
			return true
		}
		if !pause(ctx, 50*time.Millisecond) {
			return false
		}
	}
}

// left counts the transfers that are half still.
func (s *snapshots) left(halves map[int64]int64) (n int) {
	s.audit.mu.Lock()
	defer s.audit.mu.Unlock()
	for id := range halves {
		if _, half := s.audit.halves[id]; half {
			n++
		}
	}
	return n
}
