package topology_test

import (
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// visits is a topology with a topic of pages by visitor.
func visits() (*topology.Topology, *topology.Topic[string, string]) {
	t := topology.New("visits")
	return t, topology.NewTopic(t, "visits", codec.String, codec.String)
}

type visit = topology.Event[string, string]

func ExampleNewTable() {
	t, in := visits()
	last := topology.NewTable(t, "last", codec.String, codec.String)
	topology.Each(t, "remember", in, func(ctx *topology.Context, v visit) error {
		last.Set(ctx, v.Key, v.Value)
		return nil
	}, topology.Writes(last))

	d := drive(t)
	topologytest.Pipe(d, in, "ada", "/")
	topologytest.Pipe(d, in, "ada", "/about")
	d.Crash() // what is in memory is lost; what is committed is not
	fmt.Println(topologytest.Table(d, last))
	// Output: map[ada:/about]
}

func ExampleTableOf() {
	t, _ := visits()
	last := topology.NewTable(t, "last", codec.String, codec.String)
	fmt.Println(topology.TableOf[string, string](t, "last") == last)
	// Output: true
}

func ExampleSetTableOf() {
	t, _ := visits()
	pages := topology.NewSetTable(t, "pages", codec.String, codec.String)
	fmt.Println(topology.SetTableOf[string, string](t, "pages") == pages)
	// Output: true
}

func ExampleGlobalTableOf() {
	t, in := visits()
	all := topology.NewGlobalTable(t, "all", in)
	fmt.Println(topology.GlobalTableOf[string, string](t, "all") == all)
	// Output: true
}

// Keys in order: all pages of one visitor, one after the other.
func ExampleOrdered() {
	t, in := visits()
	seen := topology.NewTable(t, "seen", codec.String, codec.Int64, topology.Ordered(), topology.Local())
	topology.Each(t, "note", in, func(ctx *topology.Context, v visit) error {
		seen.Set(ctx, v.Key+v.Value, 1)
		if v.Value == "/bye" {
			for page := range seen.Prefix(ctx, v.Key+"/") {
				fmt.Println(page)
			}
		}
		return nil
	}, topology.Writes(seen))

	d := drive(t)
	for _, page := range []string{"/", "/about", "/bye"} {
		topologytest.Pipe(d, in, "ada", page)
	}
	// Output:
	// ada/
	// ada/about
	// ada/bye
}

// Entries whose keys are not those of the records: each partition has its own.
func ExampleLocal() {
	t, in := visits()
	pages := topology.NewTable(t, "pages", codec.String, codec.Int64, topology.Local())
	topology.Each(t, "count", in, func(ctx *topology.Context, v visit) error {
		pages.Update(ctx, v.Value, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(pages))

	d := topologytest.New(inExample{}, t, topologytest.Partitions(1))
	topologytest.Pipe(d, in, "ada", "/")
	topologytest.Pipe(d, in, "grace", "/")
	fmt.Println(topologytest.Table(d, pages))
	// Output: map[/:2]
}

// Failures of functions that run inside the table go by a policy of the table's own.
func ExampleOnTableFailure() {
	t, in := visits()
	few := topology.NewTable(t, "few", codec.String, codec.Int64, topology.OnTableFailure(topology.Policy{Attempts: 1, Then: topology.Skip}))
	topology.Each(t, "count", in, func(ctx *topology.Context, v visit) error {
		few.Update(ctx, v.Key, func(n int64, _ bool) (int64, error) {
			if n == 2 {
				return 0, fmt.Errorf("%s has come often enough", v.Key)
			}
			return n + 1, nil
		})
		return nil
	}, topology.Writes(few))

	d := drive(t)
	for range 4 {
		topologytest.Pipe(d, in, "ada", "/")
	}
	fmt.Println(topologytest.Table(d, few))
	// Output: map[ada:2]
}

// Values are written with the version of their codec, so that none is ever read as another.
func ExampleVersion() {
	t, in := visits()
	last := topology.NewTable(t, "last", codec.String, codec.String, topology.Version(2), topology.Migrate(1, codec.Int64, func(old int64) (string, error) {
		return fmt.Sprint("page ", old), nil
	}))
	topology.Each(t, "remember", in, func(ctx *topology.Context, v visit) error {
		last.Set(ctx, v.Key, v.Value)
		return nil
	}, topology.Writes(last))
	p, _ := t.Plan()
	fmt.Println(p.Tables[0].Version)
	// Output: 2
}

// A copy of a topic that others write, in which there may be records that do not decode.
func ExampleSkipUndecodable() {
	t, in := visits()
	names := topology.NewGlobalTable(t, "names", topology.NewTopic(t, "names", codec.String, codec.JSON[string]()), topology.SkipUndecodable())
	topology.Each(t, "greet", in, func(ctx *topology.Context, v visit) error {
		name, _, err := names.Get(ctx, v.Key)
		fmt.Println("hello", name)
		return err
	}, topology.Reads(names))

	d := drive(t)
	topologytest.Pipe(d, topology.TopicOf[string, string](t, "names"), "ada", "Ada Lovelace")
	d.PipeRaw("names", 0, d.Now(), []byte("ada"), []byte("no JSON"))
	topologytest.Pipe(d, in, "ada", "/")
	// Output: hello Ada Lovelace
}

// A timer for each visitor, which each visit sets anew.
func ExampleNewTimers() {
	t, in := visits()
	idle := topology.NewTimers(t, "idle", codec.String, codec.String)
	topology.Each(t, "watch", in, func(ctx *topology.Context, v visit) error {
		idle.After(ctx, v.Key, 10*time.Minute, v.Value)
		return nil
	}, topology.Writes(idle))
	topology.OnTimer(t, "gone", idle, func(_ *topology.Context, timer topology.Timer[string, string]) error {
		fmt.Println(timer.Key, "has left from", timer.Payload)
		return nil
	})

	d := drive(t)
	topologytest.Pipe(d, in, "ada", "/")
	d.Advance(6 * time.Minute)
	topologytest.Pipe(d, in, "ada", "/about")
	d.Advance(6 * time.Minute)
	fmt.Println("not yet")
	d.Advance(4 * time.Minute)
	// Output:
	// not yet
	// ada has left from /about
}

// The same by the times of the visits: who has left is known when a visit comes, of whomever, that is so much later.
func ExampleClock() {
	t, in := visits()
	idle := topology.NewTimers(t, "idle", codec.String, codec.String, topology.EventTime)
	topology.Each(t, "watch", in, func(ctx *topology.Context, v visit) error {
		fmt.Println(v.Key, "visits", v.Value)
		idle.After(ctx, v.Key, 10*time.Minute, v.Value)
		return nil
	}, topology.Writes(idle))
	topology.OnTimer(t, "gone", idle, func(_ *topology.Context, timer topology.Timer[string, string]) error {
		fmt.Println(timer.Key, "has left from", timer.Payload, "at", timer.Due.UTC().Format(time.TimeOnly))
		return nil
	})

	d := topologytest.New(inExample{}, t, topologytest.Partitions(1)) // the time is that of a partition
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	topologytest.PipeAt(d, in, noon, "ada", "/")
	topologytest.PipeAt(d, in, noon.Add(6*time.Minute), "ada", "/about")
	d.Crash()
	d.Advance(24 * time.Hour) // a clock on the wall changes nothing
	topologytest.PipeAt(d, in, noon.Add(20*time.Minute), "grace", "/")
	topologytest.PipeAt(d, in, noon.Add(20*time.Minute), "grace", "/about")
	// Output:
	// ada visits /
	// ada visits /about
	// grace visits /
	// ada has left from /about at 12:16:00
	// grace visits /about
}

// Who visits now is counted by page: who goes on to another one is taken off the count of the one before.
func ExampleGroupTable() {
	t, in := visits()
	at := topology.TableFrom(t, "at", in)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	byPage := topology.GroupTable(at, func(visitor, page string) (string, string, bool) { return page, visitor, true }, codec.String)
	topology.CountRows(byPage, counts)

	d := drive(t)
	topologytest.Pipe(d, in, "ada", "/")
	topologytest.Pipe(d, in, "grace", "/")
	topologytest.Pipe(d, in, "ada", "/about")
	fmt.Println(topologytest.Table(d, counts))
	// Output: map[/:1 /about:1]
}
