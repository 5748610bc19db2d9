// Package influxdb is the engine for InfluxDB 1. Each database is a stream.
//
// InfluxDB's own backup writes a folder, and influx_inspect reads files that the
// server may replace meanwhile, without a word. So the dump is made by queries:
// the points of each measurement are asked for page after page, in the order of
// their times, and written as lines of InfluxDB's line protocol, in a file that
// `influx -import` understands. A restore feeds these lines to `influx -import`.
// Questions, points and passwords travel by stdin, stdout and the environment.
//
// What is not in a dump are users with their grants, and subscriptions.
package influxdb

import (
	"context"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type influxEngine struct{}

// New returns the engine.
func New() engine.Engine { return influxEngine{} }

func (influxEngine) Name() string      { return "influxdb" }
func (influxEngine) Aliases() []string { return []string{"influx"} }

// Detect knows images of InfluxDB, also those of versions that Check refuses.
func (influxEngine) Detect(f engine.Facts) bool {
	words := engine.ImageWords(f.Image)
	tool := func(w string) bool { return w == "relay" || w == "telegraf" || w == "proxy" }
	return slices.Contains(words, "influxdb") && !engine.IsToolImage(f.Image) && !slices.ContainsFunc(words, tool)
}

const labelName = "baktainer.db.name"

func (influxEngine) Check(s source.Spec, f engine.Facts) []engine.Complaint {
	var list []engine.Complaint
	if why := laterVersion(f); why != "" {
		list = append(list, engine.Complaint{Label: "baktainer.db.engine", Reason: why + ", and the influxdb engine knows version 1 alone", Suggestion: instead})
	}
	switch {
	case s.Database == "":
	case s.AllDatabases:
		list = append(list, engine.Complaint{Label: labelName, Reason: "baktainer.db.all asks for all databases already", Suggestion: "leave one of the two labels out"})
	case !mayBeNamed(s.Database):
		list = append(list, engine.Complaint{Label: labelName, Reason: "this cannot be the name of a database of InfluxDB", Suggestion: "give the name of one database, or leave the label out for all"})
	}
	return list
}

const instead = "until there is an engine for it set baktainer.db.engine=custom, with baktainer.command that runs its own tool (`influx backup`) and writes the result to stdout"

var laterTag = regexp.MustCompile(`^(v?[23]([.-]|$)|(core|enterprise)($|-))`)

// laterVersion says by what one sees that it is InfluxDB 2 or 3; empty: by nothing.
func laterVersion(f engine.Facts) string {
	for name := range f.Env {
		if strings.HasPrefix(name, "DOCKER_INFLUXDB_INIT_") || strings.HasPrefix(name, "INFLUXDB3_") {
			return "the variable " + name[:strings.LastIndexByte(name, '_')] + "_… is one of InfluxDB 2 or 3"
		}
	}
	image, _, _ := strings.Cut(f.Image, "@")
	if tag := image[strings.LastIndexByte(image, ':')+1:]; tag != image && laterTag.MatchString(tag) || slices.Contains(engine.ImageWords(image), "influxdb3") {
		return "the image is one of InfluxDB 2 or 3"
	}
	return ""
}

// mayBeNamed is the server's own rule for databases and retention policies.
func mayBeNamed(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, `/\`) && !strings.ContainsFunc(name, unprintable)
}

// variables are those of the official image and of Bitnami's.
var variables = engine.Variables{
	User:     []string{"INFLUXDB_ADMIN_USER"},
	Password: []string{"INFLUXDB_ADMIN_PASSWORD", "INFLUXDB_ADMIN_USER_PASSWORD"},
	Database: []string{"INFLUXDB_DB"},
}

// Blank is a server without authentication and TLS: it has no network, and there
// are no users in a backup.
func (influxEngine) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	b := engine.Like(f, spec, variables, secret)
	b.Env["INFLUXDB_HTTP_AUTH_ENABLED"] = "false"
	b.Env["INFLUXDB_HTTP_HTTPS_ENABLED"] = "false"
	b.Env["INFLUXDB_RETENTION_ENABLED"] = "false" // what is old stays to be counted
	b.Env["INFLUXDB_CONTINUOUS_QUERIES_ENABLED"] = "false"
	b.Notes = append(b.Notes, "InfluxDB was run without authentication, and without the work of its retention policies and continuous queries.")
	return b
}

func (e influxEngine) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	facts := inst.Facts()
	if list := e.Check(spec, facts); len(list) > 0 {
		reason := engine.ReasonNoDatabase
		if list[0].Label != labelName {
			reason = engine.ReasonUnsupported
		}
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).WithReason(reason).WithHint("%s", list[0].Suggestion)
	}
	credentials, err := engine.ResolveCredentials(ctx, inst, spec, variables)
	if err != nil {
		return nil, err
	}
	s := &session{inst: inst, argv: address(facts.Env), database: credentials.Database, secure: facts.Env["INFLUXDB_HTTP_HTTPS_ENABLED"] == "true"}
	if spec.AllDatabases {
		s.database = ""
	}
	if credentials.Found {
		s.user, s.password = credentials.User, credentials.Password
		if s.user == "" {
			s.user = "admin" // what Bitnami's image calls it
		}
	}
	_, version, err := engine.FirstTool(ctx, inst, tool)
	if problem.ReasonOf(err) == engine.ReasonToolMissing {
		return nil, problem.New(problem.Failed, "the container has no influx").WithReason(engine.ReasonToolMissing).
			WithHint("The influxdb engine knows version 1 alone, whose images have it. If this is another version: %s.", instead)
	}
	if err != nil {
		return nil, err
	}
	var isFirst bool
	if s.version, isFirst = toolVersion(version); !isFirst {
		return nil, problem.New(problem.Failed, "the container's influx is not that of InfluxDB 1").WithReason(engine.ReasonUnsupported).
			WithHint("The influxdb engine knows version 1 alone: %s.", instead).WithDetails(s.version)
	}
	return s, s.look(ctx)
}

// look lists the databases.
func (s *session) look(ctx context.Context) (err error) {
	s.databases, err = s.list(ctx, "SHOW DATABASES")
	s.databases = slices.DeleteFunc(s.databases, func(name string) bool { return name == "_internal" })
	return err
}

// toolVersion reads what influx says of itself.
func toolVersion(said string) (version string, isFirst bool) {
	version, is := strings.CutPrefix(said, "InfluxDB shell version:")
	version = strings.TrimPrefix(strings.TrimSpace(version), "v")
	const enough = 40
	version = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, version[:min(len(version), enough)])
	return version, is && strings.HasPrefix(version, "1.")
}

// address is where the server listens inside its container, in arguments for influx.
func address(env map[string]string) []string {
	argv := []string{tool}
	if host, port, err := net.SplitHostPort(env["INFLUXDB_HTTP_BIND_ADDRESS"]); err == nil {
		if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
			argv = append(argv, "-host="+host)
		}
		if port != "" && strings.Trim(port, "0123456789") == "" {
			argv = append(argv, "-port="+port)
		}
	}
	if env["INFLUXDB_HTTP_HTTPS_ENABLED"] == "true" {
		// The certificate need not be made out to the address inside the container,
		// where nobody else can be met.
		argv = append(argv, "-ssl", "-unsafeSsl")
	}
	return argv
}

const giveUser = "Set INFLUXDB_ADMIN_USER and INFLUXDB_ADMIN_PASSWORD on the container, or the label baktainer.db.user with baktainer.db.password_file, baktainer.db.password_env or baktainer.db.password. The variables count only when the server's data was first made."

var patterns = []engine.Pattern{
	{Any: []string{"authorization failed"}, Reason: engine.ReasonWrongPassword, Code: problem.Denied, Hint: giveUser},
	{Any: []string{"unable to parse authentication credentials", "create admin user first"}, Reason: engine.ReasonNoCredentials, Code: problem.Denied, Hint: giveUser},
	{Any: []string{"requires admin privilege", "not authorized to"}, Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "The user has to be an administrator of InfluxDB (WITH ALL PRIVILEGES)."},
	{Any: []string{"failed to connect", "connection refused", "timeout awaiting"}, Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "InfluxDB does not answer inside its container. Is it still starting? Where its configuration file has it listen elsewhere, or with TLS, set INFLUXDB_HTTP_BIND_ADDRESS or INFLUXDB_HTTP_HTTPS_ENABLED=true on the container as well."},
	{Any: []string{"database not found"}, Reason: engine.ReasonNoDatabase, Code: problem.NotFound,
		Hint: "The database was dropped meanwhile."},
	{Any: []string{"query-timeout", "max-select-", "query interrupted"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The server ended a query. See its settings query-timeout and max-select-…: a dump asks for up to 10,000 points at a time."},
	{Any: []string{"error encountered when reading a file"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "A point with line ends in its text is longer than the 100 KiB that this version of curl takes. Restore into a container with another version."},
	{Any: []string{"field type conflict", "partial write"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The server did not take all points. Its limits (max-series-per-database, max-values-per-tag) have to be as those of the source; stop the applications that write to it."},
}
