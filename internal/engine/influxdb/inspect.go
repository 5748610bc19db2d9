package influxdb

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	kindMeasurement   = "measurement"
	otherMeasurements = "(other measurements)" // beyond what is kept
	// headSize is how much of a line is looked at: enough for a measurement's name.
	headSize = 1 << 10
	maxName  = 256
	maxNotes = 10
)

// inspector looks at the beginning of each line and at its last byte, and counts
// the points of each measurement. They follow each other.
type inspector struct {
	heads engine.Heads
	// doubtful: there is U+FFFD, as far as it is not cut by the writes.
	doubtful bool

	lines   int64
	about   string // the first line
	notes   []string
	points  bool // it is where points are
	ended   bool
	wrong   bool
	policy  string
	count   int64
	escaped int64  // of them
	current []byte // the measurement, as it is in a line
	rows    int64  // of it
	others  int64
	objects []engine.Object
}

func (i *inspector) Write(p []byte) (int, error) {
	i.doubtful = i.doubtful || bytes.Contains(p, []byte(replacement))
	if !i.wrong {
		i.heads.Cut(p, headSize, func(head []byte, last byte) bool {
			i.line(head, last)
			return !i.wrong
		})
	}
	return len(p), nil
}

func (i *inspector) line(head []byte, last byte) {
	i.lines++
	switch {
	case i.ended || len(head) == 0:
		i.wrong = true
	case i.lines == 1:
		i.wrong = !bytes.HasPrefix(head, []byte(firstLine))
		i.about = string(head)
	case i.lines == 2:
		i.wrong = string(head) != lineDDL
	case !i.points && bytes.HasPrefix(head, []byte(lineNote)):
		i.notes = append(i.notes, string(bytes.ToValidUTF8(head[len(lineNote):], []byte("?"))))
		i.wrong = len(i.notes) > maxNotes
	case !i.points:
		i.points = string(head) == lineDML
		i.wrong = !i.points && !bytes.HasPrefix(head, []byte("CREATE ")) && !bytes.HasPrefix(head, []byte(lineThen))
	case bytes.HasPrefix(head, []byte(lineEscaped)):
		i.escaped++
		head = []byte(outOfOneLine.Replace(string(head[len(lineEscaped):])))
		fallthrough
	case head[0] != comment:
		i.wrong = last < '0' || last > '9' || i.policy == ""
		i.point(head)
	case bytes.HasPrefix(head, []byte(linePolicy)):
		i.flush()
		i.policy = string(head[len(linePolicy):])
	case bytes.HasPrefix(head, []byte(lineDB)):
	default:
		n, is := parseLast(head)
		i.ended, i.wrong = true, !is || n != i.count
	}
}

// point counts a point.
func (i *inspector) point(head []byte) {
	i.count++
	if n := len(i.current); n > 0 && len(head) > n && (head[n] == ',' || head[n] == ' ') && bytes.Equal(head[:n], i.current) {
		i.rows++
		return
	}
	i.flush()
	i.current = append(i.current, measurementOf(head)...)
	i.rows = 1
}

// measurementOf is what a line has before its first comma or blank that is meant
// as such.
func measurementOf(line []byte) []byte {
	for n := 1; n < len(line); n++ {
		if (line[n] == ',' || line[n] == ' ') && line[n-1] != '\\' {
			return line[:n]
		}
	}
	return line
}

var outOfMeasurement = strings.NewReplacer(`\,`, ",", `\ `, " ")

// flush lists the measurement.
func (i *inspector) flush() {
	switch {
	case i.rows == 0:
	case len(i.objects) >= engine.MaxObjects-1:
		i.others += i.rows
	default:
		name := i.policy + "." + outOfMeasurement.Replace(string(i.current))
		name = strings.ToValidUTF8(name[:min(len(name), maxName)], "?")
		i.objects = append(i.objects, engine.Object{Kind: kindMeasurement, Name: name, Rows: i.rows})
	}
	i.current, i.rows = i.current[:0], 0
}

func (i *inspector) Finish() (engine.Contents, error) {
	switch {
	case !i.heads.Any():
		return engine.Contents{}, problem.New(problem.Failed, "the dump is empty").WithReason(engine.ReasonEmpty)
	case i.wrong || i.lines == 0 && !startsWell(i.heads.Rest()):
		return engine.Contents{}, problem.New(problem.Failed, "after %d points the dump holds what is none", i.count).WithReason(engine.ReasonMalformed)
	case !i.ended || len(i.heads.Rest()) > 0:
		return engine.Contents{}, problem.New(problem.Failed, "the dump ends after %d points, before its last line", i.count).WithReason(engine.ReasonTruncated)
	}
	i.flush()
	if i.others > 0 {
		i.objects = append(i.objects, engine.Object{Kind: kindMeasurement, Name: otherMeasurements, Rows: i.others})
	}
	notes := []string{
		"dumped by influx " + strings.TrimPrefix(i.about, firstLine),
		"without users, their grants, and subscriptions",
	}
	notes = append(notes, i.notes...)
	if i.doubtful {
		notes = append(notes, "text that is not UTF-8 in the database, if there was any, has U+FFFD in its place, which was seen")
	}
	if i.escaped > 0 {
		notes = append(notes, fmt.Sprintf("%d points have line ends in their text: a restore needs curl in the container", i.escaped))
	}
	return engine.Contents{Objects: i.objects, Notes: notes}, nil
}

// startsWell says whether a dump may begin so.
func startsWell(head []byte) bool {
	n := min(len(head), len(firstLine))
	return string(head[:n]) == firstLine[:n]
}
