package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestLiveBoardRedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	b := (&app{err: &out}).board("shop/db", "wi\x1bki")
	b.live, b.wide = true, 48
	b.update(0, boardRow{state: "running", phase: "dumping shop.sql", done: 5 << 20, total: 10 << 20})
	b.update(1, boardRow{state: "running", phase: "dumping a stream with a very long name that does not fit"})
	b.note("a line that stays")
	b.update(0, boardRow{state: "succeeded", done: 10 << 20, total: 10 << 20, ended: true})
	b.clear()

	first := "\r\x1b[Kshop/db  ██████████░░░░░░░░░░  50%  5.0 MiB  du\n"
	if !strings.Contains(out.String(), first) {
		t.Errorf("%q is not in\n%q", first, out.String())
	}
	if !strings.Contains(out.String(), "\x1b[2A\x1b[Ja line that stays\n") || !strings.HasSuffix(out.String(), "\x1b[2A\x1b[J") {
		t.Errorf("got %q", out.String())
	}
	if strings.Contains(out.String(), "wi\x1bki") {
		t.Error("a name steers the terminal")
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if _, text, ok := strings.Cut(line, "\x1b[K"); ok && len([]rune(text)) >= 48 {
			t.Errorf("%q does not fit", text)
		}
	}
}

func TestTableHoldsItsColumns(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	a.table([]string{"A", "EMPTY", "LONG HEAD", "END"}, [][]string{{"ü", "", "1", "x\ny"}, {"\x1b[31mred", "", "2", ""}})
	want := "A         LONG HEAD  END\nü         1          x y\n\uFFFD[31mred  2\n"
	if out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
}
