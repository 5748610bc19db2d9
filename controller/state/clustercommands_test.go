package state_test

import (
	"crypto/sha256"
	"fmt"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const agent, operator = pb.Role_ROLE_AGENT, pb.Role_ROLE_ADMIN

// Commands of the cluster itself.

// authority is a version with so many roots, of which the given one signs.
func authority(version uint64, roots, signs int) *pb.Command {
	a := &pb.AuthorityRecord{Version: version}
	for i := range roots {
		a.Roots = append(a.Roots, &pb.RootRecord{
			Certificate: []byte{byte(i)}, SealedKey: []byte("sealed"), KeyGeneration: 1, Signs: i == signs,
		})
	}
	return &pb.Command{Command: &pb.Command_SetAuthority{SetAuthority: &pb.SetAuthority{Authority: a}}}
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// token is for agents; change adapts it.
func token(secret string, change func(*pb.Token)) *pb.Command {
	t := &pb.Token{Id: state.TokenID(hash(secret)), Role: agent, Uses: 1, ExpiresAt: at(3600), CreatedBy: "admin/alice"}
	if change != nil {
		change(t)
	}
	return &pb.Command{Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{Token: t, Hash: hash(secret)}}}
}

func revokeToken(secret string) *pb.Command {
	return &pb.Command{Command: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeTokenRecord{Id: state.TokenID(hash(secret))}}}
}

// issue is a certificate for an agent, issued at that second; without a secret it
// is a renewal.
func issue(name, secret string, issued int) *pb.Command {
	c := &pb.IssueIdentity{Identity: &pb.Identity{
		Role: agent, Name: name, Serial: fmt.Sprintf("%032x", issued), IssuedAt: at(issued), NotAfter: at(issued + 100), Root: "ab12",
	}}
	if secret != "" {
		c.TokenHash = hash(secret)
	}
	return &pb.Command{Command: &pb.Command_IssueIdentity{IssueIdentity: c}}
}

func revoke(name string) *pb.Command {
	return &pb.Command{Command: &pb.Command_RevokeIdentity{RevokeIdentity: &pb.RevokeIdentityRecord{Role: agent, Name: name}}}
}

func setAgent(id string, concurrency int32, drained bool) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetAgent{SetAgent: &pb.SetAgentRecord{Agent: &pb.AgentRecord{Id: id, Concurrency: concurrency, Drained: drained}}}}
}

func limits(total, perHost int32) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: &pb.Limits{Total: total, PerHost: perHost}}}}
}

func beginAudit(id string) *pb.Command {
	r := &pb.AuditRecord{Id: id, Actor: "admin/alice", Origin: "10.0.0.1:5000", Method: "/baktainer.v1.AdminService/StartBackup", Request: `{"sources":["shop"]}`}
	return &pb.Command{Command: &pb.Command_BeginAudit{BeginAudit: &pb.BeginAudit{Record: r}}}
}

func endAudit(id string, failure *pb.Failure) *pb.Command {
	return &pb.Command{Command: &pb.Command_EndAudit{EndAudit: &pb.EndAudit{Id: id, Failure: failure}}}
}

func member(id, address string) *pb.Command {
	return &pb.Command{Command: &pb.Command_SetMember{SetMember: &pb.SetMember{Member: &pb.MemberRecord{Id: id, Address: address, Version: "1.0"}}}}
}

func dropMember(id string) *pb.Command {
	return &pb.Command{Command: &pb.Command_DropMember{DropMember: &pb.DropMember{Id: id}}}
}

func registerStore(name, repository, controller string) *pb.Command {
	return &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{
		Name: name, Location: "fs:/data", Repository: repository, Controller: controller,
	}}}
}

func loseStore(name, controller string) *pb.Command {
	c := registerStore(name, "", controller)
	c.GetRegisterStore().Lost = true
	return c
}
