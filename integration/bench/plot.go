package main

import (
	"fmt"
	"html"
	"strings"
)

// Sizes of a plot, in pixels.
const (
	plotWidth  = 860
	plotLabels = 400
	plotBar    = 22
)

// plot draws one metric of a suite as bars with their spread: an SVG image, for light and dark pages.
func plot(s *suiteResult, m metric) string {
	most := 0.0
	for _, r := range s.Rows {
		if v := r.values(m.Key); len(v) > 0 {
			most = max(most, v[len(v)-1])
		}
	}
	var w strings.Builder
	height := 34 + plotBar*len(s.Rows) + 6
	fmt.Fprintf(&w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&w, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	note := "more is better"
	if m.Less {
		note = "less is better"
	}
	fmt.Fprintf(&w, `<text x="8" y="18" font-weight="bold">%s: %s (%s)</text>`+"\n", html.EscapeString(s.Title), html.EscapeString(m.Title), note)
	scale := func(v float64) float64 {
		if most == 0 {
			return 0
		}
		return v / most * (plotWidth - plotLabels - 80)
	}
	for i, r := range s.Rows {
		y := 34 + plotBar*i
		v := r.values(m.Key)
		colour := "#8a8f98"
		if r.Ours {
			colour = "#2a6fdb"
		} else if r.Bare {
			colour = "#c9ccd1"
		}
		fmt.Fprintf(&w, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotLabels-8, y+14, html.EscapeString(r.Contender))
		if len(v) == 0 {
			continue
		}
		x := scale(median(v))
		fmt.Fprintf(&w, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", plotLabels, y+3, x, plotBar-8, colour)
		fmt.Fprintf(&w, `<path d="M%.1f %d h%.1f" stroke="black"/>`+"\n", plotLabels+scale(v[0]), y+10, scale(v[len(v)-1])-scale(v[0]))
		fmt.Fprintf(&w, `<text x="%.1f" y="%d">%.*f</text>`+"\n", plotLabels+scale(v[len(v)-1])+6, y+14, m.Digits, median(v))
	}
	w.WriteString("</svg>\n")
	return w.String()
}
