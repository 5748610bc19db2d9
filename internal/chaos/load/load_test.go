package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

func TestBulkHasItsSize(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	for name, k := range kinds {
		var all int64
		for part := range parts {
			var b bytes.Buffer
			if err := k.bulk(&b, part, 7, bulkRows(size)); err != nil {
				t.Fatal(err)
			}
			all += int64(b.Len())
		}
		if all < size*95/100 || all > size*105/100 {
			t.Errorf("%s: the bulk has %d bytes, want about %d", name, all, size)
		}
	}
	if bulkRows(0) != 1 {
		t.Error("a table without rows")
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	var pg, again, maria bytes.Buffer
	for _, err := range []error{copyScript(&pg, 2, 5, 3), copyScript(&again, 2, 5, 3), insertScript(&maria, 1, 5, 2*batch+1)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if pg.String() != again.String() {
		t.Error("the same seed makes other rows")
	}
	if !regexp.MustCompile(`^BEGIN;\nTRUNCATE bulk_2;\nCOPY bulk_2 FROM STDIN;\n0\t[A-Za-z0-9+/]{1000}\n1\t[^\n]*\n2\t[^\n]*\n\\\.\nCOMMIT;\n$`).Match(pg.Bytes()) {
		t.Errorf("PostgreSQL:\n%.200s", pg.String())
	}
	text := maria.String()
	if got := strings.Count(text, "INSERT INTO bulk_1 VALUES ("); got != 3 || strings.Count(text, ");\n") != 3 || strings.Count(text, "),(") != 2*(batch-1) {
		t.Errorf("MariaDB: %d statements", got)
	}
}

// fakeDocker fails the first of what it is asked for, and remembers.
type fakeDocker struct {
	mu    sync.Mutex
	calls []string
	env   []string
	stdin []string
	busy  int // so often a client finds no server
	says  string
}

func (f *fakeDocker) run(_ context.Context, env []string, stdin io.Reader, args ...string) (string, error) {
	var text []byte
	if stdin != nil {
		text, _ = io.ReadAll(stdin)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.env, f.stdin = append(f.calls, strings.Join(args, " ")), append(f.env, env...), append(f.stdin, string(text))
	if args[0] == "exec" && f.busy > 0 {
		f.busy--
		return "", errors.New("no server")
	}
	return f.says, nil
}

func TestStart(t *testing.T) {
	t.Parallel()
	for name := range kinds {
		f := &fakeDocker{busy: 2}
		d, err := Start(t.Context(), Options{Rig: "chaos-1", Name: "chaos-1-db", Kind: name, Host: "a1", Bytes: 1 << 20, Docker: f.run})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.secret) < 20 || !slices.ContainsFunc(f.env, func(v string) bool { return strings.Contains(v, d.secret) }) {
			t.Errorf("%s: the password is not in the environment", name)
		}
		if strings.Contains(strings.Join(f.calls, "\n"), d.secret) {
			t.Errorf("%s: the password is on a command line", name)
		}
		for _, want := range []string{"chaos.rig=chaos-1", "chaos.host=a1", "baktainer.backup=true"} {
			if !strings.Contains(f.calls[0], want) {
				t.Errorf("%s: started by %s", name, f.calls[0])
			}
		}
		filled := strings.Join(f.stdin, "\n")
		for _, part := range []string{"bulk_0", "bulk_1", "bulk_2", "bulk_3"} {
			if !strings.Contains(filled, "TRUNCATE "+part) {
				t.Errorf("%s: %s is not filled", name, part)
			}
		}
		before := len(f.calls)
		if err := d.Churn(t.Context(), 1); err != nil || len(f.calls) != before+1 || !strings.Contains(f.stdin[before], "TRUNCATE bulk_0") {
			t.Errorf("%s: a churn of one quarter: %v, %v", name, err, f.calls[before:])
		}
	}
	if _, err := Start(t.Context(), Options{Kind: "oracle"}); err == nil {
		t.Error("an unknown kind is started")
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	f := &fakeDocker{says: "id1\nid2\n"}
	if err := Clean(t.Context(), "chaos-1", f.run); err != nil || !slices.Equal(f.calls, []string{"ps -aq --filter label=chaos.rig=chaos-1", "rm -f -v id1 id2"}) {
		t.Errorf("ran %v, %v", f.calls, err)
	}
	f = &fakeDocker{}
	if err := Clean(t.Context(), "chaos-1", f.run); err != nil || len(f.calls) != 1 {
		t.Errorf("with nothing to remove, ran %v, %v", f.calls, err)
	}
}

// TestRealLoad fills both kinds of database and keeps them busy.
func TestRealLoad(t *testing.T) {
	if os.Getenv("BAKTAINER_E2E") != "1" {
		t.Skip("needs containers; run make test")
	}
	const rig = "chaos-loadtest"
	defer func() {
		if err := Clean(context.WithoutCancel(t.Context()), rig, nil); err != nil {
			t.Error(err)
		}
	}()
	dumps := map[string][]string{
		"postgres": {"pg_dump", "-h", "127.0.0.1", "-U", "postgres", "shop"},
		"mariadb":  {"mariadb-dump", "-h127.0.0.1", "-uroot", "--single-transaction", "shop"},
	}
	for name, dump := range dumps {
		d, err := Start(t.Context(), Options{Rig: rig, Name: rig + "-" + name, Kind: name, Host: "a1", Bytes: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		writing.Go(func() { d.Write(ctx) })
		for d.Writes() < 20 && clock.Sleep(t.Context(), 10*time.Millisecond) == nil {
		}
		cmd := exec.Command("docker", append([]string{"exec", "-e", d.kind.variable, d.Name}, dump...)...)
		cmd.Env = append(os.Environ(), d.kind.variable+"="+d.secret)
		out, err := cmd.Output()
		if err != nil || len(out) < 4<<20*9/10 || !strings.Contains(string(out), "hot") {
			t.Errorf("%s: the dump has %d bytes: %v", name, len(out), err)
		}
		cancel()
		writing.Wait()
		if err := d.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
