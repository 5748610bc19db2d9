package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// SecretFileLimit bounds a file that holds a password or a name, in bytes.
const SecretFileLimit = 4 << 10

// Variables name the variables by which an image is told its user, password and
// database, each list in order of preference. Each NAME is also tried as
// NAME_FILE, the path of a file in the instance that holds the value.
type Variables struct {
	User, Password, Database []string
}

// Credentials are what an engine logs in with.
type Credentials struct {
	User, Database string
	Password       source.Secret
	// Found says that a password was found. It may still be the empty one.
	Found bool
	// From says where the password comes from, for hints: "variable POSTGRES_PASSWORD".
	From string
	// Tried says, line by line, where a password was looked for without success.
	Tried []string
}

// ResolveCredentials finds user, password and database. Labels come first:
// for the password baktainer.db.password, then the file of
// baktainer.db.password_file, then the variable of baktainer.db.password_env;
// after them the image's own variables. A label that names a missing file or
// variable is an error with ReasonNoCredentials. That nothing is found is none:
// Found is false and Tried tells the story; see NoCredentials.
func ResolveCredentials(ctx context.Context, inst Instance, spec source.Spec, vars Variables) (Credentials, error) {
	r := resolver{ctx: ctx, inst: inst, env: inst.Facts().Env}
	c := Credentials{User: spec.User, Database: spec.Database}
	if c.User == "" {
		c.User, _, _ = r.variable(vars.User)
	}
	if c.Database == "" {
		c.Database, _, _ = r.variable(vars.Database)
	}
	r.tried = nil
	if err := r.password(&c, spec, vars.Password); err != nil {
		return Credentials{}, err
	}
	if strings.ContainsRune(c.Password.Reveal(), 0) {
		return Credentials{}, problem.New(problem.InvalidInput, "the password from %s holds a zero byte", c.From).
			WithReason(ReasonNoCredentials).WithHint("Programs cannot be given such a password. Check that the file is text.")
	}
	c.Tried = r.tried
	return c, ctx.Err()
}

// NoCredentials is the failure of an engine that needs a password where none
// was found.
func NoCredentials(c Credentials, vars Variables) *problem.Problem {
	hint := "Set the label baktainer.db.password_file, baktainer.db.password_env or baktainer.db.password."
	if len(vars.Password) > 0 {
		hint = fmt.Sprintf("Set %s on the container, or the label baktainer.db.password_file, baktainer.db.password_env or baktainer.db.password.", vars.Password[0])
	}
	return problem.New(problem.InvalidInput, "no password was found").
		WithReason(ReasonNoCredentials).WithHint("%s", hint).WithDetails(c.Tried...)
}

// resolver looks values up and notes where it found none.
type resolver struct {
	ctx   context.Context
	inst  Instance
	env   map[string]string
	tried []string
}

func (r *resolver) password(c *Credentials, spec source.Spec, names []string) error {
	found := func(value, from string) error {
		c.Password, c.From, c.Found = source.Secret(value), from, true
		return nil
	}
	switch {
	case spec.Password != "":
		return found(spec.Password.Reveal(), "label baktainer.db.password")
	case spec.PasswordFile != "":
		value, err := r.file(spec.PasswordFile)
		if err != nil {
			return problem.Wrap(problem.InvalidInput, err, "read the password file %s in the container", spec.PasswordFile).
				WithReason(ReasonNoCredentials).
				WithHint("The label baktainer.db.password_file takes the path of a small file inside the container, for example /run/secrets/db_password.")
		}
		return found(value, "file "+spec.PasswordFile)
	case spec.PasswordEnv != "":
		value, ok := r.env[spec.PasswordEnv]
		if !ok {
			return problem.New(problem.InvalidInput, "the container has no variable %s", spec.PasswordEnv).
				WithReason(ReasonNoCredentials).
				WithHint("The label baktainer.db.password_env takes the name of a variable of the container's environment.")
		}
		return found(value, "variable "+spec.PasswordEnv)
	}
	r.tried = append(r.tried, "labels baktainer.db.password, .password_file, .password_env: not given")
	if value, from, ok := r.variable(names); ok {
		return found(value, from)
	}
	return nil
}

// variable returns the value of the first variable, or of the file that its
// _FILE twin names, that is there.
func (r *resolver) variable(names []string) (value, from string, ok bool) {
	for _, name := range names {
		if value := r.env[name]; value != "" {
			return value, "variable " + name, true
		}
		path := r.env[name+"_FILE"]
		if path == "" {
			r.tried = append(r.tried, fmt.Sprintf("variables %s, %s_FILE: not set", name, name))
			continue
		}
		value, err := r.file(path)
		if err != nil {
			r.tried = append(r.tried, fmt.Sprintf("variable %s_FILE: %s: %v", name, path, err))
			continue
		}
		return value, fmt.Sprintf("file %s (%s_FILE)", path, name), true
	}
	return "", "", false
}

// file reads a secret's file. Line ends at its end are not part of the secret,
// as with the official images.
func (r *resolver) file(path string) (string, error) {
	data, err := r.inst.ReadFile(r.ctx, path, SecretFileLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no such file")
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(data, "\r\n")), nil
}
