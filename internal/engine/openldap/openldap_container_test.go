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

func startServer(t testing.TB, name string, env ...string) server {
	t.Helper()
	s := server{dockercli.Start(t, name, "openldap", append([]string{"LDAP_ADMIN_PASSWORD=" + password}, env...))}
	s.Ready(t, nil, "ldapwhoami", "-x", "-H", "ldapi:///")
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
		Fingerprint:   func(t testing.TB) string { return s.fingerprint(t, "1", "3") },
		Wreck:         func(t testing.TB) { s.empty(t) },
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) { return s.Instance, source.Spec{Password: "wrong-guess"} },
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
