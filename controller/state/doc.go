// Package state holds the deterministic tables of a cluster: commands in, facts
// out. It does no I/O and reads no clock, no randomness and no map order: the
// same commands give the same tables, and the same tables the same raft
// snapshot, byte for byte. Raft itself is in controller/consensus.
package state

import (
	"errors"

	"github.com/baktainer/baktainer/internal/problem"
)

// The bounds of the state.
const (
	// MaxCommandSize is the most that one command may have, in bytes as encoded.
	MaxCommandSize = 512 << 10
	// CommandVersion is the newest version of commands that is understood here. A
	// field or a command that is new has the version (since) in the proto; what a
	// known command does otherwise than before depends on the command's version.
	CommandVersion = 2
	// KeptRuns is how many ended runs are kept for each source.
	KeptRuns = 200
	// KeptRequests is how many request ids are remembered with their results.
	KeptRequests = 10_000
	// MaxLogLines and MaxLogLine bound the log kept with a run: lines, bytes of one.
	MaxLogLines = 200
	MaxLogLine  = 1 << 10
)

// ErrUnknownCommand says that a command comes from a newer version and must not
// be skipped. Nothing was applied: whoever applies commands must stop here.
var ErrUnknownCommand = errors.New("unknown command")

// Reasons for which a command is refused.
const (
	ReasonStaleEpoch   problem.Reason = "stale-epoch"   // the lease has passed to somebody else
	ReasonRunEnded     problem.Reason = "run-ended"     // nothing more can happen to the run
	ReasonNoRun        problem.Reason = "no-run"        // there is no such run
	ReasonNoSource     problem.Reason = "no-source"     // there is no such source
	ReasonNoSnapshot   problem.Reason = "no-snapshot"   // there is no such snapshot
	ReasonAmbiguous    problem.Reason = "ambiguous"     // several snapshots begin so
	ReasonSourceBusy   problem.Reason = "source-busy"   // another run of the source is leased, or it is being pruned
	ReasonNewest       problem.Reason = "newest"        // a source's newest snapshot is not forgotten
	ReasonLastVerified problem.Reason = "last-verified" // nor the last one that is known to be good
	ReasonPruned       problem.Reason = "pruned"        // the snapshot's data is gone
	ReasonForgotten    problem.Reason = "forgotten"     // the snapshot is forgotten
	ReasonOnHold       problem.Reason = "on-hold"       // somebody keeps the snapshot until a time
	ReasonUndoWindow   problem.Reason = "undo-window"   // the snapshot can be taken back until a time
	ReasonPlanStale    problem.Reason = "plan-stale"    // things have changed since the prune was planned
	ReasonDuplicate    problem.Reason = "duplicate"     // the source has a snapshot of that fire time, or that id is taken
	ReasonNoSchedule   problem.Reason = "no-schedule"   // there is no such schedule
	ReasonNotDue       problem.Reason = "not-due"       // the schedule has moved on
	ReasonOtherClust   problem.Reason = "other-cluster" // the state belongs to another cluster
	ReasonBadCommand   problem.Reason = "bad-command"   // a field of a command is missing or wrong
	ReasonTooLarge     problem.Reason = "too-large"     // the command has more than MaxCommandSize bytes
	ReasonWrongMoment  problem.Reason = "wrong-moment"  // the run is in no state for that
	ReasonNotNext      problem.Reason = "not-next"      // somebody else has changed the authority
	ReasonNoToken      problem.Reason = "no-token"      // there is no such token
	ReasonNoIdentity   problem.Reason = "no-identity"   // nobody of that name has a certificate
	ReasonNoAudit      problem.Reason = "no-audit"      // there is no such audit record
	ReasonNoStore      problem.Reason = "no-store"      // there is no such store
	ReasonOtherRepo    problem.Reason = "other-repository"
	ReasonMixed        problem.Reason = "mixed-versions" // a member of the cluster does not understand it yet
	ReasonNameTaken    problem.Reason = "name-taken"     // somebody has that name
	ReasonRevoked      problem.Reason = "revoked"        // the certificates of that name were revoked
)

// Reasons for which a token is refused.
const (
	ReasonTokenUnknown  problem.Reason = "token-unknown"
	ReasonTokenMismatch problem.Reason = "token-mismatch" // it is for another role or name
	ReasonTokenExpired  problem.Reason = "token-expired"
	ReasonTokenUsedUp   problem.Reason = "token-used-up"
	ReasonTokenRevoked  problem.Reason = "token-revoked"
)
