package state

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// MaxRoots is how many roots may be trusted at once: two during a rotation, and
// room for one that was begun over.
const MaxRoots = 4

// setAuthority replaces the authority by its next version, so that of two who
// change it at the same time one is refused.
func (w *writer) setAuthority(c *pb.SetAuthority) error {
	next := c.GetAuthority()
	present, _ := first[*pb.AuthorityRecord](w.table, tableAuthority, indexID, onlyRow)
	if next.GetVersion() != present.GetVersion()+1 {
		return refuse(ReasonNotNext, "the authority is at version %d, so that version %d cannot come next", present.GetVersion(), next.GetVersion()).
			WithHint("Somebody else has changed it. Look at it again.")
	}
	if err := checkAuthority(next); err != nil {
		return err
	}
	w.put(tableAuthority, next)
	return nil
}

func checkAuthority(a *pb.AuthorityRecord) error {
	if n := len(a.GetRoots()); n == 0 || n > MaxRoots {
		return bad("the authority has %d roots: from 1 to %d are allowed", n, MaxRoots)
	}
	if a.GetRotationBeganAt() != nil && !valid(a.GetRotationBeganAt()) {
		return bad("the authority: the beginning of its rotation is out of range")
	}
	signing := 0
	for i, r := range a.GetRoots() {
		if len(r.GetCertificate()) == 0 {
			return bad("root %d of the authority has no certificate", i)
		}
		for _, other := range a.GetRoots()[:i] {
			if bytes.Equal(other.GetCertificate(), r.GetCertificate()) {
				return bad("root %d of the authority is there twice", i)
			}
		}
		if !r.GetSigns() {
			continue
		}
		if signing++; len(r.GetSealedKey()) == 0 || r.GetKeyGeneration() == 0 {
			return bad("root %d of the authority is to sign, and has no key", i)
		}
	}
	if signing != 1 {
		return bad("%d roots of the authority sign: exactly one must", signing)
	}
	return nil
}

// setAgent keeps what was set for an agent, and nothing where nothing is.
func (w *writer) setAgent(c *pb.SetAgentRecord) error {
	a := c.GetAgent()
	switch {
	case !NamePattern.MatchString(a.GetId()):
		return bad("the agent's id is %.70q", a.GetId())
	case a.GetConcurrency() < 0 || a.GetConcurrency() > MaxConcurrency:
		return problem.New(problem.InvalidInput, "agent %s: %d runs at once; from 1 to %d are allowed, and 0 for its own setting", a.GetId(), a.GetConcurrency(), MaxConcurrency).
			WithReason(ReasonBadCommand)
	}
	if a.GetConcurrency() > 0 || a.GetDrained() {
		w.put(tableAgents, a)
		return nil
	}
	if known, ok := first[*pb.AgentRecord](w.table, tableAgents, indexID, a.GetId()); ok {
		w.drop(tableAgents, known)
	}
	return nil
}

func (w *writer) setLimits(c *pb.SetLimitsRecord) error {
	l := c.GetLimits()
	if l.GetTotal() < 0 || l.GetPerHost() < 0 {
		return bad("a limit is negative; 0 means none")
	}
	if l == nil {
		l = &pb.Limits{}
	}
	w.put(tableLimits, proto.CloneOf(l))
	return nil
}
