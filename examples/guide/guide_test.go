package guide

// What stands between "// doc: NAME" and "// end" is in docs/guide too, letter by letter: docs_test.go compares them.

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func First() *topology.Topology {
	// doc: first
	t := topology.New("parcels")
	scans := topology.NewTopic(t, "scans", codec.String, codec.String) // a parcel's number, and the place
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)

	byPlace := topology.GroupBy(topology.From(scans), func(place string) string { return place })
	topology.Count(byPlace, counts)
	// end
	return t
}

func TestFirst(t *testing.T) {
	t.Parallel()
	topo := First()
	d := topologytest.New(t, topo)
	scans := topology.TopicOf[string, string](topo, "scans")
	topologytest.Pipe(d, scans, "p-1", "Bonn")
	topologytest.Pipe(d, scans, "p-2", "Bonn")
	topologytest.Pipe(d, scans, "p-1", "Kiel")
	require.Equal(t, map[string]int64{"Bonn": 2, "Kiel": 1}, topologytest.Table(d, topology.TableOf[string, int64](topo, "counts")))
}

func TestAgent(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.String)
	arrived := topology.NewTopic(topo, "arrived", codec.String, codec.String)
	// doc: agent
	topology.Each(topo, "watch", scans, func(ctx *topology.Context, scan topology.Event[string, string]) error {
		if scan.Value == "delivered" {
			arrived.Send(ctx, scan.Key, scan.Timestamp().UTC().Format(time.DateTime))
		}
		return nil
	}, topology.Sends(arrived))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, scans, "p-1", "Bonn")
	topologytest.Pipe(d, scans, "p-1", "delivered")
	require.Len(t, topologytest.Read(d, arrived), 1)
}

// doc: types

// Scan is what the topic scans holds, keyed by the number of the parcel.
type Scan struct {
	Place string `json:"place"`
}

// Parcel is what the table parcels knows of a parcel.
type Parcel struct {
	Place string `json:"place"` // where it was seen last
	Scans int    `json:"scans"`
}

// Validate refuses what must not be in the topic: it is asked after each decode and before each write.
func (s Scan) Validate() error {
	if s.Place == "" {
		return errors.New("a scan has a place")
	}
	return nil
}

// end

// doc: topology

// Topology keeps where each parcel is.
func Topology() *topology.Topology {
	t := topology.New("parcels")
	scans := topology.NewTopic(t, "scans", codec.String, codec.JSON[Scan]())
	parcels := topology.NewTable(t, "parcels", codec.String, codec.JSON[Parcel]())

	topology.EachRow(t, "follow", scans, parcels, func(_ *topology.Context, scan topology.Event[string, Scan], row *topology.Row[Parcel]) error {
		p, _ := row.Get()
		row.Set(Parcel{scan.Value.Place, p.Scans + 1})
		return nil
	})
	return t
}

// end

var _ = func() {
	// doc: main
	troupe.Main(Topology())
	// end
}

// doc: test

func TestParcels(t *testing.T) {
	topo := Topology()
	d := topologytest.New(t, topo)
	scans := topology.TopicOf[string, Scan](topo, "scans")
	parcels := topology.TableOf[string, Parcel](topo, "parcels")

	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})
	d.Crash() // what is in memory is lost, as when a node is killed
	topologytest.Pipe(d, scans, "p-1", Scan{"Kiel"})

	require.Equal(t, map[string]Parcel{"p-1": {"Kiel", 2}}, topologytest.Table(d, parcels))
	require.Empty(t, d.Failures())
}

// end

func TestReadsAndIndex(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	questions := topology.NewTopic(topo, "questions", codec.String, codec.String)
	answers := topology.NewTopic(topo, "answers", codec.String, codec.String)
	// doc: reads
	parcels := topology.NewTable(topo, "parcels", codec.String, codec.JSON[Parcel](), topology.TTL(30*24*time.Hour, topology.EventTime))
	at := topology.NewIndex(parcels, "place", func(_ string, p Parcel) string { return p.Place }, codec.String)

	topology.Each(topo, "follow", scans, func(ctx *topology.Context, scan topology.Event[string, Scan]) error {
		parcels.Update(ctx, scan.Key, func(p Parcel, _ bool) (Parcel, error) { return Parcel{scan.Value.Place, p.Scans + 1}, nil })
		return nil
	}, topology.Writes(parcels))
	topology.Each(topo, "look", questions, func(ctx *topology.Context, q topology.Event[string, string]) error {
		for number := range at.Lookup(ctx, q.Value) { // in this partition
			answers.Send(ctx, q.Key, number)
		}
		return nil
	}, topology.Reads(parcels), topology.Sends(answers))
	// end
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})
	topologytest.Pipe(d, scans, "p-2", Scan{"Kiel"})
	topologytest.Pipe(d, questions, "q", "Kiel")
	require.Equal(t, "p-2", topologytest.Read(d, answers)[0].Value)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	errNoSuchParcel, calls := errors.New("no such parcel"), 0
	notify := func(_ context.Context, number, _ string) error {
		if calls++; number == "p-0" {
			return errNoSuchParcel
		}
		return errors.New("the line is busy")
	}
	// doc: failures
	topology.Each(topo, "notify", scans, func(ctx *topology.Context, scan topology.Event[string, Scan]) error {
		err := notify(ctx, scan.Key, scan.Value.Place)
		if errors.Is(err, errNoSuchParcel) {
			return topology.Permanent(err) // no further attempt would mend that
		}
		return err
	}, topology.OnFailure(topology.Policy{
		Attempts: 5,
		Backoff:  topology.Backoff{Min: time.Second, Max: time.Minute},
		Deadline: 30 * time.Second, // a handler that takes longer has failed
		KeyOrder: true,             // parcels other than the one that is tried again go on
	}))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, scans, "p-0", Scan{"Bonn"})
	require.Equal(t, 1, calls)
	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})
	require.Equal(t, 6, calls)
}

func TestJoin(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	notices := topology.NewTopic(topo, "notices", codec.String, codec.String)
	// doc: join
	owners := topology.TableFrom(topo, "owners", topology.NewTopic(topo, "owner-updates", codec.String, codec.String))
	named := topology.Join(topology.From(scans), owners, func(scan Scan, owner string) string {
		return fmt.Sprintf("%s, your parcel is in %s", owner, scan.Place)
	})
	topology.To(named, notices)
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, topology.TopicOf[string, string](topo, "owner-updates"), "p-1", "Ada")
	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})
	require.Equal(t, "Ada, your parcel is in Bonn", topologytest.Read(d, notices)[0].Value)
}

func TestTimers(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	lost := topology.NewTopic(topo, "lost", codec.String, codec.String)
	// doc: timers
	silence := topology.NewTimers(topo, "silence", codec.String, codec.String)
	topology.Each(topo, "expect", scans, func(ctx *topology.Context, scan topology.Event[string, Scan]) error {
		if scan.Value.Place == "delivered" {
			silence.Cancel(ctx, scan.Key)
			return nil
		}
		silence.After(ctx, scan.Key, 72*time.Hour, scan.Value.Place) // in place of the one before
		return nil
	}, topology.Writes(silence))
	topology.OnTimer(topo, "miss", silence, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
		lost.Send(ctx, timer.Key, "seen last in "+timer.Payload)
		return nil
	}, topology.Sends(lost))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})
	topologytest.Pipe(d, scans, "p-2", Scan{"Bonn"})
	d.Advance(70 * time.Hour)
	topologytest.Pipe(d, scans, "p-2", Scan{"delivered"})
	d.Crash()
	d.Advance(70 * time.Hour)
	all := topologytest.Read(d, lost)
	require.Len(t, all, 1)
	require.Equal(t, "p-1", all[0].Key)
}

func TestAsk(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	parcels := topology.NewTable(topo, "parcels", codec.String, codec.JSON[Parcel]())
	topology.EachRow(topo, "follow", scans, parcels, func(_ *topology.Context, scan topology.Event[string, Scan], row *topology.Row[Parcel]) error {
		row.Set(Parcel{scan.Value.Place, 1})
		return nil
	})
	// doc: answer
	questions := topology.NewTopic(topo, "questions", codec.String, codec.String)
	topology.Answer(topo, "where", questions, func(ctx *topology.Context, q topology.Event[string, string]) (string, error) {
		p, ok, err := parcels.Get(ctx, q.Key)
		if !ok {
			return "nobody has seen it", err
		}
		return p.Place, err
	}, codec.String, topology.Reads(parcels))
	// end
	visitors := topology.NewTopic(topo, "visitors", codec.String, codec.String)
	// doc: eager
	topology.Answer(topo, "there", visitors, func(ctx *topology.Context, q topology.Event[string, string]) (bool, error) {
		_, ok, err := parcels.Get(ctx, q.Key)
		return ok, err
	}, codec.JSON[bool](), topology.Reads(parcels), topology.Eager())
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})

	ctx, client := t.Context(), d
	// doc: ask
	where := topology.AgentOf[string, string, string](topo, "where")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	place, err := where.Ask(ctx, client, "p-1", "")
	// end
	require.NoError(t, err)
	require.Equal(t, "Bonn", place)
	there, err := topology.AgentOf[string, string, bool](topo, "there").Ask(ctx, client, "p-2", "")
	require.NoError(t, err)
	require.False(t, there)
}

var _ = func(ctx context.Context) error {
	// doc: client
	client, err := troupe.OpenClient(ctx, troupe.ClientConfig{Brokers: []string{"kafka1:9092", "kafka2:9092"}})
	if err != nil {
		return err
	}
	// end
	return client.Close()
}

func TestManyTopics(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	// doc: pattern
	carriers := topology.NewTopicPattern(topo, "carriers", `scans\..+`, codec.String, codec.JSON[Scan]())
	places := topology.NewTable(topo, "places", codec.String, codec.Int64)

	scans := topology.Repartition(topology.From(carriers), "scans", 8)
	byPlace := topology.GroupBy(scans, func(scan Scan) string { return scan.Place })
	topology.Count(byPlace, places)
	// end
	d := topologytest.New(t, topo)
	// doc: matching
	topologytest.PipeMatching(d, carriers, "scans.swift", "p-1", Scan{"Bonn"})
	topologytest.PipeMatching(d, carriers, "scans.snail", "p-2", Scan{"Bonn"}) // it appears while the topology runs
	// end
	require.Equal(t, map[string]int64{"Bonn": 2}, topologytest.Table(d, places))
}

func TestOnceEach(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	// doc: distinct
	seen := topology.NewSetTable(topo, "seen", codec.String, codec.String, topology.TTL(24*time.Hour, topology.EventTime))
	once := topology.Distinct(topology.From(scans), seen, func(scan topology.Event[string, Scan]) string { return scan.Value.Place })
	topology.Count(topology.GroupByKey(once), counts)
	// end
	d := topologytest.New(t, topo)
	for _, place := range []string{"Bonn", "Kiel", "Bonn"} {
		topologytest.Pipe(d, scans, "p-1", Scan{place})
	}
	require.Equal(t, map[string]int64{"p-1": 2}, topologytest.Table(d, counts))
}

func TestPace(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	located := topology.NewTopic(topo, "located", codec.String, codec.String)
	locate := func(_ context.Context, place string) (string, error) { return "50.7N 7.1E " + place, nil }
	// doc: pace
	slowly := topology.From(topology.Throttle(scans, 100, time.Second))
	positions := topology.MapAsync(slowly, 20, func(ctx context.Context, scan topology.Event[string, Scan]) (string, error) {
		return locate(ctx, scan.Value.Place) // asks a service, and waits
	})
	topology.To(positions, located)
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, scans, "p-1", Scan{"Bonn"})
	require.Equal(t, "50.7N 7.1E Bonn", topologytest.Read(d, located)[0].Value)
}

func TestEventTime(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	scans := topology.NewTopic(topo, "scans", codec.String, codec.JSON[Scan]())
	late := topology.NewTopic(topo, "late", codec.String, codec.String)
	// doc: event-time
	due := topology.NewTimers(topo, "due", codec.String, codec.String, topology.EventTime)
	topology.Each(topo, "expect", scans, func(ctx *topology.Context, scan topology.Event[string, Scan]) error {
		due.After(ctx, scan.Key, 12*time.Hour, scan.Value.Place) // behind the time of the scan
		return nil
	}, topology.Writes(due))
	topology.OnTimer(topo, "remind", due, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
		late.Send(ctx, timer.Key, "stays in "+timer.Payload)
		return nil
	}, topology.Sends(late))
	// end
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	topologytest.PipeAt(d, scans, noon, "p-1", Scan{"Bonn"})
	d.Advance(48 * time.Hour)
	require.Empty(t, topologytest.Read(d, late), "the clock of the wall brings nothing")
	topologytest.PipeAt(d, scans, noon.Add(13*time.Hour), "p-2", Scan{"Kiel"})
	require.Equal(t, "stays in Bonn", topologytest.Read(d, late)[0].Value)
}

func TestPuts(t *testing.T) {
	t.Parallel()
	topo := topology.New("parcels")
	parcels := topology.NewTable(topo, "parcels", codec.String, codec.JSON[Parcel]())
	// doc: puts
	scans := topology.NewChannel[string, Scan](topo, "scans", topology.Puts(codec.String, codec.JSON[Scan]()))
	topology.EachRow(topo, "follow", scans, parcels, func(_ *topology.Context, scan topology.Event[string, Scan], row *topology.Row[Parcel]) error {
		p, _ := row.Get()
		row.Set(Parcel{scan.Value.Place, p.Scans + 1})
		return nil
	})
	// end
	client, ctx := topologytest.New(t, topo), t.Context()
	// doc: put
	err := scans.Put(ctx, client, "p-1", Scan{"Bonn"})
	// end
	require.NoError(t, err)
	require.Equal(t, map[string]Parcel{"p-1": {"Bonn", 1}}, topologytest.Table(client, parcels))
}

// OldParcel is what the table held in version 0.
type OldParcel struct {
	Place string `json:"place"`
}

// doc: upgraded

// Upgraded reads tables that the version before has written.
func Upgraded() *topology.Topology {
	t := topology.New("parcels")
	scans := topology.NewTopic(t, "scans", codec.String, codec.JSON[Scan]())
	parcels := topology.NewTable(t, "parcels", codec.String, codec.JSON[Parcel](), topology.Version(1),
		topology.Migrate(0, codec.JSON[OldParcel](), func(old OldParcel) (Parcel, error) { return Parcel{old.Place, 1}, nil }))
	topology.EachRow(t, "follow", scans, parcels, func(_ *topology.Context, scan topology.Event[string, Scan], row *topology.Row[Parcel]) error {
		p, _ := row.Get()
		row.Set(Parcel{scan.Value.Place, p.Scans + 1})
		return nil
	})
	return t
}

// end

func before() *topology.Topology {
	t := topology.New("parcels")
	scans := topology.NewTopic(t, "scans", codec.String, codec.JSON[Scan]())
	parcels := topology.NewTable(t, "parcels", codec.String, codec.JSON[OldParcel]())
	topology.EachRow(t, "follow", scans, parcels, func(_ *topology.Context, scan topology.Event[string, Scan], row *topology.Row[OldParcel]) error {
		row.Set(OldParcel(scan.Value))
		return nil
	})
	return t
}

// doc: upgrade

func TestUpgrade(t *testing.T) {
	old, topo := before(), Upgraded()
	d := topologytest.New(t, old)
	topologytest.Pipe(d, topology.TopicOf[string, Scan](old, "scans"), "p-1", Scan{"Bonn"})

	require.NoError(t, d.Upgrade(topo))
	topologytest.Pipe(d, topology.TopicOf[string, Scan](topo, "scans"), "p-1", Scan{"Kiel"})
	require.Equal(t, map[string]Parcel{"p-1": {"Kiel", 2}}, topologytest.Table(d, topology.TableOf[string, Parcel](topo, "parcels")))
}

// end
