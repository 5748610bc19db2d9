package openldap

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"osixia/openldap:1.5.0": true, "bitnami/openldap": true, "docker.io/tiredofit/openldap:2.6": true, "slapd": true, "me/docker-openldap": true, "openldap-2.6": true,
		"osixia/phpldapadmin": false, "openldap-exporter": false, "tomcz/openldap_exporter": false, "ldapaccountmanager/lam": false, "osixia/openldap-backup": false,
		"guided/openldap-operator": false, "openldap-ui": false, "ldap": false, "lldap/lldap": false, "postgres": false, "": false, "docker": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, want := range map[string]int{"": 0, "dc=example,dc=org": 0, "example.org": 0, "shop": 1} {
		if list := New().Check(source.Spec{Database: name}, engine.Facts{}); len(list) != want {
			t.Errorf("%q: %v", name, list)
		}
	}
	if list := New().Check(source.Spec{Database: "shop", Tools: source.Tools{Image: "osixia/openldap"}}, engine.Facts{}); len(list) != 2 {
		t.Errorf("with a side-car: %v", list)
	}
}

func TestBlank(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"LDAP_ADMIN_PASSWORD": {"LDAP_ADMIN_PASSWORD_FILE": "/run/secrets/x", "LDAP_DOMAIN": "a.b"}, "ADMIN_PASS": {"ADMIN_PASS": "old"},
	} {
		b := New().Blank(engine.Facts{Env: env}, source.Spec{}, "new")
		if b.Env[name] != "new" || b.Env[name+"_FILE"] != "" || b.Env["LDAP_DOMAIN"] != env["LDAP_DOMAIN"] {
			t.Errorf("%v", b.Env)
		}
	}
	if b := New().Blank(engine.Facts{}, source.Spec{}, "new"); b.Env["LDAP_ADMIN_PASSWORD"] != "new" {
		t.Errorf("the image's default password is not known: %v", b.Env)
	}
}

const config = `dn: olcDatabase={-1}frontend,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {-1}frontend

dn: olcDatabase={1}mdb,cn=config
olcDatabase: {1}mdb
olcSuffix: dc=example,dc=org
olcRootDN: cn=admin,dc=exa
 mple,dc=org
olcRootPW:: e1NTSEF9c2VjcmV0

dn: olcOverlay={0}memberof,olcDatabase={1}mdb,cn=config
olcOverlay: {0}memberof
olcMemberOfMemberAD: uniqueMember

dn: olcOverlay={1}accesslog,olcDatabase={1}mdb,cn=config
olcOverlay: {1}accesslog
olcAccessLogDB: cn=accesslog

dn: olcDatabase={2}mdb,cn=config
olcDatabase: {2}mdb
olcSuffix: cn=AccessLog
olcRootDN: cn=accesslog

dn: olcDatabase={3}monitor,cn=config
olcDatabase: {3}monitor

dn: olcDatabase={4}hdb,cn=config
olcDatabase: {4}hdb
olcSuffix:: bz1ab8OrLGM9QVQ=
olcSuffix: dc=second
olcRootDN: cn=root

dn: olcOverlay={0}memberof,olcDatabase={4}hdb,cn=config
olcOverlay: {0}memberof

dn: olcDatabase={5}ldap,cn=config
olcDatabase: {5}ldap
olcSuffix: dc=elsewhere

`

const entries = `dn: dc=example,dc=org
objectClass: dcObject
structuralObjectClass: organization
entryUUID: 1
entryCSN: 2
 3
contextCSN: 4

dn: uid=zoe,ou=people,dc=example,dc=org
cn:: Wm/Dqw==
memberOf: cn=g,dc=exampl
 e,dc=org

dn: ou=people,dc=example,dc=org
ou: people

dn: ou=people2,dc=example,dc=org
ou: people2

dn: cn=g,dc=example,dc=org
uniqueMember: uid=zoe,ou=peop
 le,dc=example,dc=org
uniqueMember: x=y
modifyTimestamp: 20200101000000Z
cn: g

`

const pw = `hunter2 "quoted"`

// instance is a scripted server that is asked as few things as a real one.
func instance(facts engine.Facts) *enginetest.Script {
	if facts.Env == nil {
		facts.Env = map[string]string{"LDAP_ADMIN_PASSWORD": pw}
	}
	i := enginetest.NewScript(facts).File("/etc/ldap/slapd.d/cn=config.ldif", "dn: cn=config\n")
	fine := func(enginetest.Call) enginetest.Answer { return enginetest.Answer{} }
	i.On("ldapwhoami", func(enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Stderr: "ldapwhoami: @(#) $OpenLDAP: ldapwhoami 2.5.13+dfsg-5 (Feb  8 2023) $\n"}
	})
	i.On("env", func(c enginetest.Call) enginetest.Answer {
		switch args := c.Args(); {
		case strings.HasSuffix(args, "true"):
			return enginetest.Answer{}
		case strings.Contains(args, "-n 0 -a"):
			return enginetest.Answer{Stdout: config}
		case strings.Contains(args, "-a (uniqueMember=*)"):
			return enginetest.Answer{Stdout: entries[strings.Index(entries, "dn: cn=g"):]}
		}
		return enginetest.Answer{Stdout: entries}
	})
	return i.On("ldapadd", fine).On("ldapdelete", fine).
		On("ldapmodify", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Status: 14} })
}

func opened(t *testing.T, i engine.Instance, spec source.Spec) *session {
	t.Helper()
	s, err := New().Open(t.Context(), i, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return s.(*session)
}

func TestOpen(t *testing.T) {
	i := instance(engine.Facts{})
	s := opened(t, i, source.Spec{})
	want := []database{
		{number: 1, backend: "mdb", suffix: "dc=example,dc=org", rootDN: "cn=admin,dc=example,dc=org", rootPW: true, memberOf: "uniqueMember"},
		{number: 4, backend: "hdb", suffix: "o=Zoë,c=AT", rootDN: "cn=root", joined: true, memberOf: "member"},
	}
	if !slices.Equal(s.databases, want) || s.Server() != "OpenLDAP 2.5.13+dfsg-5" || s.url != "ldapi:///" || !s.blocks {
		t.Errorf("%+v", s)
	}
	streams, _ := s.Streams(t.Context())
	if got := fmt.Sprint(streams); got != "[{config.ldif config  ldif} {example.org.ldif database dc=example,dc=org ldif} {o%3DZo%C3%AB%2Cc%3DAT.ldif database o=Zoë,c=AT ldif}]" {
		t.Error(got)
	}
	for _, stream := range streams {
		if _, err := s.Dump(t.Context(), stream); err != nil {
			t.Error(err)
		}
	}
	calls := i.Calls()
	for n, want := range []string{"-n 0", "-g -n 1", "-g -n 4"} {
		if got := calls[len(calls)-3+n].Args(); got != "env --block-signal=HUP,INT,TERM slapcat -F /etc/ldap/slapd.d "+want {
			t.Error(got)
		}
	}
	for _, name := range []string{"DC=Example, dc=ORG", "example.org"} {
		if one := opened(t, instance(engine.Facts{}), source.Spec{Database: name}); len(one.databases) != 1 || one.databases[0].number != 1 {
			t.Errorf("%s: %+v", name, one.databases)
		}
	}
}

func TestOpenElsewhere(t *testing.T) {
	i := enginetest.NewScript(engine.Facts{Args: []string{"slapd", "-F", "/srv/conf"}, Env: map[string]string{"LDAP_PORT_NUMBER": "1389"}}).
		File("/srv/conf/cn=config.ldif", "").
		On("ldapwhoami", func(c enginetest.Call) enginetest.Answer {
			if strings.HasSuffix(c.Args(), ":1389") {
				return enginetest.Answer{Status: 48, Stderr: "ldap_bind: Inappropriate authentication (48)"}
			}
			return enginetest.Answer{Status: 255, Stderr: "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)"}
		}).
		On("slapcat", func(c enginetest.Call) enginetest.Answer {
			if strings.HasSuffix(c.Args(), "-v -l /dev/null") {
				return enginetest.Answer{Stdout: strings.Repeat("# id=00000001\n", strings.Count(config, "dn:"))}
			}
			return enginetest.Answer{Stdout: config}
		})
	s := opened(t, i, source.Spec{})
	if s.config != "/srv/conf" || s.url != "ldap://127.0.0.1:1389" || s.blocks {
		t.Errorf("%+v", s)
	}
}

func TestOpenRefused(t *testing.T) {
	answer := func(tool string, a enginetest.Answer) func(*enginetest.Script) {
		return func(i *enginetest.Script) { i.On(tool, func(enginetest.Call) enginetest.Answer { return a }) }
	}
	with := func(config string) func(*enginetest.Script) {
		return func(i *enginetest.Script) {
			i.On("env", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: config} })
		}
	}
	for name, c := range map[string]struct {
		change func(*enginetest.Script)
		spec   source.Spec
		want   problem.Reason
	}{
		"no answer":        {answer("ldapwhoami", enginetest.Answer{Status: 255, Stderr: "ldap_sasl_bind(SIMPLE): Can't contact LDAP server (-1)"}), source.Spec{}, engine.ReasonNoConnection},
		"no clients":       {answer("ldapwhoami", enginetest.Answer{Status: 127}), source.Spec{}, engine.ReasonToolMissing},
		"no slapcat":       {answer("env", enginetest.Answer{Status: 127, Stderr: "env: 'slapcat': No such file"}), source.Spec{}, engine.ReasonToolMissing},
		"not ours to read": {answer("slapcat", enginetest.Answer{Status: 1, Stderr: "could not stat config file: Permission denied (13)"}), source.Spec{}, engine.ReasonToolFailed},
		"no such database": {with(config), source.Spec{Database: "dc=none"}, engine.ReasonNoDatabase},
		"a proxy only":     {with("dn: olcDatabase={1}ldap,cn=config\nolcDatabase: {1}ldap\nolcSuffix: dc=a\n\n"), source.Spec{}, engine.ReasonNoDatabase},
		"a kind of files":  {with("dn: olcDatabase={1}ldif,cn=config\nolcDatabase: {1}ldif\nolcSuffix: dc=a\n\n"), source.Spec{}, engine.ReasonUnsupported},
		"half a config":    {with("dn: olcDatabase={1}mdb,cn=config\nolcDatabase: {1}mdb\nolcSuf"), source.Spec{}, engine.ReasonTruncated},
		"a bad label":      {with(config), source.Spec{Database: "shop"}, engine.ReasonNoDatabase},
		"a missing file":   {with(config), source.Spec{PasswordFile: "/none"}, engine.ReasonNoCredentials},
		"two lines":        {with(config), source.Spec{Password: "a\nb"}, engine.ReasonNoCredentials},
		"too long":         {with(config), source.Spec{Password: source.Secret(strings.Repeat("x", 513))}, engine.ReasonNoCredentials},
		"a wrong password": {func(i *enginetest.Script) {
			i.On("ldapwhoami", func(c enginetest.Call) enginetest.Answer {
				if c.Stdin == nil {
					return enginetest.Answer{}
				}
				return enginetest.Answer{Status: 49, Stderr: "Enter LDAP Password: ldap_bind: Invalid credentials (49) " + pw}
			})
		}, source.Spec{Password: pw}, engine.ReasonWrongPassword},
	} {
		i := instance(engine.Facts{})
		if name == "not ours to read" {
			answer("env", enginetest.Answer{Status: 125})(i) // one that knows no signals
		}
		c.change(i)
		_, err := New().Open(t.Context(), i, c.spec)
		if problem.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, reason %s", name, err, problem.ReasonOf(err))
		}
		if text := problem.Text(err); strings.Contains(text, "hunter2") {
			t.Errorf("%s: the error tells the password: %s", name, text)
		}
	}
	i := enginetest.NewScript(engine.Facts{}).On("ldapwhoami", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{} })
	if _, err := New().Open(t.Context(), i, source.Spec{}); problem.ReasonOf(err) != engine.ReasonUnsupported || !strings.Contains(problem.Text(err), "slapd.conf") {
		t.Error("no configuration:", err)
	}
}

// process is a tool whose end is known beforehand.
type process struct {
	io.Reader
	exit    engine.Exit
	err     error
	waited  int
	killing int
}

func (p *process) Wait() (engine.Exit, error) { p.waited++; return p.exit, p.err }
func (p *process) Kill()                      { p.killing++ }

func TestTheMarkIsEarned(t *testing.T) {
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		text    string
		process process
		confirm error
		kill    bool
		whole   bool
	}{
		"fine":               {text: entries, whole: true},
		"failed":             {text: entries, process: process{exit: engine.Exit{Status: 1}}},
		"lost":               {text: entries, process: process{err: lost}},
		"within an entry":    {text: entries[:len(entries)-1]},
		"within a line":      {text: entries[:len(entries)-3]},
		"nothing":            {text: ""},
		"killed, and polite": {text: entries, kill: true},
		"more than it wrote": {text: entries, confirm: lost},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			inner := c.process
			inner.Reader = wrap(strings.NewReader(c.text))
			p := &dump{Process: &inner, confirm: func(n int64) error {
				if n != 5 && c.text != "" {
					t.Errorf("%s: %d entries", name, n)
				}
				return c.confirm
			}}
			if c.kill {
				p.Kill()
			}
			text, err := io.ReadAll(wrap(p))
			p.Kill() // after the end it must not reach anybody
			exit, waitErr := p.Wait()
			want := c.text
			if c.whole {
				want += ldif.Mark(5)
			}
			if string(text) != want || err != nil {
				t.Errorf("%s: %v, %q", name, err, text)
			}
			good := waitErr == nil && exit.Status == 0
			if good != (c.process.err == nil && c.process.exit.Status == 0 && c.confirm == nil && !c.kill) {
				t.Errorf("%s: %v %v", name, exit, waitErr)
			}
			if inner.waited != 1 || inner.killing > 0 != c.kill || inner.killing > 1 {
				t.Errorf("%s: waited %d times, killed %d times", name, inner.waited, inner.killing)
			}
		}
	}
	inner := process{Reader: io.MultiReader(strings.NewReader(entries), iotest.ErrReader(lost)), err: lost}
	p := &dump{Process: &inner}
	if _, err := io.ReadAll(p); !errors.Is(err, lost) {
		t.Error(err)
	}
	if _, err := p.Wait(); !errors.Is(err, lost) || inner.waited != 1 {
		t.Error(err, inner.waited)
	}
}

func TestInspector(t *testing.T) {
	i := newInspector(main)
	_, _ = io.WriteString(i, entries+ldif.Mark(5))
	c, err := i.Finish()
	if got := fmt.Sprint(c.Objects); err != nil || got != "[{subtree dc=example 1 []} {subtree ou=people 2 []} {subtree ou=people2 1 []} {subtree cn=g 1 []}]" {
		t.Error(got, err)
	}
	i = newInspector(main)
	for n := range maxBelow + 50 {
		fmt.Fprintf(i, "dn: cn=%d,dc=example,dc=org\na: b\n\n", n)
	}
	_, _ = io.WriteString(i, ldif.Mark(maxBelow+50))
	if c, err = i.Finish(); err != nil || fmt.Sprint(c.Objects) != "[{subtree dc=example,dc=org 550 []}]" {
		t.Error(c, err)
	}
}

// translated is what a client would be given.
func translated(t io.Reader) string {
	b, err := io.ReadAll(t)
	if err != nil {
		return string(b) + "! " + err.Error()
	}
	return string(b)
}

func TestAdder(t *testing.T) {
	data := entries + ldif.Mark(5)
	tally := newTally(maphash.MakeSeed())
	a := newAdder(iotest.OneByteReader(strings.NewReader(data)), suffix, tally)
	want := `dn:: ZGM9ZXhhbXBsZSxkYz1vcmc=
objectClass: dcObject
entryUUID: 1

dn:: b3U9cGVvcGxlLGRjPWV4YW1wbGUsZGM9b3Jn
ou: people

dn:: dWlkPXpvZSxvdT1wZW9wbGUsZGM9ZXhhbXBsZSxkYz1vcmc=
cn:: Wm/Dqw==

dn:: b3U9cGVvcGxlMixkYz1leGFtcGxlLGRjPW9yZw==
ou: people2

dn:: Y249ZyxkYz1leGFtcGxlLGRjPW9yZw==
uniqueMember: uid=zoe,ou=peop
 le,dc=example,dc=org
uniqueMember: x=y
modifyTimestamp: 20200101000000Z
cn: g

`
	if got := translated(a); got != want || a.sent.Load() != 5 || a.taken() != nil {
		t.Errorf("%d: %s", a.sent.Load(), got)
	}
	for name, c := range map[string]struct{ text, want string }{
		"cut short":  {data[:len(data)-1], "cut short"},
		"no parent":  {"dn: cn=a,ou=b,dc=example,dc=org\ncn: a\n\n" + ldif.Mark(1), "lacks the entry ou=b,dc=example,dc=org"},
		"malformed":  {"dn: dc=example,dc=org\nchangetype: delete\n\n", "describes a change"},
		"too many":   {"dn: cn=a,ou=b,dc=example,dc=org\n" + strings.Repeat("a: "+strings.Repeat("x", 60_000)+"\n", 300) + "\n", "moved below younger"},
		"empty":      {"", "nothing was written"},
		"short, odd": {"dn: a\nb: c\n\n" + ldif.Mark(2), "end mark for"},
	} {
		a := newAdder(strings.NewReader(c.text), suffix, newTally(maphash.MakeSeed()))
		if got := translated(a); !strings.Contains(got, "! ") || !strings.Contains(got, c.want) || a.taken() == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestMembers(t *testing.T) {
	m := newMembers(strings.NewReader(entries[strings.Index(entries, "dn: cn=g"):]+ldif.Mark(1)), "UniqueMember")
	if got := translated(m); got != `dn:: Y249ZyxkYz1leGFtcGxlLGRjPW9yZw==
changetype: modify
replace: uniqueMember
uniqueMember: uid=zoe,ou=peop
 le,dc=example,dc=org
uniqueMember: x=y
-
replace: modifyTimestamp
modifyTimestamp: 20200101000000Z
-

` {
		t.Error(got)
	}
}

func TestTally(t *testing.T) {
	seed := maphash.MakeSeed()
	of := func(text string) *tally {
		tally := newTally(seed)
		p := ldif.New(tally.handler())
		_, _ = io.WriteString(p, text)
		return tally
	}
	want := of(entries)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"the same":         {entries, nil},
		"folded elsewhere": {strings.ReplaceAll(entries, "ou=peop\n le,", "ou=people,"), nil},
		"another order":    {entries[strings.Index(entries, "dn: cn=g"):] + entries[:strings.Index(entries, "dn: cn=g")], nil},
		"another case":     {strings.ReplaceAll(entries, "dn: dc=example", "dn: DC=Example"), nil},
		"another change":   {strings.ReplaceAll(entries, "entryCSN: 2", "entryCSN: 7"), nil},
		"another value":    {strings.ReplaceAll(entries, "x=y", "x=z"), []string{"uniqueMember: not all values are those that were restored"}},
		"elsewhere":        {strings.ReplaceAll(entries, "dn: cn=g", "dn: cn=h"), []string{"cn: not all values are those that were restored", "uniqueMember: not all values are those that were restored"}},
		"one less":         {strings.ReplaceAll(entries, "uniqueMember: x=y\n", ""), []string{"uniqueMember: there are 1 values, and 2 were restored"}},
		"one more":         {strings.ReplaceAll(entries, "cn: g\n", "cn: g\nmail: x\n"), []string{"mail: there are 1 values, and none was restored"}},
		"no memberOf":      {strings.ReplaceAll(entries, "memberOf: cn=g,dc=exampl\n e,dc=org\n", ""), []string{"memberOf: 1 values are missing"}},
		"more of it":       {strings.ReplaceAll(entries, "memberOf: ", "memberOf: x\nmemberOf: "), nil},
	} {
		if got := of(c.text).missing(want); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	many := newTally(seed)
	for n := range 3 * maxTallied {
		many.line(fmt.Appendf(nil, "a%d: x", n), len(fmt.Sprint("a", n)))
	}
	if len(many.of) > maxTallied+1 {
		t.Errorf("%d attributes", len(many.of))
	}
}

func TestRestore(t *testing.T) {
	data := []byte(entries + ldif.Mark(5))
	i := instance(engine.Facts{})
	s := opened(t, i, source.Spec{})
	plan, err := s.Prepare(t.Context(), []engine.Stream{main}, engine.RestoreOptions{})
	if problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Error(err)
	}
	plan, err = s.Prepare(t.Context(), []engine.Stream{main}, engine.RestoreOptions{Overwrite: true, DryRun: true})
	if err != nil || fmt.Sprint(plan.Replaces) != "[dc=example,dc=org with 5 entries]" || len(plan.Steps) != 2 {
		t.Error(plan, err)
	}
	for name, stream := range map[string]engine.Stream{
		"another engine": {Name: "dump.rdb", Format: "rdb", Kind: "server"}, "joined": {Kind: kindDatabase, Format: format, Database: "o=zoë, c=at"},
	} {
		if _, err := s.Prepare(t.Context(), []engine.Stream{stream}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	nobodys := engine.Stream{Kind: kindDatabase, Format: format, Database: "dc=nobody"}
	if _, err := s.Prepare(t.Context(), []engine.Stream{nobodys}, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonNoDatabase {
		t.Error(err)
	}
	if err := s.Restore(t.Context(), main, bytes.NewReader(data), engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Error(err)
	}
	for _, c := range i.Calls() {
		if c.Argv[0] == "ldapadd" || c.Argv[0] == "ldapdelete" || c.Argv[0] == "ldapmodify" && !strings.HasSuffix(c.Args(), "-e !noop") {
			t.Errorf("something was done without being asked for: %q", c.Argv)
		}
	}

	i.On("ldapmodify", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{} })
	if err := s.Restore(t.Context(), main, bytes.NewReader(data), engine.RestoreOptions{Overwrite: true}); err != nil {
		t.Fatal(problem.Text(err))
	}
	var done []string
	for _, c := range i.Calls() {
		if strings.Contains(c.Args(), "hunter2") {
			t.Errorf("the password is an argument: %q", c.Argv)
		}
		if (c.Argv[0] == "ldapadd" || c.Argv[0] == "ldapdelete" || c.Argv[0] == "ldapmodify") && !strings.HasSuffix(c.Args(), "!noop") {
			first, _, _ := strings.Cut(c.Input, "\n")
			done = append(done, c.Args())
			if first != pw || !slices.Contains(c.Secrets, pw) {
				t.Errorf("%q is not given the password", c.Argv)
			}
		}
	}
	const as = " -H ldapi:/// -x -D cn=admin,dc=example,dc=org -W "
	if want := []string{"ldapdelete" + as + "-M -r dc=example,dc=org", "ldapadd" + as + "-e !relax", "ldapmodify" + as + "-e !relax"}; !slices.Equal(done, want) {
		t.Errorf("%q", done)
	}

	broken := errors.New("the store went away")
	before := len(i.Calls())
	if err := s.Restore(t.Context(), main, iotest.ErrReader(broken), engine.RestoreOptions{Overwrite: true}); !errors.Is(err, broken) || len(i.Calls()) != before {
		t.Error("a snapshot that cannot be read at all:", err)
	}
	for _, n := range []int{len(data) / 2, len(data) - 1} {
		err := s.Restore(t.Context(), main, io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)), engine.RestoreOptions{Overwrite: true})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "only a part") {
			t.Error(err)
		}
		if err := s.Restore(t.Context(), main, bytes.NewReader(data[:n]), engine.RestoreOptions{Overwrite: true}); problem.ReasonOf(err) != engine.ReasonTruncated {
			t.Error(err)
		}
	}
	other := bytes.Replace(data, []byte("x=y"), []byte("x=z"), 1)
	if err := s.Restore(t.Context(), main, bytes.NewReader(other), engine.RestoreOptions{Overwrite: true}); err == nil || !strings.Contains(problem.Text(err), "uniqueMember: not all") {
		t.Error("the server has something else:", err)
	}
	i.On("ldapadd", func(enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Status: 65, Stdout: "adding new entry \"cn=x\"\n\n", Stderr: "ldap_add: Object class violation (65)"}
	})
	err = s.Restore(t.Context(), main, bytes.NewReader(data), engine.RestoreOptions{Overwrite: true})
	if problem.ReasonOf(err) != engine.ReasonUnsupported || !strings.Contains(problem.Text(err), `adding new entry "cn=x"`) {
		t.Error(problem.Text(err))
	}
	i.On("ldapdelete", func(enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Status: 66, Stderr: "ldap_delete: non-leaf"}
	})
	if err = s.Restore(t.Context(), main, bytes.NewReader(data), engine.RestoreOptions{Overwrite: true}); err == nil || !strings.Contains(err.Error(), "only in part") {
		t.Error(err)
	}
}

func TestAdmission(t *testing.T) {
	for status, want := range map[int]problem.Reason{14: "", 12: "", 32: "", 49: engine.ReasonWrongPassword, 50: engine.ReasonToolFailed, 53: engine.ReasonUnsupported, 127: engine.ReasonToolMissing} {
		i := instance(engine.Facts{})
		i.On("ldapmodify", func(enginetest.Call) enginetest.Answer {
			said := map[int]string{49: "Invalid credentials (49)", 50: "Insufficient access (50)", 53: "operation restricted"}[status]
			return enginetest.Answer{Status: status, Stderr: said}
		})
		s := opened(t, i, source.Spec{})
		if err := s.admit(t.Context(), s.databases[0]); problem.ReasonOf(err) != want || (err == nil) != (want == "") {
			t.Errorf("%d: %v", status, err)
		}
		i.On("ldapmodify", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{} })
		if err := s.admit(t.Context(), s.databases[0]); err == nil {
			t.Error("the server has changed something")
		}
	}
	for who, want := range map[string]problem.Reason{"": "", "CN=Admin, dc=example,dc=org": "", "cn=reader,DC=example, dc=org": engine.ReasonUnsupported, "cn=reader,dc=elsewhere": ""} {
		s := opened(t, instance(engine.Facts{}), source.Spec{User: who})
		if err := s.admit(t.Context(), s.databases[0]); problem.ReasonOf(err) != want {
			t.Errorf("as %q: %v", who, err)
		}
	}
	i := instance(engine.Facts{Env: map[string]string{}}).On("ldapmodify", func(c enginetest.Call) enginetest.Answer {
		if !strings.Contains(c.Args(), "-Y EXTERNAL") || strings.Contains(c.Args(), "-W") {
			t.Error(c.Args())
		}
		return enginetest.Answer{Status: 50}
	})
	s := opened(t, i, source.Spec{})
	if err := s.admit(t.Context(), s.databases[0]); problem.ReasonOf(err) != engine.ReasonNoCredentials {
		t.Error(err)
	}
}

func TestSchema(t *testing.T) {
	const mine = `dn: cn=config
objectClass: olcGlobal

dn: cn={0}core,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: {0}core
olcAttributeTypes: {0}( 2.5.4.3 NAME 'CN' SUP name )
olcObjectClasses: {0}( 2.5.6.6 NAME ( 'person' 'human' ) SUP top )
structuralObjectClass: olcSchemaConfig

dn: cn={1}own,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: {1}own
olcObjectIdentifier: {0}Own 1.2.3
olcAttributeTypes: {0}( Own:1 NA
 ME 'ownThing' SUP name )
olcAttributeTypes:: eyAxIH0oIE93bjoyIE5BTUUgJ293bk90aGVyJyBTVVAgbmFtZSAp
entryCSN: 1
 2

`
	data := mine + ldif.Mark(3)
	run := func(known string, added enginetest.Answer) (string, error) {
		var fed string
		i := instance(engine.Facts{}).
			On("ldapsearch", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: known} }).
			On("ldapadd", func(c enginetest.Call) enginetest.Answer { fed = c.Input; return added })
		s := opened(t, i, source.Spec{})
		err := s.Restore(t.Context(), engine.Stream{Kind: kindConfig, Format: format}, strings.NewReader(data), engine.RestoreOptions{})
		return fed, err
	}
	const core = "dn: cn=Subschema\nattributeTypes: ( 2.5.4.3 NAME ( 'cn' 'commonName' ) SUP name )\nobjectClasses: ( 2.5.6.6 NAME 'person' SUP top )\n"
	fed, err := run(core, enginetest.Answer{})
	want := `dn: cn=own,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: own
olcObjectIdentifier: {0}Own 1.2.3
olcAttributeTypes: {0}( Own:1 NA
 ME 'ownThing' SUP name )
olcAttributeTypes:: eyAxIH0oIE93bjoyIE5BTUUgJ293bk90aGVyJyBTVVAgbmFtZSAp

`
	if fed != want || err != nil {
		t.Errorf("%v: %s", err, fed)
	}
	if _, err = run(core, enginetest.Answer{Status: 50, Stderr: "Insufficient access (50)"}); problem.ReasonOf(err) != engine.ReasonUnsupported || !strings.Contains(err.Error(), "lacks the schema own") {
		t.Error(err)
	}
	if fed, err = run(core+"attributeTypes: ( 1 NAME 'ownOther' )\n", enginetest.Answer{}); problem.ReasonOf(err) != engine.ReasonUnsupported || fed != "" || !strings.Contains(problem.Text(err), "own: ownthing") {
		t.Error(problem.Text(err))
	}
	for _, known := range []string{"", core + "attributeTypes: ( 1 NAME 'ownOther' )\nattributeTypes: ( 1 NAME 'ownThing' )\n"} {
		if fed, err = run(known, enginetest.Answer{}); fed != "" || err != nil {
			t.Error(fed, err)
		}
	}
	if _, err := readSchema(strings.NewReader(mine)); problem.ReasonOf(err) != engine.ReasonTruncated {
		t.Error(err)
	}
}

func TestAsk(t *testing.T) {
	i := instance(engine.Facts{}).On("ldapsearch", func(c enginetest.Call) enginetest.Answer {
		if strings.HasSuffix(c.Args(), " 1.1") {
			return enginetest.Answer{Stdout: "dn: a\n\ndn:: Yg==\n\n"}
		}
		return enginetest.Answer{Stdout: "dn: a\ncn: x\nmail:: w7w=\n\ndn: b\n\ndn: c\ncn: y\n\n"}
	})
	s := opened(t, i, source.Spec{})
	for query, want := range map[string]string{"(cn=*)": "2", " (&(cn=*)(a=b)) cn  mail ": "x\tü\n\ny\n"} {
		if got, err := s.Ask(t.Context(), "", query); got != want || err != nil {
			t.Errorf("%s: %q %v", query, got, err)
		}
	}
	for _, query := range []string{"", "cn=x", "-H ldap://evil (cn=x)", "(cn=x) -H ldap://evil", ")", "cn) x"} {
		if _, err := s.Ask(t.Context(), "", query); err == nil {
			t.Errorf("%q is taken for a query", query)
		}
	}
}

func FuzzTranslations(f *testing.F) {
	f.Add([]byte(entries + ldif.Mark(5)))
	f.Add([]byte(config + ldif.Mark(8)))
	f.Add([]byte("dn: cn=x,cn=schema,cn=config\nolcAttributeTypes: ( NAME 'x'\n\ndn: cn=a,cn=b,cn=c\na:: x\n\n" + ldif.Mark(2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := newAdder(bytes.NewReader(data), suffix, newTally(maphash.MakeSeed()))
		text, err := io.ReadAll(a)
		if err == nil && int64(bytes.Count(append([]byte("\n"), text...), []byte("\ndn:: "))) != a.sent.Load() {
			t.Fatalf("%d entries: %q", a.sent.Load(), text)
		}
		if bytes.Contains(bytes.ToLower(text), []byte("\nchangetype:")) || bytes.Contains(text, []byte("\ninclude:")) {
			t.Fatalf("more than entries: %q", text)
		}
		_, _ = io.ReadAll(newMembers(bytes.NewReader(data), "member"))
		_, _ = readSchema(bytes.NewReader(data))
		c := &configuration{logs: map[string]bool{}, values: map[string]string{}}
		_, _ = ldif.New(c.handler()).Write(data)
		i := newInspector(main)
		_, _ = i.Write(data)
		if _, bad := i.Finish(); bad != nil && err == nil {
			t.Fatal(bad)
		}
	})
}
