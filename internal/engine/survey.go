package engine

import (
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Surveyor is a session that can say, before anything is touched, what a restore
// would not find in its target.
type Surveyor interface {
	// Survey compares the streams to come with the target. It changes nothing. What
	// it cannot find out it leaves out.
	Survey(context.Context, []Dumped, RestoreOptions) (Survey, error)
}

// Dumped is a stream of a snapshot, with what was seen in it.
type Dumped struct {
	Stream
	Size     int64
	Contents Contents
}

// Survey is what a Surveyor found, in lines for a person that say what to do.
type Survey struct {
	// Missing is what a restore surely fails without.
	Missing []string
	// Warnings tell what may fail, or will be other than it was.
	Warnings []string
}

// Miss adds a line to what is missing.
func (s *Survey) Miss(format string, args ...any) {
	s.Missing = append(s.Missing, fmt.Sprintf(format, args...))
}

// Warn adds a line to the warnings.
func (s *Survey) Warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// MaxNames bounds the names in one note, and surveyNames those in one line of a survey.
const (
	MaxNames    = 200
	surveyNames = 20
)

// Names gathers names that a dump mentions and that a target has to know. The zero
// value is ready for use.
type Names map[string]bool

// Add takes a name, unless there are MaxNames already.
func (n *Names) Add(name string) {
	if name == "" || len(*n) >= MaxNames {
		return
	}
	if *n == nil {
		*n = Names{}
	}
	(*n)[name] = true
}

// Note writes the names down in contents: what is the beginning of the note, which
// Named finds it by.
func (n Names) Note(c *Contents, what string) {
	if len(n) > 0 {
		c.Notes = append(c.Notes, what+": "+QuoteNames(slices.Sorted(maps.Keys(n)), MaxNames))
	}
}

// Named gives the names that were noted so.
func (c Contents) Named(what string) (names []string) {
	rest := c.Noted(what + ": ")
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return names
		}
		name, _ := strconv.Unquote(quoted) // it is quoted
		names = append(names, name)
		rest = strings.TrimPrefix(rest[len(quoted):], ", ")
	}
	return names
}

// Noted gives what follows the beginning of a note; empty when there is none.
func (c Contents) Noted(begin string) string {
	for _, n := range c.Notes {
		if rest, ok := strings.CutPrefix(n, begin); ok {
			return rest
		}
	}
	return ""
}

// QuoteNames lists names for a person, the first most of them.
func QuoteNames(names []string, most int) string {
	quoted := make([]string, 0, min(len(names), most)+1)
	for _, n := range names[:min(len(names), most)] {
		quoted = append(quoted, strconv.Quote(n))
	}
	if len(names) > most {
		quoted = append(quoted, fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(quoted, ", ")
}

// Without gives those names that have does not hold, sorted, each once.
func Without(names, have []string) []string {
	lacking := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(have, n) })
	slices.Sort(lacking)
	return slices.Compact(lacking)
}

// ListNames is QuoteNames for a line of a survey.
func ListNames(names []string) string { return QuoteNames(names, surveyNames) }

var version = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)

// Version gives the first version number in a text: 15 and 18 of "15.18 (Debian)".
// A text without one has none.
func Version(text string) (v []int) {
	for part := range strings.SplitSeq(version.FindString(text), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break // there is none, or it is no version of anything
		}
		v = append(v, n)
	}
	return v
}

// Older says whether a version comes before another in its first parts. Of what is
// not known it says nothing.
func Older(v, other []int, parts int) bool {
	return len(v) > 0 && len(other) > 0 && slices.Compare(v[:min(len(v), parts)], other[:min(len(other), parts)]) < 0
}

// WarnOlder warns of a server that is older than the one that was dumped.
func (s *Survey) WarnOlder(server, now, dumped string, parts int) {
	if Older(Version(now), Version(dumped), parts) {
		s.Warn("The target runs %s %s, and the snapshot is of %s: an older version may not understand it. Restore into the same or a newer one.", server, now, dumped)
	}
}

// WarnRoom warns when the file system of a folder in the instance has less room
// than the dumps are long. It asks df; where that is missing nothing is known.
func (s *Survey) WarnRoom(ctx context.Context, inst Instance, folder string, dumps []Dumped) {
	const limit = 4 << 10
	if !path.IsAbs(folder) {
		return
	}
	out, exit, err := Output(ctx, inst, Command{Argv: []string{"df", "-Pk", folder}}, limit)
	if err != nil || exit.Status != 0 {
		return
	}
	var want int64
	for _, d := range dumps {
		want += d.Size
	}
	if free, ok := freeOf(string(out)); ok && free < want {
		s.Warn("The dumps have %s, and %s has only %s free, besides what is replaced: how much a database takes of it is not known beforehand. Make room first if you can.",
			humanize.IBytes(uint64(want)), folder, humanize.IBytes(uint64(free)))
	}
}

// freeOf reads the bytes that are free from what df -Pk says: they come before the
// share that is used, whatever blanks the name of the file system has.
func freeOf(df string) (free int64, ok bool) {
	lines := strings.Split(strings.TrimSpace(df), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	for i, f := range fields {
		if i > 0 && strings.HasSuffix(f, "%") {
			kib, err := strconv.ParseInt(fields[i-1], 10, 64)
			return kib << 10, err == nil && kib >= 0 && kib < 1<<52
		}
	}
	return 0, false
}
