package etcd

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	kindPrefix = "prefix"
	otherKeys  = "(other keys)" // without a slash, or beyond what is kept
	// headSize is how much of a line is looked at: enough for the first part of
	// its key, of at most partSize.
	headSize, partSize = 512, 256
)

// inspector looks at the beginning of each line and at its last byte, and counts
// keys by their first part, up to a slash. They come in order, so that those
// with the same first part follow each other.
type inspector struct {
	heads engine.Heads

	about   string // the first line
	ended   bool
	wrong   bool
	keys    int64
	group   string
	rows    int64 // of the group
	leased  int64 // of those
	others  [2]int64
	objects []engine.Object
}

func (i *inspector) Write(p []byte) (int, error) {
	if !i.wrong {
		i.heads.Cut(p, headSize, func(head []byte, last byte) bool {
			i.line(head, last)
			return !i.wrong
		})
	}
	return len(p), nil
}

func (i *inspector) line(head []byte, last byte) {
	switch {
	case i.ended:
		i.wrong = true
	case i.about == "":
		i.wrong = !bytes.HasPrefix(head, []byte(firstLine))
		i.about = string(head)
	case bytes.HasPrefix(head, []byte(linePut)) && last == '"':
		i.count(head[len(linePut):])
	default:
		n, is := parseLast(head)
		i.ended, i.wrong = true, !is || n != i.keys
	}
}

// count counts a line, which is given from behind "put " on.
func (i *inspector) count(text []byte) {
	leased := bytes.HasPrefix(text, []byte(lineLease))
	if leased {
		_, text, _ = bytes.Cut(text, []byte(" "))
	}
	text, is := bytes.CutPrefix(text, []byte(lineKey))
	if !is {
		i.wrong = true
		return
	}
	i.keys++
	first := firstPart(text)
	switch {
	case first != nil && string(first) == i.group:
	case first != nil && len(i.objects) < engine.MaxObjects-5: // a group has two, and so have others
		i.flush()
		i.group = string(first)
	default:
		i.others[0]++
		if leased {
			i.others[1]++
		}
		return
	}
	i.rows++
	if leased {
		i.leased++
	}
}

// firstPart is a quoted key up to the first slash that is not its beginning, nil
// if there is none.
func firstPart(key []byte) []byte {
	for n := 0; n < min(len(key), partSize); n++ {
		switch {
		case key[n] == '"':
			return nil
		case key[n] == '\\':
			n++
		case key[n] == '/' && n > 0:
			return key[:n+1]
		}
	}
	return nil
}

// flush lists the group.
func (i *inspector) flush() {
	i.list(i.group, i.rows, i.leased)
	i.rows, i.leased = 0, 0
}

func (i *inspector) list(name string, rows, leased int64) {
	if rows > 0 {
		i.objects = append(i.objects, engine.Object{Kind: kindPrefix, Name: name, Rows: rows})
	}
	if leased > 0 {
		i.objects = append(i.objects, engine.Object{Kind: engine.KindExpiring, Name: name, Rows: leased})
	}
}

func (i *inspector) Finish() (engine.Contents, error) {
	switch {
	case !i.heads.Any():
		return engine.Contents{}, problem.New(problem.Failed, "the dump is empty").WithReason(engine.ReasonEmpty)
	case i.wrong || len(i.heads.Rest()) > 0 && !startsWell(i.heads.Rest(), i.about == ""):
		return engine.Contents{}, problem.New(problem.Failed, "after %d keys the dump holds what is none", i.keys).WithReason(engine.ReasonMalformed)
	case !i.ended || len(i.heads.Rest()) > 0:
		return engine.Contents{}, problem.New(problem.Failed, "the dump ends after %d keys, before its last line", i.keys).WithReason(engine.ReasonTruncated)
	}
	i.flush()
	i.list(otherKeys, i.others[0], i.others[1])
	revision, by, _ := strings.Cut(strings.TrimPrefix(i.about, firstLine), ", ")
	return engine.Contents{Objects: i.objects, Notes: []string{
		fmt.Sprintf("%d keys at revision %s", i.keys, revision), "dumped by " + by,
	}}, nil
}

// startsWell says whether a line without an end may be the beginning of one.
func startsWell(head []byte, first bool) bool {
	starts := []string{linePut, lastLine}
	if first {
		starts = []string{firstLine}
	}
	for _, s := range starts {
		if n := min(len(head), len(s)); string(head[:n]) == s[:n] {
			return true
		}
	}
	return false
}
