package transport

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
)

// Enrolled is what a token was exchanged for.
type Enrolled struct {
	Credentials *pki.Credentials
	// Controllers are the addresses of the cluster's controllers.
	Controllers []string
}

// Pauses of EnrolAt between two rounds, and the one from which on it gets loud.
const (
	enrolFirst = 500 * time.Millisecond
	enrolMost  = 15 * time.Second
	enrolLoud  = 2 * time.Second
)

// EnrolAt enrols at the first of the addresses that answers, and tries on until
// one does, ctx ends, or a controller refuses for good.
func EnrolAt(ctx context.Context, addresses []string, e Enrolment, log *slog.Logger) (Enrolled, error) {
	for pause := enrolFirst; ; pause = min(2*pause, enrolMost) {
		var failed error
		for _, address := range addresses {
			c, controllers, err := Enrol(ctx, address, e)
			if err == nil {
				out := Enrolled{Credentials: c}
				for _, k := range controllers {
					if k.GetAddress() != "" {
						out.Controllers = append(out.Controllers, k.GetAddress())
					}
				}
				return out, nil
			}
			if code := problem.CodeOf(err); code == problem.Denied || code == problem.InvalidInput || code == problem.Conflict {
				return Enrolled{}, err
			}
			failed = errors.Join(failed, err)
		}
		if pause >= enrolLoud {
			log.WarnContext(ctx, "not enrolled yet", "controllers", addresses, "error", failed)
		}
		if clock.Sleep(ctx, pause) != nil {
			p := problem.Wrap(problem.Unavailable, ctx.Err(), "no controller gave a certificate")
			if failed != nil {
				p.WithDetails(strings.Split(failed.Error(), "\n")...)
			}
			return Enrolled{}, p.WithHint("Does it run, with --listen? Is its port open from here? Is the address right?")
		}
	}
}
