package postgres

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	readSize = 64 << 10
	// headPartLimit bounds what comes before the first \connect, and one statement
	// that is held back for a decision, in bytes.
	headPartLimit = 1 << 20
)

// filter reads a dump and passes it on, statement by statement, without those
// that keep refuses. It lets no command to psql pass other than \restrict and
// \unrestrict, and fails at the end of a dump that is not whole.
//
// Of a database's dump, the part before the first \connect is not passed on but
// kept in head; it creates the database and cannot be part of a transaction.
type filter struct {
	src       io.Reader
	keep      func(tokens []token) bool
	as        string                    // another name for the database; empty: its own
	after     func(head []byte) string  // SQL that follows a statement; nil: none does
	last      func(tokens []token) bool // what is passed on when all else was; nil: nothing is
	kept      []byte                    // of that
	lexer     *lexer
	inspector *inspector
	buffer    []byte
	out       bytes.Buffer
	held      []byte // a statement that may be refused
	deciding  bool
	inHead    bool
	head      []string // the statements before the first \connect
	headSize  int
	err       error
}

// newFilter makes a filter; hasHead says that the dump is of one database.
func newFilter(src io.Reader, m marks, hasHead bool, keep func([]token) bool) *filter {
	f := &filter{src: src, keep: keep, inspector: newInspector(m), buffer: make([]byte, readSize), inHead: hasHead}
	f.lexer = newLexer(f)
	return f
}

// readHead reads up to the first \connect.
func (f *filter) readHead() ([]string, error) {
	for f.inHead && f.err == nil {
		f.pump()
	}
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		return nil, f.err
	}
	if f.inHead {
		return nil, malformed("the dump does not connect to its database")
	}
	return f.head, nil
}

// Read implements io.Reader.
func (f *filter) Read(p []byte) (int, error) {
	for f.out.Len() == 0 {
		if f.err != nil {
			return 0, f.err
		}
		f.pump()
	}
	return f.out.Read(p)
}

// pump moves one piece from src to out.
func (f *filter) pump() {
	n, err := f.src.Read(f.buffer)
	_, _ = f.inspector.Write(f.buffer[:n])
	f.lexer.write(f.buffer[:n])
	if f.err == nil {
		f.err = err
	}
	if errors.Is(err, io.EOF) && errors.Is(f.err, io.EOF) {
		if _, err := f.inspector.Finish(); err != nil {
			f.err = err
		}
		f.out.Write(f.kept)
	}
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		f.out.Reset()
	}
}

func (f *filter) text(k kind, b []byte) {
	switch {
	case k == meta:
		// Passed on by end, which sees the whole of it.
	case f.inHead && k != statement:
	case k != statement:
		f.out.Write(b)
	case f.inHead || f.deciding || len(f.held) == 0 && len(f.lexer.head) == 0:
		f.deciding = true
		f.held = append(f.held, b...)
		if f.inHead {
			f.headSize += len(b)
			if f.headSize > headPartLimit {
				f.err = malformed("the dump does not connect to its database")
			}
			return
		}
		if !mayBeRefused(f.held) || len(f.held) > headPartLimit {
			f.out.Write(f.held)
			f.held, f.deciding = f.held[:0], false
		}
	default:
		f.out.Write(b)
	}
}

func (f *filter) end(k kind, head []byte) {
	switch {
	case k == meta:
		f.command(head)
	case k == statement && f.inHead:
		f.head = append(f.head, string(f.held))
		f.held, f.deciding = f.held[:0], false
	case k == statement && f.deciding:
		switch ts := tokens(f.held); {
		case !f.keep(ts):
		case f.last != nil && f.last(ts):
			f.kept = append(append(f.kept, f.held...), '\n')
		case f.as != "":
			f.out.WriteString(renamed(string(f.held), f.as))
		default:
			f.out.Write(f.held)
		}
		f.held, f.deciding = f.held[:0], false
	}
	if k == statement && !f.inHead && f.after != nil {
		f.out.WriteString(f.after(head))
	}
}

func (f *filter) command(line []byte) {
	word, _, _ := strings.Cut(string(line), " ")
	switch word {
	case `\connect`:
		f.inHead = false // the database that we are in already
	case `\encoding`:
		// Comes before a \connect to a name that is hard to quote.
	case `\restrict`, `\unrestrict`:
		if !f.inHead {
			f.out.Write(append(line, '\n'))
		}
	default:
		f.stray()
	}
}

func (f *filter) endCopy(int64) {}

func (f *filter) stray() {
	if f.err == nil {
		f.err = malformed("the dump holds a command to psql")
	}
}

// candidates are the first words of statements that a restore may leave out, or change.
var candidates = []string{
	"ALTER ", "GRANT ", "REVOKE ", "SET SESSION ", "RESET SESSION ", "BEGIN;", "COMMIT;", "CREATE ROLE ", "CREATE TABLESPACE ",
	"COMMENT ON DATABASE ", "SECURITY LABEL ", ofTemplate,
}

// mayBeRefused says whether a statement that begins so needs to be seen whole.
func mayBeRefused(begin []byte) bool {
	for _, c := range candidates {
		n := min(len(c), len(begin))
		if string(begin[:n]) == c[:n] {
			return true
		}
	}
	return false
}

func malformed(what string) error {
	return problem.New(problem.Corrupt, "%s", what).WithReason(engine.ReasonMalformed)
}
