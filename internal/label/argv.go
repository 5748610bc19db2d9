package label

import (
	"fmt"
	"regexp"
	"strings"
)

// maxWords bounds how many arguments a command may have.
const maxWords = 256

var assignmentPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// split cuts a command into its words.
func split(command string) ([]string, *fault) {
	list, f := words(command)
	if f == nil {
		f = checkWords(list)
	}
	return list, f
}

// words cuts text into its words as a POSIX shell would, with quotes and
// backslashes, and expands nothing. Where a shell would do more than that, the
// text is refused rather than taken for something else than what was meant.
func words(command string) ([]string, *fault) {
	var (
		words []string
		word  strings.Builder
		begun bool // a word is begun, maybe an empty one in quotes
	)
	rs := []rune(command)
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; {
		case r == ' ' || r == '\t':
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		case r == '\'':
			end := indexRune(rs, i+1, '\'')
			if end < 0 {
				return nil, refuse("", "a single quote is not closed")
			}
			word.WriteString(string(rs[i+1 : end]))
			i, begun = end, true
		case r == '"':
			end, f := doubleQuoted(rs, i+1, &word, command)
			if f != nil {
				return nil, f
			}
			i, begun = end, true
		case r == '\\':
			if i+1 == len(rs) {
				return nil, refuse("", "it ends with a backslash")
			}
			i++
			word.WriteRune(rs[i])
			begun = true
		case special(r, begun):
			return nil, shellOnly(command, r)
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	if len(words) > maxWords {
		return nil, refuse("write fewer, or put a command in a script in the image", "it has more than %d words", maxWords)
	}
	return words, nil
}

// doubleQuoted reads up to the closing quote and returns where that is.
func doubleQuoted(rs []rune, i int, word *strings.Builder, command string) (int, *fault) {
	for ; i < len(rs); i++ {
		switch r := rs[i]; r {
		case '"':
			return i, nil
		case '$', '`':
			return 0, shellOnly(command, r)
		case '\\':
			if i+1 < len(rs) && strings.ContainsRune("$`\"\\", rs[i+1]) {
				i++
			}
			word.WriteRune(rs[i])
		default:
			word.WriteRune(r)
		}
	}
	return 0, refuse("", "a double quote is not closed")
}

// special says whether a shell would do something with r outside of quotes.
func special(r rune, inWord bool) bool {
	switch r {
	case '|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[':
		return true
	case '~', '#':
		return !inWord
	}
	return false
}

func shellOnly(command string, r rune) *fault {
	s := "quote it, or ask for a shell by name: sh -c '…'"
	if line := "sh -c '" + strings.ReplaceAll(command, "'", `'\''`) + "'"; len(line) <= maxShown {
		s = fmt.Sprintf("quote the %q if it is meant as such, or ask for a shell by name: %s", r, line)
	}
	return refuse(s, "it holds %q, which only a shell understands, and no shell is involved", r)
}

func checkWords(words []string) *fault {
	switch {
	case len(words) == 0 || words[0] == "":
		return refuse("begin with the program to run", "it names no program")
	case strings.HasPrefix(words[0], "-"):
		return refuse("begin with the program to run", "its program begins with '-'")
	case assignmentPattern.MatchString(words[0]):
		return refuse("write env "+shorten(words[0])+" …", "it begins with a variable, which only a shell understands")
	}
	return nil
}

func indexRune(rs []rune, from int, r rune) int {
	for i := from; i < len(rs); i++ {
		if rs[i] == r {
			return i
		}
	}
	return -1
}
