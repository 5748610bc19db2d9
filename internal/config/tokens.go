package config

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// Variables that hold a token itself. They are no settings, as with PassphraseVariable.
const (
	TokenVariable     = "BAKTAINER_TOKEN"
	JoinTokenVariable = "BAKTAINER_JOIN_TOKEN"
)

// Token is what somebody is let in with: it is in a file, or it is there itself.
// It is looked at only when it is needed, since whoever has a certificate
// already may have thrown it away.
type Token struct {
	File string
	Text source.Secret
}

// Given says whether there is a token at all.
func (t Token) Given() bool { return t != Token{} }

// Read returns the token.
func (t Token) Read() (source.Secret, error) {
	if t.File == "" {
		return t.Text, nil
	}
	text, err := readValue(t.File)
	if err != nil {
		return "", problem.Wrap(problem.InvalidInput, err, "read the token").
			WithHint("`baktainer token create`, on a controller's host, makes one.")
	}
	return source.Secret(text), nil
}

// tokens takes what the variables say, and refuses to guess which of two tokens is meant.
func (l *loader) tokens(c *Config) {
	for _, t := range []struct {
		token              *Token
		variable, fileName string
	}{{&c.Token, TokenVariable, "token-file"}, {&c.JoinToken, JoinTokenVariable, "join-token-file"}} {
		t.token.Text = source.Secret(l.env[t.variable])
		if t.token.File != "" && t.token.Text != "" {
			l.wrong = append(l.wrong, fmt.Sprintf("%s (%s), %s: both hold a token: leave one of them out", t.fileName, c.Origins[t.fileName], t.variable))
		}
	}
}
