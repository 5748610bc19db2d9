package transport_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// sink takes uploads and throws them away.
type sink struct {
	pb.UnimplementedAgentServiceServer
}

func (sink) UploadObject(s grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	for {
		switch _, err := s.Recv(); {
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
	conn, err := transport.Dial(address, own(b, ca.issue(b, "agent"), x509.ExtKeyUsageClientAuth))
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

// cpu is what the process has spent so far, in microseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + u.Utime.Usec + u.Stime.Usec
}
