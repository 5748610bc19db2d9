package notify

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/baktainer/baktainer/internal/source"
)

// masker takes out of an error what a channel's URL has that is secret. What it
// shows is read by people who may look and not know the tokens.
type masker struct {
	secrets []string // the longest first
	short   []string // parts too short to be found in a text by themselves
}

// leastMasked is the shortest part of a URL that is taken out wherever it
// stands; passwords are whatever their length.
const leastMasked = 5

// harmless are words of URLs that are no secret, and stand in errors.
var harmless = []string{"https", "webhook", "services", "webhooks", "webhookb2", "incomingwebhook", "message", "title", "generic", "token", "false", "subject", "template", "messagekey", "content", "fromaddress", "toaddresses", "starttls", "usestarttls", "encryption", "timeout", "priority", "channel", "channels", "chats"}

// newMasker prepares for the errors of one URL. shownHost says that its host is
// one, rather than part of a token.
func newMasker(text source.Secret, shownHost bool, more ...source.Secret) *masker {
	m := &masker{}
	u, err := url.Parse(text.Reveal())
	if err != nil {
		m.add(text.Reveal())
		return m
	}
	if password, ok := u.User.Password(); ok {
		m.always(password)
	}
	m.parts(u.User.Username())
	if !shownHost {
		m.parts(u.Host)
	}
	m.parts(u.Path)
	m.parts(u.Fragment)
	for _, values := range u.Query() {
		for _, v := range values {
			m.parts(v)
		}
	}
	m.add(text.Reveal())
	for _, s := range more {
		m.always(s.Reveal())
	}
	slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
	return m
}

// parts adds a text and the words in it: services put them together anew.
func (m *masker) parts(text string) {
	m.add(text)
	m.add(strings.Trim(text, "/"))
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }) {
		m.add(word)
	}
}

func (m *masker) add(text string) {
	if len(text) < leastMasked || slices.Contains(harmless, strings.ToLower(text)) {
		return
	}
	for _, form := range []string{text, url.QueryEscape(text), url.PathEscape(text)} {
		if !slices.Contains(m.secrets, form) {
			m.secrets = append(m.secrets, form)
		}
	}
}

// always adds a password: when it is too short to be told from other words, a
// text that has it is not shown at all.
func (m *masker) always(text string) {
	if text != "" && len(text) < leastMasked {
		m.short = append(m.short, text)
		return
	}
	for _, form := range []string{text, url.QueryEscape(text), url.PathEscape(text)} {
		if form != "" {
			m.secrets = append(m.secrets, form)
		}
	}
}

// addresses finds URLs: of what stands in errors only their host is of use.
var addresses = regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^\s"'<>,;)]+`)

const maxMasked = 300

// mask makes one line of an error that may be shown.
func (m *masker) mask(err error) string {
	text := addresses.ReplaceAllStringFunc(err.Error(), func(found string) string {
		u, err := url.Parse(strings.TrimRight(found, ".:"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return "[hidden]"
		}
		return u.Scheme + "://" + u.Host
	})
	for _, s := range m.secrets {
		text = strings.ReplaceAll(text, s, "[hidden]")
	}
	for _, s := range m.short {
		if strings.Contains(text, s) {
			text = "what the server said holds the password, and is hidden"
		}
	}
	return cutTo(oneLine(text), maxMasked, "...")
}
