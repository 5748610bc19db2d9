package e2e

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const ldapSuffix = "dc=shop,dc=example"

var openldap = database{
	engine: "openldap",
	fresh: func() *container {
		return &container{
			image: samplePrefix + "openldap", labels: labelsOf(),
			env: map[string]string{"LDAP_DOMAIN": "shop.example", "LDAP_ADMIN_PASSWORD": password()},
		}
	},
	ready: func(t testing.TB, c *container) result { return ldapClient(t, c, "", "ldapwhoami") },
	seed: func(t testing.TB, c *container, bulk int) {
		var b strings.Builder
		entry := func(dn string, lines ...string) {
			fmt.Fprintf(&b, "dn:: %s\n%s\n\n", base64.StdEncoding.EncodeToString([]byte(dn+","+ldapSuffix)), strings.Join(lines, "\n"))
		}
		coded := func(name, value string) string {
			return name + ":: " + base64.StdEncoding.EncodeToString([]byte(value))
		}
		entry("ou=people", "objectClass: organizationalUnit")
		for i := range 300 {
			entry(fmt.Sprintf("uid=customer%d,ou=people", i), "objectClass: inetOrgPerson", coded("cn", fmt.Sprintf("Zoë 東京 %d", i)), "sn: x",
				"userPassword: {SSHA}"+base64.StdEncoding.EncodeToString([]byte(hash(fmt.Sprint(i))[:28])), "description: "+strings.Repeat("a long line ", i%30)+".")
		}
		entry(`cn=Smith\, John \"Q\" \<größe\>`, "objectClass: inetOrgPerson", "sn: x", coded("jpegPhoto", "\x00\xff\r\n"+bulkText(1, 5000)))
		entry("cn=all", "objectClass: groupOfUniqueNames", "uniqueMember: uid=customer1,ou=people,"+ldapSuffix, coded("uniqueMember", `cn=Smith\, John \"Q\" \<größe\>,`+ldapSuffix))
		entry("ou=younger", "objectClass: organizationalUnit")
		for i := range bulk * 2 {
			entry(fmt.Sprintf("cn=bulk%d", i), "objectClass: inetOrgPerson", "sn: x", coded("jpegPhoto", bulkText(i, 375_000)))
		}
		must(t, ldapClient(t, c, b.String(), "ldapadd"), "ldapadd")
		must(t, ldapClient(t, c, "dn: uid=customer7,ou=people,"+ldapSuffix+"\nchangetype: modrdn\nnewrdn: uid=customer7\ndeleteoldrdn: 0\nnewsuperior: ou=younger,"+ldapSuffix+"\n", "ldapmodify"), "ldapmodify")
	},
	fingerprint: func(t testing.TB, c *container) string {
		text := c.do(t, nil, nil, "slapcat", "-F", "/etc/ldap/slapd.d", "-n", "1", "-o", "ldif-wrap=no")
		var entries []string
		for entry := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
			lines := slices.DeleteFunc(strings.Split(entry, "\n"), func(l string) bool {
				return strings.HasPrefix(l, "entryCSN:") || strings.HasPrefix(l, "contextCSN:") // numbers of the changes
			})
			slices.Sort(lines)
			entries = append(entries, hash(lines...))
		}
		slices.Sort(entries)
		return fmt.Sprintf("%d entries: %s", len(entries), hash(entries...))
	},
	wreck: func(t testing.TB, c *container) {
		ldapClient(t, c, "", "ldapdelete", "-r", "ou=younger,"+ldapSuffix)
		ldapClient(t, c, "dn: uid=customer1,ou=people,"+ldapSuffix+"\nchangetype: modify\nreplace: sn\nsn: wrecked\n\n"+
			"dn: cn=all,"+ldapSuffix+"\nchangetype: delete\n\ndn: cn=stray,"+ldapSuffix+"\nchangetype: add\nobjectClass: device\n", "ldapmodify")
	},
	dumpers:  []string{"slapcat"},
	dumpFlag: "-g",
}

// ldapClient runs a client as the administrator. The password comes first on stdin.
func ldapClient(t testing.TB, c *container, input, tool string, args ...string) result {
	t.Helper()
	argv := append([]string{tool, "-H", "ldapi:///", "-x", "-D", "cn=admin," + ldapSuffix, "-W"}, args...)
	return c.execute(t, []byte(c.env["LDAP_ADMIN_PASSWORD"]+"\n"+input), nil, argv...)
}
