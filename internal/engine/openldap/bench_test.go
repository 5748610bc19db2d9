package openldap

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
)

func BenchmarkInspect(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var dump bytes.Buffer
	fold := func(line string) {
		for width := 76; len(line) > width; line, width = line[width:], 75 {
			dump.WriteString(line[:width] + "\n ")
		}
		dump.WriteString(line + "\n")
	}
	entries := int64(0)
	for ; dump.Len() < 32<<20; entries++ {
		secret := make([]byte, 24)
		for i := range secret {
			secret[i] = byte(random.Uint32())
		}
		fold(fmt.Sprintf("dn: uid=user%d,ou=people,%s", entries, suffix))
		for _, line := range []string{
			"objectClass: inetOrgPerson", "objectClass: posixAccount", fmt.Sprintf("uid: user%d", entries), "sn: Muller", "gidNumber: 100", fmt.Sprintf("uidNumber: %d", entries),
			fmt.Sprintf("mail: user%d@example.org", entries), fmt.Sprintf("homeDirectory: /home/user%d", entries), "cn:: " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "Zoë Müller %d", random.Uint32())),
			"userPassword:: " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "{SSHA}%s", base64.StdEncoding.EncodeToString(secret))),
			"structuralObjectClass: inetOrgPerson", fmt.Sprintf("entryUUID: %08x-7f7f-1041-9750-%012x", random.Uint32(), random.Uint64()>>16),
			"creatorsName: " + admin, "createTimestamp: 20261128135515Z", fmt.Sprintf("entryCSN: 20261128135515.%06dZ#000000#000#000000", random.IntN(1e6)),
			"modifiersName: " + admin, "modifyTimestamp: 20261128135515Z",
		} {
			fold(line)
		}
		dump.WriteByte('\n')
	}
	dump.WriteString(ldif.Mark(entries))
	enginetest.BenchmarkInspector(b, dump.Bytes(), func() engine.Inspector { return newInspector(main) })
}
