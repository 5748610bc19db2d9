// Package run holds the words for one execution of a backup, restore or
// verification for one source: its states and which may follow which, its
// deterministic id, its lease.
package run

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

// ReasonTimeLimit says that an attempt took longer than it may.
const ReasonTimeLimit problem.Reason = "time-limit"

// MaxAttempts is the most that a backup may be set to be tried.
const MaxAttempts = 20

// Kind is what a run does.
type Kind string

// The kinds.
const (
	Backup  Kind = "backup"
	Restore Kind = "restore"
)

// State is how far a run has come.
type State string

// The states. Queued → Leased → one of the last three; a lease that is lost
// takes a run back to Queued under a higher epoch.
const (
	Queued    State = "queued"
	Leased    State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Ended says whether nothing more can happen to a run in this state.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

// MayBecome says whether a run may go from s to next, and why not.
func (s State) MayBecome(next State) error {
	switch {
	case s.Ended():
		return fmt.Errorf("the run has ended (%s)", s)
	case s == Queued && (next == Leased || next == Cancelled || next == Failed):
		return nil
	case s == Leased && (next == Queued || next.Ended()):
		return nil
	}
	return fmt.Errorf("a %s run cannot become %s", s, next)
}

// ID gives the id of the run that a schedule owes a source at a fire time. It
// depends on these alone, so two leaders that fire the same schedule make the
// same run, once. For a run asked for by hand, schedule is the request's id.
func ID(schedule, source string, fire time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", schedule, source, fire.UTC().Unix()))
	return hex.EncodeToString(sum[:8])
}
