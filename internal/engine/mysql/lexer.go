package mysql

import "bytes"

// headLimit is how much of a comment or statement is kept, in bytes.
const headLimit = 16 << 10

// mode is where in a dump the lexer is.
type mode int

const (
	between     mode = iota // white space between statements
	comment                 // a line that begins with --, outside any statement
	delimiter               // a line DELIMITER …: a command to the client
	word                    // the first letters of a statement that may be DELIMITER
	plain                   // in a statement
	dashes                  // after --
	lineComment             // within a statement
	opening                 // after /*
	openingM                // after /*M
	blockComment
	quoted // in ' or "
	name   // in `
	values // the rows of an INSERT: lines without a line end inside
)

// lexer takes a dump apart into comments and statements, however it is cut into
// writes, in memory that does not depend on it. What it knows of SQL is how text
// is quoted, so that an end mark in a routine's body or a name is not taken for
// the dump's own. The rows of an INSERT, most of a dump, are passed over line by
// line: the tools write no line end inside of them.
type lexer struct {
	// onComment and onStatement are called with the beginning of a complete one, at
	// most headLimit bytes. rows is -1 where it is not known. They must not keep it.
	onComment   func(line []byte)
	onStatement func(head []byte, rows int64)
	// onBegin is called with the place of what is about to begin: a comment, a
	// command or a statement.
	onBegin func(at int64)

	at          int64 // bytes taken apart
	mode        mode
	head        []byte
	last        uint64 // the last eight bytes of the statement, the newest lowest
	quote       byte
	hidden      bool // the next byte of a string is hidden by a backslash
	noBackslash bool // in a routine's SQL mode a backslash is a byte like others
	double      bool // statements end in ;; rather than ;
	multi       bool // each row has a line of its own
	rows        int64
}

func (l *lexer) write(p []byte) {
	for len(p) > 0 {
		n := l.step(p)
		l.at += int64(n)
		p = p[n:]
	}
}

func (l *lexer) step(p []byte) int {
	switch l.mode {
	case between:
		return l.between(p)
	case comment, delimiter:
		return l.line(p)
	case lineComment:
		return l.until(p, '\n', plain)
	case name:
		return l.until(p, '`', plain)
	case word:
		return l.word(p)
	case dashes:
		if l.mode = plain; p[0] == ' ' || p[0] == '\t' || p[0] == '\n' {
			l.mode = lineComment
		}
		return 0
	case opening, openingM:
		return l.opening(p[0])
	case blockComment:
		n := l.until(p, '/', blockComment)
		if l.ends("*/") {
			l.mode = plain
		}
		return n
	case quoted:
		return l.quoted(p)
	case values:
		return l.values(p)
	}
	return l.plain(p)
}

func (l *lexer) take(p []byte) {
	l.head = append(l.head, p[:min(len(p), headLimit-len(l.head))]...)
	for _, c := range p[max(0, len(p)-8):] {
		l.last = l.last<<8 | uint64(c)
	}
}

// ends says whether the last bytes are those of text, which has at most eight.
func (l *lexer) ends(text string) bool {
	last := l.last
	for i := len(text) - 1; i >= 0; i-- {
		if byte(last) != text[i] {
			return false
		}
		last >>= 8
	}
	return true
}

func (l *lexer) until(p []byte, c byte, next mode) int {
	n := bytes.IndexByte(p, c)
	if n < 0 {
		l.take(p)
		return len(p)
	}
	l.take(p[:n+1])
	l.mode = next
	return n + 1
}

func (l *lexer) between(p []byte) int {
	for i, c := range p {
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
			continue
		}
		l.head, l.last, l.rows, l.multi, l.hidden = l.head[:0], 0, -1, false, false
		l.mode = plain
		l.onBegin(l.at + int64(i))
		switch c {
		case '-':
			l.mode = comment
		case 'D':
			l.mode = word
		}
		return i
	}
	return len(p)
}

// line takes a comment or a DELIMITER line.
func (l *lexer) line(p []byte) int {
	was := l.mode
	n := l.until(p, '\n', between)
	if l.mode != between {
		return n
	}
	line := bytes.TrimRight(l.head, "\r\n")
	if was == delimiter {
		l.double = string(bytes.TrimSpace(line)) == "DELIMITER ;;"
		return n
	}
	l.onComment(line)
	return n
}

var special = func() (t [256]bool) {
	for _, c := range []byte("'\"`-*#;(\\") {
		t[c] = true
	}
	return t
}()

func (l *lexer) word(p []byte) int {
	for i, c := range p {
		if c >= 'A' && c <= 'Z' {
			continue
		}
		l.take(p[:i])
		if l.mode = plain; string(l.head) == "DELIMITER" {
			l.mode = delimiter
		}
		return i
	}
	l.take(p)
	return len(p)
}

func (l *lexer) plain(p []byte) int {
	i := 0
	for i < len(p) && !special[p[i]] {
		i++
	}
	if i > 0 {
		l.take(p[:i])
		return i
	}
	c, before := p[0], byte(l.last)
	switch c {
	case '\'', '"':
		l.mode, l.quote = quoted, c
	case '`':
		l.mode = name
	case '#':
		l.mode = lineComment
	case '-':
		if before == '-' {
			l.mode = dashes
		}
	case '\\':
		// The client's sandbox mode: a line with a comment alone and no semicolon.
		if isSandbox(l.head) {
			l.mode = comment
		}
	case '*':
		if before == '/' {
			l.mode = opening
		}
	case '(':
		if (l.ends("VALUES ") || l.ends("VALUES\n")) && bytes.HasPrefix(l.head, []byte("INSERT ")) {
			l.mode, l.multi, l.rows = values, before == '\n', -1
			if l.multi {
				l.rows = 0
			}
		}
	case ';':
		if !l.double || before == ';' {
			l.take(p[:1])
			l.finish()
			return 1
		}
	}
	l.take(p[:1])
	return 1
}

// opening tells a comment from /*! … */ and /*M! … */, whose text is carried out
// and so is read like any other.
func (l *lexer) opening(c byte) int {
	switch {
	case c == '!':
		l.mode = plain
	case c == 'M' && l.mode == opening:
		l.take([]byte{c})
		l.mode = openingM
		return 1
	default:
		l.mode, l.last = blockComment, 0 // the * of /* is not that of */
	}
	return 0
}

// quoted takes a string up to its closing quote. A doubled quote closes and
// opens again.
func (l *lexer) quoted(p []byte) int {
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case l.hidden:
			l.hidden = false
		case c == '\\' && !l.noBackslash:
			l.hidden = true
		case c == l.quote:
			l.take(p[:i+1])
			l.mode = plain
			return i + 1
		}
	}
	l.take(p)
	return len(p)
}

// values takes rows up to the line that ends in a semicolon.
func (l *lexer) values(p []byte) int {
	n := 0
	if byte(l.last) != ';' || p[0] != '\n' {
		if n = bytes.Index(p, []byte(";\n")); n < 0 {
			l.count(p)
			l.take(p)
			return len(p)
		}
		n++
	}
	l.count(p[:n+1])
	l.take(p[:n+1])
	l.finish()
	return n + 1
}

func (l *lexer) count(p []byte) {
	if l.multi {
		l.rows += int64(bytes.Count(p, []byte{'\n'}))
	}
}

func (l *lexer) finish() {
	l.mode = between
	if bytes.Contains(l.head[:min(len(l.head), 100)], []byte("SET sql_mode ")) {
		l.noBackslash = bytes.Contains(l.head, []byte("NO_BACKSLASH_ESCAPES"))
	}
	l.onStatement(l.head, l.rows)
}

// isSandbox says that a line begins like /*M!999999\- enable the sandbox mode */.
func isSandbox(head []byte) bool {
	return string(head) == "/*M!999999" || string(head) == "/*!999999"
}
