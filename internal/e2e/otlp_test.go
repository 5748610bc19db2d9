package e2e

import (
	"encoding/hex"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// collector receives traces by OTLP. It reads the few fields that it needs from
// the wire: OpenTelemetry's own types stay in internal/telemetry.
type collector struct {
	address string

	mu    sync.Mutex
	raw   []byte // all that was received
	spans []span
}

type span struct {
	trace, id, parent, name string
	attributes              map[string]string // those that are text
	service                 string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: l.Addr().String()}
	// Every call is taken, its message as bytes: an empty message keeps all of
	// them as unknown fields. An empty answer means that all was accepted.
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var request emptypb.Empty
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		c.receive(request.ProtoReflect().GetUnknown())
		return stream.SendMsg(&emptypb.Empty{})
	}))
	go func() { _ = s.Serve(l) }() // until Stop
	t.Cleanup(s.Stop)
	return c
}

func (c *collector) environment() []string {
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=none", "OTEL_BSP_SCHEDULE_DELAY=200",
	}
}

func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]span(nil), c.spans...)
}

func (c *collector) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.raw...)
}

// receive reads an ExportTraceServiceRequest.
func (c *collector) receive(message []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, message...)
	for _, resourceSpans := range fields(message)[1] {
		parts := fields(resourceSpans)
		service := ""
		for _, resource := range parts[1] {
			service = attributes(fields(resource)[1])["service.name"]
		}
		for _, scope := range parts[2] {
			for _, raw := range fields(scope)[2] {
				f := fields(raw)
				c.spans = append(c.spans, span{
					trace: hex.EncodeToString(first(f[1])), id: hex.EncodeToString(first(f[2])), parent: hex.EncodeToString(first(f[4])),
					name: string(first(f[5])), attributes: attributes(f[9]), service: service,
				})
			}
		}
	}
}

func attributes(pairs [][]byte) map[string]string {
	all := map[string]string{}
	for _, pair := range pairs {
		f := fields(pair)
		all[string(first(f[1]))] = string(first(fields(first(f[2]))[1]))
	}
	return all
}

func first(values [][]byte) []byte {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

// fields collects a message's length-delimited fields by number.
func fields(message []byte) map[protowire.Number][][]byte {
	all := map[protowire.Number][][]byte{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return all
		}
		message = message[n:]
		if kind == protowire.BytesType {
			value, m := protowire.ConsumeBytes(message)
			if m < 0 {
				return all
			}
			all[number] = append(all[number], value)
		}
		m := protowire.ConsumeFieldValue(number, kind, message)
		if m < 0 {
			return all
		}
		message = message[m:]
	}
	return all
}
