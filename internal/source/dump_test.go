package source_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/source"
)

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, yes, no string // names with blanks between, their parts with slashes
	}{
		{"orders", "orders shop/orders shop/public/orders", "order Orders orders2 orders/x"},
		{"public.orders", "public/orders shop/public/orders", "orders public/order x/orders"},
		{"shop.*", "shop/orders x/shop/y", "orders shop2/orders"},
		{"*", "a x/a", ""},
		{"log_*", "log_ log_1 x/log_a.b", "log xlog_1"},
		{"*_log", "a_log _log", "log a_log_"},
		{"a*b*c", "abc axbxc abbcc a/abc", "ab acb xabc abcx"},
		{"ab*ba", "abba abxba", "aba ab"},
		{"**x", "x ax", "xa"},
		{`"a.b"`, "a.b x/a.b", "a/b b"},
		{`"a*"`, "a* x/a*", "a ab"},
		{`a"*"*`, "a* a*b", "ab"},
		{`"say ""hi"", you"`, `say_"hi",_you`, "say"},
		{`-x`, "-x", "x"},
		{`Größe.東*`, "Größe/東京", "größe/東京"},
		{`""`, "/", "x"}, // the empty name, as little as that may mean
	} {
		list, err := source.ParsePatterns(tc.pattern)
		if err != nil || len(list) != 1 || list[0].String() != tc.pattern {
			t.Errorf("%s: %v, %v", tc.pattern, list, err)
			continue
		}
		for names, want := range map[string]bool{tc.yes: true, tc.no: false} {
			for _, name := range strings.Fields(names) {
				parts := strings.Split(strings.ReplaceAll(name, "_", " "), "/")
				if !strings.Contains(tc.pattern, " ") {
					parts = strings.Split(name, "/")
				}
				if list[0].Match(parts...) != want {
					t.Errorf("%s matches %q: %v, want %v", tc.pattern, parts, !want, want)
				}
			}
		}
	}
}

func TestParsePatterns(t *testing.T) {
	for text, want := range map[string]string{
		"a":                       "a",
		"a,b":                     "a|b",
		" a , b.c ,\"d, e\" ":     `a|b.c|"d, e"`,
		"two words , x":           "two words|x",
		"":                        "error",
		"a,":                      "error",
		",a":                      "error",
		"a,,b":                    "error",
		"a..b":                    "error",
		".a":                      "error",
		"a.":                      "error",
		`"a`:                      "error",
		strings.Repeat("a,", 300): "error",
	} {
		list, err := source.ParsePatterns(text)
		var got []string
		for _, p := range list {
			got = append(got, p.String())
		}
		said := strings.Join(got, "|")
		if err != nil {
			said = "error"
		}
		if said != want {
			t.Errorf("%.20q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestNamespace(t *testing.T) {
	for _, tc := range []struct {
		pattern, db, collection string
		want                    bool
	}{
		{"items", "shop", "items", true},
		{"shop.items", "shop", "items", true},
		{"fs.files", "shop", "fs.files", false},
		{"shop.fs.files", "shop", "fs.files", true},
		{"shop.fs.*", "shop", "fs.chunks", true},
		{"*.fs.*s", "shop", "fs.chunks", true},
		{"shop.*.b.*", "shop", "a.b.c", true},
		{"shop.*.b.*", "shop", "a.c", false},
		{"shop.*", "shop", "a.b", true},
		{`shop."a.b".c`, "shop", "a.b.c", true},
	} {
		list, err := source.ParsePatterns(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := list[0].Namespace().Match(tc.db, tc.collection); got != tc.want {
			t.Errorf("%s matches %s.%s: %v", tc.pattern, tc.db, tc.collection, got)
		}
	}
}

// FuzzPatterns: what is parsed means the same when it is written again, a name in
// quotes means itself, and nothing panics.
func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"a", "a.b,c*", `"x""y".*`, `a"`, "*..", `"a, b" , c`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := source.ParsePatterns(`"` + strings.ReplaceAll(text, `"`, `""`) + `"`)
		if err != nil || len(quoted) != 1 || !quoted[0].Match(text) || quoted[0].Match(text+"x") {
			t.Fatalf("%q in quotes: %v, %v", text, quoted, err)
		}
		list, err := source.ParsePatterns(text)
		if err != nil {
			return
		}
		var again []string
		for _, p := range list {
			again = append(again, p.String())
			p.Match(text, "b")
			p.Namespace().Match("a", text)
		}
		twice, err := source.ParsePatterns(strings.Join(again, ","))
		if err != nil || !slices.EqualFunc(list, twice, func(a, b source.Pattern) bool { return a.String() == b.String() && a.Parts() == b.Parts() }) {
			t.Fatalf("%q: %v, then %v, %v", text, list, twice, err)
		}
	})
}
