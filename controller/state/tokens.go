package state

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds of tokens.
const (
	// MaxTokenLife and MaxTokenUses are the most that a token is good for.
	MaxTokenLife = 30 * 24 * time.Hour
	MaxTokenUses = 10_000
	// KeptTokens is how long a token is remembered after its end.
	KeptTokens = 30 * 24 * time.Hour
)

// TokenID is the id of a token by the hash of its secret.
func TokenID(hash []byte) string { return hex.EncodeToString(hash[:min(len(hash), 6)]) }

func role(r pb.Role) bool { return r >= pb.Role_ROLE_AGENT && r <= pb.Role_ROLE_VIEWER }

// createToken keeps a token until it has been of no use for KeptTokens.
func (w *writer) createToken(c *pb.CreateTokenRecord) error {
	t := c.GetToken()
	life := timeOf(t.GetExpiresAt()).Sub(w.at.AsTime())
	switch {
	case len(c.GetHash()) != sha256.Size || t.GetId() != TokenID(c.GetHash()):
		return bad("token %.40q: its id is not the beginning of its hash", t.GetId())
	case !role(t.GetRole()):
		return bad("token %s: it is for no known role", t.GetId())
	case t.GetName() != "" && !NamePattern.MatchString(t.GetName()):
		return bad("token %s: %.70q is no name", t.GetId(), t.GetName())
	case t.GetUses() < 1 || t.GetUses() > MaxTokenUses:
		return bad("token %s: %d uses; from 1 to %d are allowed", t.GetId(), t.GetUses(), MaxTokenUses)
	case !valid(t.GetExpiresAt()) || life <= 0 || life > MaxTokenLife:
		return bad("token %s: it must end within %s", t.GetId(), MaxTokenLife)
	}
	if _, taken := first[*pb.TokenRow](w.table, tableTokens, indexID, t.GetId()); taken {
		return refuse(ReasonDuplicate, "there is a token %s already", t.GetId())
	}
	w.dropOldTokens()
	w.put(tableTokens, &pb.TokenRow{Hash: c.GetHash(), Token: &pb.Token{
		Id: t.GetId(), Role: t.GetRole(), Name: t.GetName(), CreatedAt: w.at, ExpiresAt: t.GetExpiresAt(), Uses: t.GetUses(),
		CreatedBy: cut(t.GetCreatedBy(), maxWho),
	}})
	return nil
}

// dropOldTokens forgets what ended long ago. A token that was used up or revoked
// ends with its time, too, so that none stays for more than MaxTokenLife longer.
func (w *writer) dropOldTokens() {
	var old []*pb.TokenRow
	for row := range rows[*pb.TokenRow](w.table, tableTokens, indexTime, "", false) {
		if timeOf(row.GetToken().GetExpiresAt()).Add(KeptTokens).After(w.at.AsTime()) {
			break
		}
		old = append(old, row)
	}
	for _, row := range old {
		w.drop(tableTokens, row)
	}
}

func (w *writer) revokeToken(c *pb.RevokeTokenRecord) error {
	row, ok := first[*pb.TokenRow](w.table, tableTokens, indexID, c.GetId())
	switch {
	case !ok:
		return problem.New(problem.NotFound, "there is no token %.40q", c.GetId()).WithReason(ReasonNoToken).
			WithHint("`baktainer token ls --all` lists them.")
	case row.GetToken().GetRevokedAt() != nil:
		return nil
	}
	revoked := proto.CloneOf(row)
	revoked.Token.RevokedAt = w.at
	w.put(tableTokens, revoked)
	return nil
}

// useToken takes one use off the token with that hash, or says why it is not
// good for the identity. Whoever comes with a hash that is unknown hears the same
// as one whose token is for somebody else.
func (w *writer) useToken(hash []byte, who *pb.Identity) (*pb.Token, error) {
	row, ok := first[*pb.TokenRow](w.table, tableTokens, indexHash, string(hash))
	t := row.GetToken()
	switch {
	case !ok:
		return nil, notGood(ReasonTokenUnknown)
	case t.GetRole() != who.GetRole() || t.GetName() != "" && t.GetName() != who.GetName():
		return nil, notGood(ReasonTokenMismatch)
	case t.GetRevokedAt() != nil:
		return nil, denied(ReasonTokenRevoked, "the token was revoked")
	case !timeOf(t.GetExpiresAt()).After(w.at.AsTime()):
		return nil, denied(ReasonTokenExpired, "the token has expired")
	case t.GetUsed() >= t.GetUses():
		return nil, denied(ReasonTokenUsedUp, "the token was used as often as it may be")
	}
	used := proto.CloneOf(row)
	used.Token.Used++
	w.put(tableTokens, used)
	return t, nil
}

func notGood(reason problem.Reason) *problem.Problem {
	return denied(reason, "the token is unknown, or not for this role and name")
}

func denied(reason problem.Reason, format string, args ...any) *problem.Problem {
	return problem.New(problem.Denied, format, args...).WithReason(reason).
		WithHint("An operator makes a new token with `baktainer token create`.")
}
