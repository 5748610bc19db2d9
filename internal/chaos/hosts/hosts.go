// Package hosts makes several Docker hosts of one: each agent of a fault rig
// gets a socket behind which only the containers of its own host are to be seen.
// Everything else, execs and their streams included, passes as it is.
package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/label"
)

// Label says on which host a container is.
const Label = "chaos.host"

// Docker is the socket of the machine's Docker daemon.
const Docker = "/var/run/docker.sock"

// narrowed are the requests that list, with or without the API's version.
var narrowed = regexp.MustCompile(`^(/v[0-9.]+)?/(containers/json|events)$`)

// Proxy shows the containers of one host.
type Proxy struct {
	server   *http.Server
	listener net.Listener
	serving  sync.WaitGroup
	err      error
}

// Listen serves the host's view of the Docker daemon at socket on path.
func Listen(ctx context.Context, path, socket, host string) (*Proxy, error) {
	_ = os.Remove(path) // of an earlier one; if it stays, listening says why
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the agent of %s: %w", host, err)
	}
	p := &Proxy{listener: l, server: &http.Server{Handler: handler(socket, host), ReadHeaderTimeout: time.Minute}}
	p.serving.Go(func() {
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.err = err
		}
	})
	return p, nil
}

// Close ends it. Streams that are open in it end with their agents.
func (p *Proxy) Close() error {
	err := p.server.Close()
	p.serving.Wait()
	return errors.Join(err, p.err)
}

func handler(socket, host string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "docker", "docker"
			if narrowed.MatchString(r.In.URL.Path) {
				r.Out.URL.RawQuery = narrow(r.Out.URL.Query(), host).Encode()
			}
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}},
		FlushInterval: -1, // events and dumps are streams
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			_ = json.NewEncoder(w).Encode(map[string]string{"message": "the rig's host " + host + ": " + err.Error()}) // nobody is left to tell
		},
	}
}

// narrow adds the host to the filters of a listing. Helper containers, which an
// agent asks for by their label, are nobody's: they carry no label of a host.
func narrow(query url.Values, host string) url.Values {
	filters := map[string]map[string]bool{}
	given := query.Get("filters")
	if given != "" && json.Unmarshal([]byte(given), &filters) != nil {
		// The form of old clients: lists.
		var lists map[string][]string
		if json.Unmarshal([]byte(given), &lists) != nil {
			return query // the daemon will say what is wrong with it
		}
		filters = map[string]map[string]bool{}
		for name, values := range lists {
			filters[name] = map[string]bool{}
			for _, v := range values {
				filters[name][v] = true
			}
		}
	}
	if filters["label"][label.KeyHelper] {
		return query
	}
	if filters["label"] == nil {
		filters["label"] = map[string]bool{}
	}
	filters["label"][Label+"="+host] = true
	b, err := json.Marshal(filters)
	if err != nil {
		return query // cannot be: strings and booleans
	}
	query.Set("filters", string(b))
	return query
}
