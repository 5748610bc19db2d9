package uplink_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var lease = uplink.Lease{Run: "r1", Epoch: 3}

type upload = grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestAnObjectIsSentInParts(t *testing.T) {
	for _, size := range []int{0, 1, transport.DataMessage, 3*transport.DataMessage + 7} {
		data := noise(size)
		sum := sha256.Sum256(data)
		var header *pb.ObjectHeader
		var got []byte
		client, _ := dial(t, &service{upload: func(stream upload) error {
			for first := true; ; first = false {
				m, err := stream.Recv()
				switch {
				case errors.Is(err, io.EOF):
					return stream.SendAndClose(&pb.UploadObjectResponse{})
				case err != nil:
					return err
				case first != (m.GetHeader() != nil):
					return problem.New(problem.InvalidInput, "the header must come first, and once")
				case len(m.GetData()) > transport.DataMessage:
					return problem.New(problem.InvalidInput, "a part of %d bytes", len(m.GetData()))
				case first:
					header = m.GetHeader()
				}
				got = append(got, m.GetData()...)
			}
		}})
		if err := objects(client).Put(t.Context(), "sources/x/packs/ab/cd", data, sum); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d arrived", size, len(got))
		}
		if header.GetName() != "sources/x/packs/ab/cd" || header.GetSize() != int64(size) || !bytes.Equal(header.GetSha256(), sum[:]) ||
			header.GetLease().GetRun() != "r1" || header.GetLease().GetEpoch() != 3 {
			t.Errorf("%d bytes: header %v", size, header)
		}
	}
}

// The controller may answer before it has had everything: that answer counts.
func TestAnEarlyAnswerIsTheAnswer(t *testing.T) {
	var answer error
	client, _ := dial(t, &service{upload: func(stream upload) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if answer == nil {
			return stream.SendAndClose(&pb.UploadObjectResponse{})
		}
		return answer
	}})
	data := noise(30 << 20) // far beyond what is on the way at once
	for _, code := range []problem.Code{problem.Conflict, problem.Failed, problem.Denied} {
		answer = problem.New(code, "no").WithReason("why").WithHint("Do this.")
		err := objects(client).Put(t.Context(), "n", data, sha256.Sum256(data))
		if problem.CodeOf(err) != code || problem.ReasonOf(err) != "why" {
			t.Errorf("error %v, want %v", err, answer)
		}
	}
	answer = nil // it has the object already
	if err := objects(client).Put(t.Context(), "n", data, sha256.Sum256(data)); err != nil {
		t.Error(err)
	}
}

// What is held back for the sake of the bandwidth is no silence of the controller,
// and a deadline passes before anything is said of it.
func TestSendingWaitsForItsTurn(t *testing.T) {
	over := errors.New("it took too long")
	for _, limit := range []time.Duration{time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			client, hangUp := dial(t, &service{upload: func(stream upload) error {
				asked++
				for {
					if _, err := stream.Recv(); errors.Is(err, io.EOF) {
						return stream.SendAndClose(&pb.UploadObjectResponse{})
					} else if err != nil {
						return err
					}
				}
			}}, func(o *uplink.Options) { o.Bandwidth, o.Addresses = 1, []string{"here", "there"} })
			defer hangUp()
			ctx, cancel := context.WithTimeoutCause(t.Context(), limit, over)
			defer cancel()
			data := noise(transport.DataMessage + 1000) // the rest takes a thousand seconds
			err := objects(client).Put(ctx, "n", data, sha256.Sum256(data))
			if ended := context.Cause(ctx); (limit == time.Minute) != (err != nil) || (err != nil) != errors.Is(ended, over) || asked != 1 {
				t.Errorf("within %v: %v, %v, asked %d times", limit, err, ended, asked)
			}
		})
	}
}

// calls are the three calls that are made again while nobody answers.
func calls(answer func() error) (*service, map[string]func(context.Context, *uplink.Client) error) {
	return &service{
			upload: func(stream upload) error {
				for {
					if _, err := stream.Recv(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						return err
					}
				}
				if err := answer(); err != nil {
					return err
				}
				return stream.SendAndClose(&pb.UploadObjectResponse{})
			},
			commit: func(*pb.CommitSnapshotRequest) error { return answer() },
			finish: func(*pb.FinishRunRequest) error { return answer() },
		}, map[string]func(context.Context, *uplink.Client) error{
			"put": func(ctx context.Context, c *uplink.Client) error {
				return objects(c).Put(ctx, "n", []byte("data"), sha256.Sum256([]byte("data")))
			},
			"commit": func(ctx context.Context, c *uplink.Client) error {
				return objects(c).Commit(ctx, uplink.Snapshot{}, nil)
			},
			"finish": func(ctx context.Context, c *uplink.Client) error {
				return c.Finish(ctx, uplink.Hold{Lease: lease}, uplink.Outcome{})
			},
		}
}

func TestACallIsRepeatedWhileNobodyAnswers(t *testing.T) {
	for name := range must(calls(nil)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s, all := calls(func() error {
					switch asked++; {
					case asked == 3:
						return context.Canceled // the controller is being stopped
					case asked < 5:
						return problem.New(problem.Unavailable, "no leader")
					}
					return nil
				})
				client, hangUp := dial(t, s)
				defer hangUp()
				if err := all[name](t.Context(), client); err != nil || asked != 5 {
					t.Errorf("error %v after %d calls", err, asked)
				}
			})
		})
	}
}

func TestACallIsGivenUpWithTheContext(t *testing.T) {
	for name := range must(calls(nil)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s, all := calls(func() error {
					asked++
					return problem.New(problem.Unavailable, "no leader")
				})
				client, hangUp := dial(t, s)
				defer hangUp()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err := all[name](ctx, client)
				if problem.CodeOf(err) != problem.Unavailable || ctx.Err() == nil || asked < 5 {
					t.Errorf("error %v after %d calls, context: %v", err, asked, ctx.Err())
				}
			})
		})
	}
}

func TestARefusalIsNotAskedAgain(t *testing.T) {
	for name := range must(calls(nil)) {
		for _, refusal := range []error{
			problem.New(problem.Conflict, "stale epoch"), problem.New(problem.Failed, "no space"), problem.New(problem.NotFound, "no run"),
			errors.New("defect"), status.Error(codes.Unimplemented, "what?"),
		} {
			asked := 0
			s, all := calls(func() error {
				asked++
				return refusal
			})
			client, hangUp := dial(t, s)
			if err := all[name](t.Context(), client); err == nil || asked != 1 {
				t.Errorf("%s, %v: error %v after %d calls", name, refusal, err, asked)
			}
			hangUp()
		}
	}
}

func must(_ *service, all map[string]func(context.Context, *uplink.Client) error) map[string]func(context.Context, *uplink.Client) error {
	return all
}

func TestReadingPutsThePartsTogether(t *testing.T) {
	data := noise(100_000)
	var asked *pb.ReadObjectRequest
	client, _ := dial(t, &service{read: func(req *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
		asked = req
		for _, part := range [][]byte{data[:1], nil, data[1:50_000], {}, data[50_000:]} {
			if err := stream.Send(&pb.ReadObjectResponse{Data: part}); err != nil {
				return err
			}
		}
		return nil
	}})
	r, err := objects(client).Get(t.Context(), "n", 5, -1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if asked.GetName() != "n" || asked.GetOffset() != 5 || asked.GetLength() != -1 || asked.GetLease().GetEpoch() != 3 {
		t.Errorf("asked for %v", asked)
	}
}

func TestReadingFailsAsTheControllerSays(t *testing.T) {
	client, _ := dial(t, &service{read: func(_ *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
		if err := stream.Send(&pb.ReadObjectResponse{Data: []byte("half")}); err != nil {
			return err
		}
		return problem.New(problem.NotFound, "it is not in the store")
	}})
	r, err := objects(client).Get(t.Context(), "n", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if string(got) != "half" || problem.CodeOf(err) != problem.NotFound {
		t.Errorf("%q, %v", got, err)
	}
}

// Close ends the call on the controller's side too.
func TestAReaderThatIsClosedEarlyEndsTheCall(t *testing.T) {
	ended := make(chan struct{})
	client, _ := dial(t, &service{read: func(_ *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
		defer close(ended)
		for stream.Send(&pb.ReadObjectResponse{Data: make([]byte, 64<<10)}) == nil {
		}
		return nil
	}})
	r, err := objects(client).Get(t.Context(), "n", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
}
