package docker

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// failure makes a Problem of what the Engine, or the way to it, answered.
// Context errors pass as they are.
func failure(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case errdefs.IsNotFound(err):
		return problem.Wrap(problem.NotFound, err, "%s", what)
	case unreachable(err):
		return problem.Wrap(problem.Unavailable, err, "%s: the Docker Engine does not answer", what).
			WithReason(engine.ReasonStreamLost).WithHint("%s", reachHint(err))
	}
	return problem.Wrap(problem.Failed, err, "%s", what)
}

// startFailure is failure for starting a program in a container: there, a
// container that is gone or not running has its own reason.
func startFailure(err error, format string, args ...any) error {
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return notRunning(err, fmt.Sprintf(format, args...))
	}
	return failure(err, format, args...)
}

func notRunning(err error, what string) *problem.Problem {
	return problem.Wrap(problem.Unavailable, err, "%s: the container is not running", what).
		WithReason(engine.ReasonNotRunning).
		WithHint("Start the container, then try again.")
}

func streamLost(err error, what string) *problem.Problem {
	return problem.Wrap(problem.Unavailable, err, "%s: the connection to the program was lost", what).
		WithReason(engine.ReasonStreamLost).
		WithHint("Look at the Docker Engine, and at any proxy before it, then try again.")
}

func unreachable(err error) bool {
	return client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err) || isTLS(err)
}

func isTLS(err error) bool {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &name)
}

func reachHint(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return "The Engine's certificate is not signed by the CA given."
	case errors.As(err, &name):
		return "The Engine's certificate is for another name than the one in its address."
	case isTLS(err):
		return "The Engine's certificate is not valid."
	}
	return "See that it runs, and that its socket or port may be reached from here."
}
