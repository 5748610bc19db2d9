// Package transport is how parts of Baktainer reach each other: the settings of
// every gRPC server and connection, the unix socket, mutual TLS and what a
// certificate says of an agent, and the translation between problems and statuses
// on the wire, so that an error means the same on both ends.
package transport

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// MaxMessage bounds one message, in bytes. Dump bytes travel in messages of at
	// most DataMessage; the room above is for long listings.
	MaxMessage = 16 << 20
	// DataMessage is the most dump or pack bytes to put into one message.
	// Measured over TLS: at half the size a byte costs a tenth more CPU, at double
	// the size as much.
	DataMessage = 512 << 10

	// Windows that stand still: the library's own grow to 16 MiB a stream, which
	// costs memory, and measure the line with pings, which costs a tenth of the CPU.
	// One stream still fills 300 Mbit/s at 50 ms.
	streamWindow = 2 << 20
	connWindow   = 2 * streamWindow

	pingEvery   = 20 * time.Second
	pingTimeout = 10 * time.Second
	minPing     = 10 * time.Second
)

// retries lets the library repeat calls that change nothing, when the controller
// is restarting or has no leader for a moment: those that a viewer may make, that
// leave no audit record, and that get one answer. What changes something is
// repeated by its caller, under the same request id.
var retries = sync.OnceValue(func() string {
	var names []string
	known := describe(protoregistry.GlobalFiles)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		m := known[name]
		if m.stream || m.access.GetAudited() || !slices.Contains(m.access.GetRoles(), pb.Role_ROLE_VIEWER) {
			continue
		}
		service, method := path.Split(strings.TrimPrefix(name, "/"))
		names = append(names, fmt.Sprintf(`{"service":%q,"method":%q}`, strings.TrimSuffix(service, "/"), method))
	}
	return `{"methodConfig":[{"name":[` + strings.Join(names, ",") + `],
	"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.1s","maxBackoff":"1s","backoffMultiplier":3,
	"retryableStatusCodes":["UNAVAILABLE"]}}]}`
})

// ServerOptions are for every gRPC server: keepalive, message size, traces and
// metrics, problems as statuses, and panics that end one call instead of the process.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(worthTracing))),
		grpc.ChainUnaryInterceptor(serveUnary),
		grpc.ChainStreamInterceptor(serveStream),
	}
}

// DialOptions are for every gRPC connection, except for its credentials.
func DialOptions() []grpc.DialOption {
	return append(plainDialOptions(), grpc.WithChainUnaryInterceptor(callUnary), grpc.WithChainStreamInterceptor(callStream))
}

// plainDialOptions leave statuses as they are on the wire.
func plainDialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage), grpc.ForceCodecV2(newCodec())),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultServiceConfig(retries()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 10 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithFilter(worthTracing))),
	}
}

// worthTracing leaves out the calls that come every few seconds and the one
// stream that lasts as long as its agent: their spans would hide the runs.
func worthTracing(info *stats.RPCTagInfo) bool {
	switch {
	case strings.HasPrefix(info.FullMethodName, "/grpc.health."), strings.HasPrefix(info.FullMethodName, "/grpc.reflection."):
		return false
	case strings.HasSuffix(info.FullMethodName, "AgentService/Heartbeat"), strings.HasSuffix(info.FullMethodName, "AgentService/Session"):
		return false
	}
	return true
}
