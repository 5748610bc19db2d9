package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport/certs"
)

// ServerTLS are the options of a server that lets in only who shows a
// certificate of the authority, over TLS 1.3. They go beside ServerOptions.
func ServerTLS(files certs.Files, c clock.Clock) ([]grpc.ServerOption, error) {
	cfg, err := tlsConfig(files, x509.ExtKeyUsageServerAuth, c)
	if err != nil {
		return nil, err
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(cfg))}, nil
}

// DialTLS returns a connection to the controller at HOST:PORT, made and made
// again as with DialUnix. The controller's certificate has to name HOST.
func DialTLS(address string, files certs.Files, c clock.Clock) (*grpc.ClientConn, error) {
	cfg, err := tlsConfig(files, x509.ExtKeyUsageClientAuth, c)
	if err != nil {
		return nil, err
	}
	cfg.VerifyConnection = func(s tls.ConnectionState) error { return mayServe(s.PeerCertificates[0]) }
	conn, err := grpc.NewClient("dns:///"+address, append(DialOptions(),
		grpc.WithTransportCredentials(explained{credentials.NewTLS(cfg)}))...)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "connect to the controller at %s", address)
	}
	return conn, nil
}

// AgentName is the name that an agent's certificate gives it.
func AgentName(files certs.Files, c clock.Clock) (string, error) {
	cfg, err := tlsConfig(files, x509.ExtKeyUsageClientAuth, c)
	if err != nil {
		return "", err
	}
	name := agentName(cfg.Certificates[0].Leaf)
	if name == "" {
		return "", problem.New(problem.InvalidInput, "the certificate in tls-cert names no agent").
			WithHint("Issue it with the URI spiffe://ANYTHING/agent/NAME as subject alternative name, or with NAME as common name.")
	}
	return name, nil
}

func tlsConfig(files certs.Files, usage x509.ExtKeyUsage, c clock.Clock) (*tls.Config, error) {
	set, wrong := files.Load(usage, c.Now())
	if files.CA == "" || files.Cert == "" {
		wrong = append(wrong, "CA, certificate and key are all needed")
	}
	if len(wrong) > 0 {
		return nil, problem.New(problem.InvalidInput, "the certificates in tls-ca, tls-cert and tls-key cannot be used").
			WithDetails(wrong...).
			WithHint("Each is the path of a PEM file or the PEM itself.")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: set.CAs, ClientCAs: set.CAs, Certificates: set.Pairs, Time: c.Now,
	}, nil
}

// explained says in an agent's words why no connection came to be. What TLS
// itself says is kept, since it is what people search for.
type explained struct {
	credentials.TransportCredentials
}

func (e explained) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err == nil {
		conn, err = accepted(ctx, conn)
	}
	switch {
	case err == nil:
		return conn, info, nil
	case isType[x509.UnknownAuthorityError](err):
		err = fmt.Errorf("the controller's certificate is not of the authority in tls-ca: %w", err)
	case isType[x509.HostnameError](err):
		err = fmt.Errorf("the controller's certificate does not name the host in --controller: %w", err)
	case isType[x509.CertificateInvalidError](err):
		err = fmt.Errorf("the controller's certificate is not valid: %w", err)
	}
	return nil, nil, err
}

func (e explained) Clone() credentials.TransportCredentials {
	return explained{e.TransportCredentials.Clone()}
}

// accepted waits for the controller's first byte. In TLS 1.3 a client is done
// before the server has looked at its certificate; writing before that was
// accepted mostly ends in a broken pipe that hides the reason. The first word in
// HTTP/2 is the server's, so that there is a byte to wait for.
func accepted(ctx context.Context, conn net.Conn) (net.Conn, error) {
	cut := context.AfterFunc(ctx, func() { _ = conn.Close() })
	first := make([]byte, 1)
	_, err := io.ReadFull(conn, first)
	if !cut() {
		return nil, fmt.Errorf("wait for the controller: %w", ctx.Err())
	}
	if err != nil {
		_ = conn.Close()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return nil, fmt.Errorf("the controller refuses this agent's certificate: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the controller: %w", err)
	}
	return &begun{conn, first}, nil
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

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
