// Package report fills the tables of docs/reliability.md from the figures of
// runs of the fault rig and of the measurement of scale. The words around the
// tables are people's, the numbers in them are not.
package report

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/scale"
)

// A table stands between two lines of the document.
const (
	opens  = "<!-- table: "
	closes = "<!-- end of table -->"
)

// Write fills the document docs/reliability.md from the figures in the folder
// docs/reliability: those of the rig in chaos-*.json, those of scale in scale.json.
func Write(docs string) error {
	dir := filepath.Join(docs, "reliability")
	names, err := filepath.Glob(filepath.Join(dir, "chaos-*.json"))
	if err != nil {
		return fmt.Errorf("look for figures: %w", err)
	}
	var runs []*figures.Figures
	for _, name := range names {
		f, err := figures.Load(name)
		if err != nil {
			return err
		}
		runs = append(runs, f)
	}
	var size *scale.Figures
	if path := filepath.Join(dir, "scale.json"); exists(path) {
		if size, err = scale.Load(path); err != nil {
			return err
		}
	}
	path := filepath.Join(docs, "reliability.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	filled, err := fill(string(text), tables(runs, size))
	if err != nil {
		return fmt.Errorf("fill %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(filled), 0o644); err != nil { //nolint:gosec // documentation
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fill puts each table where the document has its place.
func fill(text string, tables map[string]string) (string, error) {
	var out strings.Builder
	placed := map[string]bool{}
	inside := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		name, begins := strings.CutPrefix(trimmed, opens)
		name = strings.TrimSuffix(name, " -->")
		switch {
		case begins && inside != "":
			return "", fmt.Errorf("table %q begins within table %q", name, inside)
		case begins:
			table, known := tables[name]
			if !known {
				return "", fmt.Errorf("there is no table %q; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(tables)), ", "))
			}
			inside, placed[name] = name, true
			out.WriteString(line + "\n" + strings.TrimSpace(table) + "\n\n")
		case trimmed == closes && inside == "":
			return "", fmt.Errorf("a table ends that did not begin")
		case trimmed == closes:
			inside = ""
			out.WriteString(line)
		case inside == "":
			out.WriteString(line)
		}
	}
	if inside != "" {
		return "", fmt.Errorf("table %q does not end", inside)
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if !placed[name] {
			return "", fmt.Errorf("table %q has no place", name)
		}
	}
	return out.String(), nil
}
