package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// delays gathers how long records took, while something is measured.
type delays struct{}

func (d *delays) add(*kgo.Record, time.Time) {}

// blackoutReport is what nodes did while no broker was there.
type blackoutReport struct {
	AwayMs int64 `json:"away_ms"`
}

func (b *blackoutReport) text() string { return "" }

func (r *run) measure(context.Context) error  { return nil }
func (r *run) blackOut(context.Context) error { return nil }
func (r *run) reserve() time.Duration         { return 0 }
