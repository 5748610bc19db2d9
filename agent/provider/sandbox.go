package provider

import (
	"context"
	"errors"

	"github.com/baktainer/baktainer/internal/engine"
)

// Sandbox says what a container of ours is made of, a throwaway one unless Keep
// is set.
type Sandbox struct {
	// Run is what it is for.
	Run string
	// Images are names, digests ("name@sha256:…") or ids: the first that is there
	// is taken. Nothing is pulled.
	Images []string
	Blank  engine.Blank
	// Memory is how many bytes it may use; 0: as many as there are.
	Memory int64
	// Keep is the name that it gets for good when it is settled: it has a network,
	// then, and no bounds. Until then it is thrown away like any other. That the name
	// is taken is a problem with code Conflict.
	Keep string
	// Look only finds out the image, and whether the name is free: the room that is
	// given has nothing else.
	Look bool
}

// Room is a container of ours that has been started.
type Room struct {
	engine.Instance
	// Image is the name in Sandbox.Images that it was made from, and ID the image's own.
	Image, ID string
	// Failed says why it does not run any more; nil while it does.
	Failed func(context.Context) error
	// Log is the end of what it has written.
	Log func(context.Context) []string
	// Settle gives it the name that it keeps: nothing removes it from then on.
	Settle func(context.Context) error
	// Remove ends it and removes it with its volumes. It may be called twice.
	Remove func(context.Context) error
}

// ErrNoImage says that none of the images is there.
var ErrNoImage = errors.New("none of the images is there")

// Sandboxes makes containers that have nothing of the host; those to be thrown
// away are without network and with bounds. What is left of them after a crash is removed when the
// provider is next connected.
type Sandboxes interface {
	Sandbox(ctx context.Context, s Sandbox) (*Room, error)
}
