// Package etcd is the engine for etcd. A source is the whole key space that a
// member of it serves.
//
// etcd's own snapshot goes to a file only, and can be restored only by stopping
// every member and exchanging their data folders. So the dump is one of keys:
// etcdctl is asked for page after page of them, all at the revision of the
// first, and each is written as a line in the language of `etcdctl txn`, which
// takes any byte in keys and values. A restore feeds these lines to the running
// etcd, in transactions as large as it takes. Keys and values travel by stdin
// and stdout, never in arguments.
//
// A key that has a lease comes back with a new one of the same time to live.
// What is not in a dump are revisions, users and roles.
package etcd

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

type etcdEngine struct{}

// New returns the engine.
func New() engine.Engine { return etcdEngine{} }

func (etcdEngine) Name() string      { return "etcd" }
func (etcdEngine) Aliases() []string { return []string{"etcd3"} }

// Detect knows the images of etcd, also those that distributors rename, such as
// mirrored-coreos-etcd and etcd-arm64.
func (etcdEngine) Detect(f engine.Facts) bool {
	_, last := engine.ImagePath(f.Image)
	switch last {
	case "etcd", "etcd-amd64", "etcd-arm64", "etcd-ppc64le", "etcd-s390x":
		return true
	}
	return strings.HasSuffix(last, "-etcd") && !engine.IsToolImage(f.Image)
}

func (etcdEngine) Check(s source.Spec, f engine.Facts) []engine.Complaint {
	var list []engine.Complaint
	if s.Database != "" {
		list = append(list, engine.Complaint{
			Label:      "baktainer.db.name",
			Reason:     "the etcd engine backs up all keys together",
			Suggestion: "leave the label out",
		})
	}
	if serverSettings(f).certificates() {
		list = append(list, engine.NoSidecar(s, "etcdctl reads certificates, which only this container has")...)
	}
	return list
}

// variables are those of etcdctl, and the one of the image of Bitnami.
var variables = engine.Variables{User: []string{"ETCDCTL_USER"}, Password: []string{"ETCDCTL_PASSWORD", "ETCD_ROOT_PASSWORD"}}

// Blank is a member by itself that only listens to its own container, without
// authentication and TLS, whatever the cluster of the source is like. Variables
// say so rather than arguments: etcd does not start when an argument contradicts
// a variable, and its image may have some. Every image has a /tmp for everybody.
func (etcdEngine) Blank(f engine.Facts, spec source.Spec, _ source.Secret) engine.Blank {
	const client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	env := map[string]string{
		"ETCD_NAME": "drill", "ETCD_DATA_DIR": "/tmp/baktainer-drill-etcd",
		"ETCD_LISTEN_CLIENT_URLS": client, "ETCD_ADVERTISE_CLIENT_URLS": client,
		"ETCD_LISTEN_PEER_URLS": peer, "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
		"ETCD_INITIAL_CLUSTER": "drill=" + peer, "ETCD_INITIAL_CLUSTER_STATE": "new",
	}
	given := serverSettings(f)
	for _, name := range limits { // what the source may hold, its copy may
		if value := given.get(name); value != "" {
			env[variableOf(name)] = value
		}
	}
	spec.User, spec.Password, spec.PasswordFile, spec.PasswordEnv = "", "", "", ""
	return engine.Blank{Env: env, Args: []string{"etcd"}, Spec: spec, Fleeting: true, Notes: []string{
		"etcd was run as a member by itself, without authentication.",
	}}
}

func (e etcdEngine) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	facts := inst.Facts()
	if list := e.Check(spec, facts); len(list) > 0 {
		return nil, problem.New(problem.InvalidInput, "%s: %s", list[0].Label, list[0].Reason).
			WithReason(engine.ReasonNoDatabase).WithHint("%s", list[0].Suggestion)
	}
	given := serverSettings(facts)
	s := &session{inst: inst, env: given.client(facts.Env), batch: given.batch()}
	if err := s.logIn(ctx, spec); err != nil {
		return nil, err
	}
	out, exit, err := s.run(ctx, nil, "version")
	if err = s.ended(exit, err); err != nil {
		return nil, err
	}
	s.tool = toolVersion(out)
	_, err = s.held(ctx) // tries whether the server answers, and to whom
	return s, err
}

// logIn adds user and password to the environment of etcdctl.
func (s *session) logIn(ctx context.Context, spec source.Spec) error {
	c, err := engine.ResolveCredentials(ctx, s.inst, spec, variables)
	if err != nil {
		return err
	}
	env := s.inst.Facts().Env
	labelled := spec.Password != "" || spec.PasswordFile != "" || spec.PasswordEnv != ""
	if user, password, both := strings.Cut(c.User, ":"); both && spec.User == "" {
		c.User = user
		if !labelled && env["ETCDCTL_PASSWORD"] == "" {
			c.Password = source.Secret(password)
		}
	}
	if c.User == "" {
		c.User = "root"
	}
	if c.Password != "" {
		s.password = c.Password
		s.env = append(s.env, "ETCDCTL_USER="+c.User, "ETCDCTL_PASSWORD="+c.Password.Reveal())
	}
	return nil
}

// toolVersion reads the version from what etcdctl says of itself.
func toolVersion(said string) string {
	line, _, _ := strings.Cut(said, "\n")
	version := strings.TrimSpace(strings.TrimPrefix(line, "etcdctl version:"))
	plain := func(r rune) rune {
		if r > ' ' && r < 0x7f && r != ',' {
			return r
		}
		return -1
	}
	const enough = 40
	version = strings.Map(plain, version)
	return version[:min(len(version), enough)]
}

// held is how many keys there are. (Only etcdctl 3.5 can ask for that alone.)
func (s *session) held(ctx context.Context) (int64, error) {
	out, exit, err := s.run(ctx, []string{"ETCDCTL_WRITE_OUT=json"}, "get", "--prefix", "--keys-only", "--limit=1", "--", "")
	if err = s.ended(exit, err); err != nil {
		return 0, err
	}
	var answer struct {
		Header struct{ Revision int64 }
		Count  int64
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Header.Revision == 0 {
		return 0, problem.New(problem.Failed, "etcdctl answered something other than the number of keys").WithReason(engine.ReasonMalformed)
	}
	return answer.Count, nil
}

var patterns = []engine.Pattern{
	{Any: []string{"invalid user ID or", "user name is empty", "invalid auth token", "user name not found"}, Reason: engine.ReasonWrongPassword, Code: problem.Denied,
		Hint: "Set the label baktainer.db.password_file, baktainer.db.password_env or baktainer.db.password; the user is root unless the label baktainer.db.user or the variable ETCDCTL_USER says otherwise."},
	{Any: []string{"etcdserver: permission denied"}, Reason: engine.ReasonToolFailed, Code: problem.Denied,
		Hint: "The user needs the role root, or the right to read all keys (and to write them, for a restore)."},
	{Any: []string{"revision has been compacted"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The server forgot the revision that was being dumped. Let it keep its history for longer than a dump takes (--auto-compaction-retention)."},
	{Any: []string{"request is too large", "larger than max"}, Reason: engine.ReasonUnsupported, Code: problem.Failed,
		Hint: "The target takes no value of this size. Start it with a larger --max-request-bytes; etcdctl itself sends at most 2 MiB."},
	{Any: []string{"database space exceeded"}, Reason: engine.ReasonToolFailed, Code: problem.Failed,
		Hint: "The etcd is full (--quota-backend-bytes). Compact and defragment it, disarm its alarm, and try again."},
	{Any: []string{"context deadline exceeded", "connection refused", "etcdserver: no leader", "leader changed", "request timed out", "code = Unavailable", "server not ready"},
		Reason: engine.ReasonNoConnection, Code: problem.Unavailable,
		Hint: "etcd does not answer inside its container. Has it a leader? If it wants TLS or listens elsewhere, set ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY on the container."},
}
