package report

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/baktainer/baktainer/internal/bench/figures"
)

// A chart has groups of bars, one bar in each group for each series.
type chart struct {
	Title  string
	Unit   string
	Series []string
	Groups []group
}

type group struct {
	Name   string
	Values []figures.Value // as many as there are series
}

// Colours of the series by name, readable on white and on black.
var colours = map[string]string{
	"gzip": "#8a8f98", "zstd": "#b08d2e", "borg": "#3f9c6c", "restic": "#3d7fd1", "baktainer": "#d9563f", "pg_dump": "#7d6bc4",
}

const (
	barWidth   = 24
	groupGap   = 22
	plotHeight = 220
	plotTop    = 64
	plotLeft   = 56
)

// svg draws the chart.
func (c chart) svg() string {
	groupWidth := len(c.Series)*barWidth + groupGap
	for _, g := range c.Groups {
		groupWidth = max(groupWidth, 7*len(g.Name)) // room for the words below it
	}
	width := max(plotLeft+len(c.Groups)*groupWidth+16, 480)
	height := plotTop + plotHeight + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n", width, height, width, height, html.EscapeString(c.Title))
	// The grey can be read on white and on black, where nobody says which it is.
	b.WriteString("<style>\n" +
		"text { font: 12px system-ui, sans-serif; fill: #6e7781 }\n" +
		".small { font-size: 10px }\n.title { font-size: 14px; font-weight: 600 }\n" +
		".line { stroke: #8c959f; stroke-opacity: 0.4 }\n" +
		"@media (prefers-color-scheme: dark) { text { fill: #b1bac4 } }\n</style>\n")
	fmt.Fprintf(&b, `<text class="title" x="8" y="20">%s (%s)</text>`+"\n", html.EscapeString(c.Title), html.EscapeString(c.Unit))
	x := 8
	for _, s := range c.Series {
		fmt.Fprintf(&b, `<rect x="%d" y="32" width="10" height="10" fill="%s"/><text class="small" x="%d" y="41">%s</text>`+"\n", x, colours[s], x+14, html.EscapeString(s))
		x += 30 + 7*len(s)
	}
	top := c.ceiling()
	for i := range 5 {
		y := plotTop + plotHeight - plotHeight*i/4
		fmt.Fprintf(&b, `<line class="line" x1="%d" y1="%d" x2="%d" y2="%d"/><text class="small" x="%d" y="%d" text-anchor="end">%s</text>`+"\n",
			plotLeft-4, y, width-8, y, plotLeft-8, y+4, axis(top*float64(i)/4))
	}
	for g, grp := range c.Groups {
		left := plotLeft + g*groupWidth + (groupWidth-len(c.Series)*barWidth)/2
		for s, v := range grp.Values {
			at := left + s*barWidth
			if !v.Known() {
				fmt.Fprintf(&b, `<text class="small" x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", at+barWidth/2, plotTop+plotHeight-4, gap)
				continue
			}
			h := max(v.V, 0) / top * plotHeight
			fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="%d" height="%.1f" fill="%s"/><text class="small" x="%d" y="%.1f" text-anchor="middle">%s</text>`+"\n",
				at+1, plotTop+plotHeight-h, barWidth-2, h, colours[c.Series[s]], at+barWidth/2, plotTop+plotHeight-h-4, short(v.V))
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", left+len(c.Series)*barWidth/2, plotTop+plotHeight+20, html.EscapeString(grp.Name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// ceiling is a round number that no bar is above.
func (c chart) ceiling() float64 {
	top := 0.0
	for _, g := range c.Groups {
		for _, v := range g.Values {
			top = max(top, v.V)
		}
	}
	if top <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(top)))
	for _, step := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8} {
		if step*unit >= top {
			return step * unit
		}
	}
	return 10 * unit
}

// axis writes a number at a line.
func axis(v float64) string { return fmt.Sprintf("%.4g", v) }

// short writes a number that fits above a bar.
func short(v float64) string {
	switch {
	case v >= 9.95 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 0.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
