// Package member is what controllers do for each other: they take one another into
// the cluster, commit commands for each other, and read and write the objects of
// a store that only some of them reach.
package member

import (
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Options are what a Service is made of.
type Options struct {
	// Local gives the store of that name when this controller reaches it by itself, else nil.
	Local func(name string) store.Store
}

// Service implements pb.MemberServiceServer.
type Service struct {
	pb.UnimplementedMemberServiceServer
	Options
}

// New returns the service.
func New(o Options) *Service { return &Service{Options: o} }
