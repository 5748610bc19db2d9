package config

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/retention"
)

// Retention says what is kept, how long, and in how much room.
type Retention struct {
	// Policy is for sources that say nothing themselves; Policies have names; Least
	// holds for what labels ask for.
	Policy, Least retention.Policy
	Policies      retention.Policies
	// Undo is how long what was forgotten can be taken back for certain.
	Undo time.Duration
	// Freeze is how many of a source's newest backups fail before nothing of it is
	// forgotten; 0: that does not matter.
	Freeze int
	// Verify is how often at most the snapshots of a source are verified that are to
	// count; 0: only people verify.
	Verify time.Duration
	// Compact is of how many hundredths of a pack a source's newest snapshot uses less
	// when the next backup stores them anew; 0: never for that.
	Compact int
	// Notify, Prune and Pause are free space in the store at which people are told,
	// what is due is deleted at once, and backups pause.
	Notify, Prune, Pause retention.Threshold

	// as the texts of Policy and Least are given: they may be names of Policies.
	policyText, leastText string
}

var retentionSettings = []*Setting{
	{
		Name: "retention", Kind: "policy", Commands: remembers, Default: "off",
		Legacy: "BT_RETENTION_DAYS, BT_RETENTION_COUNT, BT_ROTATION_ENABLED",
		Doc: "What is kept of sources whose label baktainer.retention says nothing, such as \"last=3 daily=7 weekly=4 monthly=12\", or the name of one of retention-policies: see retention.md. " +
			"off keeps everything: nothing is ever forgotten by itself.",
		set: func(c *Config, text string) error { return policyText(&c.Retention.policyText, text) },
		get: func(c *Config) string { return c.Retention.policyText },
	},
	{
		Name: "retention-policies", Kind: "policies", Commands: remembers, DefaultText: "none",
		Doc: "Policies that have names, for labels and for the setting before: \"gold: daily=14 monthly=24; dev: last=3\".",
		set: func(c *Config, text string) error {
			ps, err := retention.ParsePolicies(text)
			if err == nil {
				c.Retention.Policies = ps
			}
			return err
		},
		get: func(c *Config) string { return c.Retention.Policies.String() },
	},
	{
		Name: "retention-least", Kind: "policy", Commands: remembers, Default: "last=3 daily=7",
		Doc: "What is kept too of sources whose label asks for less. Labels come by way of an agent, and nothing may go on the word of an agent alone. off: labels are taken as they are.",
		set: func(c *Config, text string) error { return policyText(&c.Retention.leastText, text) },
		get: func(c *Config) string { return c.Retention.leastText },
	},
	{
		Name: "undo-window", Kind: "duration", Commands: remembers, Default: "3d",
		Doc: "How long nothing is deleted of what was forgotten, so that `baktainer snapshot undelete` takes it back: from 0h to 3650d.",
		set: days(func(c *Config, d time.Duration) { c.Retention.Undo = d }, "0h"),
		get: func(c *Config) string { return daysText(c.Retention.Undo, "0h") },
	},
	{
		Name: "retention-freeze", Kind: "number", Commands: remembers, Default: "2",
		Doc: "When so many of a source's newest backups have failed, nothing of it is forgotten or deleted until one succeeds: from 1 to 100, or 0 for never.",
		set: number(0, 100, func(c *Config) *int { return &c.Retention.Freeze }),
		get: func(c *Config) string { return strconv.Itoa(c.Retention.Freeze) },
	},
	{
		Name: "retention-verify", Kind: "duration", Commands: remembers, Default: "1d",
		Doc: "Only snapshots that were read again and found right count for a policy. How often at most that is done for a source that has one: it reads what is new to it. " +
			"off: only `baktainer snapshot verify` does, and until then everything newer is kept.",
		set: days(func(c *Config, d time.Duration) { c.Retention.Verify = d }, "off"),
		get: func(c *Config) string { return daysText(c.Retention.Verify, "off") },
	},
	{
		Name: "compact-below", Kind: "percent", Commands: remembers, Default: "30%",
		Doc: "When a prune finds that a source's newest snapshot uses less than this of a pack, the next backup stores that part anew, so that the pack goes with the older snapshots that need it: 1% to 90%, or off.",
		set: func(c *Config, text string) error {
			t, err := retention.ParseThreshold(text)
			if err != nil || t.Bytes > 0 || t.Percent > 90 {
				return errors.New("want 1% to 90%, or off")
			}
			c.Retention.Compact = t.Percent
			return nil
		},
		get: func(c *Config) string { return retention.Threshold{Percent: c.Retention.Compact}.String() },
	},
	{
		Name: "free-space-notify", Kind: "space", Commands: remembers, Default: "10%", Legacy: "BT_MIN_FREE_SPACE_GB",
		Doc: "People are told when the store has less free space than this: 10%, 50GiB, or off.",
		set: threshold(func(c *Config) *retention.Threshold { return &c.Retention.Notify }),
		get: func(c *Config) string { return c.Retention.Notify.String() },
	},
	{
		Name: "free-space-prune", Kind: "space", Commands: remembers, Default: "5%", Legacy: "BT_MIN_FREE_SPACE_GB",
		Doc: "With less free space than this, what is forgotten and past undo-window is deleted at once instead of within the hour, and also of sources whose backups fail. Never more than that is deleted.",
		set: threshold(func(c *Config) *retention.Threshold { return &c.Retention.Prune }),
		get: func(c *Config) string { return c.Retention.Prune.String() },
	},
	{
		Name: "free-space-pause", Kind: "space", Commands: remembers, Default: "off",
		Doc: "With less free space than this no backup is begun: those that are due wait until there is more. Restores go on.",
		set: threshold(func(c *Config) *retention.Threshold { return &c.Retention.Pause }),
		get: func(c *Config) string { return c.Retention.Pause.String() },
	},
}

// policyText takes a policy, or the name of one, which is looked up when all is known.
func policyText(field *string, text string) error {
	if err := retention.Check(text); err != nil {
		return err
	}
	*field = text
	return nil
}

func threshold(field func(*Config) *retention.Threshold) func(*Config, string) error {
	return func(c *Config, text string) error {
		t, err := retention.ParseThreshold(text)
		if err != nil {
			return errors.New("want 1% to 99%, a size such as 10GiB, or off")
		}
		*field(c) = t
		return nil
	}
}

// days is for settings that are hours or days; none is the word for no time at all.
func days(put func(*Config, time.Duration), none string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if text == none {
			put(c, 0)
			return nil
		}
		for unit, length := range map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour} {
			number, ok := strings.CutSuffix(text, unit)
			n, err := strconv.Atoi(number)
			if ok && err == nil && n > 0 && time.Duration(n) <= 3650*24*time.Hour/length {
				put(c, time.Duration(n)*length)
				return nil
			}
		}
		return fmt.Errorf("want hours or days such as 12h or 3d, or %s", none)
	}
}

func daysText(d time.Duration, none string) string {
	switch {
	case d == 0:
		return none
	case d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	return strconv.Itoa(int(d/time.Hour)) + "h"
}

// retention looks up the policies that are given by name.
func (l *loader) retention(c *Config) {
	for _, p := range []struct {
		name, text string
		into       *retention.Policy
	}{{"retention", c.Retention.policyText, &c.Retention.Policy}, {"retention-least", c.Retention.leastText, &c.Retention.Least}} {
		var err error
		if p.text == "" {
			continue // it was wrong
		}
		if *p.into, err = c.Retention.Policies.Find(p.text); err != nil {
			l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", cmp.Or(c.Origins[p.name], p.name), err))
		}
	}
}

// legacyRetention makes a policy of the variables of the earlier Baktainer. That
// had them on, with 30 days, whether they were set or not; here they hold only
// when somebody wrote one of them: what nobody asked for is not deleted.
func (l *loader) legacyRetention() []given {
	on, onOrigin, said := l.flagLike("BT_ROTATION_ENABLED")
	n, daysOrigin, hasDays := l.legacyNumber("BT_RETENTION_DAYS")
	count, countOrigin, hasCount := l.legacyNumber("BT_RETENTION_COUNT")
	s := find("retention")
	var rules []string
	switch {
	case said && !on:
		return []given{{s, "off", onOrigin}}
	case !said && !hasDays && !hasCount:
		return nil
	case !hasDays:
		n = 30
	}
	if n > 0 {
		rules = append(rules, fmt.Sprintf("within=%dd", n))
	}
	if count > 0 {
		rules = append(rules, fmt.Sprintf("last=%d", count))
	}
	return []given{{s, cmp.Or(strings.Join(rules, " "), "off"), cmp.Or(daysOrigin, countOrigin, onOrigin)}}
}

// legacySpace makes thresholds of the free space that the earlier Baktainer
// wanted. It deleted backups for it; here only what is due anyway is.
func (l *loader) legacySpace() []given {
	n, origin, ok := l.legacyNumber("BT_MIN_FREE_SPACE_GB")
	if !ok {
		return nil
	}
	text := "off"
	if n > 0 {
		text = fmt.Sprintf("%dGiB", n)
	}
	return []given{{find("free-space-notify"), text, origin}, {find("free-space-prune"), text, origin}}
}

func (l *loader) legacyNumber(name string) (n int, origin string, ok bool) {
	text, origin, ok := l.variable(name)
	if !ok {
		return 0, "", false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 10_000 {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %q: want a whole number from 0 to 10000", origin, text))
		return 0, "", false
	}
	return n, origin, true
}
