package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/source"
)

// legacyChannels are the channels of the earlier Baktainer, and the variable with
// the URL of each: empty for those that had none.
var legacyChannels = []struct{ name, variable string }{
	{"slack", "BT_SLACK_WEBHOOK_URL"}, {"discord", "BT_DISCORD_WEBHOOK_URL"}, {"teams", "BT_TEAMS_WEBHOOK_URL"}, {"webhook", "BT_WEBHOOK_URL"},
	{"email", ""}, {"log", ""},
}

const legacyChannelsVariable = "BT_NOTIFICATION_CHANNELS"

// legacyEvents are the variables that said what is told, what they were without
// being set, and the events of today.
var legacyEvents = []struct {
	variable string
	usual    bool
	events   []Event
}{
	{"BT_NOTIFY_FAILURES", true, []Event{EventFailure, EventRecovery}},
	{"BT_NOTIFY_WARNINGS", true, []Event{EventMissed, EventSize, EventStale}},
	{"BT_NOTIFY_HEALTH", true, []Event{EventDamaged, EventContents, EventDrill, EventRetention, EventSpace, EventPaused, EventStore, EventAgent}},
	{"BT_NOTIFY_SUCCESS", false, []Event{EventSuccess}},
	{"BT_NOTIFY_SUMMARY", false, []Event{EventSuccess}},
}

// legacyNotifyNames are the variables that legacyNotify reads.
func legacyNotifyNames() []string {
	names := []string{legacyChannelsVariable}
	for _, ch := range legacyChannels {
		if ch.variable != "" {
			names = append(names, ch.variable)
		}
	}
	for _, e := range legacyEvents {
		names = append(names, e.variable)
	}
	return names
}

// legacyNotify takes the channels that are named and have a URL, and makes one
// setting of the variables that said what is told.
func (l *loader) legacyNotify(c *Config) []given {
	named := l.legacyNamed()
	for _, ch := range legacyChannels {
		listed := slices.Contains(named, ch.name)
		if ch.variable == "" {
			if listed && ch.name == "email" {
				l.warn(legacyChannelsVariable, "email had no server and no address in the earlier version either: put a URL smtp://… into notify-file")
			}
			continue // what is told is always in the log
		}
		text, origin, set := l.variable(ch.variable)
		switch {
		case listed && set:
			c.Notify.Legacy = append(c.Notify.Legacy, NotifyLine{origin, source.Secret(legacyURL(ch.name, strings.TrimSpace(text)))})
		case listed:
			l.warn(legacyChannelsVariable, "%s has no effect without %s", ch.name, ch.variable)
		case set:
			l.warn(ch.variable, "has no effect unless %s names %s", legacyChannelsVariable, ch.name)
		}
	}
	return l.legacyTold()
}

// legacyNamed are the channels that were asked for.
func (l *loader) legacyNamed() (named []string) {
	text, origin, _ := l.variable(legacyChannelsVariable)
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		name := strings.ToLower(word)
		if !slices.ContainsFunc(legacyChannels, func(ch struct{ name, variable string }) bool { return ch.name == name }) {
			l.wrong = append(l.wrong, origin+": want some of slack, discord, teams, webhook, email, log")
			return nil
		}
		named = append(named, name)
	}
	return named
}

func (l *loader) legacyTold() []given {
	var told []Event
	origin := ""
	for _, e := range legacyEvents {
		on, from, set := l.flagLike(e.variable)
		if set {
			origin = from
		}
		if set && on || !set && e.usual {
			for _, event := range e.events {
				if !slices.Contains(told, event) {
					told = append(told, event)
				}
			}
		}
	}
	if origin == "" {
		return nil
	}
	return []given{{find("notify-events"), eventsText(told), origin}}
}

// legacyURL is the URL of a channel in the words of today. Servers of others that
// understand what Slack, Discord or Teams do get the same shape of message.
func legacyURL(channel, text string) string {
	if channel == "webhook" {
		return "webhook+" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return text // the channel says what is wrong
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	switch {
	case channel == "slack" && u.Host == "hooks.slack.com" && len(parts) == 4 && parts[0] == "services":
		return "slack://hook:" + strings.Join(parts[1:], "-") + "@webhook"
	case channel == "discord" && (u.Host == "discord.com" || u.Host == "discordapp.com") && len(parts) == 4 && parts[1] == "webhooks":
		return "discord://" + parts[3] + "@" + parts[2]
	case channel == "teams" && strings.HasSuffix(u.Host, ".webhook.office.com"):
		return "teams+" + text + "?host=" + u.Host
	}
	key := "text"
	if channel == "discord" {
		key = "content"
	}
	query := u.Query()
	query.Set("template", "json")
	query.Set("messagekey", key)
	u.RawQuery = query.Encode()
	return "generic+" + u.String()
}
