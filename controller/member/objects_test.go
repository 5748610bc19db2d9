package member_test

import (
	"context"
	"errors"
	"testing"

	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// client speaks to the only controller by itself, as no peer would.
func (h *houses) client() pb.MemberServiceClient {
	h.t.Helper()
	m := h.dir.members[0]
	conn, err := h.conn(m.GetId(), m.GetAddress())
	if err != nil {
		h.t.Fatal(err)
	}
	return pb.NewMemberServiceClient(conn)
}

// put sends messages, and hangs up.
func put(ctx context.Context, c pb.MemberServiceClient, messages ...*pb.PutObjectRequest) (*pb.PutObjectResponse, error) {
	stream, err := c.PutObject(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			break // CloseAndRecv tells why
		}
	}
	return stream.CloseAndRecv()
}

func TestAnObjectIsWholeOrNotThere(t *testing.T) {
	st := mem.New()
	h := newHouses(t)
	h.serve("c1", st)
	part := func(text string, last bool) *pb.PutObjectRequest {
		return &pb.PutObjectRequest{Store: "main", Name: "o", Data: []byte(text), Last: last}
	}
	for what, c := range map[string]struct {
		messages []*pb.PutObjectRequest
		reason   problem.Reason
		code     problem.Code
	}{
		"nothing":               {nil, "", problem.Internal},
		"without its end":       {[]*pb.PutObjectRequest{part("a", false)}, member.ReasonCut, problem.Unavailable},
		"without its end, long": {[]*pb.PutObjectRequest{part("a", false), part("b", false)}, member.ReasonCut, problem.Unavailable},
		"with an empty part":    {[]*pb.PutObjectRequest{part("a", false), part("", false), part("b", true)}, "", problem.InvalidInput},
	} {
		if _, err := put(t.Context(), h.client(), c.messages...); problem.CodeOf(err) != c.code || problem.ReasonOf(err) != c.reason {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := st.Stat(t.Context(), "o"); !errors.Is(err, store.ErrNotExist) {
			t.Fatalf("%s: something is there: %v", what, err)
		}
	}
	resp, err := put(t.Context(), h.client(), part("a", false), part("b", true))
	if err != nil || resp.GetExists() || resp.GetInfo().GetSize() != 2 {
		t.Errorf("whole: %v, %v", resp, err)
	}
	resp, err = put(t.Context(), h.client(), part("other", true))
	if err != nil || !resp.GetExists() || resp.GetInfo().GetSize() != 2 {
		t.Errorf("again: %v, %v", resp, err)
	}
}

func TestNamesAreChecked(t *testing.T) {
	h := newHouses(t)
	h.serve("c1", mem.New())
	c, ctx := h.client(), t.Context()
	for _, name := range []string{"", "../format.json", "a/../../b", "/etc/passwd", ".tmp-1", "a\x00b"} {
		_, putErr := put(ctx, c, &pb.PutObjectRequest{Store: "main", Name: name, Last: true})
		stream, err := c.GetObject(ctx, &pb.GetObjectRequest{Store: "main", Name: name, Length: -1})
		if err == nil {
			_, err = stream.Recv()
		}
		_, statErr := c.StatObject(ctx, &pb.StatObjectRequest{Store: "main", Name: name})
		_, deleteErr := c.DeleteObject(ctx, &pb.DeleteObjectRequest{Store: "main", Name: name})
		for what, err := range map[string]error{"put": putErr, "get": err, "stat": statErr, "delete": deleteErr} {
			if problem.CodeOf(err) != problem.InvalidInput || problem.ReasonOf(err) != member.ReasonObjectName {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
}

func TestAStoreThatIsNotHere(t *testing.T) {
	h := newHouses(t)
	h.serve("c1", mem.New())
	c, ctx := h.client(), t.Context()
	_, putErr := put(ctx, c, &pb.PutObjectRequest{Store: "other", Name: "o", Last: true})
	_, statErr := c.StatObject(ctx, &pb.StatObjectRequest{Store: "other", Name: "o"})
	_, spaceErr := c.GetSpace(ctx, &pb.GetSpaceRequest{Store: "other"})
	list, err := c.ListObjects(ctx, &pb.ListObjectsRequest{Store: "other"})
	if err == nil {
		_, err = list.Recv()
	}
	for what, err := range map[string]error{"put": putErr, "stat": statErr, "space": spaceErr, "list": err} {
		if problem.ReasonOf(err) != member.ReasonNotHere {
			t.Errorf("%s: %v", what, err)
		}
	}
}
