// Package sensor watches thermometers: what they have read lately, which of them have fallen silent, and, each minute, what the leader asks of all.
package sensor

import (
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Reading is what the topic readings holds, keyed by the name of the sensor.
type Reading struct {
	Celsius float64 `json:"celsius"`
}

// Sensor is what the topic sensors holds of the sensor that is its key.
type Sensor struct {
	Place string  `json:"place"`
	Max   float64 `json:"max"` // above that is an alarm
}

// Alarm is what the topic alarms holds, keyed by the name of the sensor.
type Alarm struct {
	Place   string  `json:"place"`
	Celsius float64 `json:"celsius"`
}

// Overview is what the topic overviews holds for each minute and each partition that had readings of late.
type Overview struct {
	Sensors int     `json:"sensors"`
	Hottest string  `json:"hottest"`
	Celsius float64 `json:"celsius"`
}

// Lately is how long a reading stays in the table latest.
const Lately = 30 * time.Second

// Topology keeps the latest reading of each sensor for half a minute. Sensors are few, and looked up by whoever needs one: a global table.
func Topology() *topology.Topology {
	t := topology.New("sensor")
	readings := topology.NewTopic(t, "readings", codec.String, codec.JSON[Reading]())
	alarms := topology.NewTopic(t, "alarms", codec.String, codec.JSON[Alarm]())
	overviews := topology.NewTopic(t, "overviews", codec.Int32, codec.JSON[Overview]())
	commands := topology.NewTopic(t, "commands", codec.String, codec.String)
	sensors := topology.NewGlobalTable(t, "sensors", topology.NewTopic(t, "sensors", codec.String, codec.JSON[Sensor]()))
	latest := topology.NewTable(t, "latest", codec.String, codec.Float64, topology.TTL(Lately, topology.WallTime))

	topology.Each(t, "watch", readings, func(ctx *topology.Context, r topology.Event[string, Reading]) error {
		latest.Set(ctx, r.Key, r.Value.Celsius)
		sensor, ok, err := sensors.Get(ctx, r.Key)
		if ok && r.Value.Celsius > sensor.Max {
			alarms.Send(ctx, r.Key, Alarm{sensor.Place, r.Value.Celsius})
		}
		return err
	}, topology.Writes(latest), topology.Reads(sensors), topology.Sends(alarms))

	// In each partition: it reads what that has.
	topology.Cron(t, "overview", "* * * * *", func(ctx *topology.TaskContext) error {
		var o Overview
		for name, celsius := range latest.All(ctx) {
			if o.Sensors++; o.Sensors == 1 || celsius > o.Celsius {
				o.Hottest, o.Celsius = name, celsius
			}
		}
		if o.Sensors > 0 {
			overviews.Send(ctx, ctx.Partition(), o)
		}
		return nil
	}, topology.Reads(latest), topology.Sends(overviews))

	// Once, however many nodes there are.
	topology.Cron(t, "poll", "* * * * *", func(ctx *topology.TaskContext) error {
		for name := range sensors.All(ctx) {
			commands.Send(ctx, name, "report")
		}
		return nil
	}, topology.OnLeader(), topology.Reads(sensors), topology.Sends(commands))
	return t
}
