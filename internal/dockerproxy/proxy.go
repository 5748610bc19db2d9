package dockerproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/baktainer/baktainer/internal/label"
)

// Limits of what is read into memory and remembered.
const (
	maxBody  = 1 << 20
	maxExecs = 10_000
)

// Proxy is an http.Handler that passes allowed requests on to a Docker daemon.
type Proxy struct {
	backend *httputil.ReverseProxy
	docker  http.RoundTripper
	log     *slog.Logger

	mu    sync.Mutex
	execs map[string]bool // ids of execs that were created through us
}

// New returns a proxy to the daemon at a unix socket.
func New(socket string, log *slog.Logger) *Proxy {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return newProxy(transport, log)
}

func newProxy(docker http.RoundTripper, log *slog.Logger) *Proxy {
	p := &Proxy{docker: docker, log: log, execs: map[string]bool{}}
	p.backend = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "docker", "docker"
		},
		Transport:      docker,
		FlushInterval:  -1, // events and dumps are streams
		ModifyResponse: p.remember,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			refuse(w, http.StatusBadGateway, fmt.Sprintf("Docker does not answer: %v", err))
		},
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.allow(r); errors.Is(err, errNotFound) {
		refuse(w, http.StatusNotFound, err.Error())
		return
	} else if err != nil {
		p.log.Warn("refused", "method", r.Method, "path", r.URL.Path, "reason", err)
		refuse(w, http.StatusForbidden, "refused by the Baktainer socket proxy: "+err.Error())
		return
	}
	p.backend.ServeHTTP(w, r)
}

func (p *Proxy) allow(r *http.Request) error {
	if r.URL.RawPath != "" || strings.Contains(r.URL.Path, "..") || strings.Contains(r.URL.Path, "//") {
		return fmt.Errorf("the path is not in its plain form")
	}
	// Docker would take the fields of a form for those of the query, and before them.
	for _, kind := range r.Header.Values("Content-Type") {
		if strings.Contains(strings.ToLower(kind), "form") {
			return fmt.Errorf("the body is a form")
		}
	}
	s := classify(r.Method, r.URL.Path, r.URL.Query())
	switch s.kind {
	case free:
		return nil
	case newExec:
		if err := bodyOf(r, execBody); err != nil {
			return err
		}
		return p.mayUse(r, s.id, labelled)
	case labelled, companion, helper:
		return p.mayUse(r, s.id, s.kind)
	case knownExec:
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.execs[s.id] {
			return fmt.Errorf("exec %s was not created through this proxy", s.id)
		}
		return nil
	case creation:
		return p.mayCreate(r)
	}
	return fmt.Errorf("%s %s is not among what Baktainer needs", r.Method, r.URL.Path)
}

// mayUse checks the container that a request is about, and puts its id into the
// path: a name, or the beginning of an id, could mean another one a moment later.
func (p *Proxy) mayUse(r *http.Request, container string, want check) error {
	full, err := p.mustCarry(r.Context(), container, want)
	if err != nil {
		return err
	}
	r.URL.Path = strings.Replace(r.URL.Path, "/containers/"+container, "/containers/"+full, 1)
	return nil
}

// mayCreate checks the body of a creation. Containers are in it by their ids.
func (p *Proxy) mayCreate(r *http.Request) error {
	var sees []string
	err := bodyOf(r, func(body []byte) (err error) {
		sees, err = helperBody(body)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range sees {
		full, err := p.mustCarry(r.Context(), c, labelled)
		if err != nil {
			return err
		}
		if full != c {
			return fmt.Errorf("a helper names the container %s, and not its whole id", c)
		}
	}
	return nil
}

// bodyOf checks the body of a request and puts it back for the backend.
func bodyOf(r *http.Request, check func([]byte) error) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return fmt.Errorf("the body cannot be read or is too large")
	}
	if err := check(body); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return nil
}

// errNotFound is Docker's own answer, told on: were the request let through, there
// might be such a container by then.
var errNotFound = errors.New("no such container")

// mustCarry says whether a container is a helper or, unless only that will do, a
// companion or, unless only these will do, labelled for backup. It gives the
// container's id.
func (p *Proxy) mustCarry(ctx context.Context, container string, want check) (full string, err error) {
	target := url.URL{Scheme: "http", Host: "docker", Path: "/containers/" + container + "/json"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return "", err
	}
	resp, err := p.docker.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("ask Docker for the container's labels: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return "", fmt.Errorf("%w: %s", errNotFound, container)
	}
	var c struct {
		ID, Name string
		Config   struct{ Labels map[string]string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16*maxBody)).Decode(&c); err != nil {
		return "", fmt.Errorf("read the container's labels: %w", err)
	}
	switch labels := label.Of(c.Config.Labels, c.Name); {
	case labels[label.KeyHelper] != "":
	case want == helper:
		return "", fmt.Errorf("container %s is not a helper of Baktainer", container)
	case labels[label.KeyCompanion] != "":
	case want == companion:
		return "", fmt.Errorf("container %s does not carry %s", container, label.KeyCompanion)
	case !label.Asks(labels):
		return "", fmt.Errorf("container %s does not carry baktainer.backup=true", container)
	}
	if c.ID == "" {
		return "", fmt.Errorf("the id of container %s is not known", container)
	}
	return c.ID, nil
}

// remember notes the id of an exec that was created through us.
func (p *Proxy) remember(resp *http.Response) error {
	if classify(resp.Request.Method, resp.Request.URL.Path, nil).kind != newExec || resp.StatusCode != http.StatusCreated {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the exec's id: %w", err)
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var created struct{ ID string }
	if err := json.Unmarshal(body, &created); err != nil || created.ID == "" {
		return fmt.Errorf("read the exec's id: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.execs) >= maxExecs {
		clear(p.execs) // execs still in use by then fail, and their runs are tried again
	}
	p.execs[created.ID] = true
	return nil
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}
