package provider

import (
	"context"
	"errors"

	"github.com/baktainer/baktainer/internal/engine"
)

// Sandbox says what a throwaway container is made of.
type Sandbox struct {
	// Run is what it is for.
	Run string
	// Images are names, digests ("name@sha256:…") or ids: the first that is there
	// is taken. Nothing is pulled.
	Images []string
	Blank  engine.Blank
	// Memory is how many bytes it may use.
	Memory int64
}

// Room is a throwaway container that has been started.
type Room struct {
	engine.Instance
	// Image is the name in Sandbox.Images that it was made from, and ID the image's own.
	Image, ID string
	// Failed says why it does not run any more; nil while it does.
	Failed func(context.Context) error
	// Log is the end of what it has written.
	Log func(context.Context) []string
	// Remove ends it and removes it with its volumes. It may be called twice.
	Remove func(context.Context) error
}

// ErrNoImage says that none of the images is there.
var ErrNoImage = errors.New("none of the images is there")

// Sandboxes makes throwaway containers: without network, without anything of the
// host, with bounds. What is left of them after a crash is removed when the
// provider is next connected.
type Sandboxes interface {
	Sandbox(ctx context.Context, s Sandbox) (*Room, error)
}
