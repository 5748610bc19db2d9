// Package notifytest has real servers for tests of those who are told: one that
// takes mail, and one that takes HTTP requests. Both keep what they got.
package notifytest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// patience bounds every wait: a test that waits this long has found a defect.
const patience = 60 * time.Second

// kept is a list that can be waited for.
type kept[T any] struct {
	t     testing.TB
	mu    sync.Mutex
	all   []T
	added chan struct{} // closed when there is one more
}

func (k *kept[T]) add(one T) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, one)
	close(k.added)
	k.added = make(chan struct{})
}

// All returns what came so far.
func (k *kept[T]) All() []T {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]T(nil), k.all...)
}

// Wait waits until so many have come, and returns all.
func (k *kept[T]) Wait(n int) []T {
	k.t.Helper()
	limit := time.After(patience)
	for {
		k.mu.Lock()
		all, added := append([]T(nil), k.all...), k.added
		k.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-added:
		case <-limit:
			k.t.Fatalf("waited in vain for %d, got %d: %v", n, len(all), all)
		}
	}
}

// Mail is one message that came by SMTP.
type Mail struct {
	From string
	To   []string
	// User and Password are what the client logged in with, if it did.
	User, Password string
	Subject, Body  string
}

// MailServer takes mail for anybody.
type MailServer struct {
	kept[Mail]
	Address string
}

// NewMailServer starts a server on loopback that lives as long as the test.
func NewMailServer(t testing.TB) *MailServer {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &MailServer{kept: kept[Mail]{t: t, added: make(chan struct{})}, Address: l.Addr().String()}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: m}, nil }))
	s.Domain, s.AllowInsecureAuth = "localhost", true
	s.ReadTimeout, s.WriteTimeout = patience, patience
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return m
}

// session is one connection to a MailServer.
type session struct {
	server *MailServer
	mail   Mail
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.mail.User, s.mail.Password = user, password
		if password == "wrong" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.From = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.To = append(s.mail.To, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	got := s.mail
	got.Subject, got.Body = m.Header.Get("Subject"), string(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")))
	s.server.add(got)
	return nil
}

func (s *session) Reset() { s.mail.From, s.mail.To = "", nil }

func (s *session) Logout() error { return nil }

// Request is one request that came by HTTP.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte
}

// HookServer takes requests.
type HookServer struct {
	kept[Request]
	URL string

	answer sync.Mutex
	status int
	header http.Header
}

// NewHookServer starts a server on loopback that lives as long as the test, and
// answers 204.
func NewHookServer(t testing.TB) *HookServer {
	t.Helper()
	h := &HookServer{kept: kept[Request]{t: t, added: make(chan struct{})}, status: http.StatusNoContent}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off: it did not come
		}
		h.answer.Lock()
		status, header := h.status, h.header
		h.answer.Unlock()
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.WriteHeader(status)
		if status >= http.StatusBadRequest {
			_, _ = io.WriteString(w, "no: "+r.URL.RequestURI())
		}
		h.add(Request{r.Method, r.URL.RequestURI(), r.Header, body})
	}))
	t.Cleanup(s.Close)
	h.URL = s.URL
	return h
}

// Answer sets what requests are answered from now on.
func (h *HookServer) Answer(status int, header http.Header) {
	h.answer.Lock()
	defer h.answer.Unlock()
	h.status, h.header = status, header
}
