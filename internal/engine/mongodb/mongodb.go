// Package mongodb is the engine for MongoDB and servers that speak its protocol
// (FerretDB). It uses the database tools of the container: a backup is one
// archive of mongodump, of one database or of all, and a restore feeds it to
// mongorestore. No shell (mongosh, mongo) is needed: what a target holds is read
// from the beginning of a dump of it.
//
// The password goes by stdin, which the tools read one line of.
package mongodb

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type mongoEngine struct{}

// New returns the engine.
func New() engine.Engine { return mongoEngine{} }

func (mongoEngine) Name() string      { return "mongodb" }
func (mongoEngine) Aliases() []string { return []string{"mongo", "ferretdb"} }

// Detect knows the images of the servers and those that are named after them.
func (mongoEngine) Detect(f engine.Facts) bool {
	switch _, last := engine.ImagePath(f.Image); last {
	case "mongo", "mongodb", "mongodb-community-server", "mongodb-enterprise-server", "percona-server-mongodb":
		return true
	}
	return false
}

func (mongoEngine) Check(s source.Spec, _ engine.Facts) []engine.Complaint {
	const maxName = 63
	switch {
	case s.Database == "":
	case s.AllDatabases:
		return []engine.Complaint{{Label: "baktainer.db.name", Reason: "baktainer.db.all asks for all databases already", Suggestion: "leave one of the two labels out"}}
	case len(s.Database) > maxName || strings.ContainsAny(s.Database, "/\\. \"$*<>:|?\x00\r\n"):
		return []engine.Complaint{{Label: "baktainer.db.name", Reason: "this cannot be the name of a MongoDB database", Suggestion: "give the name of one database, or leave the label out for all"}}
	}
	return nil
}

var variables = engine.Variables{
	User:     []string{"MONGO_INITDB_ROOT_USERNAME", "MONGODB_INITDB_ROOT_USERNAME", "MONGODB_ROOT_USER"},
	Password: []string{"MONGO_INITDB_ROOT_PASSWORD", "MONGODB_INITDB_ROOT_PASSWORD", "MONGODB_ROOT_PASSWORD"},
}

func (mongoEngine) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	return engine.Like(f, spec, variables, secret)
}

func (e mongoEngine) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	if list := e.Check(spec, inst.Facts()); len(list) > 0 {
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).
			WithReason(engine.ReasonNoDatabase).WithHint("%s", list[0].Suggestion)
	}
	_, version, err := engine.FirstTool(ctx, inst, "mongodump")
	if err != nil {
		return nil, err
	}
	credentials, err := engine.ResolveCredentials(ctx, inst, spec, variables)
	if err != nil {
		return nil, err
	}
	s := &session{inst: inst, database: spec.Database, user: credentials.User, password: credentials.Password, port: port(inst.Facts().Args), dump: spec.Dump}
	s.tools = "MongoDB tools " + strings.TrimSpace(strings.TrimPrefix(version, "mongodump version:"))
	switch {
	case s.user == "" && credentials.Found:
		s.user = "root" // what the images that only take a password call it
	case s.user != "" && !credentials.Found:
		return nil, engine.NoCredentials(credentials, variables)
	}
	// The tools take these for the end of the password, or worse.
	if strings.ContainsAny(s.password.Reveal(), "\x03\x04\b\x7f\r\n") {
		return nil, problem.New(problem.InvalidInput, "the password from %s holds a control character or a line end", credentials.From).
			WithReason(engine.ReasonNoCredentials).WithHint("The MongoDB tools cannot be given such a password other than on their command line, which everybody can read. Use another one.")
	}
	return s, nil
}

// port is the one that the server was told to listen on, empty for the usual one.
func port(args []string) string {
	for i, a := range args {
		value, ok := strings.CutPrefix(a, "--port=")
		if a == "--port" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if n, err := strconv.ParseUint(value, 10, 16); ok && err == nil && n > 0 {
			return value
		}
	}
	return ""
}

// escapePattern makes a name into a pattern of namespaces that means itself.
func escapePattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`).Replace(name)
}

func (s *session) explain(tool string, e engine.Exit) *problem.Problem {
	p := engine.Explain(tool, e, patterns)
	if p.Reason == engine.ReasonWrongPassword && s.user == "" {
		p.Reason, p.Code = engine.ReasonNoCredentials, problem.InvalidInput
		p.Hint = fmt.Sprintf("The server asks for a password. Set %s and %s on the container, or the labels baktainer.db.user and baktainer.db.password_file.", variables.User[0], variables.Password[0])
	}
	return p
}

var patterns = []engine.Pattern{
	{Any: []string{"AuthenticationFailed", "auth error", "unable to authenticate", "requires authentication", "Unauthorized", "not authorized"},
		Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "The user must be one of the database admin and may need the roles backup and restore. See the labels baktainer.db.user and baktainer.db.password_file."},
	{Any: []string{"server selection", "connection refused", "could not connect", "no reachable servers"},
		Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "The server does not answer inside its container. Is it still starting, or does it listen with TLS only?"},
	{Any: []string{"auth version"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The users of the snapshot are of another kind of server."},
	{Any: []string{"E11000", "duplicate key"}, Reason: engine.ReasonTargetNotEmpty, Code: problem.Conflict,
		Hint: "The target holds documents with the same keys. Permit overwriting (--overwrite) if its collections are to be replaced."},
}
