package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// FileVariable names the YAML file.
const FileVariable = "BAKTAINER_CONFIG"

// PassphraseVariable holds a passphrase that opens the store. It is no setting,
// since those have flags, and a flag is there for all to see.
const PassphraseVariable = "BAKTAINER_PASSPHRASE"

// maxValueFile bounds a file that holds one value, in bytes.
const maxValueFile = 64 << 10

// notSettings are variables with our prefix that are somebody else's: those of
// the project's tests, and those that Kubernetes and Docker links set in every
// container beside a service named baktainer, baktainer-controller or baktainer-agent.
var notSettings = regexp.MustCompile(`^BAKTAINER_(E2E|SAMPLES|((CONTROLLER|AGENT)_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP)(_.*)?)?))$`)

func environ(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, kv := range list {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}

// variables collects what the variables BAKTAINER_… say, and finds unknown ones.
func (l *loader) variables() []given {
	var values []given
	known := []string{FileVariable, PassphraseVariable, TokenVariable, JoinTokenVariable, NotifyVariable, NotifySecretVariable}
	for _, s := range settings {
		known = append(known, s.Variable(), s.Variable()+"_FILE")
		if text, origin, ok := l.variable(s.Variable()); ok {
			values = append(values, given{s, text, origin})
		}
	}
	l.unknown("BAKTAINER_", known)
	return values
}

// variable looks up NAME and its twin NAME_FILE, which names a file that holds
// the value. An empty variable counts as not set, because Compose files make
// such of what a user left out.
func (l *loader) variable(name string) (text, origin string, ok bool) {
	text, twin := l.env[name], l.env[name+"_FILE"]
	switch {
	case text != "" && twin != "":
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %s_FILE is set as well: leave one of them out", name, name))
		return "", "", false
	case text != "":
		return text, name, true
	case twin == "":
		return "", "", false
	}
	text, err := readValue(twin)
	if err != nil {
		l.wrong = append(l.wrong, fmt.Sprintf("%s_FILE: %v", name, err))
		return "", "", false
	}
	return text, name + "_FILE", true
}

// readValue reads a file that holds one value. Line ends after it do not count.
func readValue(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxValueFile+1))
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > maxValueFile:
		return "", fmt.Errorf("read the value: %s is larger than %d KiB", name, maxValueFile>>10)
	case text == "":
		return "", errors.New("read the value: " + name + " is empty")
	}
	return text, nil
}

// unknown reports the variables with the prefix that mean nothing to us.
func (l *loader) unknown(prefix string, known []string) {
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if strings.HasPrefix(name, prefix) && !slices.Contains(known, name) && !notSettings.MatchString(name) {
			l.wrong = append(l.wrong, fmt.Sprintf("%s: there is no such setting%s", name, didYouMean(name, known)))
		}
	}
}
