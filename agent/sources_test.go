package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
)

type nowhere struct{ provider.Provider }

func (nowhere) Instance(string) engine.Instance { return nil }

// A companion that another run has stopped is one all the same.
func TestCompanions(t *testing.T) {
	companion := func(name, action string, running bool) provider.Container {
		return provider.Container{ID: name, Name: name, Facts: engine.Facts{Running: running}, Labels: map[string]string{
			"baktainer.companion_of": "shop", "baktainer.companion.action": action,
		}}
	}
	s := newSources([]provider.Provider{nowhere{}}, nil)
	s.update(s.providers[0], []provider.Container{
		companion("app", "stop", true), companion("down", "stop", false), companion("off", "pause", false),
		companion("on", "pause", true),
	})
	list, err := s.companions("shop")
	var got []string
	for _, c := range list {
		got = append(got, fmt.Sprint(c.Name, " ", c.Resting))
	}
	if want := []string{"app false", "down true", "on false"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
