package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// board shows how several things go: on a terminal one line each, redrawn in
// place; elsewhere, and when they are more than the screen is high, a plain line whenever a thing comes to a new phase.
type board struct {
	w     io.Writer
	live  bool
	wide  int
	rows  []boardRow
	drawn int
}

type boardRow struct {
	name, state, phase string
	done, total        int64
	ended              bool
}

func (a *app) board(names ...string) *board {
	b := &board{w: a.err}
	if a.quiet {
		b.w = io.Discard
	}
	wide, high := screen(b.w)
	b.wide, b.live = wide, terminal(b.w) && !a.verbose && len(names) < high
	for _, n := range names {
		b.rows = append(b.rows, boardRow{name: printable(n)})
	}
	return b
}

// update says how the i-th thing goes.
func (b *board) update(i int, now boardRow) {
	was := b.rows[i]
	now.name, now.phase = was.name, printable(now.phase)
	b.rows[i] = now
	switch {
	case b.live:
		b.draw()
	case now.state != was.state && now.ended:
		fmt.Fprintf(b.w, "%s: %s\n", now.name, now.state)
	case now.state != was.state || now.phase != was.phase:
		text := now.state
		if now.phase != "" {
			text = now.phase
		}
		if text != "" {
			fmt.Fprintf(b.w, "%s: %s\n", now.name, text)
		}
	}
}

// note writes a line that stays.
func (b *board) note(format string, args ...any) {
	b.clear()
	fmt.Fprintf(b.w, "%s\n", printable(fmt.Sprintf(format, args...)))
	b.draw()
}

// clear removes what was drawn, so that other output can follow.
func (b *board) clear() {
	if b.drawn > 0 {
		fmt.Fprintf(b.w, "\x1b[%dA\x1b[J", b.drawn)
		b.drawn = 0
	}
}

func (b *board) draw() {
	if !b.live {
		return
	}
	var out strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", b.drawn)
	}
	longest := 0
	for _, r := range b.rows {
		longest = max(longest, utf8.RuneCountInString(r.name))
	}
	for _, r := range b.rows {
		line := []rune(r.line(longest))
		if len(line) >= b.wide {
			line = line[:b.wide-1]
		}
		out.WriteString("\r\x1b[K" + string(line) + "\n")
	}
	b.drawn = len(b.rows)
	fmt.Fprint(b.w, out.String())
}

const barCells = 20

// line is one row of the board: name, bar when the total is known, bytes, phase.
func (r boardRow) line(longest int) string {
	parts := []string{r.name + strings.Repeat(" ", longest-utf8.RuneCountInString(r.name))}
	if r.total > 0 && !r.ended {
		full := int(min(r.done, r.total) * barCells / r.total)
		parts = append(parts, fmt.Sprintf("%s%s %3d%%", strings.Repeat("█", full), strings.Repeat("░", barCells-full), min(r.done, r.total)*100/r.total))
	}
	if r.done > 0 {
		parts = append(parts, size(r.done))
	}
	if r.ended || r.phase == "" {
		parts = append(parts, r.state)
	} else {
		parts = append(parts, r.phase)
	}
	return strings.Join(parts, "  ")
}
