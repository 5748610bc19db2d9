package postgres

import "bytes"

// kind is what a piece of a dump is.
type kind int

const (
	blank     kind = iota // white space between the others
	comment               // a line that begins with --, outside any statement
	meta                  // a line that begins with a backslash: a command to psql
	statement             // SQL up to its semicolon
	copyData              // the rows after COPY … FROM stdin, with the line \.
)

// headLimit is how much of a comment, command or statement is kept, in bytes.
const headLimit = 16 << 10

// visitor is told what a lexer sees. It must not keep the slices.
type visitor interface {
	// text is called with every byte, in order.
	text(k kind, b []byte)
	// end is called when a comment, command or statement is complete, with the
	// beginning of it, at most headLimit bytes, without line end.
	end(k kind, head []byte)
	// endCopy is called when the rows of a COPY are complete.
	endCopy(rows int64)
	// stray is called when a statement holds a command to psql: no dump does.
	stray()
}

// mode is where in a statement the lexer is.
type mode int

const (
	plain mode = iota
	lineComment
	blockComment
	quoted
	escaped // in a string that begins with E, where a backslash hides the next byte
	identifier
	tag    // in the opening $tag$
	dollar // in the text between $tag$ and $tag$
)

// lexer takes the output of pg_dump and pg_dumpall apart, however it is cut into
// writes, in memory that does not depend on it. What it knows of SQL is how text
// is quoted, so that a semicolon, an end mark or a GRANT inside of data or of a
// function's body is never taken for one of the dump's own.
type lexer struct {
	visitor visitor
	kind    kind
	mode    mode
	head    []byte
	last    [len(fromStdin)]byte // the last bytes of the statement
	depth   int                  // of parentheses
	nested  int                  // of block comments
	skip    bool                 // the next byte is hidden by a backslash
	reopens mode                 // the mode to go back to if the next byte is a quote again
	tag     []byte               // the $tag$ that ends the text
	matched int                  // bytes of the tag, or of endOfCopy, seen so far
	pending bool                 // rows begin after this line's end
	rows    int64
}

const (
	fromStdin = " FROM stdin;"
	endOfCopy = "\n\\.\n"
	maxTag    = 256
)

func newLexer(v visitor) *lexer { return &lexer{visitor: v} }

// write takes the next bytes.
func (l *lexer) write(p []byte) {
	for len(p) > 0 {
		var n int
		switch l.kind {
		case blank:
			n = l.blank(p)
		case comment, meta:
			n = l.line(p)
		case statement:
			n = l.statement(p)
		case copyData:
			n = l.rowsOf(p)
		}
		p = p[n:]
	}
}

func (l *lexer) take(p []byte) {
	l.visitor.text(l.kind, p)
	if l.kind == blank || l.kind == copyData {
		return
	}
	l.head = append(l.head, p[:min(len(p), headLimit-len(l.head))]...)
	if n := len(l.last); len(p) >= n {
		copy(l.last[:], p[len(p)-n:])
	} else {
		copy(l.last[:], l.last[len(p):])
		copy(l.last[n-len(p):], p)
	}
}

func (l *lexer) blank(p []byte) int {
	for i, c := range p {
		if l.pending && c == '\n' {
			l.take(p[:i+1])
			l.pending, l.kind, l.matched, l.rows = false, copyData, 1, 0
			return i + 1
		}
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v' {
			continue
		}
		if i > 0 {
			l.take(p[:i])
		}
		l.head, l.last, l.mode, l.depth, l.skip, l.reopens = l.head[:0], [len(fromStdin)]byte{}, plain, 0, false, plain
		switch c {
		case '-':
			l.kind = comment
		case '\\':
			l.kind = meta
		default:
			l.kind = statement
		}
		return i
	}
	l.take(p)
	return len(p)
}

func (l *lexer) line(p []byte) int {
	n := bytes.IndexByte(p, '\n')
	if n < 0 {
		l.take(p)
		return len(p)
	}
	l.take(p[:n+1])
	l.visitor.end(l.kind, bytes.TrimSuffix(l.head, []byte("\n")))
	l.kind = blank
	return n + 1
}

// rowsOf counts the rows of a COPY up to the line that ends them.
func (l *lexer) rowsOf(p []byte) int {
	i := 0
	for l.matched > 0 && i < len(p) {
		c := p[i]
		i++
		switch {
		case l.matched == len(endOfCopy)-1 && c == '\n':
			l.take(p[:i])
			l.visitor.endCopy(l.rows)
			l.kind, l.matched = blank, 0
			return i
		case c == endOfCopy[l.matched]:
			l.matched++
		case c == '\n':
			l.rows++
			l.matched = 1
		default:
			l.matched = 0
		}
	}
	rest := p[i:]
	if at := bytes.Index(rest, []byte(endOfCopy)); at >= 0 {
		l.rows += int64(bytes.Count(rest[:at+1], []byte{'\n'}))
		n := i + at + len(endOfCopy)
		l.take(p[:n])
		l.visitor.endCopy(l.rows)
		l.kind = blank
		return n
	}
	l.rows += int64(bytes.Count(rest, []byte{'\n'}))
	for k := min(len(rest), len(endOfCopy)-1); k > 0 && l.matched == 0; k-- {
		if bytes.HasSuffix(rest, []byte(endOfCopy[:k])) {
			l.matched = k
		}
	}
	l.take(p)
	return len(p)
}

func identByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80
}
