package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// LoginRequest is who wants to become an operator, and with what.
type LoginRequest struct {
	Controllers []string
	Token       source.Secret
	Name        string
	// Dir is an empty folder for key, certificate, roots and addresses. Remote.Login
	// names it later, after it was moved.
	Dir string
}

// Login is what came of it. It is what `login -o json` prints.
type Login struct {
	Cluster     string    `json:"cluster" doc:"identifies the cluster"`
	Role        string    `json:"role" doc:"admin or viewer"`
	Name        string    `json:"name" doc:"the operator's name"`
	NotAfter    time.Time `json:"not_after" doc:"until when the certificate is good; commands renew it before"`
	Controllers []string  `json:"controllers" doc:"where the controllers are"`
}

func (a *app) loginCommand() *cobra.Command {
	var ask bool
	var name string
	cmd := &cobra.Command{
		Use: "login --controller HOST:PORT", Short: "Exchange a token for a certificate, to ask controllers on other hosts",
		Long: `Exchange a token from ` + "`baktainer token create --role admin`" + ` (or viewer) for a certificate. From then on commands ask
that cluster when there is no controller on this host, or when --controller says so. The token is read from a file, from
the variable ` + config.TokenVariable + `, or typed.

Key and certificate are kept in ` + "`$XDG_CONFIG_HOME/baktainer/login`" + `, ~/.config/baktainer/login by default, for this user alone.
The certificate is good for a week, and commands renew it: who asks nothing for longer logs in anew. A login takes
the place of the one before.`,
		Example: examples(
			"baktainer login --controller backup.example.com:8468",
			"baktainer login --controller c1:8468,c2:8468 --token-file token --name alice",
			"ssh c1 baktainer token create --role viewer -q | baktainer login --controller c1:8468 --token-file /dev/stdin",
		),
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.settings(cmd)
			if err != nil {
				return err
			}
			r, err := a.loginRequest(c, ask, name)
			if err != nil {
				return err
			}
			login, err := a.login(cmd.Context(), c.LoginDir, r)
			if err != nil {
				return err
			}
			return a.print(login, []string{login.Role + "/" + login.Name}, func() {
				a.facts("logged in", login.Role+"/"+login.Name, "cluster", login.Cluster, "controllers", strings.Join(login.Controllers, ", "), "certificate", "until "+a.at(&login.NotAfter))
				if _, err := os.Lstat(c.Socket); err == nil {
					a.say("There is a controller on this host, at %s: commands ask it unless --controller is given.", c.Socket)
				}
			})
		},
	}
	config.AddAskingFlags(cmd.Flags(), "controller")
	config.AddFlag(cmd.Flags(), "token-file")
	cmd.Flags().BoolVar(&ask, "ask-token", false, "ask for the token, also when "+config.TokenVariable+" is set")
	cmd.Flags().StringVar(&name, "name", "", "who you are: letters, digits, '_', '.' and '-'. Default: the name of this user")
	return cmd
}

// loginRequest gathers what a login needs.
func (a *app) loginRequest(c config.Config, ask bool, name string) (r LoginRequest, err error) {
	r = LoginRequest{Controllers: c.Controllers, Name: name}
	switch {
	case len(c.Controllers) == 0:
		return r, problem.New(problem.InvalidInput, "say where a controller is").WithHint("Want --controller HOST:PORT.")
	case c.LoginDir == "":
		return r, problem.New(problem.InvalidInput, "there is no home folder to keep a login in").WithHint("Set the variable XDG_CONFIG_HOME.")
	case ask && c.Token.File != "":
		return r, problem.New(problem.InvalidInput, "--token-file and --ask-token: want one of them")
	}
	if r.Name == "" {
		if u, err := user.Current(); err == nil {
			r.Name = u.Username
		}
	}
	if err := pki.CheckName(r.Name); err != nil {
		return r, problem.Wrap(problem.InvalidInput, err, "the name %.80q", r.Name).WithHint("Say who you are with --name.")
	}
	if ask || !c.Token.Given() {
		text, err := a.askSecret("Token: ", "a token")
		r.Token = source.Secret(strings.TrimSpace(text))
		return r, err
	}
	r.Token, err = c.Token.Read()
	return r, err
}

// login logs in. The login that there is stays until the new one is whole.
func (a *app) login(ctx context.Context, dir string, r LoginRequest) (login Login, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return login, problem.Wrap(problem.Failed, err, "make a folder for the login")
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), ".login-*") // 0700
	if err != nil {
		return login, problem.Wrap(problem.Failed, err, "make a folder for the login")
	}
	defer func() { _ = os.RemoveAll(aside) }()
	r.Dir = filepath.Join(aside, "new")
	if err := os.Mkdir(r.Dir, 0o700); err != nil {
		return login, problem.Wrap(problem.Failed, err, "make a folder for the login")
	}
	if login, err = a.roof.Login(ctx, r); err != nil {
		return login, fmt.Errorf("log in: %w", err)
	}
	err = os.Rename(dir, filepath.Join(aside, "old"))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(r.Dir, dir)
	}
	if err != nil {
		return login, problem.Wrap(problem.Failed, err, "keep the login in %s", dir)
	}
	return login, nil
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Forget the certificate from a login",
		Long: `Forget the certificate from a login, and its key. A copy that somebody has made stays good until the certificate ends, in a
week at most: ` + "`baktainer identity revoke`" + ` shuts it out.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.settings(cmd)
			if err != nil {
				return err
			}
			if !loggedIn(c) {
				a.say("You were not logged in.")
				return nil
			}
			if err := os.RemoveAll(c.LoginDir); err != nil {
				return problem.Wrap(problem.Failed, err, "remove the login")
			}
			a.say("Logged out.")
			return nil
		},
	}
}
