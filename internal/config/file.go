package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the YAML file, in bytes.
const maxFile = 1 << 20

// file collects what the YAML file says. A file that was named has to be there.
func (l *loader) file(c *Config, named string) []given {
	name, origin := named, "--config"
	if name == "" {
		name, origin = l.env[FileVariable], FileVariable
	}
	text, err := readFile(cmp.Or(name, l.defaultFile))
	switch {
	case name == "" && errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil && name != "":
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", origin, err))
		return nil
	case err != nil:
		l.wrong = append(l.wrong, err.Error())
		return nil
	}
	c.File = cmp.Or(name, l.defaultFile)
	values, schedules, wrong := parseYAML(c.File, text)
	l.wrong, l.fileSchedules = append(l.wrong, wrong...), schedules
	return values
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the settings file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the settings file: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("read the settings file: %s is larger than %d KiB", name, maxFile>>10)
	}
	return b, nil
}

// parseYAML reads one mapping of settings to single values, and the section of
// schedules. It tells all that is wrong with its structure, with line numbers; the values
// are checked by the settings.
func parseYAML(file string, text []byte) (values []given, schedules []fileSchedule, wrong []string) {
	say := func(line int, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
	}
	top, err := document(text)
	switch {
	case err != nil:
		return nil, nil, []string{fmt.Sprintf("%s: %v", file, err)}
	case top == nil:
		return nil, nil, nil
	case top.Kind != yaml.MappingNode:
		say(top.Line, "want lines of the form NAME: VALUE")
		return nil, nil, wrong
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], resolved(top.Content[i+1])
		s := find(key.Value)
		first, again := seen[key.Value]
		seen[key.Value] = key.Line
		switch {
		case key.Kind != yaml.ScalarNode:
			say(key.Line, "a name of a setting has to be a plain word")
		case again && (s != nil || key.Value == sectionSchedules):
			say(key.Line, "%s: is set in line %d already", key.Value, first)
		case key.Value == sectionSchedules:
			schedules = section{file, say}.read(value)
		case s == nil:
			say(key.Line, "%.80q: there is no such setting%s", key.Value, didYouMean(key.Value, names()))
		case value.Kind != yaml.ScalarNode:
			say(value.Line, "%s: want a single value, not a list or mapping", s.Name)
		case value.ShortTag() == "!!null":
			say(key.Line, "%s: has no value; leave the line out for the default", s.Name)
		default:
			values = append(values, given{s, value.Value, fmt.Sprintf("%s:%d: %s", file, key.Line, s.Name)})
		}
	}
	return values, schedules, wrong
}

// document returns the top of the only document in text, nil when there is none.
func document(text []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	switch err := d.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("line %d: only one document is allowed", second.Line)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// names lists the names of all settings.
func names() []string {
	all := make([]string, len(settings))
	for i, s := range settings {
		all[i] = s.Name
	}
	return append(all, sectionSchedules)
}
