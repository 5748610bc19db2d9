package postgres

import (
	"slices"
	"strings"
)

// token is a word, a quoted name or one other byte of a statement. Strings and
// dollar-quoted text become one token without text.
type token struct {
	word string // upper case; empty for all that is quoted
	name string // the identifier that the token means, empty for strings
}

// tokens takes a statement apart as far as deciding on it needs.
func tokens(stmt []byte) []token {
	var all []token
	for i := 0; i < len(stmt); {
		c := stmt[i]
		switch {
		case identByte(c):
			n := i
			for n < len(stmt) && (identByte(stmt[n]) || stmt[n] == '$') {
				n++
			}
			word := string(stmt[i:n])
			all = append(all, token{strings.ToUpper(word), word})
			i = n
		case c == '"' || c == '\'':
			text, n := unquote(stmt[i:], c)
			t := token{}
			if c == '"' {
				t.name = text
			}
			all = append(all, t)
			i += n
		default:
			if c > ' ' {
				all = append(all, token{word: string(c)})
			}
			i++
		}
	}
	return all
}

// unquote reads a quoted text in which a doubled quote stands for one, and
// gives the length that it takes.
func unquote(b []byte, quote byte) (string, int) {
	var text []byte
	for i := 1; i < len(b); i++ {
		if b[i] == quote {
			if i+1 == len(b) || b[i+1] != quote {
				return string(text), i + 1
			}
			i++
		}
		text = append(text, b[i])
	}
	return string(text), len(b)
}

// begins says whether a statement's first words are these.
func begins(ts []token, words ...string) bool {
	return len(ts) >= len(words) && slices.EqualFunc(ts[:len(words)], words, func(t token, w string) bool { return t.word == w })
}

// keepForDatabase decides on the statements of a database's dump. All runs in one
// transaction, so the dump's own transactions (it has one round large objects)
// are left out; with noOwner so is what names roles: owners and rights.
func keepForDatabase(noOwner bool) func([]token) bool {
	return func(ts []token) bool {
		if begins(ts, "BEGIN", ";") || begins(ts, "COMMIT", ";") {
			return false
		}
		return !noOwner || !isOwnership(ts)
	}
}

func isOwnership(ts []token) bool {
	switch {
	case begins(ts, "GRANT"), begins(ts, "REVOKE"), begins(ts, "ALTER", "DEFAULT", "PRIVILEGES"), begins(ts, "ALTER", "ROLE"),
		begins(ts, "SET", "SESSION", "AUTHORIZATION"), begins(ts, "RESET", "SESSION", "AUTHORIZATION"):
		return true
	}
	// ALTER … OWNER TO role ;
	n := len(ts)
	return begins(ts, "ALTER") && n > 4 && ts[n-1].word == ";" && ts[n-4].word == "OWNER" && ts[n-3].word == "TO"
}

// existing is what a server has before globals are restored.
type existing struct{ Roles, Tablespaces []string }

// keepForGlobals decides on the statements of globals: what is there already is
// not created again; with overwrite its attributes, password and settings become
// those of the backup, save for the role self that does the restoring.
func keepForGlobals(have existing, overwrite bool, self string) func([]token) bool {
	return func(ts []token) bool {
		if len(ts) < 3 {
			return true
		}
		name := ts[2].name
		switch {
		case begins(ts, "CREATE", "ROLE"):
			return !slices.Contains(have.Roles, name)
		case begins(ts, "ALTER", "ROLE"):
			return !slices.Contains(have.Roles, name) || overwrite && name != self
		case begins(ts, "CREATE", "TABLESPACE"):
			return !slices.Contains(have.Tablespaces, name)
		}
		return true
	}
}
