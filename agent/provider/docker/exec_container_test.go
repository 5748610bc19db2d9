package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
)

const hundredMB = 100 << 20

func generated(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), n)
}

func sum(t *testing.T, r io.Reader) (s [32]byte) {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// slow hashes what it reads many times over, in pieces that fit no frame.
type slow struct {
	r    io.Reader
	peak uint64
	n    int
}

func (s *slow) Read(p []byte) (int, error) {
	s.n++
	n, err := s.r.Read(p[:min(len(p), 1+s.n*7919%50_000)])
	for range 5 {
		sha256.Sum256(p[:n])
	}
	if s.n%500 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.peak = max(s.peak, m.HeapInuse)
	}
	return n, err
}

func TestExecOutput(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	proc, err := p.Instance(id).Exec(t.Context(), engine.Command{
		Argv: []string{"/probe", "gen", "104857600"}, Env: []string{"SECRET=hunter2"}, Secrets: []string{"hunter2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &slow{r: proc}
	if got, want := sum(t, s), sum(t, generated(hundredMB)); got != want {
		t.Error("what arrived is not what was written")
	}
	exit, err := proc.Wait()
	if err != nil || exit.Status != 0 || exit.Stderr != "wrote 104857600 bytes, password is [hidden]\n" {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
	t.Logf("heap in use at most %d MiB", s.peak>>20)
	if s.peak > 64<<20 {
		t.Errorf("the stream was held in memory: %d MiB", s.peak>>20)
	}
}

func TestExecInput(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	proc, err := p.Instance(id).Exec(t.Context(), engine.Command{Argv: []string{"/probe", "echo"}, Stdin: generated(hundredMB)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sum(t, proc), sum(t, generated(hundredMB)); got != want {
		t.Error("what came back is not what was fed")
	}
	if exit, err := proc.Wait(); err != nil || exit.Status != 0 {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
}

func TestExecStatus(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	for _, want := range []int{0, 1, 3, 127, 137, 255} /* 126 is also what the Engine says when it lost us: see detached */ {
		proc := start(t, p, id, "/probe", "exit", itoa(want))
		exit, err := proc.Wait()
		if err != nil || exit.Status != want || exit.Stderr != "ending with "+itoa(want)+"\n" {
			t.Errorf("Wait = %+v, %v, want %d", exit, err, want)
		}
	}
}

func itoa(n int) string {
	var b []byte
	for ; n > 0 || len(b) == 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func TestExecMissingTool(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	for _, tool := range []string{"mysqldump", "/no/such/tool", "/bin/forbidden", "/data"} {
		proc, err := p.Instance(id).Exec(t.Context(), engine.Command{Argv: []string{tool}})
		if err == nil {
			_, err = proc.Wait()
		}
		if problem.ReasonOf(err) != engine.ReasonToolMissing {
			t.Errorf("%s: %v", tool, err)
		}
		t.Log(problem.Text(err))
	}
}

func TestExecNotRunning(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	kill(t, p, id)
	if _, err := p.Instance(id).Exec(t.Context(), engine.Command{Argv: []string{"/probe", "wait"}}); problem.ReasonOf(err) != engine.ReasonNotRunning {
		t.Errorf("stopped: %v", err)
	}
	if _, err := p.Instance("0123456789ab").Exec(t.Context(), engine.Command{Argv: []string{"x"}}); problem.ReasonOf(err) != engine.ReasonNotRunning {
		t.Errorf("gone: %v", err)
	}
}

func kill(t *testing.T, p *Provider, id string) {
	t.Helper()
	if err := p.client.ContainerKill(t.Context(), id, "KILL"); err != nil {
		t.Fatal(err)
	}
}

func TestExecContainerStops(t *testing.T) {
	for name, again := range map[string]bool{"for good": false, "and starts again": true} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			id := run(t, p, uniqueName(t), nil)
			proc := start(t, p, id, "/probe", "drip")
			if _, err := io.CopyN(io.Discard, proc, 10<<20); err != nil {
				t.Fatal(err)
			}
			if again { // by us: a restart policy would start it at the same time
				if err := p.client.ContainerRestart(t.Context(), id, container.StopOptions{}); err != nil {
					t.Fatal(err)
				}
			} else {
				kill(t, p, id)
			}
			exit, err := proc.Wait()
			if problem.ReasonOf(err) != engine.ReasonNotRunning {
				t.Errorf("Wait = %+v, %v", exit, err)
			}
			t.Log(problem.Text(err))
		})
	}
}

func TestExecKill(t *testing.T) {
	ways := map[string]func(*testing.T, *Provider){
		"from here":     func(*testing.T, *Provider) {},
		"from a helper": func(t *testing.T, p *Provider) { p.proc = t.TempDir() },
	}
	for name, way := range ways {
		for _, program := range []string{"wait", "stubborn"} {
			t.Run(name+" "+program, func(t *testing.T) {
				p := newProvider(t)
				way(t, p)
				id := run(t, p, uniqueName(t), nil, func(c *container.Config, _ *container.HostConfig) { c.Cmd = []string{"/probe", "shut"} })
				bystander := start(t, p, id, "/probe", "wait", "bystander")
				line(t, bystander)
				// As another user than the one who kills.
				proc, err := p.Instance(id).Exec(t.Context(), engine.Command{Argv: []string{"/probe", program}, User: "1000:1000"})
				if err != nil {
					t.Fatal(err)
				}
				line(t, proc)
				if n := count(t, p, id, program); n == "0" {
					t.Fatal("it does not run")
				}
				proc.Kill()
				want := "0"
				if program == "wait" {
					want = "1" // the bystander
				}
				if n := count(t, p, id, program); n != want {
					t.Errorf("%s of it go on", n)
				}
				want = map[string]string{"wait": "0", "stubborn": "137"}[program]
				if exit, err := proc.Wait(); err != nil || itoa(exit.Status) != want {
					t.Errorf("Wait = %+v, %v, want status %s", exit, err, want)
				}
				bystander.Kill()
				if _, err := bystander.Wait(); err != nil {
					t.Errorf("the bystander: %v", err)
				}
				noHelpers(t, p)
			})
		}
	}
}

// noHelpers checks that no helper container is left.
func noHelpers(t *testing.T, p *Provider) {
	t.Helper()
	if p.helper.hash == "" {
		return // none was made
	}
	left, err := p.client.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", label.KeyHelper), filters.Arg("ancestor", p.helper.ref()))})
	if err != nil || len(left) != 0 {
		t.Errorf("%d helper containers are left (%v)", len(left), err)
	}
}

func TestExecContextEnds(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	proc, err := p.Instance(id).Exec(ctx, engine.Command{Argv: []string{"/probe", "drip"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, proc, 1<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := proc.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	if n := count(t, p, id, "drip"); n != "0" {
		t.Errorf("%s of it go on", n)
	}
}

// TestExecInputFails: half an input must not be taken for a whole one.
func TestExecInputFails(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil)
	broken := errors.New("the source of the input broke")
	for _, argv := range [][]string{{"/probe", "swallow", "/data/ended"}} {
		proc, err := p.Instance(id).Exec(t.Context(), engine.Command{
			Argv: argv, Stdin: io.MultiReader(generated(5<<20), failingReader{broken}),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proc.Wait(); !errors.Is(err, broken) {
			t.Errorf("Wait: %v", err)
		}
	}
	if _, err := p.Instance(id).ReadFile(t.Context(), "/data/ended", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the program saw an ordinary end of its input (%v)", err)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

func TestHelper(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil, func(c *container.Config, _ *container.HostConfig) { c.Volumes = map[string]struct{}{"/vol": {}} })
	i := p.Instance(id)
	proc, err := i.Helper(t.Context(), engine.Command{Argv: []string{"helper", "write", "/vol/x"}, Stdin: strings.NewReader("from the helper")})
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := proc.Wait(); err != nil || exit.Status != 0 {
		t.Fatalf("write: %+v, %v", exit, err)
	}
	if b, err := i.ReadFile(t.Context(), "/vol/x", 100); err != nil || string(b) != "from the helper" {
		t.Errorf("ReadFile = %q, %v", b, err)
	}
	proc, err = i.Helper(t.Context(), engine.Command{Argv: []string{"helper", "gen", "104857600"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sum(t, proc), sum(t, generated(hundredMB)); got != want {
		t.Error("what arrived is not what was written")
	}
	if exit, err := proc.Wait(); err != nil || exit.Status != 0 {
		t.Errorf("gen: %+v, %v", exit, err)
	}
	proc, err = i.Helper(t.Context(), engine.Command{Argv: []string{"helper", "exit", "7"}})
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := proc.Wait(); err != nil || exit.Status != 7 || exit.Stderr != "ending with 7\n" {
		t.Errorf("exit: %+v, %v", exit, err)
	}
	for name, path := range map[string]string{"root": "/x", "proc": "/proc/sys/kernel/hostname"} {
		proc, err = i.Helper(t.Context(), engine.Command{Argv: []string{"helper", "write", path}, Stdin: strings.NewReader("x")})
		if err != nil {
			t.Fatal(err)
		}
		if exit, err := proc.Wait(); err != nil || exit.Status != 1 {
			t.Errorf("a helper may write to %s: %+v, %v", name, exit, err)
		}
	}
	proc, err = i.Helper(t.Context(), engine.Command{Argv: []string{"helper", "drip"}})
	if err != nil {
		t.Fatal(err)
	}
	proc.Kill()
	if _, err := proc.Wait(); err != nil {
		t.Errorf("after Kill: %v", err)
	}
	noHelpers(t, p)
}

func TestReadFile(t *testing.T) {
	p := newProvider(t)
	id := run(t, p, uniqueName(t), nil, func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/tmp": ""} })
	i := p.Instance(id)
	for _, path := range []string{"/data/file", "/data/relative", "/data/absolute", "/linked/file", "/linked/relative"} {
		if b, err := i.ReadFile(t.Context(), path, 4); err != nil || string(b) != "word" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	for _, path := range []string{"/nothing", "/data/nothing", "/data/dangling", "/no/folder/x"} {
		if _, err := i.ReadFile(t.Context(), path, 100); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/data", "/data/loop", "data/file", "/probe"} {
		if _, err := i.ReadFile(t.Context(), path, 100); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	proc, err := i.Exec(t.Context(), engine.Command{Argv: []string{"/probe", "write", "/tmp/secret"}, Stdin: strings.NewReader("in memory")})
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := proc.Wait(); err != nil || exit.Status != 0 {
		t.Fatalf("%+v, %v", exit, err)
	}
	if b, err := i.ReadFile(t.Context(), "/tmp/secret", 100); err != nil || !bytes.Equal(b, []byte("in memory")) {
		t.Errorf("a file in memory: %q, %v", b, err)
	}
}

func TestHelperImageIsReused(t *testing.T) {
	p := newProvider(t)
	first, err := p.helper.ensure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	again := newProvider(t, func(o *Options) {
		o.HelperBinary = func() (io.ReadCloser, error) { opened++; return os.Open(probe.path) }
	})
	second, err := again.helper.ensure(t.Context())
	if err != nil || first != second || opened != 1 {
		t.Errorf("got %s, then %s, opened %d times, %v", first, second, opened, err)
	}
}
