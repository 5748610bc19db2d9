package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags gives the flag set a flag for each setting that the command uses, all
// of them when command is empty, except for those named.
func AddFlags(flags *pflag.FlagSet, command string, except ...string) {
	for _, s := range settings {
		if slices.Contains(except, s.Name) || command != "" && !s.UsedBy(command) {
			continue
		}
		s.addFlag(flags, s.Doc+" "+s.defaultNote())
	}
}

// AddFlag gives the flag set the flag of one setting, if there is such a setting.
func AddFlag(flags *pflag.FlagSet, name string) {
	if s := find(name); s != nil {
		s.addFlag(flags, s.Doc+" "+s.defaultNote())
	}
}

// AddAskingFlags gives the flag set the flags of a command that asks a
// controller, or those named.
func AddAskingFlags(flags *pflag.FlagSet, only ...string) {
	for _, s := range settings {
		if s.Asking != "" && (len(only) == 0 || slices.Contains(only, s.Name)) {
			s.addFlag(flags, fmt.Sprintf("%s Variable: %s.", s.Asking, s.Variable()))
		}
	}
}

// addFlag adds the setting's flag. Words in back quotes would be taken for names of values.
func (s *Setting) addFlag(flags *pflag.FlagSet, usage string) {
	flags.Var(&flagValue{kind: s.Kind}, s.Name, strings.ReplaceAll(usage, "`", `"`))
	flags.Lookup(s.Name).Hidden = s.Hidden
}

// Given returns the flags of settings that the user gave, for LoadOptions.
func Given(flags *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	flags.Visit(func(f *pflag.Flag) {
		if _, ours := f.Value.(*flagValue); ours { // a command may have a flag of its own by that name
			values[f.Name] = f.Value.String()
		}
	})
	return values
}

func flagValues(flags map[string]string) []given {
	var values []given
	for _, s := range settings {
		if text, ok := flags[s.Name]; ok {
			values = append(values, given{s, text, "--" + s.Name})
		}
	}
	return values
}

func (s *Setting) defaultNote() string {
	text := s.DefaultText
	if text == "" {
		text = s.Default
	}
	return fmt.Sprintf("Default: %s. Variable: %s.", text, s.Variable())
}

// flagValue keeps the text of a flag: it is checked with all other settings.
type flagValue struct{ kind, text string }

func (v *flagValue) String() string        { return v.text }
func (v *flagValue) Set(text string) error { v.text = text; return nil }
func (v *flagValue) Type() string          { return v.kind }
