package postgres

import "bytes"

// special are the bytes at which a statement's plain text needs thought.
var special = func() (t [256]bool) {
	for _, c := range []byte("'\"$-*();\\") {
		t[c] = true
	}
	return t
}()

// statement takes the next run of bytes of a statement that are of one mode.
func (l *lexer) statement(p []byte) int {
	switch l.mode {
	case lineComment:
		return l.until(p, '\n', plain)
	case quoted:
		n := l.until(p, '\'', plain)
		if l.mode == plain {
			l.reopens = quoted
		}
		return n
	case identifier:
		return l.until(p, '"', plain)
	case escaped:
		return l.escaped(p)
	case blockComment:
		return l.block(p)
	case tag:
		return l.openTag(p)
	case dollar:
		return l.dollar(p)
	}
	return l.plain(p)
}

// until takes bytes up to and with c, which leads to the next mode.
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

func (l *lexer) plain(p []byte) int {
	i := 0
	for i < len(p) && !special[p[i]] {
		i++
	}
	if i > 0 {
		l.take(p[:i])
		l.reopens = plain
		return i
	}
	c, before := p[0], l.last[len(l.last)-1]
	reopens := l.reopens
	l.reopens = plain
	switch c {
	case '\'':
		second := l.last[len(l.last)-2]
		switch {
		case reopens != plain:
			l.mode = reopens
		case (before == 'e' || before == 'E') && !identByte(second) && second != '$':
			l.mode = escaped
		default:
			l.mode = quoted
		}
	case '"':
		l.mode = identifier
	case '$':
		if !identByte(before) && before != '$' {
			l.mode, l.tag = tag, append(l.tag[:0], '$')
		}
	case '-':
		if before == '-' {
			l.mode = lineComment
		}
	case '*':
		if before == '/' {
			l.mode, l.nested = blockComment, 1
		}
	case '(':
		l.depth++
	case ')':
		l.depth = max(0, l.depth-1)
	case '\\':
		l.visitor.stray()
	case ';':
		if l.depth == 0 {
			l.take(p[:1])
			l.pending = bytes.HasPrefix(l.head, []byte("COPY ")) && string(l.last[:]) == fromStdin
			l.visitor.end(statement, l.head)
			l.kind = blank
			return 1
		}
	}
	l.take(p[:1])
	return 1
}

func (l *lexer) escaped(p []byte) int {
	for i, c := range p {
		switch {
		case l.skip:
			l.skip = false
		case c == '\\':
			l.skip = true
		case c == '\'':
			l.take(p[:i+1])
			l.mode, l.reopens = plain, escaped
			return i + 1
		}
	}
	l.take(p)
	return len(p)
}

func (l *lexer) block(p []byte) int {
	before := l.last[len(l.last)-1]
	if l.nested > 0 && l.skip {
		before, l.skip = 0, false // a byte counts for one mark only: /*/ opens and does not close
	}
	c := p[0]
	l.take(p[:1])
	switch {
	case before == '/' && c == '*':
		l.nested, l.skip = l.nested+1, true
	case before == '*' && c == '/':
		l.nested, l.skip = l.nested-1, true
		if l.nested == 0 {
			l.mode, l.skip = plain, false
		}
	}
	return 1
}

// openTag reads what follows a dollar sign: a tag and another dollar sign, or
// else it was no quote, for instance $1.
func (l *lexer) openTag(p []byte) int {
	c := p[0]
	switch {
	case c == '$':
		l.take(p[:1])
		l.tag = append(l.tag, c)
		l.mode, l.matched = dollar, 0
		return 1
	case !identByte(c) || len(l.tag) == 1 && c >= '0' && c <= '9' || len(l.tag) > maxTag:
		l.mode = plain
		return 0
	}
	l.take(p[:1])
	l.tag = append(l.tag, c)
	return 1
}

// dollar looks for the tag. Only its first and last byte are dollar signs, so a
// mismatch begins anew at a dollar sign or not at all.
func (l *lexer) dollar(p []byte) int {
	for i := 0; i < len(p); i++ {
		if l.matched == 0 {
			n := bytes.IndexByte(p[i:], '$')
			if n < 0 {
				break
			}
			i += n
		}
		switch p[i] {
		case l.tag[l.matched]:
			l.matched++
		case '$':
			l.matched = 1
		default:
			l.matched = 0
		}
		if l.matched == len(l.tag) {
			l.take(p[:i+1])
			l.mode, l.matched = plain, 0
			return i + 1
		}
	}
	l.take(p)
	return len(p)
}
