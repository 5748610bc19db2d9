package state

import (
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Authority returns the cluster's certificate authority; false until it has one.
func (v *View) Authority() (*pb.AuthorityRecord, bool) {
	return first[*pb.AuthorityRecord](v.table, tableAuthority, indexID, onlyRow)
}

// Tokens lists the tokens that are remembered, by the end of their time.
func (v *View) Tokens() []*pb.Token {
	var list []*pb.Token
	for row := range rows[*pb.TokenRow](v.table, tableTokens, indexTime, "", false) {
		list = append(list, row.GetToken())
	}
	return list
}

// TokenByHash returns the token with that SHA-256 of its secret.
func (v *View) TokenByHash(hash []byte) (*pb.Token, bool) {
	row, ok := first[*pb.TokenRow](v.table, tableTokens, indexHash, string(hash))
	return row.GetToken(), ok
}

// Identities lists who has had a certificate, by role and name.
func (v *View) Identities() []*pb.Identity {
	return collect(rows[*pb.Identity](v.table, tableIdentities, indexID, "", false), 0)
}

// Identity returns one identity.
func (v *View) Identity(role pb.Role, name string) (*pb.Identity, bool) {
	return first[*pb.Identity](v.table, tableIdentities, indexID, identityKey(role, name))
}

// AgentRecords lists what was set for agents, by id; most have nothing set.
func (v *View) AgentRecords() []*pb.AgentRecord {
	return collect(rows[*pb.AgentRecord](v.table, tableAgents, indexID, "", false), 0)
}

// Agent returns what was set for an agent; false when nothing is.
func (v *View) Agent(id string) (*pb.AgentRecord, bool) {
	return first[*pb.AgentRecord](v.table, tableAgents, indexID, id)
}

// Limits are what the cluster may do at once; never nil.
func (v *View) Limits() *pb.Limits {
	if l, ok := first[*pb.Limits](v.table, tableLimits, indexID, onlyRow); ok {
		return l
	}
	return &pb.Limits{}
}

// Members lists the controllers, by id.
func (v *View) Members() []*pb.MemberRecord {
	return collect(rows[*pb.MemberRecord](v.table, tableMembers, indexID, "", false), 0)
}

// Member returns one controller.
func (v *View) Member(id string) (*pb.MemberRecord, bool) {
	return first[*pb.MemberRecord](v.table, tableMembers, indexID, id)
}

// Stores lists the stores by name. One without controllers is reached by all of
// them, as far as is known.
func (v *View) Stores() []*pb.StoreRecord {
	return collect(rows[*pb.StoreRecord](v.table, tableStores, indexID, "", false), 0)
}
