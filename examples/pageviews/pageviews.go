// Package pageviews counts the views of a web site per page and per user, from JSON events, and sends a report of the most
// viewed pages every ten seconds: two tables, and a timer that reads one of them.
package pageviews

import (
	"cmp"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// View is what the topic views holds: somebody has looked at a page.
type View struct {
	Page string `json:"page"`
	User string `json:"user"`
	Ms   int64  `json:"ms"` // how long it took to serve
}

// PageStats is what is known of a page.
type PageStats struct {
	Views   int64 `json:"views"`
	TotalMs int64 `json:"total_ms"`
	MaxMs   int64 `json:"max_ms"`
}

// Report is what the topic reports holds: the most viewed pages of one partition of the table pages.
type Report struct {
	Partition int32  `json:"partition"`
	Pages     int    `json:"pages"` // that have been viewed at all
	Top       []Line `json:"top"`
}

// Line is one page of a report.
type Line struct {
	Page string `json:"page"`
	PageStats
}

// Interval is the time between two reports, Top the number of pages in one.
const (
	Interval = 10 * time.Second
	Top      = 5
)

// Topology counts views in two tables, by page and by user. Each wants its own key, so each view goes on to two topics.
func Topology() *topology.Topology {
	t := topology.New("pageviews")
	views := topology.NewTopic(t, "views", codec.String, codec.JSON[View]())
	reports := topology.NewTopic(t, "reports", codec.Int32, codec.JSON[Report]())
	pages := topology.NewTable(t, "pages", codec.String, codec.JSON[PageStats]())
	users := topology.NewTable(t, "users", codec.String, codec.Int64)

	valid := topology.Filter(topology.From(views), func(e topology.Event[string, View]) bool { return e.Value.Page != "" && e.Value.User != "" })
	topology.Aggregate(topology.GroupBy(valid, func(v View) string { return v.Page }, topology.WithValues(codec.JSON[View]())), pages, func() PageStats { return PageStats{} }, Add)
	topology.Count(topology.GroupBy(valid, func(v View) string { return v.User }), users)

	topology.Every(t, "report", Interval, func(ctx *topology.TaskContext) error {
		var all []Line
		for page, stats := range pages.All(ctx) {
			all = append(all, Line{page, stats})
		}
		if len(all) > 0 {
			reports.Send(ctx, ctx.Partition(), Rank(ctx.Partition(), all))
		}
		return nil
	}, topology.Reads(pages), topology.Sends(reports))
	return t
}

// Add counts a view of a page.
func Add(s PageStats, e topology.Event[string, View]) PageStats {
	return PageStats{Views: s.Views + 1, TotalMs: s.TotalMs + e.Value.Ms, MaxMs: max(s.MaxMs, e.Value.Ms)}
}

// Rank makes a report of all pages of a partition: most views first, then by name.
func Rank(partition int32, all []Line) Report {
	slices.SortFunc(all, func(a, b Line) int {
		return cmp.Or(cmp.Compare(b.Views, a.Views), cmp.Compare(a.Page, b.Page))
	})
	return Report{Partition: partition, Pages: len(all), Top: all[:min(len(all), Top)]}
}
