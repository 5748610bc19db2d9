// Package retention says which snapshots are kept, and why. A Policy is read from
// one line of text; Decide judges the snapshots of one source by it and explains
// every decision; Simulate shows what a policy would leave over a calendar. Rules
// mean what restic's mean; docs/retention.md lists where more is kept here.
package retention

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Rule is what a rule keeps one snapshot of.
type Rule int

// The rules. Last keeps snapshots one by one.
const (
	Last Rule = iota
	Hourly
	Daily
	Weekly
	Monthly
	Yearly
	rules
)

var ruleNames = [rules]string{"last", "hourly", "daily", "weekly", "monthly", "yearly"}

// String is the rule as it is written in a policy.
func (r Rule) String() string { return ruleNames[r] }

// All as a count keeps one snapshot of every period, however long ago.
const All = -1

// The bounds of a policy.
const (
	MaxText  = 512
	MaxCount = 100_000
	maxTags  = 32
	maxTag   = 64
	maxName  = 64
)

// Policy says what is kept. The zero value keeps everything: nothing is forgotten
// without a policy.
type Policy struct {
	// Count is for how many of the newest hours, days … that have a snapshot the
	// newest of each is kept: 0 for none, All for every one.
	Count [rules]int
	// Within is for how long before the newest snapshot one of each hour, day … is
	// kept; of Last, every snapshot.
	Within [rules]Span
	// Tags keep snapshots that carry all tags of any of these sets.
	Tags [][]string
	// AtLeast is how many verified snapshots of the source stay whatever else is
	// said; 0 is 1.
	AtLeast int
}

// Empty says whether the policy keeps everything.
func (p Policy) Empty() bool {
	return p.Count == [rules]int{} && p.Within == [rules]Span{} && len(p.Tags) == 0
}

// Floor is how many verified snapshots stay in any case.
func (p Policy) Floor() int { return max(1, p.AtLeast) }

// String is the policy as Parse reads it, in the order of the rules; "off" for
// one that keeps everything.
func (p Policy) String() string {
	if p.Empty() {
		return Off
	}
	var words []string
	for r := range rules {
		switch n := p.Count[r]; {
		case n == All:
			words = append(words, r.String()+"=all")
		case n > 0:
			words = append(words, fmt.Sprintf("%s=%d", r, n))
		}
	}
	for r := range rules {
		if !p.Within[r].zero() {
			words = append(words, withinName(r)+"="+p.Within[r].String())
		}
	}
	for _, set := range p.Tags {
		words = append(words, "tag="+strings.Join(set, "+"))
	}
	if p.AtLeast > 0 {
		words = append(words, fmt.Sprintf("at-least=%d", p.AtLeast))
	}
	return strings.Join(words, " ")
}

func withinName(r Rule) string {
	if r == Last {
		return "within"
	}
	return "within-" + r.String()
}

// Off is the policy that keeps everything, as text.
const Off = "off"

// Parse reads a policy: rules like "last=3 daily=7 within=48h tag=golden
// at-least=2", with spaces or commas between; "off" keeps everything. The error
// tells all that is wrong.
func Parse(text string) (Policy, error) {
	if len(text) > MaxText {
		return Policy{}, fmt.Errorf("the policy is longer than %d bytes", MaxText)
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
	if len(words) == 0 {
		return Policy{}, fmt.Errorf("the policy is empty: write what to keep, such as %q, or %q to keep everything", "daily=7 weekly=4", Off)
	}
	if len(words) == 1 && words[0] == Off {
		return Policy{}, nil
	}
	var p Policy
	var wrong []error
	seen := map[string]bool{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case !ok:
			wrong = append(wrong, fmt.Errorf("%.40q is no rule: write NAME=VALUE, with a NAME of %s", word, strings.Join(keys(), ", ")))
			continue
		case seen[key] && key != "tag":
			wrong = append(wrong, fmt.Errorf("%.40q is there twice", key))
			continue
		}
		seen[key] = true
		if err := p.set(key, value); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) == 0 && p.Empty() {
		wrong = append(wrong, errors.New("no rule says what to keep: add one, such as last=7"))
	}
	if len(wrong) > 0 {
		return Policy{}, &Problems{wrong}
	}
	return p, nil
}

// Problems are all that is wrong with a policy.
type Problems struct{ List []error }

// Error is all of them on one line.
func (p *Problems) Error() string {
	texts := make([]string, len(p.List))
	for i, err := range p.List {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives them one by one.
func (p *Problems) Unwrap() []error { return p.List }

// keys are the names that a policy may set.
func keys() []string {
	names := slices.Clone(ruleNames[:])
	for r := range rules {
		names = append(names, withinName(r))
	}
	return append(names, "tag", "at-least")
}

func (p *Policy) set(key, value string) error {
	for r := range rules {
		switch key {
		case r.String():
			n, err := count(key, value)
			p.Count[r] = n
			return err
		case withinName(r):
			s, err := ParseSpan(value)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			p.Within[r] = s
			return nil
		}
	}
	switch key {
	case "tag":
		return p.addTags(value)
	case "at-least":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > MaxCount {
			return fmt.Errorf("at-least: %.40q is no number from 1 to %d", value, MaxCount)
		}
		p.AtLeast = n
		return nil
	}
	return fmt.Errorf("there is no rule %.40q: there are %s", key, strings.Join(keys(), ", "))
}

func count(key, value string) (int, error) {
	if value == "all" {
		return All, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > MaxCount {
		return 0, fmt.Errorf("%s: %.40q is no number from 0 to %d, nor all", key, value, MaxCount)
	}
	return n, nil
}

func (p *Policy) addTags(value string) error {
	set := strings.Split(value, "+")
	for _, tag := range set {
		if err := CheckTag(tag); err != nil {
			return fmt.Errorf("tag: %w", err)
		}
	}
	slices.Sort(set)
	set = slices.Compact(set)
	if len(p.Tags) == maxTags {
		return fmt.Errorf("tag: there are more than %d", maxTags)
	}
	if !slices.ContainsFunc(p.Tags, func(have []string) bool { return slices.Equal(have, set) }) {
		p.Tags = append(p.Tags, set)
	}
	return nil
}

// CheckTag says what is wrong with a tag.
func CheckTag(tag string) error { return checkWord(tag, "tag", maxTag) }

// CheckName says what is wrong with the name of a policy.
func CheckName(name string) error {
	if name == Off {
		return fmt.Errorf("%q is no name for a policy: it keeps everything", Off)
	}
	return checkWord(name, "name", maxName)
}

func checkWord(word, what string, most int) error {
	if word == "" || len(word) > most {
		return fmt.Errorf("a %s has 1 to %d characters", what, most)
	}
	for i, c := range []byte(word) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("%.40q is no %s: letters and digits, and '-', '_', '.' after the first", word, what)
		}
	}
	return nil
}

// Policies are the policies that have names.
type Policies map[string]Policy

// Named says whether a text is the name of a policy rather than a policy.
func Named(text string) bool { return text != Off && CheckName(text) == nil }

// Check says what is wrong with a text that is to be a policy, or the name of one,
// as far as that can be told without knowing which names there are.
func Check(text string) error {
	if Named(text) {
		return nil
	}
	_, err := Parse(text)
	return err
}

// Find gives the policy that a text is, or names.
func (ps Policies) Find(text string) (Policy, error) {
	if !Named(text) {
		return Parse(text)
	}
	if p, ok := ps[text]; ok {
		return p, nil
	}
	var names []string
	for name := range ps {
		names = append(names, name)
	}
	if slices.Sort(names); len(names) == 0 {
		return Policy{}, fmt.Errorf("there is no policy named %q: the configuration names none", text)
	}
	return Policy{}, fmt.Errorf("there is no policy named %q: there are %s", text, strings.Join(names, ", "))
}

// ParsePolicies reads named policies: "NAME: POLICY; NAME: POLICY". The error
// tells all that is wrong.
func ParsePolicies(text string) (Policies, error) {
	ps := Policies{}
	var wrong []error
	for part := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, rest, ok := strings.Cut(part, ":")
		name = strings.TrimSpace(name)
		if !ok {
			wrong = append(wrong, fmt.Errorf("%.60q is not NAME: POLICY", strings.TrimSpace(part)))
			continue
		}
		if err := CheckName(name); err != nil {
			wrong = append(wrong, err)
			continue
		}
		if _, twice := ps[name]; twice {
			wrong = append(wrong, fmt.Errorf("there are two policies named %q", name))
			continue
		}
		p, err := Parse(rest)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("policy %s: %w", name, err))
		}
		ps[name] = p
	}
	if len(wrong) > 0 {
		return nil, &Problems{wrong}
	}
	return ps, nil
}

// String is the policies as ParsePolicies reads them, by name.
func (ps Policies) String() string {
	var parts []string
	for name, p := range ps {
		parts = append(parts, name+": "+p.String())
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}
