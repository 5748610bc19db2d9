package label

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/run"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
)

// Bounds on values, in bytes. They are generous: an engine knows its own.
const (
	maxPath     = 4096 // also a database: SQLite's is a path
	maxUser     = 256
	maxPassword = 4096
	maxVariable = 256
	maxCommand  = 16 << 10
	maxURL      = 2048
	maxImage    = 512
	maxNumber   = 10_000
	maxShown    = 80 // of a value in a problem, in characters
)

const hidden = "[hidden]"

// fault is what is wrong with a value.
type fault struct {
	reason, suggestion string
	warning            bool
}

func refuse(suggestion, reason string, args ...any) *fault {
	return &fault{reason: fmt.Sprintf(reason, args...), suggestion: suggestion}
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// check reads one value by its label's kind. The value comes out as it went in,
// or in the canonical spelling of a choice, or not at all.
func (s Schema) check(l Label, raw string) (value, *fault) {
	if raw == "" {
		return value{}, refuse("give it a value or remove it", "it is empty")
	}
	if f := wellFormed(raw, l.Secret); f != nil {
		return value{}, f
	}
	switch l.Kind {
	case Bool:
		return checkBool(raw)
	case Name:
		if err := source.CheckName(raw); err != nil {
			return value{}, refuse("for example "+l.Example, "%v", err)
		}
		return value{text: raw}, nil
	case Engine:
		return s.checkEngine(raw)
	case Database:
		return argument(raw, maxPath)
	case User:
		return argument(raw, maxUser)
	case Password:
		return value{text: raw}, tooLong(raw, maxPassword)
	case Path:
		return checkPath(raw)
	case Variable:
		if f := tooLong(raw, maxVariable); f != nil {
			return value{}, f
		}
		if !variablePattern.MatchString(raw) {
			return value{}, refuse("give the variable's name alone, for example "+l.Example, "a variable's name holds letters, digits and '_' and does not begin with a digit")
		}
		return value{text: raw}, nil
	case Command:
		if f := tooLong(raw, maxCommand); f != nil {
			return value{}, f
		}
		argv, f := split(raw)
		return value{argv: argv}, f
	case Patterns:
		if f := tooLong(raw, maxCommand); f != nil {
			return value{}, f
		}
		list, err := source.ParsePatterns(raw)
		if err != nil {
			return value{}, refuse("for example "+l.Example, "%v", err)
		}
		return value{patterns: list}, nil
	case Arguments:
		if f := tooLong(raw, maxCommand); f != nil {
			return value{}, f
		}
		argv, f := words(raw)
		return value{argv: argv}, f
	case Choice:
		return checkChoice(l, raw)
	case Number:
		if n, err := strconv.Atoi(raw); err != nil || n < 0 || n > maxNumber {
			f := refuse("for example "+l.Example, "it is not a whole number from 0 to %d: until it is one, every snapshot is kept", maxNumber)
			f.warning = true
			return value{text: shorten(raw)}, f
		}
		return value{text: raw}, nil
	case Policy:
		return checkPolicy(raw)
	case Internal:
		return value{text: raw}, nil
	case Sources:
		return checkSources(l, raw)
	case Attempts:
		if n, err := strconv.Atoi(raw); err != nil || n < 1 || n > run.MaxAttempts {
			return value{}, refuse("for example "+l.Example, "it is no whole number from 1 to %d", run.MaxAttempts)
		}
		return value{text: raw}, nil
	case Duration, Timeout:
		d, err := schedule.ParseDuration(raw)
		if err != nil {
			return value{}, refuse("for example "+l.Example, "%v", err)
		}
		if l.Kind == Timeout && d > source.MaxHookTimeout {
			return value{}, refuse("for example "+l.Example, "it is longer than %s", schedule.FormatDuration(source.MaxHookTimeout))
		}
		return value{text: raw, length: d}, nil
	case URL:
		return checkURL(raw)
	case Image:
		if strings.ContainsAny(raw, " \t") {
			return value{}, refuse("for example "+l.Example, "the name of an image has no blanks")
		}
		return argument(raw, maxImage)
	case Size:
		n, err := humanize.ParseBytes(raw)
		if err != nil || n < source.MinDrillMemory || n > 1<<50 {
			return value{}, refuse("for example "+l.Example, "it is no size from %s on", humanize.IBytes(source.MinDrillMemory))
		}
		return value{text: raw, size: int64(n)}, nil
	case Assertion:
		if f := tooLong(raw, maxCommand); f != nil {
			return value{}, f
		}
		if _, err := parseAssertion("", raw); err != nil {
			return value{}, refuse("for example "+l.Example, "%v", err)
		}
		return value{text: raw}, nil
	}
	if parse, ok := parsers[l.Kind]; ok {
		if err := parse(raw); err != nil {
			return value{}, refuse("for example "+l.Example, "%v", err)
		}
		return value{text: raw}, nil
	}
	return value{}, refuse("", "its kind is unknown")
}

// checkURL never repeats what it was given: a URL may hold a token.
func checkURL(raw string) (value, *fault) {
	if f := tooLong(raw, maxURL); f != nil {
		return value{}, f
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return value{}, refuse("write it whole, as in https://app.example.com/hook", "it is no URL of http or https")
	}
	return value{text: raw}, nil
}

// wellFormed refuses what no value of ours may hold, whatever its kind.
func wellFormed(raw string, secret bool) *fault {
	if !utf8.ValidString(raw) {
		return refuse("write it in UTF-8", "it is not valid UTF-8")
	}
	for _, r := range raw {
		switch {
		case r == '\n' || r == '\r':
			return refuse("write it on one line (in YAML, a block that begins with > or | ends with a line break; >- and |- do not)", "it holds a line break")
		case unicode.IsControl(r):
			return refuse("remove it", "it holds the control character %U", r)
		case secret:
		case unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return refuse("remove it", "it holds the invisible character %U", r)
		}
	}
	return nil
}

func tooLong(raw string, limit int) *fault {
	if len(raw) > limit {
		return refuse("", "it is %d bytes long, more than %d", len(raw), limit)
	}
	return nil
}

// checkPolicy passes on what is no policy either, with a warning: the source is
// backed up all the same, and the controller, which cannot read it, keeps everything.
func checkPolicy(raw string) (value, *fault) {
	if err := retention.Check(raw); err != nil {
		f := refuse("for example daily=7 weekly=4", "%v: until it can be read, every snapshot is kept", err)
		f.warning = true
		if len(raw) > retention.MaxText { // what is cut may read as another policy
			raw = "a policy that is too long"
		}
		return value{text: raw}, f
	}
	return value{text: raw}, nil
}

func checkBool(raw string) (value, *fault) {
	switch strings.ToLower(raw) {
	case "true", "yes", "on", "1":
		return value{yes: true}, nil
	case "false", "no", "off", "0":
		return value{}, nil
	}
	return value{}, refuse("write true or false", "it is neither true nor false")
}

// argument checks a value that engines hand to tools as an argument of its
// own. What it means to a tool beyond that (to libpq, a database called "a=b" is
// a connection string) is the engine's to defuse: the name itself is legal.
func argument(raw string, limit int) (value, *fault) {
	if f := tooLong(raw, limit); f != nil {
		return value{}, f
	}
	if strings.HasPrefix(raw, "-") {
		return value{}, refuse("", "it begins with '-', so a tool would take it for an option")
	}
	if trimmed := strings.TrimSpace(raw); trimmed != raw {
		return value{}, refuse("write "+strconv.Quote(shorten(trimmed)), "it begins or ends with a space")
	}
	return value{text: raw}, nil
}

func checkPath(raw string) (value, *fault) {
	if f := tooLong(raw, maxPath); f != nil {
		return value{}, f
	}
	if !strings.HasPrefix(raw, "/") {
		return value{}, refuse("begin with /", "it is not an absolute path in the container")
	}
	if clean := path.Clean(raw); clean != raw {
		return value{}, refuse("write "+shorten(clean), "it is not in its simplest form")
	}
	if raw == "/" {
		return value{}, refuse("", "it is a folder")
	}
	return value{text: raw}, nil
}

func (s Schema) checkEngine(raw string) (value, *fault) {
	lower := strings.ToLower(raw)
	if name, ok := s.Engines[lower]; ok {
		return value{text: name}, nil
	}
	if right := misspelt[lower]; right != "" && s.Engines[right] != "" {
		name := s.Engines[right]
		return value{text: name}, &fault{reason: "it is misspelt, and taken for " + name, suggestion: "write " + name, warning: true}
	}
	if meant := closest(lower, append(s.canonical(), slices.Sorted(maps.Keys(s.Engines))...)); meant != "" {
		return value{}, refuse(fmt.Sprintf("did you mean %s?", meant), "there is no such engine")
	}
	return value{}, refuse("one of "+strings.Join(s.canonical(), ", "), "there is no such engine")
}

func checkChoice(l Label, raw string) (value, *fault) {
	lower := strings.ToLower(raw)
	if right := l.Also[lower]; right != "" {
		lower = right
	}
	if slices.Contains(l.Allowed, lower) {
		return value{text: lower}, nil
	}
	if meant := closest(lower, l.Allowed); meant != "" {
		return value{}, refuse(fmt.Sprintf("did you mean %s?", meant), "it is none of the values allowed")
	}
	return value{}, refuse("one of "+strings.Join(l.Allowed, ", "), "it is none of the values allowed")
}

// Shown is a label's value in a form that may be shown: hidden when the label
// holds a secret or is not known, else printable and not too long.
func Shown(key, raw string) string {
	if l, known := lookUp(key); !known || l.Secret {
		return hidden
	}
	return shorten(printable(raw))
}

// printable escapes what could upset a terminal or a log.
func printable(s string) string {
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(q)
}

func shorten(s string) string {
	if utf8.RuneCountInString(s) <= maxShown {
		return s
	}
	return string([]rune(s)[:maxShown]) + "…"
}
