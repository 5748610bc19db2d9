package report

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/workload"
)

// keepers are the tools that keep dumps, in the order in which they are shown.
var keepers = []string{"gzip", "zstd", "borg", "restic", "baktainer"}

// plot is a chart and its file.
type plot struct {
	file  string
	chart chart
}

// plots are all charts of the document.
func (r results) plots() []plot {
	return []plot{
		{"cpu.svg", r.perDay("CPU time of each day's backup", "seconds", 1, figures.CPU, keepers, 0)},
		{"new.svg", r.perDay("New bytes of each day", "MB", 1e6, figures.New, keepers, 1)},
		{"stored.svg", r.afterFourDays()},
		{"wall.svg", r.beside()},
	}
}

// perDay has a group for each day of each history, day 0 being that of both.
func (r results) perDay(title, unit string, scale float64, m figures.Measure, tools []string, first int) chart {
	c := chart{Title: title, Unit: unit, Series: tools}
	for i, h := range workload.Histories() {
		for day := first; day <= 3; day++ {
			name := fmt.Sprintf("%s, day %d", h, day)
			if day == 0 {
				if i > 0 {
					continue
				}
				name = "day 0"
			}
			g := group{Name: name}
			for _, t := range tools {
				g.Values = append(g.Values, scaled(r.get(t, h, fmt.Sprintf("day%d", day), m), scale))
			}
			c.Groups = append(c.Groups, g)
		}
	}
	return c
}

func (r results) afterFourDays() chart {
	c := chart{Title: "Stored after four days", Unit: "MB", Series: keepers}
	for _, h := range workload.Histories() {
		g := group{Name: h}
		for _, t := range keepers {
			g.Values = append(g.Values, scaled(r.stored(t, h), 1e6))
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}

func (r results) beside() chart {
	return chart{Title: "Wall time of a dump of a live database", Unit: "seconds", Series: []string{"pg_dump", "baktainer"}, Groups: []group{
		{"in the container, first backup", []figures.Value{r.get("pg_dump", "live", "inside", figures.Wall), r.get("baktainer", "live", "first", figures.Wall)}},
		{"through docker exec, later backup", []figures.Value{r.get("pg_dump", "live", "outside", figures.Wall), r.get("baktainer", "live", "again", figures.Wall)}},
	}}
}

func scaled(v figures.Value, scale float64) figures.Value {
	v.V /= scale
	return v
}
