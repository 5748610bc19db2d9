package sqlite

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/image"
	"github.com/baktainer/baktainer/internal/problem"
)

// database is an image of n pages of 512 bytes with a header and nothing else.
func database(n int) []byte {
	b := make([]byte, 512*n)
	copy(b, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(b[16:], 512)
	b[18], b[19], b[21], b[22], b[23] = 1, 1, 64, 32, 32
	binary.BigEndian.PutUint32(b[28:], uint32(n))
	return b
}

const sqlDump = "PRAGMA application_id=0;\nPRAGMA user_version=7;\nPRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a);\nCOMMIT;\n"

func verdict(i engine.Inspector, pieces ...[]byte) (engine.Contents, problem.Reason) {
	for _, p := range pieces {
		_, _ = i.Write(p)
	}
	c, err := i.Finish()
	return c, problem.ReasonOf(err)
}

func TestInspector(t *testing.T) {
	whole := database(3)
	for n := range whole {
		want := engine.ReasonTruncated
		if n == 0 {
			want = engine.ReasonEmpty
		}
		if _, got := verdict(&inspector{}, whole[:n]); got != want {
			t.Fatalf("cut after %d bytes: %q", n, got)
		}
	}
	if c, got := verdict(&inspector{}, whole); got != "" || len(c.Notes) != 1 || c.Notes[0] != "3 pages of 512 bytes, with a rollback journal" {
		t.Errorf("%+v %q", c, got)
	}
	if _, got := verdict(&inspector{}, whole, []byte{0}); got != engine.ReasonMalformed {
		t.Errorf("too long: %q", got)
	}
	for _, at := range []int{0, 15, 17, 21, 24} {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x55
		if _, got := verdict(&inspector{}, bad); got != engine.ReasonMalformed {
			t.Errorf("byte %d changed: %q", at, got)
		}
	}
}

func TestSQLInspector(t *testing.T) {
	for n := range len(sqlDump) {
		want := engine.ReasonTruncated
		if n == 0 {
			want = engine.ReasonEmpty
		}
		if _, got := verdict(&sqlInspector{}, []byte(sqlDump[:n])); got != want {
			t.Errorf("cut after %d bytes: %q", n, got)
		}
	}
	for text, want := range map[string]problem.Reason{
		sqlDump: "",
		strings.Replace(sqlDump, "COMMIT;", "ROLLBACK; -- due to errors", 1): engine.ReasonMalformed,
		"hello\nCOMMIT;\n": engine.ReasonMalformed,
		strings.Replace(sqlDump, "COMMIT", strings.Repeat("-- much\n", 1000)+"COMMIT", 1): "",
	} {
		if _, got := verdict(&sqlInspector{}, []byte(text)); got != want {
			t.Errorf("%.200q: %q, want %q", text, got, want)
		}
	}
}

func FuzzInspectors(f *testing.F) {
	f.Add(database(2), 7)
	f.Add([]byte(sqlDump), 100)
	f.Add([]byte(nil), 0)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		cut := min(max(at, 0), len(data))
		for _, make := range []func() engine.Inspector{
			func() engine.Inspector { return &inspector{} },
			func() engine.Inspector { return &sqlInspector{} },
		} {
			_, whole := verdict(make(), data)
			_, split := verdict(make(), data[:cut], data[cut:])
			bytewise := make()
			if _, err := io.Copy(bytewise, onebyte{bytes.NewReader(data)}); err != nil {
				t.Fatal(err)
			}
			if _, single := verdict(bytewise); whole != split || whole != single {
				t.Fatalf("the verdict depends on how the stream is cut: %q %q %q", whole, split, single)
			}
		}
		if h, err := image.Parse(data); err == nil && (h.PageSize < 512 || h.PageSize > image.MaxPageSize || h.Pages < 0) {
			t.Fatalf("impossible header %+v", h)
		}
	})
}

type onebyte struct{ r io.Reader }

func (o onebyte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }
