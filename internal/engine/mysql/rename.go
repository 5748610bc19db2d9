package mysql

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// ofDatabase are the beginnings of the statements by which a dump says which
// database it is of. ALTER DATABASE stands round what was made when the database
// had another character set.
var ofDatabase = []string{"CREATE DATABASE ", "USE `", "ALTER DATABASE `"}

func isOfDatabase(head []byte) bool {
	for _, begin := range ofDatabase {
		if bytes.HasPrefix(head, []byte(begin)) {
			return true
		}
	}
	return false
}

// databaseOf gives the database that such a statement names, and where in it.
func databaseOf(stmt []byte) (name string, from, to int) {
	from = bytes.IndexByte(stmt, '`')
	if from < 0 {
		return "", 0, 0
	}
	name = identAt(stmt[from:])
	const ticks = 2
	return name, from, min(len(stmt), from+len(name)+strings.Count(name, "`")+ticks)
}

// renaming passes a dump on under another name: it changes the statements that say
// which database it is of, and no others. One that names the database besides would
// mean the old one, and fails.
type renaming struct {
	src      io.Reader
	from, to string
	lexer    *lexer
	buffer   []byte
	out      bytes.Buffer
	held     []byte // the beginning of a statement that may be one of these
	holding  bool
	used     bool // the dump has said which database it is of
	began    bool // in this step of the lexer's, as is ended
	ended    bool
	err      error
}

func newRenaming(src io.Reader, from, to string) *renaming {
	const size = 64 << 10
	r := &renaming{src: src, from: from, to: to, buffer: make([]byte, size)}
	r.lexer = &lexer{
		onBegin:   func(int64) { r.began = true },
		onComment: func([]byte) { r.ended = true },
		onStatement: func(head []byte, _ int64) {
			r.ended = true
			r.check(head)
		},
	}
	return r
}

func (r *renaming) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// check looks at a statement that is complete. What stands before the first USE would
// be done in no database, or in the old one.
func (r *renaming) check(head []byte) {
	if isOfDatabase(head) {
		r.used = r.used || head[0] == 'U'
		return
	}
	switch name := qualified(head, r.from); {
	case name != "":
		r.fail(problem.New(problem.Failed, "the dump names the database %q itself: %s", r.from, name).WithReason(engine.ReasonUnsupported).
			WithHint("%s", renameHint))
	case !r.used && !ofAll.Match(head), len(head) > 4 && strings.EqualFold(string(head[:4]), "USE "):
		r.fail(problem.New(problem.Corrupt, "the dump does not say which database it is of where it should").WithReason(engine.ReasonMalformed))
	}
}

const renameHint = "Under another name that would still mean the old database. Restore into another container: --to new:NAME makes one."

// Read implements io.Reader.
func (r *renaming) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.src.Read(r.buffer)
		r.take(r.buffer[:n])
		if err != nil {
			if errors.Is(err, io.EOF) {
				r.release()
			}
			r.fail(err)
		}
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			r.out.Reset()
		}
	}
	return r.out.Read(p)
}

// take goes through the lexer's steps, of which a statement has at least one.
func (r *renaming) take(p []byte) {
	for len(p) > 0 {
		r.began, r.ended = false, false
		n := r.lexer.step(p)
		r.lexer.at += int64(n)
		if r.holding {
			r.held = append(r.held, p[:n]...)
		} else {
			r.out.Write(p[:n])
		}
		switch {
		case r.holding && r.ended:
			r.rename()
			r.release()
		case r.holding && (!mayBeOfDatabase(r.held) || len(r.held) > headLimit):
			r.release()
		}
		r.holding = r.holding || r.began
		p = p[n:]
	}
}

func (r *renaming) release() {
	r.out.Write(r.held)
	r.held, r.holding = r.held[:0], false
}

// mayBeOfDatabase says whether a statement that begins so may be one of these.
func mayBeOfDatabase(begin []byte) bool {
	for _, b := range ofDatabase {
		n := min(len(b), len(begin))
		if string(begin[:n]) == b[:n] {
			return true
		}
	}
	return false
}

// rename gives the held statement the other name, if it is one of these.
func (r *renaming) rename() {
	if !isOfDatabase(r.held) {
		return
	}
	name, from, to := databaseOf(r.held)
	if name != r.from {
		r.fail(problem.New(problem.Corrupt, "the dump is of the database %q, and was to be of %q", name, r.from).WithReason(engine.ReasonMalformed))
		return
	}
	r.held = fmt.Appendf(nil, "%s%s%s", r.held[:from], quoteIdent(r.to), r.held[to:])
}

// qualified gives a name in a statement that begins with a database's: an object of
// it that is named whole. Rows are not looked at, nor comments, nor text in quotes; what
// is too long to be looked through counts as one.
func qualified(head []byte, database string) string {
	switch {
	case database == "" || isOfDatabase(head) || bytes.HasPrefix(head, []byte("INSERT ")):
		return ""
	case len(head) >= headLimit:
		return "a statement that is too long to look through"
	}
	inText := bytes.Contains(head, []byte(`\'`)) || bytes.Contains(head, []byte(`\"`)) // where it ends is not clear
	before := byte(' ')
	for i := 0; i < len(head); {
		n, name := 1, ""
		switch c := head[i]; {
		case !inText && commentAt(head[i:]) > 0:
			i += commentAt(head[i:])
			continue
		case (c == '\'' || c == '"') && !inText:
			if end := bytes.IndexByte(head[i+1:], c); end >= 0 {
				n = end + 2
				if c == '"' { // in a routine it may be a name
					name = string(head[i+1 : i+1+end])
				}
			}
		case c == '`':
			_, _, end := databaseOf(head[i:])
			n, name = end, identAt(head[i:])
		case wordByte(c):
			for i+n < len(head) && wordByte(head[i+n]) {
				n++
			}
			name = string(head[i : i+n])
		}
		rest := head[i+n:]
		if before == '"' {
			rest = bytes.TrimPrefix(rest, []byte(`"`))
		}
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if before != '.' && before != '@' && strings.EqualFold(name, database) && len(rest) > 0 && rest[0] == '.' {
			const shown = 80
			end := bytes.IndexAny(head[i+n:], " ,;()\n*")
			if end < 0 {
				end = len(head) - i - n
			}
			return string(head[i:min(i+n+end, i+shown)])
		}
		before = head[i+n-1]
		i += n
	}
	return ""
}

// commentAt is the length of the comment that text begins with, 0 for none. What
// stands in /*! … */ is carried out, and is none.
func commentAt(text []byte) int {
	mark, end := 1, "\n"
	switch {
	case text[0] == '#':
	case len(text) > 2 && string(text[:2]) == "--" && text[2] <= ' ':
	case bytes.HasPrefix(text, []byte("/*")) && !bytes.HasPrefix(text, []byte("/*!")) && !bytes.HasPrefix(text, []byte("/*M!")):
		mark, end = 2, "*/" // /*/ opens and does not close
	default:
		return 0
	}
	if n := bytes.Index(text[mark:], []byte(end)); n >= 0 {
		return mark + n + len(end)
	}
	return len(text)
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// target is the name that a stream's database gets.
func target(stream engine.Stream, o engine.RestoreOptions) string {
	return cmp.Or(o.As, stream.Database)
}

// dumpFor is a dump as the client is to carry it out.
func dumpFor(stream engine.Stream, r io.Reader, o engine.RestoreOptions) io.Reader {
	if o.As == "" {
		return newWhole(r)
	}
	return newRenaming(newWhole(r), stream.Database, o.As)
}

// MayRename implements engine.Renamer.
func (s *session) MayRename(stream engine.Stream) error {
	if stream.Kind != kindDatabase {
		return problem.New(problem.InvalidInput, "%s is of no database, and has no other name", stream.Name).WithReason(engine.ReasonUnsupported)
	}
	return nil
}
