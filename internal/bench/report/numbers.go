package report

import (
	"fmt"
	"strings"

	"github.com/baktainer/baktainer/internal/bench/figures"
)

// gap is written where there is no figure.
const gap = "–"

// format writes a value with as many digits as say something.
func format(v figures.Value, scale float64, unit string) string {
	if !v.Known() {
		return gap
	}
	x := v.V / scale
	digits := 0
	switch abs := max(x, -x); {
	case abs == 0:
	case abs < 1:
		digits = 3
	case abs < 10:
		digits = 2
	case abs < 100:
		digits = 1
	}
	text := fmt.Sprintf("%.*f", digits, x)
	if unit != "" {
		text += " " + unit
	}
	return text
}

func seconds(v figures.Value) string   { return format(v, 1, "") }
func megabytes(v figures.Value) string { return format(v, 1e6, "") }
func times(v figures.Value) string {
	if !v.Known() {
		return gap
	}
	return fmt.Sprintf("%.2f ×", v.V)
}

func mib(v figures.Value) string {
	if !v.Known() {
		return gap
	}
	return fmt.Sprintf("%.0f MiB", v.V/(1<<20))
}

// bytesOf names the length of a stream.
func bytesOf(v figures.Value) string {
	switch {
	case !v.Known():
		return "unknown length"
	case v.V < 1e9:
		return format(v, 1e6, "MB")
	default:
		return fmt.Sprintf("%.4g GB", v.V/1e9)
	}
}

// thousands writes a whole number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// cell makes a text fit into a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(text)
}
