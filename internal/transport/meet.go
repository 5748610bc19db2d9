package transport

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonWrongSecret is that of two who do not know the same secret.
const ReasonWrongSecret problem.Reason = "wrong-secret"

// Side is who proves that it knows the secret.
type Side string

// The two ends of a connection.
const (
	SideCaller Side = "caller"
	SideCallee Side = "callee"
)

const exporterLabel = "EXPORTER-Baktainer-common-secret"

// Proof is how one side of a connection shows that it knows a secret without
// sending it: an HMAC over what only the two ends of this very connection know.
// Somebody between them has two connections, and the proof of the one is worth
// nothing on the other.
func Proof(secret string, side Side, state tls.ConnectionState) ([]byte, error) {
	if !state.HandshakeComplete {
		return nil, errors.New("bind a proof to the connection: there is none")
	}
	bound, err := state.ExportKeyingMaterial(exporterLabel, nil, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("bind a proof to the connection: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(side))
	mac.Write([]byte{0})
	mac.Write(bound)
	return mac.Sum(nil), nil
}

// CheckProof says whether that side of the connection has proved that it knows the secret.
func CheckProof(proof []byte, secret string, side Side, state tls.ConnectionState) error {
	want, err := Proof(secret, side, state)
	if err != nil {
		return err
	}
	if !hmac.Equal(proof, want) {
		return problem.New(problem.Denied, "the other end does not know the secret of this token").WithReason(ReasonWrongSecret).
			WithHint("All controllers that make a cluster together get the same token. Something between them that ends TLS is in the way, too.")
	}
	return nil
}

// stateOf is the TLS of the connection that the call with that context came over.
func stateOf(ctx context.Context) (tls.ConnectionState, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return tls.ConnectionState{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return info.State, ok
}

// proven checks the proof in a request that comes with one, so that its handler
// sees the secret as if it had been sent, and gives what adds this end's proof to
// the response.
func (g *Guard) proven(ctx context.Context, req any) (prove func(resp any) error, err error) {
	none := func(any) error { return nil }
	var proof []byte
	switch r := req.(type) {
	case *pb.MeetRequest:
		proof = r.GetProof()
	case *pb.EnrolRequest:
		if proof = r.GetProof(); len(proof) == 0 {
			return none, nil
		}
	default:
		return none, nil
	}
	secret := ""
	if g.Secret != nil {
		secret = g.Secret()
	}
	state, ok := stateOf(ctx)
	if secret == "" || !ok {
		return nil, problem.New(problem.Denied, "this controller was not started with a token that others have in common with it").WithReason(ReasonWrongSecret)
	}
	if err := CheckProof(proof, secret, SideCaller, state); err != nil {
		return nil, err
	}
	mine, err := Proof(secret, SideCallee, state)
	if err != nil {
		return nil, err
	}
	if r, ok := req.(*pb.EnrolRequest); ok {
		r.Secret, r.Proof = secret, nil
	}
	return func(resp any) error {
		switch r := resp.(type) {
		case *pb.MeetResponse:
			r.Proof = mine
		case *pb.EnrolResponse:
			r.Proof = mine
		}
		return nil
	}, nil
}
