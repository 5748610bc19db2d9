package openldap

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	password = `corr€ct "horse' $taple`
	suffix   = "dc=example,dc=org"
	admin    = "cn=admin," + suffix
	other    = "o=Zoë\\2C & Sons"
)

// server is a container with slapd and how to talk to it.
type server struct{ *dockercli.Instance }

func startServer(t testing.TB, name string) server {
	t.Helper()
	s := server{dockercli.Start(t, name, "openldap", []string{"LDAP_ADMIN_PASSWORD=" + password})}
	s.Ready(t, nil, "ldapwhoami", "-x", "-H", "ldapi:///")
	s.configure(t, "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nreplace: olcDbNoSync\nolcDbNoSync: TRUE\n") // or each entry waits for the disk
	return s
}

// client runs a client as an administrator.
func (s server) client(t testing.TB, dn, input, tool string, args ...string) string {
	t.Helper()
	return s.Run(t, password+"\n"+input, nil, append([]string{tool, "-H", "ldapi:///", "-x", "-D", dn, "-W"}, args...)...)
}

func (s server) add(t testing.TB, ldif string) { s.client(t, admin, ldif, "ldapadd") }

// configure changes the server's configuration.
func (s server) configure(t testing.TB, ldif string) {
	t.Helper()
	s.Run(t, ldif, nil, "ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
}

// fingerprint is every entry of every database with a hash of all that it has,
// save the numbers of changes.
func (s server) fingerprint(t testing.TB, numbers ...string) string {
	t.Helper()
	var all []string
	for _, n := range numbers {
		text := s.Run(t, "", nil, "slapcat", "-F", "/etc/ldap/slapd.d", "-n", n, "-o", "ldif-wrap=no")
		for entry := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
			lines := slices.DeleteFunc(strings.Split(entry, "\n"), func(l string) bool {
				return strings.HasPrefix(l, "entryCSN:") || strings.HasPrefix(l, "contextCSN:")
			})
			slices.Sort(lines[1:])
			all = append(all, fmt.Sprintf("%s %s %x", n, lines[0], sha256.Sum256([]byte(strings.Join(lines, "\n")))))
		}
	}
	slices.Sort(all)
	return fmt.Sprintf("%d entries\n%s", len(all), strings.Join(all, "\n"))
}

// empty deletes all entries of a database and makes the first one anew.
func (s server) empty(t testing.TB) {
	t.Helper()
	_, _, _ = engine.Output(t.Context(), s, engine.Command{
		Argv:  []string{"ldapdelete", "-H", "ldapi:///", "-x", "-D", admin, "-W", "-M", "-r", suffix},
		Stdin: strings.NewReader(password + "\n"),
	}, 1<<20) // there may be none
	s.add(t, "dn: "+suffix+"\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example Inc.\n")
}

// seed is a directory with a few hundred entries: names that are hard to quote,
// binary and long values, groups that are older than their members, entries that
// were moved below younger ones.
func seed() string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	entry := func(dn string, lines ...string) {
		fmt.Fprintf(&b, "dn:: %s\n%s\n\n", base64.StdEncoding.EncodeToString([]byte(dn)), strings.Join(lines, "\n"))
	}
	coded := func(name string, value []byte) string {
		return name + ":: " + base64.StdEncoding.EncodeToString(value)
	}
	photo := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		return p
	}
	for _, ou := range []string{"people", "groups", "Größe, \\\"quoted\\\" + more"} {
		entry("ou="+strings.ReplaceAll(strings.ReplaceAll(ou, ",", `\,`), "+", `\+`)+","+suffix, "objectClass: organizationalUnit")
	}
	entry("cn=everybody,ou=groups,"+suffix, "objectClass: groupOfUniqueNames", "uniqueMember: cn=nobody,ou=nowhere,"+suffix)
	for i := range 300 {
		entry(fmt.Sprintf("uid=user%d,ou=people,%s", i, suffix), "objectClass: inetOrgPerson", "objectClass: posixAccount", fmt.Sprintf("uid: user%d", i),
			coded("cn", fmt.Appendf(nil, "Zoë Müller %d", i)), "sn: Müller", fmt.Sprintf("uidNumber: %d", 1000+i), "gidNumber: 100", "homeDirectory: /home/x",
			coded("userPassword", fmt.Appendf(nil, "{SSHA}%s", base64.StdEncoding.EncodeToString(photo(24)))),
			"description: "+strings.Repeat("a long line of text ", random.IntN(20))+"end", "description;lang-de: auf Deutsch", "telephoneNumber: +43 1 234")
	}
	for i, cn := range []string{`Smith\, John \"Q\" \<x\> \; 東京`, `\#hash`, `\ lead and trail\ `, `back\\slash`, `a=b`, "--option", "'\\; DROP TABLE", "line\\0Aend", strings.Repeat("long ", 40) + "name"} {
		entry("cn="+cn+",ou=people,"+suffix, "objectClass: inetOrgPerson", "sn: x", fmt.Sprintf("employeeNumber: %d", i), coded("jpegPhoto", photo(3000*i+1)),
			coded("description", []byte(" begins with a blank")), coded("description", []byte("two\nlines\r\n\x01")))
	}
	entry("cn=a+sn=b,ou=people,"+suffix, "objectClass: person", "telephoneNumber: 1")
	deep := suffix
	for i := range 30 {
		deep = fmt.Sprintf("ou=level %d,%s", i, deep)
		entry(deep, "objectClass: organizationalUnit")
	}
	entry("ou=elsewhere,"+suffix, "objectClass: referral", "objectClass: extensibleObject", "ref: ldap://other.example.org/dc=other")
	entry("cn=late group,ou=groups,"+suffix, "objectClass: groupOfUniqueNames", "uniqueMember: uid=user7,ou=people,"+suffix)
	return b.String()
}

// moved puts members into a group that is older, and entries below one that is younger.
const moved = `dn: cn=everybody,ou=groups,` + suffix + `
changetype: modify
add: uniqueMember
uniqueMember: uid=user1,ou=people,` + suffix + `
uniqueMember: uid=user3,ou=people,` + suffix + `
uniqueMember: cn=Smith\, John \"Q\" \<x\> \; 東京,ou=people,` + suffix + `

dn: ou=alumni,` + suffix + `
changetype: add
objectClass: organizationalUnit

dn: uid=user3,ou=people,` + suffix + `
changetype: modrdn
newrdn: uid=user3
deleteoldrdn: 0
newsuperior: ou=alumni,` + suffix + `

dn: ou=level 5,ou=level 4,ou=level 3,ou=level 2,ou=level 1,ou=level 0,` + suffix + `
changetype: modrdn
newrdn: ou=level five
deleteoldrdn: 1
newsuperior: ou=alumni,` + suffix + `

dn: uid=user200,ou=people,` + suffix + `
changetype: modify
replace: sn
sn: changed
`

// second configures another database, without entries.
const second = `dn: olcDatabase=mdb,cn=config
changetype: add
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcDbDirectory: /var/lib/ldap/second
olcSuffix: ` + other + `
olcRootDN: cn=root,` + other + `
olcRootPW: ` + password + `
`

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	t.Parallel()
	s := startServer(t, "openldap")
	s.Run(t, "", nil, "install", "-d", "-o", "openldap", "/var/lib/ldap/second")
	s.configure(t, second)
	s.client(t, "cn=root,"+other, "dn: "+other+"\nobjectClass: organization\no: Zoë, & Sons\ndescription: never wrecked\n", "ldapadd")
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: s.Instance, Secrets: []string{password}, KeepsHalf: true,
		Seed: func(t testing.TB) {
			s.add(t, seed())
			s.client(t, admin, moved, "ldapmodify")
		},
		Bulk: func(t testing.TB) {
			var b strings.Builder
			random := rand.New(rand.NewPCG(1, 2))
			photo := make([]byte, 1200_000)
			for i := range 45 {
				for j := 0; j < len(photo); j += 4 {
					n := random.Uint32()
					copy(photo[j:], []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
				}
				fmt.Fprintf(&b, "dn: cn=bulk %d,%s\nobjectClass: inetOrgPerson\nsn: x\njpegPhoto:: %s\n\n", i, suffix, base64.StdEncoding.EncodeToString(photo))
			}
			s.add(t, b.String())
		},
		Fingerprint: func(t testing.TB) string { return s.fingerprint(t, "1", "3") },
		Wreck:       func(t testing.TB) { s.empty(t) },
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return s.Instance, source.Spec{Password: "wrong-guess"}
		},
	})
}

func open(t *testing.T, s server, spec source.Spec) *session {
	t.Helper()
	opened, err := New().Open(t.Context(), s.Instance, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return opened.(*session)
}

// dumpOf is one stream, checked.
func dumpOf(t *testing.T, s *session, stream engine.Stream) []byte {
	t.Helper()
	p, err := s.Dump(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	inspector := s.Inspect(stream)
	_, err = io.Copy(io.MultiWriter(&data, inspector), p)
	exit, waitErr := p.Wait()
	_, badContent := inspector.Finish()
	if err := errors.Join(err, waitErr, badContent); err != nil || exit.Status != 0 {
		t.Fatal(err, exit)
	}
	return data.Bytes()
}

func restoreInto(t *testing.T, s *session, stream engine.Stream, data []byte, o engine.RestoreOptions) error {
	t.Helper()
	if _, err := s.Prepare(t.Context(), []engine.Stream{stream}, o); err != nil {
		return err
	}
	return s.Restore(t.Context(), stream, bytes.NewReader(data), o)
}

var main = engine.Stream{Name: "example.org.ldif", Kind: kindDatabase, Database: suffix, Format: format}

// TestContainerLife looks at one server in the ways that the suite does not.
func TestContainerLife(t *testing.T) {
	dockercli.Need(t)
	t.Parallel()
	s := startServer(t, "openldap-life")
	session := open(t, s, source.Spec{})

	// An overlay that removes what points to deleted entries does so behind the back
	// of who deletes them, perhaps when they are there again. And a search filter asks.
	t.Run("references", func(t *testing.T) {
		var b strings.Builder
		const many = 300
		fmt.Fprintf(&b, "dn: cn=all,%s\nobjectClass: groupOfUniqueNames\n", suffix)
		for i := range many {
			fmt.Fprintf(&b, "uniqueMember: uid=u%d,%s\n", i, suffix)
		}
		for i := range many {
			fmt.Fprintf(&b, "\ndn: uid=u%d,%s\nobjectClass: inetOrgPerson\ncn: x\nsn:: w7w=\nmail: u%d@example.org\nmanager: uid=u%d,%s\n", i, suffix, i, i/2, suffix)
		}
		s.add(t, b.String())
		data := dumpOf(t, session, main)
		if err := restoreInto(t, session, main, data, engine.RestoreOptions{Overwrite: true}); err != nil {
			t.Fatal(problem.Text(err))
		}
		for query, want := range map[string]string{
			"(uid=u1*)": "111\n", "(uid=u7) sn mail": "ü\tu7@example.org\n", "(uid=none)": "0\n", "(memberOf=cn=all," + suffix + ")": "300\n",
		} {
			if got, err := session.Ask(t.Context(), "", query); err != nil || strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s: %q, %v", query, got, err)
			}
		}
	})

	t.Run("asked to end", func(t *testing.T) {
		s.empty(t)
		var b strings.Builder
		for i := range 200 {
			fmt.Fprintf(&b, "dn: cn=%d,%s\nobjectClass: person\nsn: x\ndescription: %s\n\n", i, suffix, strings.Repeat("long ", 10000))
		}
		s.add(t, b.String())
		for _, blocks := range []bool{true, false} {
			session.blocks = blocks
			p, err := session.Dump(t.Context(), main)
			if err != nil {
				t.Fatal(err)
			}
			i := newInspector(main)
			if _, err := io.CopyN(i, p, 1<<20); err != nil {
				t.Fatal(err)
			}
			s.Run(t, "", nil, "bash", "-c", `for p in /proc/[0-9]*; do if [ "$(cat $p/comm)" = slapcat ]; then kill -TERM ${p#/proc/}; fi; done`)
			_, _ = io.Copy(i, p)
			exit, err := p.Wait()
			c, bad := i.Finish()
			t.Log(exit, err, bad)
			if whole := err == nil && exit.Status == 0 && bad == nil && len(c.Objects) == 201; whole != blocks {
				t.Errorf("blocks %v: %v, %v, %v, %d objects", blocks, exit, err, bad, len(c.Objects))
			}
		}
		session.blocks = true
	})

	// Between two writes to the first and the last entry, a dump sees both or the first.
	t.Run("one moment", func(t *testing.T) {
		s.add(t, "dn: cn=z,"+suffix+"\nobjectClass: person\nsn: x\n")
		done := make(chan bool)
		go func() {
			defer close(done)
			var b strings.Builder
			for n := range 4000 {
				for _, dn := range []string{"cn=0,", "cn=z,"} {
					fmt.Fprintf(&b, "dn: %s%s\nchangetype: modify\nreplace: telephoneNumber\ntelephoneNumber: %d\n\n", dn, suffix, n)
				}
			}
			s.client(t, admin, b.String(), "ldapmodify")
		}()
		seen := map[int]bool{}
		for running := true; running; {
			var first, last int
			for entry := range strings.SplitSeq(string(dumpOf(t, session, main)), "\n\n") {
				_, after, _ := strings.Cut(entry, "telephoneNumber: ")
				switch {
				case strings.HasPrefix(entry, "dn: cn=0,"):
					_, _ = fmt.Sscan(after, &first)
				case strings.HasPrefix(entry, "dn: cn=z,"):
					_, _ = fmt.Sscan(after, &last)
				}
			}
			if first != last && first != last+1 {
				t.Errorf("the first entry is at %d, the last at %d", first, last)
			}
			seen[first] = true
			select {
			case <-done:
				running = false
			default:
			}
		}
		if len(seen) < 2 {
			t.Error("nothing was written while the server was dumped")
		}
	})

	t.Run("who may", func(t *testing.T) {
		data := dumpOf(t, session, main)
		before := s.fingerprint(t, "1")
		for name, c := range map[string]struct {
			credentials engine.Credentials
			want        problem.Reason
		}{
			"a stale password": {engine.Credentials{Found: true, Password: "changed since"}, engine.ReasonWrongPassword},
			"no password":      {engine.Credentials{}, engine.ReasonNoCredentials},
			"another user":     {engine.Credentials{Found: true, User: "cn=reader," + suffix, Password: "reads"}, engine.ReasonUnsupported},
		} {
			if name == "another user" {
				s.add(t, "dn: cn=reader,"+suffix+"\nobjectClass: person\nsn: x\nuserPassword: reads\n")
				before = s.fingerprint(t, "1")
			}
			one := *session
			one.credentials = c.credentials
			err := restoreInto(t, &one, main, data, engine.RestoreOptions{Overwrite: true})
			if problem.ReasonOf(err) != c.want {
				t.Errorf("%s: %v", name, err)
			}
			t.Log(problem.Text(err))
			if got := s.fingerprint(t, "1"); got != before {
				t.Errorf("%s: something changed", name)
			}
		}
	})

	t.Run("schema", func(t *testing.T) {
		to := startServer(t, "openldap-schema")
		s.configure(t, custom)
		s.empty(t)
		s.add(t, "dn: cn=own,"+suffix+"\nobjectClass: device\nobjectClass: ownThing\nownSecret: x\n")
		from := []engine.Stream{{Name: "config.ldif", Kind: kindConfig, Format: format}, main}
		target := open(t, to, source.Spec{})
		if _, err := target.Prepare(t.Context(), from, engine.RestoreOptions{}); err != nil {
			t.Fatal(problem.Text(err))
		}
		for _, stream := range from {
			if err := target.Restore(t.Context(), stream, bytes.NewReader(dumpOf(t, session, stream)), engine.RestoreOptions{}); err != nil {
				t.Fatal(problem.Text(err))
			}
		}
		if s.fingerprint(t, "1") != to.fingerprint(t, "1") {
			t.Error("it is not the same")
		}
		// A target that knows half of it is left alone.
		s.configure(t, "dn: cn={4}own,cn=schema,cn=config\nchangetype: modify\nadd: olcAttributeTypes\nolcAttributeTypes: ( 1.3.6.1.4.1.99999.3 NAME 'ownMore' SUP name )\n")
		err := target.Restore(t.Context(), from[0], bytes.NewReader(dumpOf(t, session, from[0])), engine.RestoreOptions{})
		if problem.ReasonOf(err) != engine.ReasonUnsupported || !strings.Contains(problem.Text(err), "own: ownmore") {
			t.Error(problem.Text(err))
		}
		// Without its schema an entry is refused, and nobody says that it is there.
		strange := bytes.ReplaceAll(dumpOf(t, session, main), []byte("ownThing"), []byte("elseThing"))
		err = restoreInto(t, target, main, strange, engine.RestoreOptions{Overwrite: true})
		if problem.ReasonOf(err) != engine.ReasonUnsupported || !strings.Contains(err.Error(), "only a part") {
			t.Error(err)
		}
		t.Log(problem.Text(err))
	})
}

const custom = `dn: cn=own,cn=schema,cn=config
changetype: add
objectClass: olcSchemaConfig
cn: own
olcObjectIdentifier: Own 1.3.6.1.4.1.99999
olcAttributeTypes: ( Own:1 NAME ( 'ownSecret' 'ownAlias' ) SUP name )
olcObjectClasses: ( Own:2 NAME 'ownThing' SUP top AUXILIARY MAY ownSecret )
`
