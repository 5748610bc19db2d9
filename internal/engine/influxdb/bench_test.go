package influxdb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
)

func BenchmarkInspect(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	dump := []byte(firstLine + "1.8.10\n" + lineDDL + "\nCREATE DATABASE shop\n" + lineDML + "\n" + lineDB + "shop\n" + linePolicy + "autogen\n")
	points := 0
	for ; len(dump) < 32<<20; points++ {
		dump = fmt.Appendf(dump, "cpu%d,host=server-%d,zone=z%d idle=%.3f,text=\"Zoë %x\",used=%di %d\n",
			points/100_000, points%50, points%3, random.Float64(), random.Uint32(), random.Uint32(), 1_700_000_000_000_000_000+points)
	}
	dump = fmt.Appendf(dump, "%s%d points\n", lastLine, points)
	enginetest.BenchmarkInspector(b, dump, func() engine.Inspector { return &inspector{} })
}

// BenchmarkPage is what a page costs the agent: to read the answer, and to write lines.
func BenchmarkPage(b *testing.B) {
	var rows strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&rows, `,[%d,%d.5,%d,"up and well",null,"host-%02d","z1"]`, 1_700_000_000_000_000_000+i, i%100, i, i%50)
	}
	said := `{"results":[{"series":[{"name":"cpu","columns":["time","idle","n","state","b","host","zone"],"values":[` + rows.String()[1:] + "]}]}]}\n"
	m := &measurement{name: "cpu", fields: map[string][]string{"idle": {"float"}, "n": {"integer"}, "state": {"string"}, "b": {"boolean"}}, tags: []string{"host", "zone"}}
	columns := []column{{"idle", "float", "idle"}, {"n", "integer", "n"}, {"state", "string", "state"}, {"b", "boolean", "b"}, {"host", kindTag, "host"}, {"zone", kindTag, "zone"}}
	p := &pager{out: bufio.NewWriter(io.Discard), m: m, escaped: m.name}
	b.SetBytes(int64(len(said)))
	b.ReportAllocs()
	for b.Loop() {
		err := readAnswer(bytes.NewReader([]byte(said)), func(_ *series, row []any) error {
			if _, err := p.point(columns, row); err != nil {
				return err
			}
			_, err := p.out.Write(p.line)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
