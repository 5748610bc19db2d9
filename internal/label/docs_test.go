package label

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of labels into docs/labels.md")

// table is the schema for people, as Markdown.
func table() string {
	var b strings.Builder
	b.WriteString("| Label | Value | Without it | What it does | Earlier |\n|---|---|---|---|---|\n")
	for _, l := range schema {
		values := string(l.Kind)
		if l.Kind == Choice {
			values = "`" + strings.Join(l.Allowed, "`, `") + "`"
		}
		if l.Secret {
			values += " (never shown)"
		}
		doc := l.Doc
		if l.NoEffect != "" {
			doc += " Accepted with a warning: " + l.NoEffect + "."
		}
		if l.Kind != Internal && l.NoEffect == "" {
			doc += " Example: `" + l.Example + "`."
		}
		without, earlier := l.Default, ""
		if without == "" {
			without = "–"
		}
		if l.Legacy {
			earlier = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", l.Key, values, without, doc, earlier)
	}
	return b.String()
}

func TestDocs(t *testing.T) {
	const path, begin, end = "../../docs/labels.md", "-update -->\n", "<!-- end -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("docs/labels.md has lost its marks")
	}
	want := before + begin + "\n" + table() + "\n" + end + after
	if string(b) == want {
		return
	}
	if !*update {
		t.Fatal("docs/labels.md is stale: go test ./internal/label -run TestDocs -update")
	}
	if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExamples: what the documentation recommends is right.
func TestExamples(t *testing.T) {
	for _, l := range schema {
		v, f := testSchema.check(l, l.Example)
		if f != nil || l.Doc == "" || l.Example == "" || (l.set == nil && l.put == nil) != (l.NoEffect != "") {
			t.Errorf("%s: %+v, %+v", l.Key, v, f)
		}
	}
	b, err := os.ReadFile("../../docs/labels.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for block := range strings.SplitSeq(string(b), "```") {
		labels := map[string]string{keyBackup: "true"}
		for l := range strings.Lines(block) {
			if k, v, ok := strings.Cut(strings.TrimSpace(l), ": "); ok && strings.HasPrefix(k, Prefix) && strings.HasPrefix(block, "yaml") {
				labels[k] = strings.Trim(v, `"`)
			}
		}
		if labels[keyCommand] != "" {
			labels[keyEngine] = "custom"
		}
		if len(labels) == 1 {
			continue
		}
		examples++
		if _, _, problems := testSchema.Parse(labels); len(problems) != 0 {
			t.Errorf("%v: %v", labels, problems)
		}
	}
	if examples < 7 {
		t.Errorf("only %d examples were found", examples)
	}
}
