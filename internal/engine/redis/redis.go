// Package redis is the engine for Redis and the servers that speak its protocol
// and dump format: Valkey and KeyDB. A source is a whole server with all of its
// databases and function libraries.
//
// The dump is what redis-cli --rdb receives, an RDB file as a replica gets it. A
// restore does not put that file into place, which would need a restart and be
// ignored by servers with an append-only file: it reads the dump and sends every
// key to the running server as a RESTORE command through redis-cli --pipe.
package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type redisEngine struct{}

// New returns the engine.
func New() engine.Engine { return redisEngine{} }

func (redisEngine) Name() string      { return "redis" }
func (redisEngine) Aliases() []string { return []string{"valkey", "keydb"} }

// Detect knows the images of the servers and those that are named after them.
func (redisEngine) Detect(f engine.Facts) bool {
	switch _, last := engine.ImagePath(f.Image); last {
	case "redis", "valkey", "keydb", "redis-stack", "redis-stack-server":
		return true
	}
	return false
}

func (redisEngine) Check(s source.Spec, _ engine.Facts) []engine.Complaint {
	if s.Database == "" {
		return nil
	}
	return []engine.Complaint{{
		Label:      "baktainer.db.name",
		Reason:     "the redis engine backs up all databases of a server together",
		Suggestion: "leave the label out",
	}}
}

var (
	tools     = []string{"redis-cli", "valkey-cli", "keydb-cli"}
	variables = engine.Variables{Password: []string{"REDIS_PASSWORD", "VALKEY_PASSWORD", "KEYDB_PASSWORD"}}
)

func (redisEngine) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	return engine.Like(f, spec, variables, secret)
}

func (e redisEngine) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	if list := e.Check(spec, inst.Facts()); len(list) > 0 {
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).
			WithReason(engine.ReasonNoDatabase).WithHint("%s", list[0].Suggestion)
	}
	tool, _, err := engine.FirstTool(ctx, inst, tools...)
	if err != nil {
		return nil, err
	}
	found, err := readSettings(ctx, inst)
	if err != nil {
		return nil, err
	}
	credentials, err := engine.ResolveCredentials(ctx, inst, spec, variables)
	if err != nil {
		return nil, err
	}
	labelled := spec.Password != "" || spec.PasswordFile != "" || spec.PasswordEnv != ""
	if found.password != "" && !labelled {
		credentials.Password = found.password // what the server was started with is surer than a variable
	}
	s := &session{inst: inst, tool: tool, port: found.port, user: credentials.User, password: credentials.Password}
	return s, s.greet(ctx)
}

// greet asks the server who it is, which also tries the password.
func (s *session) greet(ctx context.Context) error {
	out, exit, err := s.ask(ctx, "INFO", "server")
	if err != nil {
		return err
	}
	if s.password != "" && strings.Contains(exit.Stderr, "without any password configured") {
		// The variable is there, but nobody told the server to use it.
		s.password = ""
		if out, exit, err = s.ask(ctx, "INFO", "server"); err != nil {
			return err
		}
	}
	info := parseInfo(out)
	version := info["redis_version"]
	if exit.Status != 0 || version == "" {
		return s.refused(out, exit)
	}
	s.server = "Redis " + version
	if v := info["valkey_version"]; v != "" {
		s.server = "Valkey " + v
	}
	s.functions = atLeast(version, 7)
	return nil
}

// refused explains an answer that is an error. redis-cli prints those to stdout
// and ends with status 0.
func (s *session) refused(out string, exit engine.Exit) error {
	said := engine.NewTail(engine.StderrLimit, s.secrets())
	fmt.Fprintln(said, exit.Stderr)
	fmt.Fprintln(said, out)
	exit.Stderr = said.String()
	p := engine.Explain(s.tool, exit, patterns)
	if exit.Status == 0 {
		p.What = "the server refused a command"
	}
	return p
}

// parseInfo reads lines of the form name:value.
func parseInfo(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			values[name] = value
		}
	}
	return values
}

// atLeast says whether a version's first number is major or more.
func atLeast(version string, major int) bool {
	var n int
	_, err := fmt.Sscanf(version, "%d", &n)
	return err == nil && n >= major
}

var patterns = []engine.Pattern{
	{Any: []string{"WRONGPASS", "NOAUTH", "invalid password", "AUTH failed"}, Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "Set the label baktainer.db.password_file, baktainer.db.password_env or baktainer.db.password (and baktainer.db.user for a user of an ACL)."},
	{Any: []string{"NOPERM"}, Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "The user needs the rights for SYNC, PSYNC, REPLCONF and INFO to be backed up, and for SELECT, RESTORE, FUNCTION and FLUSHALL to be restored."},
	{Any: []string{"could not connect", "connection refused", "LOADING", "no replies for"}, Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "The server does not answer at 127.0.0.1 inside its container. Is it still starting, or does it listen on another port or with TLS only?"},
	{Any: []string{"payload version or checksum", "bad data format"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The snapshot is of a newer server than this one. Restore it into a server of the same version or a later one."},
	{Any: []string{"unknown command 'FUNCTION", "unknown command `FUNCTION"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The snapshot holds functions, which servers before version 7 do not have."},
	{Any: []string{"MOVED ", "CROSSSLOT", "not allowed in cluster mode"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The target is a node of a cluster. Restore into a single server."},
	{Any: []string{"READONLY "}, Reason: engine.ReasonUnsupported, Code: problem.Conflict,
		Hint: "The target is a replica. Restore into its primary."},
	{Any: []string{"OOM command"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The target's maxmemory is too small for the snapshot."},
}
