package ldif

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const sample = `dn: dc=example,dc=org
objectClass: dcObject
dc: example

dn:: b3U9R3LDtsOfZSxkYz1leGFtcGxlLGRjPW9yZw==
objectClass: organizationalUnit
description: folded, at a place where it
  matters
changeLog: x
jpegPhoto:: AAEC
 AwQF
empty:

dn: cn=a very long name that does not fit into a line of seventy-six bytes, s
 o to say,dc=example,dc=org
cn: x

`

// parse gives all that a handler is told, in pieces of so many bytes.
func parse(data []byte, piece int, listen bool) (string, error) {
	var b strings.Builder
	h := Handler{
		Entry: func(dn []byte) { fmt.Fprintf(&b, "<%s>", dn) },
		End:   func() { b.WriteString("/") },
	}
	if listen {
		h.Line = func(l []byte, n int) { fmt.Fprintf(&b, "[%s|%s]", l[:n], l[n:]) }
	}
	p := New(h)
	for len(data) > 0 {
		n := min(piece, len(data))
		_, _ = p.Write(data[:n])
		data = data[n:]
	}
	entries, err := p.Finish()
	return fmt.Sprint(b.String(), entries), err
}

func TestParser(t *testing.T) {
	data := []byte(sample + Mark(3))
	want := "<dc=example,dc=org>[objectClass|: dcObject][dc|: example]/<ou=Größe,dc=example,dc=org>[objectClass|: organizationalUnit]" +
		"[description|: folded, at a place where it][|  matters][changeLog|: x][jpegPhoto|:: AAEC][| AwQF][empty|:]/" +
		"<cn=a very long name that does not fit into a line of seventy-six bytes, so to say,dc=example,dc=org>[cn|: x]/3"
	for _, piece := range []int{1, 2, 3, 7, len(data)} {
		if got, err := parse(data, piece, true); err != nil || got != want {
			t.Errorf("in pieces of %d: %v\n%s", piece, err, got)
		}
	}
	for cut := range data {
		want := ErrTruncated
		if cut == 0 {
			want = ErrEmpty
		}
		for _, listen := range []bool{true, false} {
			if _, err := parse(data[:cut], cut+1, listen); !errors.Is(err, want) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	const entry = "dn: dc=a\ndc: a\n"
	for name, text := range map[string]string{
		"a word":                 "fine\n",
		"a line before":          "warning: something\n" + entry + "\n" + Mark(1),
		"too few entries":        entry + "\n" + Mark(2),
		"too many entries":       entry + "\n" + entry + "\n" + Mark(1),
		"a mark within an entry": entry + Mark(1),
		"a mark with more":       entry + "\n" + strings.TrimSuffix(Mark(1), "\n") + " or so\n",
		"something behind":       entry + "\n" + Mark(1) + entry,
		"a blank line behind":    entry + "\n" + Mark(1) + "\n",
		"a DN only":              "dn: dc=a\n\n" + Mark(1),
		"no base64":              "dn:: dc=a\ndc: a\n\n" + Mark(1),
		"no name":                entry + ": x\n\n" + Mark(1),
		"no colon":               entry + "some words that are out of place\n\n" + Mark(1),
		"short without a colon":  entry + "oops\n\n" + Mark(1),
		"a file as value":        entry + "jpegPhoto:< file:///etc/shadow\n\n" + Mark(1),
		"a change":               "dn: dc=a\nchangetype: delete\n\n" + Mark(1),
		"a change, shouted":      "dn: dc=a\nChangeType: delete\n\n" + Mark(1),
		"a change, later":        entry + "CHANGETYPE: modify\n\n" + Mark(1),
		"a control":              "dn: dc=a\ncontrol: 1.2.3 true\n\n" + Mark(1),
		"an include":             "include: file:///etc/shadow\n\n" + entry + "\n" + Mark(1),
		"a late version":         entry + "\nversion: 1\n\n" + Mark(1),
		"a long line":            entry + "a: " + strings.Repeat("x", maxLine) + "\n\n" + Mark(1),
		"a long DN":              "dn: " + strings.Repeat(strings.Repeat("x", 70)+"\n ", 1000) + "\na: b\n\n" + Mark(1),
	} {
		for _, listen := range []bool{true, false} {
			for _, piece := range []int{1, 1 << 20} {
				_, err := parse([]byte(text), piece, listen)
				if err == nil || errors.Is(err, ErrTruncated) || errors.Is(err, ErrEmpty) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	for _, text := range []string{"version: 1\n\n" + entry + "\n" + Mark(1), "# id=00000001\n" + entry + "\n" + Mark(1), Mark(0)} {
		if _, err := parse([]byte(text), 3, false); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCounter(t *testing.T) {
	for _, piece := range []int{1, 2, 3, 4, 5, 1000} {
		var c Counter
		if c.Between() {
			t.Error("nothing is no entry")
		}
		for rest := []byte(sample); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			_, _ = c.Write(rest[:min(piece, len(rest))])
			_, _ = c.Write(nil)
		}
		if c.Entries != 3 || !c.Between() {
			t.Errorf("in pieces of %d: %d entries, between: %v", piece, c.Entries, c.Between())
		}
	}
}

func TestDN(t *testing.T) {
	for dn, want := range map[string]string{
		"":                    "0   ",
		"dc=a":                "1 dc=a  a",
		"dc=b,DC=Org":         "2 dc=b DC=Org b.Org",
		`cn=a\,b\\,dc=c`:      `2 cn=a\,b\\ dc=c `,
		`ou=x,dc=c`:           "2 ou=x dc=c ",
		`dc=x+ou=y,dc=c`:      "2 dc=x+ou=y dc=c ",
		"dc = a , dc=b":       "2 dc = a   dc=b ",
		`cn=ends in \`:        `1 cn=ends in \  `,
		`o=x\2C y,cn=\,`:      `2 o=x\2C y cn=\, `,
		"dc=a,dc=,dc=b":       "3 dc=a dc=,dc=b ",
		"no equals sign,dc=b": "2 no equals sign dc=b ",
	} {
		got := fmt.Sprintf("%d %s %s %s", Depth([]byte(dn)), First([]byte(dn)), Parent([]byte(dn)), Domain(dn))
		if got != want {
			t.Errorf("%q: %q, want %q", dn, got, want)
		}
		if parts := Parts(nil, []byte(dn)); dn != "" && len(parts) != Depth([]byte(dn)) {
			t.Errorf("%q: parts at %v", dn, parts)
		}
	}
}

func FuzzParser(f *testing.F) {
	f.Add([]byte(sample+Mark(3)), 100)
	f.Add([]byte("version: 1\n\ndn: a=b\na: b\n c\n\n"+Mark(1)), 20)
	f.Add([]byte("dn:: ####\na:< file:///x\nchangetype: add\n\n# x\n y\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		cut := min(max(at, 0), len(data))
		whole, want := parse(data, len(data)+1, true)
		single, got := parse(data, 1, true)
		if whole != single || fmt.Sprint(want) != fmt.Sprint(got) {
			t.Fatalf("the verdict depends on how the dump is cut: %q %v\n%q %v", whole, want, single, got)
		}
		// Nobody listens to lines: the same verdict on another way.
		quiet, err := parse(data, max(1, cut), false)
		again, err1 := parse(data, 1, false)
		if quiet != again || (err == nil) != (err1 == nil) || (err == nil) != (want == nil) && want == nil {
			t.Fatalf("skimmed: %q %v\n%q %v\nread: %v", quiet, err, again, err1, want)
		}
		var c Counter
		_, _ = c.Write(data[:cut])
		_, _ = c.Write(data[cut:])
		if want := int64(bytes.Count(append([]byte("\n"), data...), []byte("\ndn:"))); c.Entries != want {
			t.Fatalf("counts %d entries of %d", c.Entries, want)
		}
	})
}
