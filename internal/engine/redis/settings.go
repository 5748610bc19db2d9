package redis

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
)

// settings are what the server was started with.
type settings struct {
	password source.Secret
	port     string
}

const configLimit = 1 << 20

// readSettings looks at the container's command, and at the configuration file
// that it names.
func readSettings(ctx context.Context, inst engine.Instance) (settings, error) {
	facts := inst.Facts()
	words := commandWords(facts.Args, facts.Env)
	var s settings
	for _, w := range words {
		if !path.IsAbs(w) || !strings.HasSuffix(w, ".conf") {
			continue
		}
		text, err := inst.ReadFile(ctx, w, configLimit)
		if err != nil {
			if ctx.Err() != nil {
				return s, ctx.Err()
			}
			if !errors.Is(err, fs.ErrNotExist) {
				continue // not ours to judge: the server started with it
			}
		}
		for line := range strings.Lines(string(text)) {
			if fields := split(line, nil); len(fields) >= 2 {
				s.set(strings.ToLower(fields[0]), fields[1])
			}
		}
	}
	for i, w := range words[:max(0, len(words)-1)] {
		if name, ok := strings.CutPrefix(w, "--"); ok {
			s.set(strings.ToLower(name), words[i+1])
		}
	}
	return s, nil
}

func (s *settings) set(name, value string) {
	switch name {
	case "requirepass":
		s.password = source.Secret(value)
	case "port":
		if n, err := strconv.ParseUint(value, 10, 16); err == nil && n > 0 {
			s.port = value
		}
	}
}

// commandWords takes the command apart, and the line that a shell is given.
func commandWords(args []string, env map[string]string) []string {
	var words []string
	for i, a := range args {
		if i > 0 && (args[i-1] == "-c" || args[i-1] == "-ec") {
			words = append(words, split(a, env)...)
			continue
		}
		words = append(words, a)
	}
	return words
}

// split takes a line apart at blanks outside of quotes. With an environment,
// words that are one variable become its value. A comment ends the line.
func split(line string, env map[string]string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	inside, escaped := false, false
	flush := func() {
		if inside {
			words = append(words, variable(word.String(), env))
		}
		word.Reset()
		inside = false
	}
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inside = r, true
		case strings.ContainsRune(" \t\r\n", r):
			flush()
		case r == '#' && !inside:
			return words
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	flush()
	return words
}

func variable(word string, env map[string]string) string {
	name, ok := strings.CutPrefix(word, "$")
	if !ok || env == nil {
		return word
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "{"), "}")
	if value, ok := env[name]; ok {
		return value
	}
	return word
}
