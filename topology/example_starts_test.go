package topology_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func ExampleTimestampExtractor() {
	type reading struct {
		Celsius float64
		Taken   time.Time
	}
	t := topology.New("sensors")
	readings := topology.NewTopic(t, "readings", codec.String, codec.JSON[reading](),
		topology.TimestampExtractor(func(ev topology.Event[string, reading]) time.Time { return ev.Value.Taken }))
	topology.Each(t, "print", readings, func(_ *topology.Context, ev topology.Event[string, reading]) error {
		fmt.Println(ev.Timestamp().UTC().Format(time.DateOnly), ev.Key, ev.Value.Celsius)
		return nil
	})
	tb := &example{}
	defer tb.end()
	d := topologytest.New(tb, t)
	topologytest.Pipe(d, readings, "roof", reading{-3.5, time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)})
	topologytest.Pipe(d, readings, "roof", reading{Celsius: 4}) // it has no time: a dead letter
	// Output: 1999-12-31 roof -3.5
}

func ExampleSince() {
	t := topology.New("audit")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String, topology.ReadFrom(topology.None))
	show := func(*topology.Context, topology.Event[string, string]) error { return nil }
	topology.Each(t, "new-ones", orders, show, topology.StartAt(topology.Latest))
	topology.Each(t, "this-year", orders, show, topology.StartAt(topology.Since(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	topology.Each(t, "careful", orders, show)
	p, err := t.Plan()
	if err != nil {
		panic(err)
	}
	text, _ := topology.Describe(p, "text")
	for line := range strings.Lines(text) {
		if strings.Contains(line, "starts") {
			fmt.Print(line)
		}
	}
	// Output:
	//   agent new-ones: reads orders, starts at the latest record
	//   agent this-year: reads orders, starts at 2026-01-01T00:00:00Z
	//   agent careful: reads orders, starts at a committed offset only
}

func ExampleReadFrom() {
	t := topology.New("audit")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String, topology.ReadFrom(topology.Latest))
	topology.To(topology.From(orders), topology.NewTopic(t, "copies", codec.String, codec.String))
	p, err := t.Plan()
	if err != nil {
		panic(err)
	}
	text, _ := topology.Describe(p, "text")
	for line := range strings.Lines(text) {
		if strings.Contains(line, "starts") {
			fmt.Print(line)
		}
	}
	// Output:
	//   agent to-copies: reads orders, starts at the latest record, sends copies, steps: from orders | to copies
}
