// Package uplink is the agent's end of the wire: it turns what the agent says
// and hears into calls of the controller's AgentService. Nothing else in the
// agent knows of protobuf or gRPC.
package uplink

import (
	"time"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
)

// Lease is the right to carry out one run: what this agent does under it counts
// only while Epoch is the run's newest.
type Lease struct {
	Run   string
	Epoch uint64
}

// Hold is a lease in hand.
type Hold struct {
	Lease
	// Lasts says why the lease is over, nil while it is not. It is asked each time
	// before something is sent: this process may have been stopped for any time
	// since it was asked last. Nil: it is not known.
	Lasts func() error
}

func (h Hold) over() error {
	if h.Lasts == nil {
		return nil
	}
	return h.Lasts()
}

// Assignment is one run leased to this agent. Exactly one of Backup, Restore and
// Drill is set.
type Assignment struct {
	Lease Lease
	// Source is what is backed up, or the target of a restore (empty when the target is a container by name).
	Source string
	// Duration is how long the lease lasts from its arrival unless a heartbeat renews it.
	Duration time.Duration
	// TimeLimit is how long the work may take; 0: as long as it wants.
	TimeLimit   time.Duration
	Traceparent string
	Key         repo.SourceKey
	Controllers []string // ids of those to send objects to, best first
	Backup      *BackupWork
	Restore     *RestoreWork
	Drill       *DrillWork
}

// BackupWork is a backup to make.
type BackupWork struct {
	Snapshot string
	FireTime time.Time
	Base     []repo.Ref // newest first
	Avoid    []string   // ids of packs that are not to be built upon
	Manifest byte       // the version of the manifest to write
}

// RestoreWork is a restore to carry out.
type RestoreWork struct {
	Snapshot repo.Ref
	// Engine made the snapshot; the target must be of that kind.
	Engine string
	// Container names the target by container instead of by source.
	Container string
	// New is the name of a container to make, from AskedImage, or else from the image
	// that the source had: Image, and its digest.
	New, AskedImage, Image, ImageDigest string

	Select    []string
	Tables    []string
	As        string
	Overwrite bool
	DryRun    bool
	NoOwner   bool
}

// DrillWork is a restore into a throwaway container.
type DrillWork struct {
	Snapshot repo.Ref
	// Engine made the snapshot, of a container of that image.
	Engine, Image, ImageDigest string
}

// Drilled is what came of a drill that came to a verdict.
type Drilled struct {
	Ready, Restored time.Duration
	Objects, Rows   int64
	Assertions      int
	Image           string
}

// Snapshot is what the agent knows of the snapshot that a backup made.
type Snapshot struct {
	ID, Source, Engine, Server, Image string
	ImageDigest                       string
	FireTime, StartedAt               time.Time
	Summary                           repo.Summary
	// Strange says what looks like an accident beside the snapshot before.
	Strange []string
}

// Outcome is how a run ended that made no snapshot.
type Outcome struct {
	Err       error // nil: it succeeded
	Cancelled bool
	Report    []string
	Warnings  []string
	Logs      []LogLine
	// Drill is nil for other runs, and for a drill without a verdict.
	Drill *Drilled
}

// LogLine is one line of a run's log.
type LogLine struct {
	Time           time.Time
	Level, Message string
}

// Progress is how far a run is.
type Progress struct {
	Lease                            Lease
	Phase                            string
	BytesDone, BytesTotal, BytesSent int64
	Logs                             []LogLine // since the last report
}

// Pulse is what a heartbeat tells.
type Pulse struct {
	Runs      []Progress
	Providers []NamedHealth
	// Trust is the version of the trust that the agent has.
	Trust uint64
}

// Hello opens a session.
type Hello struct {
	Host, Version string
	Concurrency   int
	Held          []Lease
}

// Update is one message of a session.
type Update struct {
	Session string
	// Complete means that Assign is all there is: leases held and not named in it are lost.
	Complete bool
	Assign   []Assignment
	Cancel   []Lease
	// Trust is the version of the trust that the agent should have.
	Trust uint64
	// Logs asks for the agent's log; nil: nobody does.
	Logs *LogRequest
}

// LogRequest asks for the last lines of the agent's log.
type LogRequest struct {
	ID    string
	Lines int
}

// Beat is the answer to a heartbeat.
type Beat struct {
	Period        time.Duration
	Renewed, Lost []Lease
}

// NamedHealth is a provider's health with its name.
type NamedHealth struct {
	Name string
	provider.Health
}

// hashOf reads a SHA-256 from the wire; one of the wrong length becomes zero,
// which matches nothing that is checked against it.
func hashOf(b []byte) (h ledger.Hash) {
	if len(b) == len(h) {
		copy(h[:], b)
	}
	return h
}
