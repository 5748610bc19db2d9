// Package provider is the contract between the agent and whatever runs the
// containers in which databases live. A Provider finds containers and
// reaches into them; it knows nothing of engines, sources or labels' meaning.
package provider

import (
	"context"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
)

// Container is what a provider knows of one container.
type Container struct {
	// ID is the provider's own, unique name for it; Name is the one that people use.
	ID, Name string
	Labels   map[string]string
	Facts    engine.Facts
}

// Health says whether a provider reaches its containers.
type Health struct {
	Healthy bool
	// Detail is the reason while not healthy, for people.
	Detail string
	// Since is when the present state began.
	Since time.Time
}

// Provider finds containers and reaches into them. All methods may be used
// concurrently.
type Provider interface {
	// Name is the provider's word for itself: "docker".
	Name() string
	// Watch calls changed with the containers, running or not, complete each time: at
	// once when they are first known, then whenever something about them changed. Of
	// those without a label of ours it may know no more than name, labels and image,
	// and whether they run. Calls do not overlap. While the containers cannot be reached
	// nothing is called and Health says why. Watch returns only when ctx ends.
	Watch(ctx context.Context, changed func([]Container)) error
	// Find looks any container up by its name or id, labelled or not. An unknown
	// one is a *problem.Problem with code NotFound.
	Find(ctx context.Context, nameOrID string) (Container, error)
	// Instance reaches into the container with this id. It does no I/O: what is
	// wrong with the id shows when the instance is used.
	Instance(id string) engine.Instance
	// Health says whether the containers can be reached.
	Health() Health
}
