package uplinktest

import (
	"fmt"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Session is one session that an agent has opened.
type Session struct {
	ID    string
	Node  string // the controller that it is with
	Hello *pb.SessionRequest

	say  chan *pb.SessionResponse
	end  chan error
	last int
}

// Complete says all that the agent is to do.
func (s *Session) Complete(as ...uplink.Assignment) {
	m := &pb.SessionResponse{Session: s.ID, Type: pb.SessionResponse_TYPE_COMPLETE, ResultsIn: "0"}
	s.last = 0
	for _, a := range as {
		m.Assign = append(m.Assign, onWire(a))
	}
	s.say <- m
}

// Assign adds to what the agent is to do.
func (s *Session) Assign(as ...uplink.Assignment) {
	m := s.change()
	for _, a := range as {
		m.Assign = append(m.Assign, onWire(a))
	}
	s.say <- m
}

// Cancel asks the agent to stop runs.
func (s *Session) Cancel(ls ...uplink.Lease) {
	m := s.change()
	for _, l := range ls {
		m.Cancel = append(m.Cancel, &pb.Lease{Run: l.Run, Epoch: l.Epoch})
	}
	s.say <- m
}

// Trust says which version of the trust the agent should have.
func (s *Session) Trust(version uint64) {
	m := s.change()
	m.TrustVersion = version
	s.say <- m
}

// AskLogs asks for the last lines of the agent's log.
func (s *Session) AskLogs(id string, lines int) {
	m := s.change()
	m.Logs = &pb.LogRequest{Id: id, Lines: int32(lines)}
	s.say <- m
}

// Skip makes the next change one that does not follow on the last message.
func (s *Session) Skip() { s.last++ }

// End ends the session with err.
func (s *Session) End(err error) { s.end <- err }

func (s *Session) change() *pb.SessionResponse {
	s.last++
	return &pb.SessionResponse{
		Session: s.ID, Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: fmt.Sprint(s.last - 1), ResultsIn: fmt.Sprint(s.last),
	}
}

func onWire(a uplink.Assignment) *pb.Assignment {
	w := &pb.Assignment{
		Lease: &pb.Lease{Run: a.Lease.Run, Epoch: a.Lease.Epoch}, Source: a.Source,
		LeaseDuration: durationpb.New(a.Duration), TimeLimit: durationpb.New(a.TimeLimit), Traceparent: a.Traceparent, SourceKey: a.Key.Secret(), Controllers: a.Controllers,
	}
	switch {
	case a.Backup != nil:
		b := &pb.BackupWork{Snapshot: a.Backup.Snapshot, FireTime: timestamppb.New(a.Backup.FireTime)}
		for _, r := range a.Backup.Base {
			b.Base = append(b.Base, refOnWire(r))
		}
		w.Work = &pb.Assignment_Backup{Backup: b}
	case a.Restore != nil:
		r := a.Restore
		w.Work = &pb.Assignment_Restore{Restore: &pb.RestoreWork{
			Snapshot: refOnWire(r.Snapshot), SnapshotSource: r.Snapshot.Source, Engine: r.Engine,
			Request: &pb.RestoreRequest{
				TargetContainer: r.Container, Select: r.Select, Overwrite: r.Overwrite, DryRun: r.DryRun, NoOwner: r.NoOwner,
			},
		}}
	}
	return w
}

func refOnWire(r repo.Ref) *pb.SnapshotRef {
	return &pb.SnapshotRef{Snapshot: r.Snapshot, ManifestSha256: r.Manifest[:], ManifestSize: r.Size}
}
