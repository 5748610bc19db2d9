package docker

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const secret = "the secret of the source"

// serving starts a container with a server in it.
func serving(t *testing.T, p *Provider) (id string) {
	t.Helper()
	id = run(t, p, uniqueName(t), map[string]string{}, func(c *container.Config, _ *container.HostConfig) {
		c.Cmd, c.Env = []string{"/probe", "serve"}, []string{"SECRET=" + secret, "PATH=/nowhere"}
	})
	until(t, "the server answers", func() bool {
		_, exit, err := engine.Output(t.Context(), p.Instance(id), engine.Command{Argv: []string{"/probe", "visit"}}, 100)
		return err == nil && exit.Status == 0
	})
	return id
}

// equip makes a side-car of the probe's image.
func equip(t *testing.T, p *Provider, id string) (inst engine.Instance, c container.InspectResponse, release func()) {
	t.Helper()
	inst, release, err := engine.Equip(t.Context(), p.Instance(id), source.Spec{Tools: source.Tools{Image: probeImage, Memory: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	made := sidecarsOf(t, newProvider(t), id)
	if len(made) != 1 {
		t.Fatalf("%d side-cars", len(made))
	}
	return inst, made[0], release
}

// sidecarsOf lists those that are in the container's network.
func sidecarsOf(t *testing.T, p *Provider, id string) (found []container.InspectResponse) {
	t.Helper()
	all, err := p.client.ContainerList(t.Context(), container.ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Labels[label.KeyHelper] != label.ToolsMark {
			continue
		}
		c, err := p.client.ContainerInspect(t.Context(), s.ID)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.HostConfig.NetworkMode.ConnectedContainer() == id {
			found = append(found, c)
		}
	}
	return found
}

func TestASidecarHasTheNetworkAndNothingElse(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	id := serving(t, p)
	inst, c, release := equip(t, p, id)
	h := c.HostConfig
	if h.Memory != 64<<20 || h.MemorySwap != 64<<20 || h.PidsLimit == nil || *h.PidsLimit <= 0 || h.Privileged || !h.ReadonlyRootfs || !h.AutoRemove ||
		len(h.CapAdd) > 0 || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.VolumesFrom) > 0 || len(h.Binds) > 0 || len(c.Mounts) > 0 || h.PidMode != "" {
		t.Errorf("its bounds: %+v, %+v", h, c.Mounts)
	}
	if strings.Contains(strings.Join(c.Config.Env, " "), secret) {
		t.Errorf("its configuration tells the secret: %q", c.Config.Env)
	}

	out, exit, err := engine.Output(t.Context(), inst, engine.Command{Argv: []string{"/probe", "visit"}}, 100)
	if string(out) != "welcome\n" || exit.Status != 0 || err != nil {
		t.Errorf("the server beside it: %q, %+v, %v", out, exit, err)
	}
	write := engine.Command{Argv: []string{"/probe", "write", "/data/here"}, Stdin: strings.NewReader("only here")}
	if _, exit, err := engine.Output(t.Context(), p.Instance(id), write, 100); exit.Status != 0 || err != nil {
		t.Fatalf("%+v, %v", exit, err)
	}
	if _, exit, err := engine.Output(t.Context(), inst, engine.Command{Argv: []string{"/probe", "file", "/data/here"}}, 100); exit.Status != 1 || err != nil {
		t.Errorf("a file of the container: %+v, %v", exit, err)
	}
	if text, err := inst.ReadFile(t.Context(), "/data/here", 100); string(text) != "only here" || err != nil {
		t.Errorf("ReadFile: %q, %v", text, err)
	}

	// The source's variables are there, but for those that the tool is given, and is masked.
	for want, cmd := range map[string]engine.Command{
		"password is ***":     {Argv: []string{"/probe", "gen", "0"}, Secrets: []string{secret}},
		"password is another": {Argv: []string{"/probe", "gen", "0"}, Env: []string{"SECRET=another"}},
	} {
		_, exit, err := engine.Output(t.Context(), inst, cmd, 100)
		if err != nil || exit.Status != 0 || strings.Contains(exit.Stderr, secret) || !strings.Contains(exit.Stderr, strings.TrimSuffix(want, " ***")) {
			t.Errorf("%v, %+v, want %q", err, exit, want)
		}
	}

	// It goes, with what runs in it.
	endless := startIn(t, inst, "/probe", "drip")
	release()
	if exit, err := endless.Wait(); err == nil && exit.Status == 0 {
		t.Errorf("a program in it ended as %+v", exit)
	}
	until(t, "it is gone", func() bool { return len(sidecarsOf(t, p, id)) == 0 })
	release() // does no harm
}

func startIn(t *testing.T, inst engine.Instance, argv ...string) engine.Process {
	t.Helper()
	proc, err := inst.Exec(t.Context(), engine.Command{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	return proc
}

func TestASidecarThatDiesIsNoSuccess(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	id := serving(t, p)
	inst, c, _ := equip(t, p, id)
	proc := startIn(t, inst, "/probe", "drip")
	if _, err := proc.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	kill(t, p, c.ID)
	exit, err := proc.Wait()
	if problem.ReasonOf(err) != engine.ReasonStreamLost {
		t.Errorf("%+v, %v", exit, err)
	}
	t.Log(problem.Text(err))
	if _, err := inst.Exec(t.Context(), engine.Command{Argv: []string{"/probe", "visit"}}); problem.ReasonOf(err) != engine.ReasonStreamLost {
		t.Errorf("another program in it: %v", err)
	}
	until(t, "it is gone", func() bool { return len(sidecarsOf(t, p, id)) == 0 })
}

// What a process of ours that is killed leaves behind ends by itself: here its
// connections end.
func TestASidecarEndsWithItsMaker(t *testing.T) {
	t.Parallel()
	direct := newProvider(t)
	id := serving(t, direct)
	g := newGate(t, nil)
	p := newProvider(t, func(o *Options) { o.Host = "tcp://" + g.addr })
	inst, _, _ := equip(t, p, id)
	proc := startIn(t, inst, "/probe", "drip")
	if _, err := proc.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	g.shut()
	until(t, "it is gone", func() bool { return len(sidecarsOf(t, direct, id)) == 0 })
	if exit, err := proc.Wait(); err == nil {
		t.Errorf("a program in it ended as %+v", exit)
	}
}

func TestWhyThereIsNoSidecar(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	bare, err := p.helper.ensure(t.Context()) // it has our program alone
	if err != nil {
		t.Fatal(err)
	}
	id := serving(t, p)
	stopped := run(t, p, uniqueName(t)+"-stopped", map[string]string{})
	kill(t, p, stopped)
	for name, tc := range map[string]struct {
		id, image, words string
		reason           problem.Reason
	}{
		"no image":       {id, "nobody/has:this", "docker pull nobody/has:this", engine.ReasonNoImage},
		"no name at all": {id, "Not A Name", "not on this host", engine.ReasonNoImage},
		"no cat":         {id, bare, "needs a program `cat`", engine.ReasonToolMissing},
		"not running":    {stopped, probeImage, "not running", engine.ReasonNotRunning},
	} {
		_, err := p.Instance(tc.id).Sidecar(context.WithoutCancel(t.Context()), tc.image, 64<<20)
		if problem.ReasonOf(err) != tc.reason || !strings.Contains(problem.Text(err), tc.words) {
			t.Errorf("%s: %v", name, problem.Text(err))
		}
	}
	if left := append(sidecarsOf(t, p, id), sidecarsOf(t, p, stopped)...); len(left) > 0 {
		t.Errorf("%d are left", len(left))
	}
}

func TestTheVariablesOfToolsElsewhere(t *testing.T) {
	got := inherited(map[string]string{"PATH": "a", "HOME": "b", "LD_PRELOAD": "c", "LANG": "d", "PGPORT": "5433", "A": "x=y"}, []string{"PATH=/bin", "LANG=C"})
	if !slices.Equal(got, []string{"A=x=y", "PGPORT=5433"}) {
		t.Errorf("%q", got)
	}
}

func TestAHelperInTheNetwork(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	id := serving(t, p)
	for network, want := range map[bool]int{true: 0, false: 1} {
		proc, err := p.Instance(id).Helper(t.Context(), engine.Command{Argv: []string{"helper", "visit"}, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(proc)
		if exit, err := proc.Wait(); err != nil || exit.Status != want || (string(out) == "welcome\n") != network {
			t.Errorf("network %v: %q, %+v, %v", network, out, exit, err)
		}
	}
}
