package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/baktainer/baktainer/internal/problem"
)

// shown is the client's half of TLS as the holder has it at each handshake.
type shown struct{ holder *Holder }

func (s shown) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	cfg, err := s.holder.client(host, mayServe, grpcProtocol)
	if err != nil {
		return nil, nil, err
	}
	conn, info, err := credentials.NewTLS(cfg).ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, s.holder.explain(err)
	}
	state := info.(credentials.TLSInfo).State //nolint:forcetypeassert // the library's own
	if conn, err = accepted(ctx, conn); err != nil {
		return nil, nil, s.holder.explain(err)
	}
	return s.holder.whileTrusted(conn, raw, state), info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (shown) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info implements credentials.TransportCredentials.
func (shown) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (s shown) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials.
func (shown) OverrideServerName(string) error { return nil }

// handshaken is the server's half of TLS on connections that a Port has shaken
// hands with already.
type handshaken struct{ shown }

func (handshaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(*portConn)
	if !ok {
		return nil, nil, errors.New("the connection did not come through the port")
	}
	return conn, credentials.TLSInfo{
		State: c.state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

func (h handshaken) Clone() credentials.TransportCredentials { return h }

// explain says in plain words why no connection came to be. What TLS itself says
// is kept, since it is what people search for.
func (h *Holder) explain(err error) error {
	switch {
	case isType[x509.UnknownAuthorityError](err):
		if h.now.Load().own {
			return fmt.Errorf("the controller's certificate is not of the authority in tls-ca: %w", err)
		}
		return fmt.Errorf("the controller's certificate is not of the cluster that this host was enrolled in: %w", err)
	case isType[x509.HostnameError](err):
		return fmt.Errorf("the controller's certificate does not name the host in --controller: %w", err)
	case isType[x509.CertificateInvalidError](err):
		return fmt.Errorf("the controller's certificate is not valid: %w", err)
	case isRefusal(err):
		return fmt.Errorf("the controller refuses this certificate: %w", err)
	}
	return err
}

// isRefusal says whether the other end of TLS said no.
func isRefusal(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// accepted waits for the controller's first byte. In TLS 1.3 a client is done
// before the server has looked at its certificate; writing before that was
// accepted mostly ends in a broken pipe that hides the reason. The first word in
// HTTP/2 is the server's, so that there is a byte to wait for.
func accepted(ctx context.Context, conn net.Conn) (net.Conn, error) {
	first, err := firstByte(ctx, conn)
	if err != nil {
		return nil, err
	}
	return &begun{conn, []byte{first}}, nil
}

// firstByte waits for one byte, and closes the connection when there is none.
func firstByte(ctx context.Context, conn net.Conn) (byte, error) {
	cut := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	first := make([]byte, 1)
	_, err := io.ReadFull(conn, first)
	if !cut() {
		err = ctx.Err()
	}
	if err == nil {
		return first[0], nil
	}
	_ = conn.Close()
	if isRefusal(err) {
		return 0, err
	}
	return 0, fmt.Errorf("wait for the controller: %w", err)
}

// begun is a connection whose first bytes have been read already.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

// whileTrusted cuts a connection when the root of the other end's certificate is
// no longer trusted. It needs to be closed.
func (h *Holder) whileTrusted(conn, raw net.Conn, state tls.ConnectionState) net.Conn {
	w := &trusted{Conn: conn, closed: make(chan struct{})}
	go func() {
		for {
			changed := h.Changed()
			if !h.trusts(state.VerifiedChains) {
				_ = raw.Close()
				return
			}
			select {
			case <-changed:
			case <-w.closed:
				return
			}
		}
	}()
	return w
}

type trusted struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (t *trusted) Close() error {
	t.once.Do(func() { close(t.closed) })
	return t.Conn.Close()
}

// DialRaft connects to the controller at HOST:PORT for Raft: both ends have to
// be controllers of one cluster. The name is resolved anew each time.
func DialRaft(ctx context.Context, address string, h *Holder) (net.Conn, error) {
	conn, err := dialRaft(ctx, address, h)
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, err, "connect to the controller at %s", address).WithReason(ReasonNoAnswer)
	}
	return conn, nil
}

func dialRaft(ctx context.Context, address string, h *Holder) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cfg, err := h.client(host, h.isPeer, raftProtocol)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, h.explain(err)
	}
	if _, err := firstByte(ctx, conn); err != nil {
		return nil, h.explain(err)
	}
	return h.whileTrusted(conn, raw, conn.ConnectionState()), nil
}
