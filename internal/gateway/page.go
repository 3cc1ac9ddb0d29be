package gateway

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/internal/status"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"rate": status.Rate, "clock": status.Clock}).Parse(pageText))

// page shows the state of all nodes to a browser.
func (g *Gateway) page(w http.ResponseWriter, r *http.Request) {
	q, ok := g.question(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	var b bytes.Buffer
	err := page.Execute(&b, struct {
		Title      string
		Topologies []status.Overview
		Now        time.Time
	}{"troupe: " + strings.Join(g.wants(q), ", "), status.Overviews(g.statusOf(ctx, q)), time.Now()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_, _ = w.Write(b.Bytes()) // whoever asked is gone
}
