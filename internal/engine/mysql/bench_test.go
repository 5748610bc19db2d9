package mysql

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
)

func BenchmarkInspect(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var dump bytes.Buffer
	dump.WriteString("/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n--\n/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;\n\nCREATE TABLE `orders` (\n  `id` bigint,\n  `name` text\n);\n")
	for i := 0; dump.Len() < 32<<20; {
		dump.WriteString("INSERT INTO `orders` VALUES")
		for row := range 5000 {
			if row > 0 {
				dump.WriteString(",")
			}
			fmt.Fprintf(&dump, "\n(%d,'Zoë Müller %x',%d.%02d,'it\\'s a note of some length, number %d')", i, random.Uint32(), random.IntN(9999), random.IntN(100), random.IntN(1000))
			i++
		}
		dump.WriteString(";\n")
	}
	dump.WriteString("/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed\n")
	enginetest.BenchmarkInspector(b, dump.Bytes(), func() engine.Inspector { return newInspector() })
}
