package cluster

import (
	"errors"
	"io"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestAStateThatHasNoEndIsRefused(t *testing.T) {
	t.Parallel()
	broken := errors.New("the connection is gone")
	for what, c := range map[string]struct {
		parts []string
		end   error
		want  func(error) bool
	}{
		"as much as may be": {[]string{"0123", "", "456789"}, io.EOF, func(err error) bool { return err == nil }},
		"one byte more":     {[]string{"0123", "4567890"}, io.EOF, func(err error) bool { return problem.CodeOf(err) == problem.InvalidInput }},
		"cut":               {[]string{"0123"}, broken, func(err error) bool { return errors.Is(err, broken) }},
	} {
		in := &arriving{left: 10, recv: func() (*pb.RestoreStateRequest, error) {
			if len(c.parts) == 0 {
				return nil, c.end
			}
			m := &pb.RestoreStateRequest{Data: []byte(c.parts[0])}
			c.parts = c.parts[1:]
			return m, nil
		}}
		if b, err := io.ReadAll(in); !c.want(err) || err == nil && len(b) != 10 {
			t.Errorf("%s: %q, %v", what, b, err)
		}
	}
}
