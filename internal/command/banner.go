package command

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology/plan"
)

// banner says, before the node starts, what runs where, and what one has to know about that.
func (r *running) banner() {
	c := r.host.Cluster
	lines := [][2]string{{"topology", summary(r.plan)}}
	switch c.Kind {
	case host.Embedded:
		lines = append(lines, [2]string{"broker", "embedded, at " + c.Brokers[0] + ", inside this process"},
			[2]string{"", "killing this process may tear its last transaction; on a real Kafka the promise is Kafka's"})
	case host.Shared:
		lines = append(lines, [2]string{"broker", "embedded, at " + c.Brokers[0] + ", of another process on this data directory"},
			[2]string{"", "killing that process may tear its last transaction; on a real Kafka the promise is Kafka's"})
	case host.External:
		lines = append(lines, [2]string{"broker", strings.Join(c.Brokers, ",")})
	}
	lines = append(lines, [2]string{"data", r.host.Dir.Path},
		[2]string{"node", r.host.Dir.Instance + ", " + r.run.guarantee})
	if r.host.Gateway != nil {
		lines = append(lines, [2]string{"http", r.host.Gateway.URL()})
	}
	for _, f := range r.feeds {
		lines = append(lines, [2]string{"feed", f.name + " to topic " + f.topic.Name + "; feeding twice counts twice"})
	}
	var b strings.Builder
	for _, l := range lines {
		if l[0] != "" {
			l[0] += ":"
		}
		_, _ = fmt.Fprintf(&b, "%s: %-9s %s\n", r.app.Name, l[0], l[1]) // to memory
	}
	_, _ = fmt.Fprint(r.app.Err, b.String()) // there is nowhere to say that this failed
}

// summary describes a topology in one line.
func summary(p *plan.Plan) string {
	var reads, tables []string
	for _, t := range p.Topics {
		if t.Source && t.Kind == plan.External {
			reads = append(reads, t.Name)
		}
	}
	for _, x := range p.Patterns {
		reads = append(reads, "all that match "+x.Expr)
	}
	for _, t := range p.Tables {
		tables = append(tables, t.Name)
	}
	s := p.Name
	if len(reads) > 0 {
		s += ", reads " + strings.Join(reads, ", ")
	}
	if len(tables) > 0 {
		s += ", tables " + strings.Join(tables, ", ")
	}
	return s
}

// restoreReport tells how far the restores of tables are: on a terminal in a line that changes, else in the log.
type restoreReport struct {
	app  *App
	log  *slog.Logger
	last time.Time // of the last line in the log
	open bool      // a line on the terminal is not ended
}

func newRestoreReport(a *App, log *slog.Logger) *restoreReport {
	return &restoreReport{app: a, log: log}
}

// report is called by one goroutine, twice a second while something is restoring, and may be called with nothing at the end.
func (r *restoreReport) report(all []actors.Restoring) {
	var done, total int64
	var eta time.Duration
	for _, s := range all {
		done, total, eta = done+s.Done, total+s.Total, max(eta, s.ETA)
	}
	if !r.app.Terminal {
		// Restores of a moment need no line, long ones one every few seconds.
		if now := time.Now(); len(all) > 0 && now.Sub(r.last) > 5*time.Second {
			r.last = now
			r.log.Info("restoring tables", "shards", len(all), "records", done, "of", total, "eta", eta.Round(time.Second))
		}
		return
	}
	if len(all) == 0 || done >= total {
		if r.open {
			_, _ = fmt.Fprint(r.app.Err, "\r\x1b[K")
		}
		r.open = false
		return
	}
	const width = 30
	filled := int(done * width / max(total, 1))
	_, _ = fmt.Fprintf(r.app.Err, "\r\x1b[Krestoring %d shards [%s%s] %d%% %s left", len(all),
		strings.Repeat("=", filled), strings.Repeat(" ", width-filled), done*100/max(total, 1), eta.Round(time.Second))
	r.open = true
}
