package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/baktainer/baktainer/internal/problem"
)

// MaxSocketPath bounds the path of a unix socket, in bytes. Systems allow 104
// to 108; a few are for the name that a new socket has until it is ready.
const MaxSocketPath = 100

// CheckSocketPath says what is wrong with path as that of a unix socket, if anything.
func CheckSocketPath(path string) error {
	if len(path) > MaxSocketPath {
		return fmt.Errorf("the path is %d bytes long; a unix socket's may have %d", len(path), MaxSocketPath)
	}
	return nil
}

// AgentSession is the service of an agent's own socket by which a health check
// learns whether the agent has a session with a controller.
const AgentSession = "agent-session"

// ListenUnix listens on a unix socket that only this user may use. A socket
// that nobody listens on any more is replaced; one that answers, or a file of
// another kind, is left alone and the result is a problem. Closing the listener
// removes the socket.
func ListenUnix(path string) (net.Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "find the folder of the socket")
	}
	if err := CheckSocketPath(path); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "listen on the unix socket %s", path).
			WithHint("Set a shorter path with --socket.")
	}
	if err := free(path); err != nil {
		return nil, err
	}
	// The socket appears under its name only when nobody else may connect to it.
	fresh := filepath.Join(filepath.Dir(path), ".s"+rand.Text()[:6])
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "listen on the unix socket %s", path)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		_ = l.Close()
		_ = os.Remove(fresh)
		return nil, problem.Wrap(problem.Failed, err, "make the unix socket %s", path)
	}
	mine, err := os.Lstat(path)
	if err != nil {
		_ = l.Close()
		return nil, problem.Wrap(problem.Failed, err, "make the unix socket %s", path)
	}
	return &unixListener{UnixListener: l, path: path, file: mine}, nil
}

// free says whether a new socket may take the place of what is at path.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return problem.Wrap(problem.Failed, err, "look at the unix socket")
	case info.Mode().Type() != fs.ModeSocket:
		return problem.New(problem.Conflict, "listen on the unix socket %s: there is a file of another kind", path).
			WithHint("Remove it, or set another path with --socket.")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return problem.Wrap(problem.Failed, err, "look whether another process uses the unix socket")
	}
	_ = conn.Close()
	return problem.New(problem.Conflict, "listen on the unix socket %s: another process answers there", path).
		WithReason("already-running").
		WithHint("Baktainer seems to run already (`baktainer status` tells). For a second one set another --data-dir.")
}

// unixListener removes its socket when closed, unless another has taken its place.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

// Addr gives the path that clients know.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// LocalCredentials are the option of a gRPC server that serves a unix socket: it
// knows its callers by the user that they run as.
func LocalCredentials() grpc.ServerOption { return grpc.Creds(local{insecure.NewCredentials()}) }

type local struct {
	credentials.TransportCredentials
}

func (local) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := localInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if c, ok := conn.(*net.UnixConn); ok {
		info.uid, info.known = peerUID(c)
	}
	return conn, info, nil
}

func (l local) Clone() credentials.TransportCredentials { return l }

// DialUnix returns a connection to the unix socket at path. It connects at the
// first call, and again by itself whenever the connection is lost; while nobody
// listens, calls fail with ReasonNoAnswer.
func DialUnix(path string) (*grpc.ClientConn, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "connect to the unix socket %s", path).
			WithHint("Set a shorter path with --socket.")
	}
	var d net.Dialer
	conn, err := grpc.NewClient("passthrough:///baktainer", append(DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}))...)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, err, "connect to the unix socket %s", path)
	}
	return conn, nil
}
