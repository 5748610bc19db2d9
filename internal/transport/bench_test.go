package transport_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// sink takes uploads and throws them away.
type sink struct {
	pb.UnimplementedAgentServiceServer
}

func (sink) UploadObject(s grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	receive := transport.Again[pb.UploadObjectRequest](s)
	for {
		switch _, err := receive(); {
		case errors.Is(err, io.EOF):
			return s.SendAndClose(&pb.UploadObjectResponse{})
		case err != nil:
			return err
		}
	}
}

// BenchmarkUpload sends packs of 16 MiB over mutual TLS on the loopback, as an
// agent does, in messages of different sizes. Both ends count: cpu-ms/MB is what
// the whole process spends.
func BenchmarkUpload(b *testing.B) {
	ca := newAuthority(b)
	address := serveTLS(b, ca.issue(b, "controller"), sink{})
	conn, err := transport.DialTLS(address, ca.issue(b, "agent"), clock.System{})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewAgentServiceClient(conn)
	pack := make([]byte, 16<<20)
	_, _ = rand.Read(pack) // never fails

	for _, part := range []int{64 << 10, 128 << 10, 256 << 10, transport.DataMessage, 1000 << 10} {
		b.Run(fmt.Sprintf("part=%dKiB", part>>10), func(b *testing.B) {
			b.SetBytes(int64(len(pack)))
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if err := upload(b.Context(), client, pack, part); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/1e3/(float64(b.N)*float64(len(pack))/1e6), "cpu-ms/MB")
		})
	}
}

func upload(ctx context.Context, client pb.AgentServiceClient, pack []byte, part int) error {
	stream, err := client.UploadObject(ctx)
	if err != nil {
		return err
	}
	for rest := pack; len(rest) > 0; rest = rest[min(part, len(rest)):] {
		if err := stream.Send(&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: rest[:min(part, len(rest))]}}); err != nil {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// spring sends half a gigabyte from the same memory.
type spring struct {
	pb.UnimplementedAdminServiceServer
}

const dumpSize = 1000 * transport.DataMessage

func (spring) DumpSnapshot(_ *pb.DumpSnapshotRequest, s grpc.ServerStreamingServer[pb.DumpSnapshotResponse]) error {
	part := make([]byte, transport.DataMessage)
	for range dumpSize / len(part) {
		if err := s.Send(&pb.DumpSnapshotResponse{Data: part}); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkDump receives a dump over a unix socket, as the command does.
func BenchmarkDump(b *testing.B) {
	path := filepath.Join(b.TempDir(), "b.sock")
	l, err := transport.ListenUnix(path)
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(transport.ServerOptions()...)
	defer server.Stop()
	pb.RegisterAdminServiceServer(server, spring{})
	go func() { _ = server.Serve(l) }()
	conn, err := transport.DialUnix(path)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.SetBytes(dumpSize)
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		stream, err := pb.NewAdminServiceClient(conn).DumpSnapshot(b.Context(), &pb.DumpSnapshotRequest{})
		receive := transport.Again[pb.DumpSnapshotResponse](stream)
		n := 0
		for err == nil {
			var m *pb.DumpSnapshotResponse
			if m, err = receive(); err == nil {
				n += len(m.GetData())
			}
		}
		if !errors.Is(err, io.EOF) || n != dumpSize {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/1e3/(float64(b.N)*dumpSize/1e6), "cpu-ms/MB")
}

// cpu is what the process has spent so far, in microseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + u.Utime.Usec + u.Stime.Usec
}
