package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/baktainer/baktainer/internal/engine"
)

const socket = "/var/run/docker.sock"

// needDocker leaves tests that need a Docker Engine to those who ask for them.
func needDocker(t *testing.T) {
	t.Helper()
	if os.Getenv("BAKTAINER_E2E") == "" {
		t.Skip("set BAKTAINER_E2E=1 to run the tests against a Docker Engine")
	}
}

const probeImage = "baktainer-test-probe:latest"

var probe struct {
	once sync.Once
	path string
	err  error
}

// buildProbe builds the test's own program and the image that holds it.
func buildProbe() (string, error) {
	dir, err := os.MkdirTemp("", "baktainer-probe")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "probe")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/probe")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "probe", Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(binary))},
		{Name: "bin/cat", Typeflag: tar.TypeSymlink, Linkname: "/probe"},
		{Name: "bin/forbidden", Mode: 0o644, Typeflag: tar.TypeReg, Size: 4},
		{Name: "data/", Mode: 0o755, Typeflag: tar.TypeDir},
		{Name: "data/file", Mode: 0o600, Typeflag: tar.TypeReg, Size: 4},
		{Name: "data/relative", Typeflag: tar.TypeSymlink, Linkname: "file"},
		{Name: "data/absolute", Typeflag: tar.TypeSymlink, Linkname: "/data/relative"},
		{Name: "data/loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
		{Name: "data/dangling", Typeflag: tar.TypeSymlink, Linkname: "nothing"},
		{Name: "linked", Typeflag: tar.TypeSymlink, Linkname: "data"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			return "", err
		}
		content := binary
		if h.Size == 4 {
			content = []byte("word")
		}
		if _, err := w.Write(content[:h.Size]); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	c, err := client.NewClientWithOpts(client.WithAPIVersionNegotiation())
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer, err := c.ImageImport(context.Background(), image.ImportSource{Source: &archive, SourceName: "-"}, probeImage, image.ImportOptions{})
	if err != nil {
		return "", err
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return path, err
}

func TestMain(m *testing.M) {
	status := m.Run()
	if probe.path != "" {
		h := helperImage{open: func() (io.ReadCloser, error) { return os.Open(probe.path) }}
		if c, err := client.NewClientWithOpts(client.WithAPIVersionNegotiation()); err == nil && h.measure() == nil {
			for _, ref := range []string{probeImage, h.ref()} {
				_, _ = c.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
			}
		}
		_ = os.RemoveAll(filepath.Dir(probe.path))
	}
	os.Exit(status)
}

// newProvider returns a provider for the machine's Engine, or for another way to it.
func newProvider(t *testing.T, change ...func(*Options)) *Provider {
	t.Helper()
	needDocker(t)
	probe.once.Do(func() { probe.path, probe.err = buildProbe() })
	if probe.err != nil {
		t.Fatal(probe.err)
	}
	o := Options{HelperBinary: func() (io.ReadCloser, error) { return os.Open(probe.path) }}
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.client.Close() })
	return p
}

// run starts a container of the probe image that lives until the test ends.
func run(t *testing.T, p *Provider, name string, labels map[string]string, change ...func(*container.Config, *container.HostConfig)) string {
	t.Helper()
	config := &container.Config{Image: probeImage, Cmd: []string{"/probe", "wait"}, Labels: labels}
	stop := 0
	config.StopTimeout = &stop
	host := &container.HostConfig{NetworkMode: "none"}
	for _, c := range change {
		c(config, host)
	}
	created, err := p.client.ContainerCreate(t.Context(), config, host, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// With a client of its own: the test's may have lost its Engine on purpose.
		if c, err := client.NewClientWithOpts(client.WithAPIVersionNegotiation()); err == nil {
			_ = c.ContainerRemove(context.Background(), created.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		}
	})
	if err := p.client.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return created.ID
}

// uniqueName is a container's name that no other test, and no other run, has.
func uniqueName(t *testing.T) string {
	return "bt-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", " ", "-", "'", "").Replace(t.Name())) + "-" + time.Now().Format("150405.000000")
}

// until waits for a condition; how long it takes is not what is tested.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func start(t *testing.T, p *Provider, id string, argv ...string) engine.Process {
	t.Helper()
	proc, err := p.Instance(id).Exec(t.Context(), engine.Command{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	return proc
}

// line reads up to a line's end, byte by byte so that nothing more is taken.
func line(t *testing.T, r io.Reader) string {
	t.Helper()
	var b strings.Builder
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if one[0] == '\n' {
			return b.String()
		}
		b.Write(one)
	}
}

// count says how many processes in the container have the word in their arguments.
func count(t *testing.T, p *Provider, id, word string) string {
	t.Helper()
	out, exit, err := engine.Output(t.Context(), p.Instance(id), engine.Command{Argv: []string{"/probe", "count", word}}, 100)
	if err != nil || exit.Status != 0 {
		t.Fatalf("count: %v, %+v", err, exit)
	}
	return strings.TrimSpace(string(out))
}

// gate stands before the Engine's socket and can be shut.
type gate struct {
	t    *testing.T
	addr string
	tls  *tls.Config

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]bool
}

func newGate(t *testing.T, tlsConfig *tls.Config) *gate {
	g := &gate{t: t, addr: "127.0.0.1:0", tls: tlsConfig, conns: map[net.Conn]bool{}}
	g.open()
	t.Cleanup(g.shut)
	return g
}

func (g *gate) open() {
	g.t.Helper()
	ln, err := net.Listen("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.addr = ln.Addr().String()
	g.mu.Lock()
	g.ln = ln
	g.mu.Unlock()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if g.tls != nil {
				c = tls.Server(c, g.tls)
			}
			go g.serve(c)
		}
	}()
}

func (g *gate) serve(c net.Conn) {
	up, err := net.Dial("unix", socket)
	if err != nil {
		c.Close()
		return
	}
	g.mu.Lock()
	g.conns[c], g.conns[up] = true, true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.conns, c)
		delete(g.conns, up)
		g.mu.Unlock()
		c.Close()
		up.Close()
	}()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, up}, {up, c}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			if w, ok := way[1].(interface{ CloseWrite() error }); ok {
				_ = w.CloseWrite()
			}
		})
	}
	both.Wait()
}

// shut cuts every connection and refuses new ones.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ln.Close()
	for c := range g.conns {
		c.Close()
	}
}
