package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
)

// colour is the number of an ANSI colour.
type colour int

const (
	plain  colour = 0
	red    colour = 31
	green  colour = 32
	yellow colour = 33
	grey   colour = 90
)

// stateColours paint the words for states wherever they stand in a table.
var stateColours = map[string]colour{
	"ready": green, "active": green, "paused": yellow, "resting": grey, "off": grey, "broken": red, "succeeded": green, "connected": green, "fine": green, "good": green, "done": green,
	"invalid": red, "revoked": red, "expired": grey, "used": grey, "drained": yellow, "open": yellow, "failed": red, "problem": red, "damaged": red, "away": red,
	"running": yellow, "queued": yellow, "stopped": yellow, "cancelled": yellow, "gone": grey,
}

// outlet is where output goes. It remembers that some of it was lost, as on a disk
// that is full, for what is written line by line does not look each time.
type outlet struct {
	io.Writer
	err error
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// terminal says whether w or r is a terminal.
func terminal(stream any) bool {
	if o, ok := stream.(*outlet); ok {
		stream = o.Writer
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// screen is the size of the terminal in characters, 80 × 24 when it cannot be told.
func screen(w io.Writer) (wide, high int) {
	if f, ok := w.(*os.File); ok {
		if wide, high, err := term.GetSize(int(f.Fd())); err == nil && wide > 20 && high > 2 {
			return wide, high
		}
	}
	return 80, 24
}

func (a *app) paint(w io.Writer, text string, c colour) string {
	if c == plain || a.noColor || os.Getenv("NO_COLOR") != "" || !terminal(w) {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// json writes a view to stdout.
func (a *app) json(view any) error { return writeJSON(a.out, view) }

// writeJSON writes a view as indented JSON.
func writeJSON(w io.Writer, view any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(view); err != nil {
		return problem.Wrap(problem.Failed, err, "write the output")
	}
	return nil
}

// print writes view as JSON, or only the ids, or what show writes, as the user asked.
func (a *app) print(view any, ids []string, show func()) error {
	switch {
	case a.output == "json":
		return a.json(view)
	case a.quiet:
		for _, id := range ids {
			fmt.Fprintln(a.out, printable(id))
		}
	default:
		show()
	}
	return nil
}

// table writes rows in columns under their heads. A column whose cells are all
// empty is left out.
func (a *app) table(heads []string, rows [][]string) {
	widths := make([]int, len(heads))
	for _, row := range rows {
		for i := range row {
			row[i] = strings.ReplaceAll(printable(row[i]), "\n", " ")
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	last := 0
	for i, w := range widths {
		if w > 0 {
			widths[i], last = max(w, utf8.RuneCountInString(heads[i])), i
		}
	}
	line := func(cells []string, head bool) {
		var b strings.Builder
		for i, cell := range cells {
			if widths[i] == 0 {
				continue
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
			switch c := stateColours[cell]; {
			case head:
				cell = a.paint(a.out, cell, grey)
			default:
				cell = a.paint(a.out, cell, c)
			}
			b.WriteString(cell)
			if i < last {
				b.WriteString(pad)
			}
		}
		fmt.Fprintln(a.out, strings.TrimRight(b.String(), " "))
	}
	line(heads, true)
	for _, row := range rows {
		line(row, false)
	}
}

// facts writes lines of name and value; those without a value are left out.
func (a *app) facts(pairs ...string) {
	longest := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			longest = max(longest, utf8.RuneCountInString(pairs[i]))
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := printable(pairs[i+1]); value != "" {
			name := pairs[i] + strings.Repeat(" ", longest-utf8.RuneCountInString(pairs[i]))
			fmt.Fprintf(a.out, "%s  %s\n", a.paint(a.out, name, grey), a.paint(a.out, value, stateColours[value]))
		}
	}
}

// printable keeps what comes from outside from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 0 {
		return ""
	}
	return humanize.IBytes(uint64(n))
}

// several is a number of things for people.
func several(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// moment is a time for JSON, nil when it is not set.
func moment(t *timestamppb.Timestamp) *time.Time {
	if t == nil || !t.IsValid() || (t.GetSeconds() == 0 && t.GetNanos() == 0) {
		return nil
	}
	at := t.AsTime()
	return &at
}

// secondsOf is a length of time for JSON, nil when it is not set.
func secondsOf(d *durationpb.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.AsDuration().Seconds()
	return &s
}

// when is a time for a table: how long ago, or how far ahead.
func (a *app) when(t *time.Time) string {
	if t == nil {
		return ""
	}
	return humanize.RelTime(*t, a.clock.Now(), "ago", "from now")
}

// at is a time for a detailed view, exact to the second.
func (a *app) at(t *time.Time) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.In(a.zone).Format("2006-01-02 15:04:05 MST"), a.when(t))
}

// lasted is the time between two times, empty when either is not set.
func lasted(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	d := to.Sub(*from)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
