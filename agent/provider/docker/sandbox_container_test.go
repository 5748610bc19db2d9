package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
)

func owned(by string) func(*Options) { return func(o *Options) { o.Owner = by } }

// room makes a throwaway container that is gone when the test ends.
func room(t *testing.T, p *Provider, s provider.Sandbox) (*provider.Room, container.InspectResponse) {
	t.Helper()
	r, err := p.Sandbox(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c, err := p.client.ContainerInspect(t.Context(), r.Instance.(*instance).id)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestAThrowawayContainerIsBounded(t *testing.T) {
	p := newProvider(t, owned("me"))
	r, c := room(t, p, provider.Sandbox{
		Run: "r1", Images: []string{"nobody/has:this", "nobody/has@sha256:" + strings.Repeat("0", 64), "Not A Name", probeImage}, Memory: 64 << 20,
		Blank: engine.Blank{Args: []string{"/probe", "wait"}, Env: map[string]string{"A": "1", "B": "x y"}, Volumes: []string{"/data"}},
	})
	if r.Image != probeImage || !strings.HasPrefix(r.ID, "sha256:") || c.Image != r.ID {
		t.Errorf("it is made from %s, %s", r.Image, r.ID)
	}
	h := c.HostConfig
	if h.NetworkMode != "none" || h.Memory != 64<<20 || h.MemorySwap != 64<<20 || h.PidsLimit == nil || *h.PidsLimit <= 0 || h.Privileged || len(h.Binds) > 0 || len(h.CapAdd) > 0 ||
		!slices.Contains(h.SecurityOpt, "no-new-privileges") || !h.RestartPolicy.IsNone() {
		t.Errorf("its bounds: %+v", h)
	}
	if c.Config.Labels[label.KeyHelper] != "drill me r1" || !slices.Contains(c.Config.Env, "B=x y") || len(c.Mounts) != 1 || c.Mounts[0].Type != "volume" || c.Mounts[0].Destination != "/data" {
		t.Errorf("%+v, %+v", c.Config, c.Mounts)
	}
	// It runs, can be worked in, and is no source of anybody's.
	if line(t, start(t, p, c.ID, "/probe", "wait")) != "ready" || r.Failed(t.Context()) != nil {
		t.Error("it does not run")
	}
	until(t, "its log is there", func() bool { return slices.Equal(r.Log(t.Context()), []string{"ready"}) })
	found, err := p.list(t.Context())
	if err != nil || slices.ContainsFunc(found, func(k provider.Container) bool { return k.ID == c.ID }) {
		t.Errorf("it is among the containers: %v", err)
	}
	if err := r.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.VolumeInspect(t.Context(), c.Mounts[0].Name); !errdefs.IsNotFound(err) {
		t.Errorf("its volume is still there: %v", err)
	}
	if err := r.Failed(t.Context()); problem.ReasonOf(err) != engine.ReasonNotRunning {
		t.Errorf("removed by somebody: %v", err)
	}
}

func TestAThrowawayContainerThatEndsSaysWhy(t *testing.T) {
	p := newProvider(t)
	r, _ := room(t, p, provider.Sandbox{Images: []string{probeImage}, Memory: 64 << 20, Blank: engine.Blank{Args: []string{"/probe", "nonsense"}}})
	until(t, "it has ended", func() bool { return r.Failed(t.Context()) != nil })
	if err := r.Failed(t.Context()); !strings.Contains(err.Error(), "it has ended with status ") {
		t.Error(err)
	}
	if _, err := p.Sandbox(t.Context(), provider.Sandbox{Images: []string{"nobody/has:this"}, Memory: 64 << 20}); !errors.Is(err, provider.ErrNoImage) {
		t.Errorf("without an image: %v", err)
	}
	before := len(p.rooms)
	if _, err := p.Sandbox(t.Context(), provider.Sandbox{Images: []string{probeImage}, Memory: 64 << 20, Blank: engine.Blank{Args: []string{"/nothing"}}}); err == nil || len(p.rooms) != before {
		t.Errorf("a command that is not there: %v, %v", err, p.rooms)
	}
}

func TestAnIdleThrowawayContainerHasItsVolumes(t *testing.T) {
	p := newProvider(t)
	r, c := room(t, p, provider.Sandbox{Memory: 64 << 20, Blank: engine.Blank{Idle: true, Volumes: []string{"/data/deep"}}})
	if c.State.Running || r.Failed(t.Context()) != nil || r.Log(t.Context()) != nil || !slices.Equal(r.Facts().Mounts, []string{"/data/deep"}) {
		t.Errorf("%+v, %v", c.State, r.Facts())
	}
}

// What a crash leaves behind goes when its maker is there again; what others have
// made, or what is in use, stays.
func TestLeftOverThrowawayContainers(t *testing.T) {
	old := newProvider(t, owned("me"))
	left := provider.Sandbox{Run: "r1", Images: []string{probeImage}, Memory: 64 << 20, Blank: engine.Blank{Args: []string{"/probe", "wait"}}}
	_, mine := room(t, old, left)
	_, theirs := room(t, newProvider(t, owned("somebody-else")), left)
	// The Engine tells the time in seconds.
	aSecondAfter := func(made string) {
		until(t, "a second has passed", func() bool {
			at, err := time.Parse(time.RFC3339Nano, made)
			return err == nil && time.Since(at) > 1100*time.Millisecond
		})
	}
	aSecondAfter(mine.Created)
	now := clock.NewManual(time.Now())
	fresh := newProvider(t, owned("me"), func(o *Options) { o.Clock = now })
	_, used := room(t, fresh, left)
	aSecondAfter(used.Created)
	_, unheard := room(t, fresh, left) // as if the Engine's answer had been lost
	fresh.mu.Lock()
	delete(fresh.rooms, unheard.ID)
	fresh.mu.Unlock()
	there := func(id string) bool {
		_, err := fresh.client.ContainerInspect(t.Context(), id)
		return err == nil
	}
	fresh.removeRooms(t.Context())
	fresh.removeOrphans(t.Context())
	if there(mine.ID) || !there(theirs.ID) || !there(used.ID) || !there(unheard.ID) {
		t.Errorf("left over: %v, somebody else's: %v, in use: %v, just made: %v", there(mine.ID), there(theirs.ID), there(used.ID), there(unheard.ID))
	}
	now.Advance(unheardOf + time.Minute)
	fresh.removeRooms(t.Context())
	if there(unheard.ID) || !there(theirs.ID) || !there(used.ID) {
		t.Errorf("later, one that nobody knows of: %v, somebody else's: %v, in use: %v", there(unheard.ID), there(theirs.ID), there(used.ID))
	}
}

// A container that is made to stay has a network, is swept away until it has its
// name, and is nobody's but the user's from then on.
func TestAContainerThatStays(t *testing.T) {
	p := newProvider(t, owned("me"))
	name := "bt-provider-stays-" + strings.ToLower(rand.Text())
	keep := provider.Sandbox{Run: "r1", Keep: name, Images: []string{probeImage}, Blank: engine.Blank{Args: []string{"/probe", "wait"}}}
	look := keep
	look.Look = true
	if r, err := p.Sandbox(t.Context(), look); err != nil || r.Image != probeImage || r.Instance != nil {
		t.Errorf("only looking gives %+v, %v", r, err)
	}
	_, broken := room(t, p, keep)
	if broken.Name != "/"+name+label.Unfinished || broken.HostConfig.NetworkMode.IsNone() || broken.HostConfig.Memory != 0 || broken.Config.Labels[label.KeyHelper] != "restore me r1" {
		t.Errorf("%s, %+v, %v", broken.Name, broken.HostConfig, broken.Config.Labels)
	}
	if _, err := p.Sandbox(t.Context(), keep); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("while one is being made: %v", err)
	}
	// Its maker is gone, and is there again.
	until(t, "a second has passed", func() bool {
		at, err := time.Parse(time.RFC3339Nano, broken.Created)
		return err == nil && time.Since(at) > 1100*time.Millisecond
	})
	newProvider(t, owned("me")).removeRooms(t.Context())
	if _, err := p.client.ContainerInspect(t.Context(), broken.ID); !errdefs.IsNotFound(err) {
		t.Errorf("what broke off is there: %v", err)
	}
	r, whole := room(t, p, keep)
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "a second has passed", func() bool {
		at, err := time.Parse(time.RFC3339Nano, whole.Created)
		return err == nil && time.Since(at) > 1100*time.Millisecond
	})
	again := newProvider(t, owned("me"))
	again.removeRooms(t.Context())
	again.removeOrphans(t.Context())
	found, err := again.list(t.Context())
	i := slices.IndexFunc(found, func(c provider.Container) bool { return c.ID == whole.ID })
	if err != nil || i < 0 || found[i].Name != name || label.Concerns(found[i].Labels) {
		t.Errorf("it is no container like others: %+v, %v", found, err)
	}
	if _, err := p.Sandbox(t.Context(), keep); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("a name that is taken: %v", err)
	}
}
