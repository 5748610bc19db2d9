package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// placeholder in the URL of a ping stands for the source that was backed up.
const placeholder = "{source}"

// ping calls a dead man's switch. Whoever is not called in time raises an alarm:
// that also tells of a Baktainer that is not there any more.
type ping struct {
	url    string
	client *http.Client
}

// send calls once for each source when the URL has a place for its name. A
// single call would hide that one source fails behind the success of another:
// it is made only while no backup is failing or overdue.
func (p *ping) send(ctx context.Context, m *outgoing) error {
	if m.Test {
		return p.get(ctx, strings.ReplaceAll(p.url, placeholder, "baktainer-test"))
	}
	if !strings.Contains(p.url, placeholder) {
		if m.troubled {
			return nil
		}
		return p.get(ctx, p.url)
	}
	var wrong []error
	for _, s := range m.Successes {
		if err := p.get(ctx, strings.ReplaceAll(p.url, placeholder, slug(s.Subject))); err != nil {
			wrong = append(wrong, fmt.Errorf("ping for %s: %w", s.Subject, err))
		}
	}
	return errors.Join(wrong...)
}

func (p *ping) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	return call(p.client, req)
}

// slug is a source's name as one part of a path: lower case, and - for what is
// neither letter nor digit.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// troubled says whether some backup is failing or overdue.
func troubled(open []*pb.Condition) bool {
	for _, c := range open {
		switch c.GetKind() {
		case pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED, pb.ConditionKind_CONDITION_KIND_NO_BACKUP, pb.ConditionKind_CONDITION_KIND_RUN_MISSED:
			return true
		}
	}
	return false
}
