package state

import (
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// BaseSnapshots is how many of a source's newest snapshots a backup builds on.
const BaseSnapshots = 2

// HeldRun gives the run that a lease is for, when the lease is the run's newest
// and the run is at work under it.
func HeldRun(v *View, l *pb.Lease) (*pb.Run, error) {
	r, ok := v.Run(l.GetRun())
	switch {
	case !ok:
		return nil, problem.New(problem.NotFound, "there is no run %.64q", l.GetRun()).WithReason(ReasonNoRun)
	case Ended(r):
		return nil, refuse(ReasonRunEnded, "run %s has ended", r.GetId())
	case !leased(r) || r.GetEpoch() != l.GetEpoch():
		return nil, refuse(ReasonStaleEpoch, "run %s: the lease of epoch %d has passed to somebody else", r.GetId(), l.GetEpoch())
	}
	return r, nil
}
