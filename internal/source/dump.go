package source

import (
	"errors"
	"fmt"
	"strings"
)

// Dump says what of a database server is dumped, and how. Empty: all, as always.
type Dump struct {
	Databases, Schemas, Tables Selection
	// NoData are tables whose rows are left out, and not their definitions.
	NoData []Pattern
	// Args are arguments that the dump tool is given besides.
	Args []string
}

// Selects says whether something may be left out.
func (d Dump) Selects() bool {
	return !d.Databases.empty() || !d.Schemas.empty() || !d.Tables.empty() || len(d.NoData) > 0
}

// Selection is what is taken: what a pattern of Include matches, if there is one,
// and none of Exclude.
type Selection struct{ Include, Exclude []Pattern }

func (s Selection) empty() bool { return len(s.Include) == 0 && len(s.Exclude) == 0 }

// Pattern means things of a database by their names. Points part a name into its
// parts: schema.table, database.table. A * stands for any characters but those
// points, and in double quotes everything stands for itself.
type Pattern struct {
	text  string
	parts []glob
}

// glob is what comes between the asterisks.
type glob []string

func (g glob) match(name string) bool {
	last := len(g) - 1
	if last == 0 {
		return name == g[0]
	}
	rest, ok := strings.CutPrefix(name, g[0])
	if !ok {
		return false
	}
	for _, piece := range g[1:last] {
		if _, rest, ok = strings.Cut(rest, piece); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, g[last])
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Parts is how many parts it has.
func (p Pattern) Parts() int { return len(p.parts) }

// Match compares the parts with the last ones of a name.
func (p Pattern) Match(name ...string) bool {
	if len(p.parts) > len(name) {
		return false
	}
	name = name[len(name)-len(p.parts):]
	for i, g := range p.parts {
		if !g.match(name[i]) {
			return false
		}
	}
	return true
}

// Namespace is the pattern where points after the first one belong to names, as in
// those of collections.
func (p Pattern) Namespace() Pattern {
	if len(p.parts) < 3 {
		return p
	}
	rest := append(glob(nil), p.parts[1]...)
	for _, g := range p.parts[2:] {
		rest[len(rest)-1] += "." + g[0]
		rest = append(rest, g[1:]...)
	}
	return Pattern{p.text, []glob{p.parts[0], rest}}
}

// maxPatterns bounds how many a label may have.
const maxPatterns = 200

// ParsePatterns reads patterns with commas between.
func ParsePatterns(text string) ([]Pattern, error) {
	var list []Pattern
	for rest, more := text, true; more; {
		var p Pattern
		var err error
		if p, rest, more, err = nextPattern(rest); err != nil {
			return nil, err
		}
		if list = append(list, p); len(list) > maxPatterns {
			return nil, fmt.Errorf("there are more than %d patterns", maxPatterns)
		}
	}
	return list, nil
}

// nextPattern reads one; more says that another has to follow.
func nextPattern(text string) (p Pattern, rest string, more bool, err error) {
	text = strings.TrimLeft(text, " ")
	part, piece := glob{}, ""
	end, quoted, said := len(text), false, false // said: this part has something in it
	closePart := func() error {
		if !said {
			return errors.New("a name, or a part of one, is empty")
		}
		p.parts, part, piece, said = append(p.parts, append(part, piece)), glob{}, "", false
		return nil
	}
	for i := 0; i < len(text) && end == len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '"' && strings.HasPrefix(text[i+1:], `"`):
			i++
			piece += `"`
		case c == '"':
			quoted, said = !quoted, true
		case quoted:
			piece += string(text[i : i+1])
		case c == '*':
			part, piece, said = append(part, piece), "", true
		case c == '.':
			if err := closePart(); err != nil {
				return p, "", false, err
			}
		case c == ',':
			end, rest, more = i, text[i+1:], true
		case c == ' ' && strings.HasPrefix(strings.TrimLeft(text[i:], " "), ","), c == ' ' && strings.TrimLeft(text[i:], " ") == "":
			// before a comma, or the end
		default:
			piece, said = piece+text[i:i+1], true
		}
	}
	if quoted {
		return p, "", false, errors.New("a double quote is not closed")
	}
	p.text = strings.TrimRight(text[:end], " ")
	return p, rest, more, closePart()
}
