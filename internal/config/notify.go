package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// Variables that hold what is secret about notifications. They are no settings, as with PassphraseVariable.
const (
	NotifyVariable       = "BAKTAINER_NOTIFY"
	NotifySecretVariable = "BAKTAINER_NOTIFY_SECRET"
)

// Event is a kind of thing that people are told.
type Event string

// The events.
const (
	EventFailure   Event = "failure"
	EventRecovery  Event = "recovery"
	EventMissed    Event = "missed"
	EventSize      Event = "size"
	EventStale     Event = "stale"
	EventDamaged   Event = "damaged"
	EventRetention Event = "retention"
	EventContents  Event = "contents"
	EventDrill     Event = "drill"
	EventSpace     Event = "space"
	EventPaused    Event = "paused"
	EventStore     Event = "store"
	EventAgent     Event = "agent"
	EventSuccess   Event = "success"
)

// Events lists all events; all but the last are told when nothing else is set.
func Events() []Event {
	return []Event{EventFailure, EventRecovery, EventMissed, EventSize, EventStale, EventDamaged, EventContents, EventDrill, EventRetention, EventSpace, EventPaused, EventStore, EventAgent, EventSuccess}
}

// Notify says who is told what.
type Notify struct {
	// File holds the URLs of channels, Text holds them itself; Legacy are those that
	// variables of the earlier Baktainer say.
	File   string
	Text   source.Secret
	Legacy []NotifyLine
	// SecretFile or Secret is what webhooks are signed with.
	SecretFile string
	Secret     source.Secret

	Events []Event
	// Failures is how many backups of a source fail in a row before it is told.
	Failures int
	// Stale is after how long without a backup it is told, 0 for never; StaleAuto
	// goes by the schedule.
	Stale     time.Duration
	StaleAuto bool
	// SizeLow and SizeHigh are percent of the usual size, both 0 for never.
	SizeLow, SizeHigh int
	// Silent is after how long an agent that is not connected is told, 0 for never.
	Silent time.Duration
	// Digest is how long what happens is gathered, Interval the least time between
	// two messages of a channel.
	Digest, Interval time.Duration
	// Template is a file, empty for the built-in text.
	Template string
}

// NotifyLine is the URL of one channel, and where it was found.
type NotifyLine struct {
	Origin string
	URL    source.Secret
}

// Lines reads the URLs of channels: one or several on a line, # begins a comment.
func (n Notify) Lines() ([]NotifyLine, error) {
	var lines []NotifyLine
	add := func(origin string, text source.Secret) {
		for i, line := range strings.Split(text.Reveal(), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for word := range strings.FieldsSeq(line) {
				lines = append(lines, NotifyLine{fmt.Sprintf("%s:%d", origin, i+1), source.Secret(word)})
			}
		}
	}
	add(NotifyVariable, n.Text)
	if n.File != "" {
		text, err := readValue(n.File)
		if err != nil {
			return nil, problem.Wrap(problem.InvalidInput, err, "notify-file").
				WithHint("It holds the URLs of those who are told, one a line; see docs/notifications.md.")
		}
		add(n.File, source.Secret(text))
	}
	return append(lines, n.Legacy...), nil
}

// SigningSecret reads what webhooks are signed with; empty: they are not.
func (n Notify) SigningSecret() (source.Secret, error) {
	if n.SecretFile == "" {
		return n.Secret, nil
	}
	text, err := readValue(n.SecretFile)
	if err != nil {
		return "", problem.Wrap(problem.InvalidInput, err, "notify-secret-file")
	}
	return source.Secret(text), nil
}

// notifySettings are about who is told what.
var notifySettings = []*Setting{
	{
		Name: "notify-file", Kind: "path", Commands: remembers, DefaultText: "none: nobody is told",
		Legacy: "BT_NOTIFICATION_CHANNELS with BT_SLACK_WEBHOOK_URL, BT_DISCORD_WEBHOOK_URL, BT_TEAMS_WEBHOOK_URL, BT_WEBHOOK_URL",
		Doc: "File with the URLs of those who are told when something goes wrong, one a line, # before a comment: such as smtp://…, slack://…, ntfy://…, webhook+https://… or ping+https://…; " +
			"[notifications.md](notifications.md) has them. The variable " + NotifyVariable + " may hold the URLs themselves. They are secrets: they are never shown. Give all controllers of a cluster the same.",
		set: path(func(c *Config) *string { return &c.Notify.File }),
		get: func(c *Config) string { return c.Notify.File },
	},
	{
		Name: "notify-secret-file", Kind: "path", Commands: remembers, DefaultText: "none: webhooks are not signed",
		Doc: "File with the secret that webhooks are signed with, at least 16 bytes; the variable " + NotifySecretVariable + " may hold the secret itself.",
		set: path(func(c *Config) *string { return &c.Notify.SecretFile }),
		get: func(c *Config) string { return c.Notify.SecretFile },
	},
	{
		Name: "notify-events", Kind: "words", Commands: remembers, Default: "failure,recovery,missed,size,stale,damaged,contents,drill,retention,space,paused,store,agent",
		Legacy: "BT_NOTIFY_FAILURES, BT_NOTIFY_WARNINGS, BT_NOTIFY_HEALTH, BT_NOTIFY_SUCCESS, BT_NOTIFY_SUMMARY",
		Doc: "What is told, separated by commas: failure, recovery, missed (a scheduled run that was not made), size (a snapshot of unusual size), stale (no backup for too long), " +
			"damaged (a snapshot is), retention (nothing is forgotten, for a policy cannot be used), space (little room in a store), paused (so little that no backup is begun), store (one cannot be written to), agent (one is away), success (every backup); or off.",
		set: setEvents,
		get: func(c *Config) string { return eventsText(c.Notify.Events) },
	},
	{
		Name: "notify-failures", Kind: "number", Commands: remembers, Default: "1",
		Doc: "How many backups of a source fail in a row before it is told, from 1 to 100.",
		set: number(1, 100, func(c *Config) *int { return &c.Notify.Failures }),
		get: func(c *Config) string { return strconv.Itoa(c.Notify.Failures) },
	},
	{
		Name: "notify-stale", Kind: "duration", Commands: remembers, Default: "auto",
		Doc: "After how long without a successful backup a source is told of: a duration such as 36h, from 1m on, or off. " +
			"auto is twice the time between two backups of its schedule, at least 48 hours; without a schedule nothing is told.",
		set: setStale,
		get: getStale,
	},
	{
		Name: "notify-size", Kind: "percent", Commands: remembers, Default: "50-200",
		Doc: "Between which percentages of the median of the last seven snapshots of its source a new snapshot's dumps may lie without being told of, such as 50-200; or off.",
		set: setSizes,
		get: getSizes,
	},
	{
		Name: "notify-silent", Kind: "duration", Commands: remembers, Default: "10m",
		Doc: "After how long an agent that is not connected is told of, from 1m on; or off. One that is drained or revoked is not.",
		set: within(time.Minute, longest, true, func(c *Config) *time.Duration { return &c.Notify.Silent }),
		get: func(c *Config) string { return durationText(c.Notify.Silent) },
	},
	{
		Name: "notify-digest", Kind: "duration", Commands: remembers, Default: "1m",
		Doc: "How long what happens is gathered before it is told in one message, from 0s to 24h.",
		set: within(0, 24*time.Hour, false, func(c *Config) *time.Duration { return &c.Notify.Digest }),
		get: func(c *Config) string { return c.Notify.Digest.String() },
	},
	{
		Name: "notify-interval", Kind: "duration", Commands: remembers, Default: "5m",
		Doc: "The least time between two messages to the same, from 0s to 24h: what happens meanwhile is in the next.",
		set: within(0, 24*time.Hour, false, func(c *Config) *time.Duration { return &c.Notify.Interval }),
		get: func(c *Config) string { return c.Notify.Interval.String() },
	},
	{
		Name: "notify-template", Kind: "path", Commands: remembers, DefaultText: "none: the built-in text",
		Doc: "File with Go templates \"subject\" and \"body\" for the text of messages; [notifications.md](notifications.md) says what they may use. What it lacks stays as it is.",
		set: path(func(c *Config) *string { return &c.Notify.Template }),
		get: func(c *Config) string { return c.Notify.Template },
	},
}

func setEvents(c *Config, text string) error {
	c.Notify.Events = nil
	if strings.EqualFold(text, "off") {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		e := Event(strings.ToLower(strings.TrimSpace(word)))
		if !slices.Contains(Events(), e) {
			return fmt.Errorf("want some of %s, separated by commas, or off", eventsText(Events()))
		}
		if !slices.Contains(c.Notify.Events, e) {
			c.Notify.Events = append(c.Notify.Events, e)
		}
	}
	return nil
}

func eventsText(events []Event) string {
	if len(events) == 0 {
		return "off"
	}
	words := make([]string, len(events))
	for i, e := range events {
		words[i] = string(e)
	}
	return strings.Join(words, ",")
}

// longest is the longest duration that may be set, about ten years.
const longest = 10 * 365 * 24 * time.Hour

// within is for durations from least to most; off, where it is allowed, is 0.
func within(least, most time.Duration, off bool, field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, text string) error {
		if off && strings.EqualFold(text, "off") {
			*field(c) = 0
			return nil
		}
		d, err := time.ParseDuration(text)
		switch {
		case (err != nil || d < least || d > most) && off:
			return fmt.Errorf("want a duration from %s on, such as 90m or 36h, or off", durationText(least))
		case err != nil || d < least || d > most:
			return fmt.Errorf("want a duration from %s to %s, such as 30s or 5m", least, most)
		}
		*field(c) = d
		return nil
	}
}

func durationText(d time.Duration) string {
	if d == 0 {
		return "off"
	}
	return d.String()
}

func setStale(c *Config, text string) error {
	if c.Notify.StaleAuto = strings.EqualFold(text, "auto"); c.Notify.StaleAuto {
		c.Notify.Stale = 0
		return nil
	}
	if within(time.Minute, longest, true, func(c *Config) *time.Duration { return &c.Notify.Stale })(c, text) != nil {
		return errors.New("want a duration from 1m on, such as 36h, or auto, or off")
	}
	return nil
}

func getStale(c *Config) string {
	if c.Notify.StaleAuto {
		return "auto"
	}
	return durationText(c.Notify.Stale)
}

func setSizes(c *Config, text string) error {
	if strings.EqualFold(text, "off") {
		c.Notify.SizeLow, c.Notify.SizeHigh = 0, 0
		return nil
	}
	from, to, ok := strings.Cut(strings.ReplaceAll(text, "%", ""), "-")
	low, lowErr := strconv.Atoi(strings.TrimSpace(from))
	high, highErr := strconv.Atoi(strings.TrimSpace(to))
	if !ok || lowErr != nil || highErr != nil || low < 0 || low > 99 || high < 101 || high > 1_000_000 {
		return errors.New("want two percentages such as 50-200, the first from 0 to 99, the second from 101 on; or off")
	}
	c.Notify.SizeLow, c.Notify.SizeHigh = low, high
	return nil
}

func getSizes(c *Config) string {
	if c.Notify.SizeHigh == 0 {
		return "off"
	}
	return fmt.Sprintf("%d-%d", c.Notify.SizeLow, c.Notify.SizeHigh)
}

// notify takes what the variables say, and refuses to guess which of two is meant.
func (l *loader) notify(c *Config) {
	c.Notify.Text, c.Notify.Secret = source.Secret(l.env[NotifyVariable]), source.Secret(l.env[NotifySecretVariable])
	for _, both := range []struct {
		file, name, variable string
		text                 source.Secret
	}{
		{c.Notify.File, "notify-file", NotifyVariable, c.Notify.Text},
		{c.Notify.SecretFile, "notify-secret-file", NotifySecretVariable, c.Notify.Secret},
	} {
		if both.file != "" && both.text != "" {
			l.wrong = append(l.wrong, fmt.Sprintf("%s (%s), %s: only one of them may be set: leave the other out", both.name, c.Origins[both.name], both.variable))
		}
	}
}
