package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/baktainer/baktainer/internal/source"
)

// untitled are the services that have no title of their own: for them the
// subject goes before the text.
var untitled = []string{"googlechat", "hangouts", "rocketchat", "signal", "wecom", "notifiarr", "pagerduty", "telegram", "zulip"}

// shoutrrr sends through a service of that library.
type shoutrrr struct {
	name    string
	service types.Service
	// turn holds one token: a service that was left alone because it took too long
	// is not used again before it has come back.
	turn chan struct{}
}

func shoutrrrChannel(u *url.URL, text source.Secret) (*Channel, error) {
	name, _, custom := strings.Cut(u.Scheme, "+")
	services := &router.ServiceRouter{}
	service, err := services.NewService(name)
	if err != nil || name == "logger" {
		known := append(services.ListServices(), "webhook", "ping")
		known = slices.DeleteFunc(known, func(s string) bool { return s == "logger" }) // all is in the log as it is
		slices.Sort(known)
		return nil, fmt.Errorf("its scheme is no service: there are %s", strings.Join(known, ", "))
	}
	mask := newMasker(text, slices.Contains(withHost, name))
	wrong := func(err error) error { return fmt.Errorf("%s: %s", name, mask.mask(err)) }
	shown := channelName(name, u)
	if custom {
		convert, ok := service.(types.CustomURLService)
		if !ok {
			return nil, fmt.Errorf("%s: want %s://…", name, name)
		}
		if u, err = convert.GetConfigURLFromCustom(u); err != nil {
			return nil, wrong(err)
		}
	}
	if err := service.Initialize(u, log.New(io.Discard, "", 0)); err != nil {
		return nil, wrong(err)
	}
	s := &shoutrrr{name: name, service: service, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return &Channel{Name: shown, sender: s, masker: mask}, nil
}

// send sends; the library's own calls cannot all be cut short, so that one that
// takes too long is left alone.
func (s *shoutrrr) send(ctx context.Context, m *outgoing) error {
	select {
	case <-s.turn:
	default:
		return errors.New("an earlier attempt has not ended yet")
	}
	done := make(chan error, 1)
	go func() {
		defer func() { s.turn <- struct{}{} }()
		done <- s.call(m)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
}

func (s *shoutrrr) call(m *outgoing) (err error) {
	defer func() { // a service of a library is not to end this process
		if r := recover(); r != nil {
			err = fmt.Errorf("the service %s failed", s.name)
		}
	}()
	if slices.Contains(untitled, s.name) {
		return s.service.Send(m.subject+"\n\n"+m.body, &types.Params{})
	}
	return s.service.Send(m.body, &types.Params{"title": m.subject})
}
