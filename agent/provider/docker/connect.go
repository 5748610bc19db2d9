package docker

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/docker/docker/client"

	"github.com/baktainer/baktainer/internal/problem"
)

// connect makes the client for what the options say, without connecting.
func connect(o Options) (*client.Client, *url.URL, error) {
	host := o.Host
	if host == "" {
		host = DefaultHost
	}
	u, err := url.Parse(host)
	if err != nil || !strings.Contains(host, "://") {
		return nil, nil, badHost(host, "it is not a URL")
	}
	secure := o.TLS != (TLS{})
	base := &url.URL{Scheme: "http", Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || u.Path == "" {
			return nil, nil, badHost(host, "it names no socket")
		}
		base.Host, base.Path = client.DummyHost, ""
	case "tcp", "https", "http":
		if u.Host == "" {
			return nil, nil, badHost(host, "it names no host")
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, nil, badHost(u.Redacted(), "user, query and fragment mean nothing here")
		}
		if u.Scheme == "http" && secure {
			return nil, nil, badHost(host, "certificates are given, and http does not use them").WithHint("Use https:// or tcp://, or remove the certificates.")
		}
	default:
		return nil, nil, badHost(host, "there is no scheme "+u.Scheme)
	}

	transport := &http.Transport{}
	if u.Scheme == "https" || (u.Scheme == "tcp" && secure) {
		if transport.TLSClientConfig, err = o.TLS.config(o.Clock, u.Hostname(), host); err != nil {
			return nil, nil, err
		}
		base.Scheme = "https"
	}
	if u.Scheme != "unix" {
		// To the client, http and https are not ways to connect.
		host = (&url.URL{Scheme: "tcp", Host: u.Host, Path: u.Path}).String()
	}
	opts := []client.Opt{client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}), client.WithHost(host)}
	if o.APIVersion != "" {
		opts = append(opts, client.WithVersion(strings.TrimPrefix(o.APIVersion, "v")))
	} else {
		opts = append(opts, client.WithAPIVersionNegotiation())
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, nil, problem.Wrap(problem.InvalidInput, err, "set up the connection to the Docker Engine at %s", host)
	}
	return c, base, nil
}

func badHost(host, reason string) *problem.Problem {
	return problem.New(problem.InvalidInput, "the address %q of the Docker Engine cannot be used: %s", host, reason).
		WithHint("Use unix:///var/run/docker.sock, tcp://HOST:PORT, http://HOST:PORT or https://HOST:PORT.")
}
