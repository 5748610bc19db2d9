package main

import (
	"strings"

	"github.com/baktainer/baktainer/controller/notify"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// told reads who is told what goes wrong, and how it reads. All that is wrong
// with that is one InvalidInput, found before anything starts.
func told(c config.Notify) ([]*notify.Channel, *notify.Text, error) {
	var wrong []error
	note := func(err error) {
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	lines, err := c.Lines()
	note(err)
	var secret source.Secret
	secret, err = c.SigningSecret()
	note(err)
	channels, err := notify.ParseChannels(lines, secret)
	note(err)
	text, err := notify.ReadText(c.Template)
	note(err)
	switch len(wrong) {
	case 0:
		return channels, text, nil
	case 1:
		return nil, nil, wrong[0]
	}
	all := problem.New(problem.InvalidInput, "several things are wrong with who is told what").WithReason("bad-settings")
	for _, err := range wrong {
		all = all.WithDetails(strings.Split(problem.Text(err), "\n")...)
	}
	return nil, nil, all
}

// checkSettings looks at what only the main package knows how to read.
func checkSettings(c config.Config) error {
	_, _, err := told(c.Notify)
	return err
}
