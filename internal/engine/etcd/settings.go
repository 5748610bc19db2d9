package etcd

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
)

// settings are what a server was started with.
type settings struct {
	words []string // of its command
	env   map[string]string
}

const (
	maxTxnOps       = "max-txn-ops"
	maxRequestBytes = "max-request-bytes"
)

// patience is how long etcdctl waits, for each thing that it is told: for an answer,
// where of its own accord it gives up after five seconds, which a large transaction
// on a busy disk takes; and for being let in, where two seconds are little for a
// password that is hashed slowly on purpose.
var patience = []struct{ variable, value string }{{"ETCDCTL_COMMAND_TIMEOUT", "1m0s"}, {"ETCDCTL_DIAL_TIMEOUT", "30s"}}

// limits are what a server can be told of how much it takes.
var limits = []string{maxTxnOps, maxRequestBytes, "quota-backend-bytes"}

// serverSettings takes the command apart; it may be one line that a shell is given.
func serverSettings(f engine.Facts) settings {
	return settings{strings.Fields(strings.Join(f.Args, " ")), f.Env}
}

// get is the value of a flag, or of the variable that stands for it; empty: none.
func (s settings) get(name string) string {
	for i, word := range slices.Backward(s.words) {
		flag, value, inOne := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case flag != name || !strings.HasPrefix(word, "-"):
		case inOne:
			return strings.Trim(value, `"'`)
		case i+1 < len(s.words) && !strings.HasPrefix(s.words[i+1], "-"):
			return strings.Trim(s.words[i+1], `"'`)
		default:
			return "true"
		}
	}
	return s.env[variableOf(name)]
}

func variableOf(flag string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// client is the environment by which etcdctl reaches the server from inside its
// container. What the container has for that already is left as it is.
func (s settings) client(env map[string]string) []string {
	list := []string{"ETCDCTL_API=3"}
	for _, p := range patience {
		if env[p.variable] == "" {
			list = append(list, p.variable+"="+p.value)
		}
	}
	if env["ETCDCTL_ENDPOINTS"] != "" {
		return list
	}
	endpoint, secure := s.endpoint()
	if endpoint == "" {
		return list
	}
	list = append(list, "ETCDCTL_ENDPOINTS="+endpoint)
	if !secure || env["ETCDCTL_CACERT"] != "" || env["ETCDCTL_CERT"] != "" {
		return list
	}
	// The certificate need not be made out to the address inside the container,
	// where nobody else can be met.
	list = append(list, "ETCDCTL_INSECURE_TRANSPORT=false", "ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true")
	cert, key := s.get("cert-file"), s.get("key-file")
	wanted := s.get("client-cert-auth") == "true" || s.get("trusted-ca-file") != ""
	if wanted && cert != "" && key != "" {
		list = append(list, "ETCDCTL_CERT="+cert, "ETCDCTL_KEY="+key)
	}
	return list
}

// certificates says whether etcdctl needs files of the container's.
func (s settings) certificates() bool {
	return slices.ContainsFunc(s.client(s.env), func(v string) bool { return strings.HasPrefix(v, "ETCDCTL_CERT=") }) ||
		s.env["ETCDCTL_CERT"] != "" || s.env["ETCDCTL_CACERT"] != ""
}

// endpoint is where the server listens; empty: where etcdctl looks by itself.
func (s settings) endpoint() (endpoint string, secure bool) {
	for text := range strings.SplitSeq(s.get("listen-client-urls"), ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			continue
		}
		host := u.Hostname()
		address, err := netip.ParseAddr(host)
		switch {
		case err == nil && address.IsUnspecified():
			host = "127.0.0.1"
		case err != nil && host != "localhost":
			continue
		}
		return u.Scheme + "://" + net.JoinHostPort(host, u.Port()), u.Scheme == "https"
	}
	return "", false
}

// bounds are how much a transaction may hold.
type bounds struct{ lines, bytes int }

// batch is what the server takes in one transaction.
func (s settings) batch() bounds {
	b := bounds{lines: 128, bytes: 1 << 20} // etcd takes 128 operations and 1.5 MiB by itself
	if n, err := strconv.ParseUint(s.get(maxTxnOps), 10, 31); err == nil && n > 0 {
		b.lines = int(min(n, 10_000))
	}
	if n, err := strconv.ParseUint(s.get(maxRequestBytes), 10, 31); err == nil {
		b.bytes = int(min(n/2, 1<<20))
	}
	return b
}
