package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// admin answers with what a test wants to see cross the wire.
type admin struct {
	pb.UnimplementedAdminServiceServer
	fail func() error
	held chan struct{} // GetStatus waits for it
	in   chan struct{} // and says so here
}

func (a admin) GetRun(context.Context, *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	return nil, a.fail()
}

func (a admin) WatchRun(_ *pb.WatchRunRequest, s grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
	if err := s.Send(&pb.WatchRunResponse{Run: &pb.Run{Id: "r"}}); err != nil {
		return err
	}
	return a.fail()
}

func (a admin) GetStatus(ctx context.Context, _ *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	close(a.in)
	select {
	case <-a.held:
		return &pb.GetStatusResponse{Version: "kept"}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve starts a server on a unix socket and connects to it.
func serve(t *testing.T, a admin) (pb.AdminServiceClient, *grpc.Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.sock")
	l, err := transport.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAdminServiceServer(server, a)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	conn, err := transport.DialUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		wg.Wait()
	})
	return pb.NewAdminServiceClient(conn), server, path
}

func TestProblemsCrossUnaryCallsAndStreams(t *testing.T) {
	want := problem.Text(full(problem.Denied))
	client, _, _ := serve(t, admin{fail: func() error { return full(problem.Denied) }})

	_, err := client.GetRun(t.Context(), &pb.GetRunRequest{})
	if err == nil || problem.Text(err) != want || problem.CodeOf(err) != problem.Denied {
		t.Errorf("unary: %v", err)
	}
	stream, err := client.WatchRun(t.Context(), &pb.WatchRunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err = stream.Recv(); err == nil || problem.Text(err) != want {
		t.Errorf("stream: %v", err)
	}
}

func TestAStreamThatEndsWellIsEOF(t *testing.T) {
	client, _, _ := serve(t, admin{fail: func() error { return nil }})
	stream, err := client.WatchRun(t.Context(), &pb.WatchRunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF { //nolint:errorlint // it has to be io.EOF itself
		t.Errorf("the end is %v, want io.EOF", err)
	}
}

func TestAPanicEndsOneCallAndTellsNoSecrets(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(was)

	client, _, _ := serve(t, admin{fail: func() error { panic("hunter2") }})
	_, err := client.GetRun(t.Context(), &pb.GetRunRequest{})
	if problem.CodeOf(err) != problem.Internal || problem.ReasonOf(err) != "panic" {
		t.Errorf("unary: %v", err)
	}
	stream, err := client.WatchRun(t.Context(), &pb.WatchRunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if problem.ReasonOf(err) != "panic" {
		t.Errorf("stream: %v", err)
	}
	if !strings.Contains(log.String(), "transport_test.go") {
		t.Errorf("the log has no stack: %s", &log)
	}
	if strings.Contains(log.String()+problem.Text(err), "hunter2") {
		t.Errorf("the value of the panic is told: %s", &log)
	}
}

func TestStopWaitsForCallsButNotForEver(t *testing.T) {
	a := admin{held: make(chan struct{}), in: make(chan struct{})}
	client, server, _ := serve(t, a)
	answer := make(chan error, 1)
	go func() {
		_, err := client.GetStatus(context.Background(), &pb.GetStatusRequest{})
		answer <- err
	}()
	<-a.in
	stopped := make(chan struct{})
	go func() { transport.Stop(context.Background(), server); close(stopped) }()
	close(a.held)
	if err := <-answer; err != nil {
		t.Errorf("a call that was running failed: %v", err)
	}
	<-stopped

	a = admin{held: make(chan struct{}), in: make(chan struct{})}
	client, server, _ = serve(t, a)
	go func() {
		_, err := client.GetStatus(context.Background(), &pb.GetStatusRequest{})
		answer <- err
	}()
	<-a.in
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	transport.Stop(ended, server)
	if err := <-answer; err == nil {
		t.Error("a call outlived the time that Stop gave it")
	}
}

func TestNobodyListens(t *testing.T) {
	conn, err := transport.DialUnix(filepath.Join(t.TempDir(), "none.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = pb.NewAdminServiceClient(conn).CancelRun(t.Context(), &pb.CancelRunRequest{})
	if problem.ReasonOf(err) != transport.ReasonNoAnswer || problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b.sock")
	first, err := transport.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := transport.ListenUnix(path); problem.ReasonOf(err) != "already-running" {
		t.Errorf("a live socket: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestListenUnixReplacesADeadSocketAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := transport.ListenUnix(path)
	if err != nil {
		t.Fatalf("a dead socket is in the way: %v", err)
	}
	// Another took the place: closing leaves it alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("closing removed what is another's: %v", err)
	}
	if _, err := transport.ListenUnix(path); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("a file of another kind: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
}

func TestSocketPathsAreBounded(t *testing.T) {
	long := "/" + strings.Repeat("x", transport.MaxSocketPath)
	_, listenErr := transport.ListenUnix(long)
	_, dialErr := transport.DialUnix(long)
	for _, err := range []error{listenErr, dialErr} {
		if problem.CodeOf(err) != problem.InvalidInput || !strings.Contains(problem.Text(err), "101 bytes") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := transport.ListenUnix(filepath.Join(t.TempDir(), "missing", "b.sock")); err == nil || errors.Is(err, io.EOF) {
		t.Error("listening in a folder that does not exist works")
	}
}
