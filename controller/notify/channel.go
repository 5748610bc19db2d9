package notify

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// outgoing is a message on its way.
type outgoing struct {
	*Message
	subject, body string
}

// sender brings a message to somebody. Its errors may hold secrets.
type sender interface {
	send(ctx context.Context, m *outgoing) error
}

// Channel is one way to somebody who is told.
type Channel struct {
	// Name is kind and, where it is no secret, host.
	Name string
	// Ping says that it is a dead man's switch: it hears of every backup, at once,
	// and of nothing else.
	Ping   bool
	sender sender
	masker *masker
}

// send sends, and gives errors that may be shown.
func (c *Channel) send(ctx context.Context, m *outgoing) error {
	err := c.sender.send(ctx, m)
	if err == nil {
		return nil
	}
	return problem.New(problem.Failed, "%s", c.masker.mask(err)).WithHint("%s", hintOf(err))
}

// explained is an error with what to do about it.
type explained struct {
	error
	hint string
}

func (e explained) Unwrap() error { return e.error }

func hintOf(err error) string {
	if e, ok := errors.AsType[explained](err); ok {
		return e.hint
	}
	return "Check its URL in notify-file, and that this host reaches the service; `baktainer notify test` tries it again."
}

// ParseChannels makes channels of URLs. All that is wrong is told at once, by
// place and never by text: a URL is a secret. secret signs webhooks; empty, they
// are not signed.
func ParseChannels(lines []config.NotifyLine, secret source.Secret) ([]*Channel, error) {
	var channels []*Channel
	var wrong []string
	if secret != "" && len(secret.Reveal()) < leastSecret {
		wrong = append(wrong, fmt.Sprintf("notify-secret-file: the secret has fewer than %d bytes", leastSecret))
	}
	for _, line := range lines {
		c, err := parseChannel(line.URL, secret)
		if err != nil {
			wrong = append(wrong, line.Origin+": "+err.Error())
			continue
		}
		same := 1
		for _, other := range channels {
			if other.Name == c.Name || strings.HasPrefix(other.Name, c.Name+" #") {
				same++
			}
		}
		if same > 1 {
			c.Name = fmt.Sprintf("%s #%d", c.Name, same)
		}
		channels = append(channels, c)
	}
	switch {
	case len(channels) > maxChannels:
		wrong = append(wrong, fmt.Sprintf("there are %d channels, more than %d", len(channels), maxChannels))
	case len(wrong) == 0:
		return channels, nil
	}
	things := "1 thing is wrong"
	if len(wrong) > 1 {
		things = fmt.Sprintf("%d things are wrong", len(wrong))
	}
	return nil, problem.New(problem.InvalidInput, "%s with those who are to be told", things).WithReason("bad-settings").
		WithDetails(wrong...).WithHint("docs/notifications.md has the URLs of all services.")
}

const maxChannels = 50

// parseChannel reads one URL. Its errors have nothing of the URL.
func parseChannel(text, secret source.Secret) (*Channel, error) {
	u, err := url.Parse(text.Reveal())
	if err != nil || u.Scheme == "" {
		return nil, errors.New("is no URL such as smtp://…, ntfy://… or webhook+https://…")
	}
	service, transport, own := strings.Cut(u.Scheme, "+")
	if service != "webhook" && service != "ping" {
		return shoutrrrChannel(u, text)
	}
	switch {
	case !own || transport != "http" && transport != "https":
		return nil, fmt.Errorf("%s: want %s+https://… or %s+http://…", service, service, service)
	case u.Host == "":
		return nil, fmt.Errorf("%s: has no host", service)
	case u.User != nil && service == "webhook":
		return nil, errors.New("webhook: a user or password in the URL is not supported: sign with notify-secret-file")
	}
	target := strings.TrimPrefix(text.Reveal(), service+"+")
	c := &Channel{Name: service + " " + u.Host, masker: newMasker(text, true, secret)}
	if service == "ping" {
		c.Ping, c.sender = true, &ping{url: target, client: newClient()}
		return c, nil
	}
	c.sender = &webhook{url: target, secret: secret, client: newClient()}
	return c, nil
}

// withHost are the services whose URLs have a real host; that of the others is
// part of a token.
var withHost = []string{"smtp", "ntfy", "gotify", "matrix", "mattermost", "rocketchat", "zulip", "generic", "lark", "bark", "signal"}

func channelName(service string, u *url.URL) string {
	if slices.Contains(withHost, service) && u.Hostname() != "" {
		return service + " " + u.Hostname()
	}
	return service
}
