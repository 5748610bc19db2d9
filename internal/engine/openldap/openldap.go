// Package openldap is the engine for OpenLDAP's slapd. A source is a whole
// server: its configuration and each of its databases are streams of their own.
//
// Dumps are made by slapcat, which reads a database in one transaction while
// slapd goes on. Restores go through the running server: ldapadd, by its
// administrator, so that overlays, replicas and caches learn of every entry.
// slapadd would be faster, but is for servers that are stopped.
package openldap

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type openldap struct{}

// New returns the engine.
func New() engine.Engine { return openldap{} }

func (openldap) Name() string      { return "openldap" }
func (openldap) Aliases() []string { return []string{"ldap", "slapd"} }

// Detect knows images whose name begins with the server's: tools for it are called
// phpldapadmin, ldap-account-manager, openldap-exporter.
func (openldap) Detect(f engine.Facts) bool {
	words := slices.DeleteFunc(engine.ImageWords(f.Image), func(w string) bool { return w == "docker" || w == "container" })
	return len(words) > 0 && (words[0] == "openldap" || words[0] == "slapd") && !engine.IsToolImage(f.Image)
}

const labelName = "baktainer.db.name"

func (openldap) Check(s source.Spec, _ engine.Facts) []engine.Complaint {
	list := engine.NoSidecar(s, "slapcat reads its files")
	if s.Database == "" || strings.Contains(s.Database, "=") || strings.Contains(s.Database, ".") {
		return list
	}
	return append(list, engine.Complaint{
		Label: labelName, Reason: "a database of a directory server is named by its suffix",
		Suggestion: "write it as dc=example,dc=org, or leave the label out to back up all databases",
	})
}

// variables are those of osixia and bitnami, of tiredofit, and of others. The name
// of the administrator is not among them: the server's configuration says it.
var variables = engine.Variables{Password: []string{"LDAP_ADMIN_PASSWORD", "ADMIN_PASS", "SLAPD_PASSWORD"}}

// Blank always gives a password: without one the images have a default that
// cannot be known.
func (openldap) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	b := engine.Like(f, spec, variables, secret)
	if !b.Given(variables.Password...) {
		b.Env[variables.Password[0]] = secret.Reveal()
	}
	return b
}

func (e openldap) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	if list := e.Check(spec, inst.Facts()); len(list) > 0 {
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).
			WithReason(engine.ReasonNoDatabase).WithHint("%s", list[0].Suggestion)
	}
	s := &session{inst: inst}
	var err error
	if s.credentials, err = engine.ResolveCredentials(ctx, inst, spec, variables); err != nil {
		return nil, err
	}
	if err := s.typed(); err != nil {
		return nil, err
	}
	if err := s.greet(ctx); err != nil {
		return nil, err
	}
	if s.config, err = findConfig(ctx, inst); err != nil {
		return nil, err
	}
	if s.blocks, err = canBlock(ctx, inst); err != nil {
		return nil, err
	}
	if s.databases, err = s.readConfig(ctx, spec.Database); err != nil {
		return nil, err
	}
	// A dump needs no password. One that a label gives is tried all the same, since
	// the restore that needs it is no time to learn that it is wrong.
	if spec.Password != "" || spec.PasswordFile != "" || spec.PasswordEnv != "" {
		return s, s.login(ctx, s.databases[0])
	}
	return s, nil
}

// typed refuses a password that the tools would not read to its end: they take
// it from stdin as if it were typed.
func (s *session) typed() error {
	const most = 512
	pw := s.credentials.Password.Reveal()
	if len(pw) <= most && !strings.ContainsAny(pw, "\r\n") {
		return nil
	}
	return problem.New(problem.InvalidInput, "the password from %s has a line end in it, or more than %d bytes", s.credentials.From, most).
		WithReason(engine.ReasonNoCredentials).WithHint("OpenLDAP's tools cannot be given such a password.")
}

var version = regexp.MustCompile(`ldapwhoami ([0-9][0-9A-Za-z.+~-]*)`)

// greet finds where the server answers. It may well refuse to say who we are:
// that is an answer.
func (s *session) greet(ctx context.Context) error {
	urls := []string{"ldapi:///"}
	for _, name := range []string{"LDAP_PORT_NUMBER", "LDAP_PORT"} {
		if port := s.inst.Facts().Env[name]; port != "" && strings.Trim(port, "0123456789") == "" {
			urls = append(urls, "ldap://127.0.0.1:"+port)
		}
	}
	var last engine.Exit
	for _, s.url = range append(urls, "ldap://127.0.0.1:389") {
		_, exit, err := engine.Output(ctx, s.inst, engine.Command{Argv: []string{"ldapwhoami", "-V", "-x", "-H", s.url}}, engine.AnswerLimit)
		if err != nil {
			return err
		}
		if v := version.FindStringSubmatch(exit.Stderr); v != nil {
			s.server = "OpenLDAP " + v[1]
		}
		if exit.Status < 126 { // from there on it is the tool that speaks, and not the server
			return nil
		}
		last = exit
	}
	return explain("ldapwhoami", last)
}

// configs are the folders of the configuration, as Debian, Alpine and bitnami
// have them.
var configs = []string{
	"/etc/ldap/slapd.d", "/etc/openldap/slapd.d", "/bitnami/openldap/slapd.d", "/opt/bitnami/openldap/etc/slapd.d",
	"/usr/local/etc/openldap/slapd.d", "/usr/local/etc/slapd.d",
}

// findConfig finds the folder of the configuration: the container's command names
// it, or it is in its usual place.
func findConfig(ctx context.Context, inst engine.Instance) (string, error) {
	args := inst.Facts().Args
	var places []string
	for i, arg := range args[:max(0, len(args)-1)] {
		if arg == "-F" && path.IsAbs(args[i+1]) {
			places = append(places, args[i+1])
		}
	}
	const limit = 1 << 20
	for _, dir := range append(places, configs...) {
		switch _, err := inst.ReadFile(ctx, dir+"/cn=config.ldif", limit); {
		case err == nil:
			return dir, nil
		case ctx.Err() != nil:
			return "", ctx.Err()
		case !errors.Is(err, fs.ErrNotExist):
			return "", problem.Wrap(problem.CodeOf(err), err, "look for the configuration of slapd").WithReason(problem.ReasonOf(err))
		}
	}
	return "", problem.New(problem.NotFound, "the configuration of slapd was not found").WithReason(engine.ReasonUnsupported).
		WithHint("It is looked for in the folder that the container's command names with -F, and in the usual ones (%s). A server with a slapd.conf must be converted first: slaptest -f slapd.conf -F slapd.d", strings.Join(configs, ", ")).
		WithDetails("not found: cn=config.ldif")
}

// blocking starts a program that cannot be asked to end. slapcat takes that for
// the end of its work: it leaves out the entries that are still to come and ends
// with status 0. Where a container is stopped by asking all of its programs to
// end, such a dump would look whole. Not every image has an env that can do that:
// see recount.
var blocking = []string{"env", "--block-signal=HUP,INT,TERM"}

// canBlock says whether the container has an env that can do that.
func canBlock(ctx context.Context, inst engine.Instance) (bool, error) {
	_, exit, err := engine.Output(ctx, inst, engine.Command{Argv: append(slices.Clone(blocking), "true")}, engine.AnswerLimit)
	if problem.ReasonOf(err) == engine.ReasonToolMissing {
		return false, nil
	}
	return exit.Status == 0, err
}

func explain(tool string, e engine.Exit) *problem.Problem {
	e.Stderr = strings.ReplaceAll(e.Stderr, "Enter LDAP Password: ", "")
	return engine.Explain(tool, e, patterns)
}

var patterns = []engine.Pattern{
	{Any: []string{"Invalid credentials (49)"}, Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "Set the label baktainer.db.password_file, baktainer.db.password_env or baktainer.db.password (and baktainer.db.user, the DN of the administrator, if it is not the database's olcRootDN). The variables of the container count only when its data was first made."},
	{Any: []string{"Can't contact LDAP server"}, Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "The server answers neither at ldapi:/// nor at 127.0.0.1 inside its container. Is it still starting?"},
	{Any: []string{"Insufficient access (50)", "no write access"}, Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "A restore needs the database's administrator (olcRootDN), or a user that may manage it. Set baktainer.db.user and a password label."},
	{Any: []string{"Permission denied", "Operation not permitted"}, Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "The container's user may not read the files of slapd. Run the container as root, or as the user that slapd runs as."},
	{Any: []string{"Undefined attribute type (17)", "Object class violation (65)", "objectClass: value #", "Invalid syntax (21)"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The target's schema does not know what the snapshot holds. Add the schema, or load the module that brings it."},
	{Any: []string{"operation restricted", "read-only"}, Reason: engine.ReasonUnsupported, Code: problem.Conflict,
		Hint: "The target is set to be read only (olcReadOnly)."},
	{Any: []string{"shadow context", "Referral (10)"}, Reason: engine.ReasonUnsupported, Code: problem.Conflict,
		Hint: "The target is a replica. Restore into its provider."},
	{Any: []string{"MDB_MAP_FULL", "index generation failed", "No space left"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The target's database is full: raise its olcDbMaxSize, or free space on its disk."},
	{Any: []string{"ber_get_next", "sockbuf"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "An entry is larger than the server takes. Raise its olcSockbufMaxIncomingAuth."},
}
