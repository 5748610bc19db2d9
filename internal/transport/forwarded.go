package transport

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// callerHeader is where a controller that passes a call on says whose it is.
const callerHeader = "baktainer-caller"

// longestCaller bounds what is read of that header.
const longestCaller = 4096

// wireCaller is a caller in that header: JSON in base64.
type wireCaller struct {
	Role    string `json:"role,omitempty"`
	Name    string `json:"name,omitempty"`
	Origin  string `json:"origin,omitempty"`
	Local   bool   `json:"local,omitempty"`
	Issued  int64  `json:"issued,omitempty"`  // Unix seconds
	Expires int64  `json:"expires,omitempty"` // Unix seconds
}

// passOn puts the caller into what is sent to the leader.
func passOn(ctx context.Context, c Caller) context.Context {
	w := wireCaller{Role: RoleName(c.Role), Name: c.Name, Origin: c.Origin, Local: c.Local}
	if !c.Local && c.Role != pb.Role_ROLE_UNSPECIFIED {
		w.Issued, w.Expires = c.Issued.Unix(), c.Expires.Unix()
	}
	text, _ := json.Marshal(w) // strings and numbers always go
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(callerHeader, base64.StdEncoding.EncodeToString(text)))
}

// identify is who calls: the other end of the connection, or whoever a
// controller at the other end says it passes the call on for.
func identify(ctx context.Context) (Caller, error) {
	c := callerByPeer(ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	header := md.Get(callerHeader)
	if len(header) == 0 {
		return c, nil
	}
	if c.Role != pb.Role_ROLE_CONTROLLER {
		return c, problem.New(problem.Denied, "only a controller passes calls of others on, and %s is none", describeCaller(c)).WithReason(ReasonForged)
	}
	passed, err := readCaller(header)
	if err != nil {
		return c, problem.Wrap(problem.InvalidInput, err, "read whose call the %s passes on", c)
	}
	passed.Via, passed.relay = c.Name, &c
	return passed, nil
}

func describeCaller(c Caller) string {
	if c.Role == pb.Role_ROLE_UNSPECIFIED {
		return "the caller from " + c.Origin
	}
	return "the " + c.String()
}

var errHeader = errors.New("the header " + callerHeader + " is damaged")

func readCaller(header []string) (Caller, error) {
	if len(header) != 1 || len(header[0]) > longestCaller {
		return Caller{}, errHeader
	}
	text, err := base64.StdEncoding.DecodeString(header[0])
	if err != nil {
		return Caller{}, errHeader
	}
	var w wireCaller
	if json.Unmarshal(text, &w) != nil {
		return Caller{}, errHeader
	}
	c := Caller{Role: RoleOf(w.Role), Name: w.Name, Origin: w.Origin, Local: w.Local}
	if RoleName(c.Role) != w.Role {
		return Caller{}, errHeader // a role that this version does not know is not nobody
	}
	if w.Expires != 0 {
		c.Issued, c.Expires = time.Unix(w.Issued, 0), time.Unix(w.Expires, 0)
	}
	return c, nil
}
