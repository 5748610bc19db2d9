package transport

import (
	"crypto/tls"
	"slices"

	"github.com/baktainer/baktainer/internal/pki"
)

// The protocols of the one port.
const (
	grpcProtocol = "h2"
	raftProtocol = "baktainer-raft/1"
)

// server is how the holder answers one handshake. A certificate is verified when
// one comes; of a user's own authority, and for Raft, one has to. Sessions are
// never resumed: a certificate that was good then says nothing now.
func (h *Holder) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now := h.now.Load()
			if now.pair == nil {
				return nil, errNotEnrolled
			}
			cfg := &tls.Config{
				MinVersion: tls.VersionTLS13, Time: h.clock.Now, SessionTicketsDisabled: true,
				Certificates: []tls.Certificate{*now.pair}, ClientCAs: now.pool,
				ClientAuth: tls.VerifyClientCertIfGiven, NextProtos: []string{grpcProtocol},
			}
			if now.own {
				cfg.ClientAuth = tls.RequireAndVerifyClientCert
			}
			if slices.Contains(hello.SupportedProtos, raftProtocol) {
				cfg.ClientAuth, cfg.NextProtos, cfg.VerifyConnection = tls.RequireAndVerifyClientCert, []string{raftProtocol}, h.isPeer
			}
			return cfg, nil
		},
	}
}

// client is how the holder begins one handshake. In our own authority's
// certificates any controller is as good as another, at whatever address it was
// found; in a user's the host has to be named.
func (h *Holder) client(host string, verify func(tls.ConnectionState) error, protocol string) (*tls.Config, error) {
	now := h.now.Load()
	if now.pair == nil || !now.own && len(now.roots) == 0 {
		return nil, errNotEnrolled
	}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13, Time: h.clock.Now, RootCAs: now.pool, ServerName: host,
		NextProtos: []string{protocol}, VerifyConnection: verify,
		// Whatever authorities the other end names: there is just the one certificate.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return now.pair, nil },
	}
	if !now.own {
		cfg.ServerName = pki.ControllerHost
	}
	return cfg, nil
}
