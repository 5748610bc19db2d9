package transport

import (
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestACallerSurvivesTheHeader(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	for _, c := range []Caller{
		{Origin: "10.0.0.1"},
		{Role: pb.Role_ROLE_AGENT, Name: "db1", Origin: "fd00::1", Issued: at, Expires: at.Add(time.Hour)},
		{Role: pb.Role_ROLE_ADMIN, Name: "local:0", Origin: originUnix, Local: true},
		{Role: pb.Role_ROLE_AGENT, Name: "ä\n\x00\"", Origin: "10.0.0.1", Issued: at, Expires: at},
	} {
		md, _ := metadata.FromOutgoingContext(passOn(t.Context(), c))
		header := md.Get(callerHeader)
		for _, b := range []byte(header[0]) {
			if b < ' ' || b > '~' {
				t.Errorf("byte %x in the header", b)
			}
		}
		got, err := readCaller(header)
		if err != nil || got.Role != c.Role || got.Name != c.Name || got.Origin != c.Origin || got.Local != c.Local || !got.Issued.Equal(c.Issued) || !got.Expires.Equal(c.Expires) {
			t.Errorf("%+v became %+v, %v", c, got, err)
		}
	}
	// What the call brought along goes no further.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", "y")
	if md, _ := metadata.FromOutgoingContext(passOn(ctx, Caller{})); len(md) != 1 {
		t.Errorf("passed on: %v", md)
	}
}

func FuzzReadCaller(f *testing.F) {
	md, _ := metadata.FromOutgoingContext(passOn(f.Context(), Caller{Role: pb.Role_ROLE_ADMIN, Name: "ann"}))
	f.Add(md.Get(callerHeader)[0])
	f.Add("e30=")
	f.Add("")
	f.Fuzz(func(t *testing.T, header string) {
		c, err := readCaller([]string{header})
		if err != nil {
			return
		}
		md, _ := metadata.FromOutgoingContext(passOn(t.Context(), c))
		if again, err := readCaller(md.Get(callerHeader)); err != nil || again.Role != c.Role || again.Local != c.Local {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}
