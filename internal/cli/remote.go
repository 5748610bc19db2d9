package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
)

// Remote is how to reach a controller over TLS.
type Remote struct {
	// Controllers are HOST:PORT or dns+NAME:PORT; empty: those that the login knows.
	Controllers []string
	// Login is the folder in which Roof.Login keeps what it got, empty when TLS is given.
	Login string
	// TLS is for an authority of the user's own.
	TLS config.TLS
}

// asking gives commands the flags that say which controller to ask.
func asking(commands ...*cobra.Command) []*cobra.Command {
	for _, cmd := range commands {
		config.AddAskingFlags(cmd.PersistentFlags())
	}
	return commands
}

// far says whether a command goes over TLS rather than to the socket. A flag
// counts more than a variable, and of two alike the socket's; without either it
// goes to the socket that is there, else to where a login or the settings file lead.
func far(c config.Config) bool {
	switch socket, controller := c.Origins["socket"], c.Origins["controller"]; {
	case socket == "--socket":
		return false
	case controller == "--controller":
		return true
	case byVariable(socket):
		return false
	case byVariable(controller):
		return true
	}
	if _, err := os.Lstat(c.Socket); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return len(c.Controllers) > 0 || loggedIn(c)
}

func byVariable(origin string) bool { return strings.HasPrefix(origin, "BAKTAINER_") }

func loggedIn(c config.Config) bool {
	info, err := os.Stat(c.LoginDir)
	return c.LoginDir != "" && err == nil && info.IsDir()
}

// remoteOf says with what a command shows who it is. The certificate in a settings file may
// be that of the host's agent: a login counts more.
func remoteOf(c config.Config) (Remote, error) {
	r := Remote{Controllers: c.Controllers}
	origin := c.Origins["tls-cert"]
	switch {
	case c.TLS.Given() && (origin == "--tls-cert" || byVariable(origin) || !loggedIn(c)):
		r.TLS = c.TLS
		if len(r.Controllers) == 0 {
			return r, problem.New(problem.InvalidInput, "there is a certificate, but no controller to show it to").
				WithHint("Say where one is with --controller HOST:PORT.")
		}
	case loggedIn(c):
		r.Login = c.LoginDir
	default:
		where := strings.Join(c.Controllers, ",")
		return r, problem.New(problem.Denied, "you are not logged in to the controller at %s", where).WithReason("not-logged-in").
			WithHint("Log in with `baktainer login --controller %s` and a token: `baktainer token create --role admin`, or viewer, on the host of a controller makes one. "+
				"With an authority of your own, give --tls-ca, --tls-cert and --tls-key.", where)
	}
	return r, nil
}

// overTLS does the work with a controller that is elsewhere.
func (a *app) overTLS(ctx context.Context, c config.Config, work func(context.Context, grpc.ClientConnInterface) error) error {
	r, err := remoteOf(c)
	if err != nil {
		return err
	}
	conn, hangUp, err := a.roof.DialController(ctx, r)
	if err != nil {
		return err
	}
	defer hangUp()
	err = work(ctx, conn)
	if problem.ReasonOf(err) != transport.ReasonNoAnswer {
		return err
	}
	where := cmp.Or(strings.Join(r.Controllers, ", "), "those of the last login")
	return problem.Wrap(problem.Unavailable, err, "no controller answers at %s", where).WithReason(transport.ReasonNoAnswer).
		WithHint("See that it runs with --listen, and that the port is open from here; --controller names others.")
}
