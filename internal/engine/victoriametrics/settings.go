package victoriametrics

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// settings are what a server was started with.
type settings struct {
	args []string
	env  map[string]string
}

func settingsOf(f engine.Facts) settings { return settings{f.Args, f.Env} }

// variable is a reference to one, as a flag may hold it.
var variable = regexp.MustCompile(`%\{([A-Za-z0-9_]+)\}`)

// get is the value of a flag, or with -envflag.enable of the variable that stands
// for it; empty: none. The last flag of a name counts.
func (s settings) get(name string) string {
	value, given := s.flag(name)
	if on, _ := s.flag("envflag.enable"); !given && on != "" && on != "false" {
		prefix, _ := s.flag("envflag.prefix")
		value = s.env[prefix+strings.ReplaceAll(name, ".", "_")]
	}
	return variable.ReplaceAllStringFunc(value, func(v string) string { return s.env[v[2:len(v)-1]] })
}

func (s settings) flag(name string) (value string, given bool) {
	for i, arg := range slices.Backward(s.args) {
		dashed, value, inOne := strings.Cut(arg, "=")
		flag := strings.TrimPrefix(strings.TrimPrefix(dashed, "-"), "-")
		switch {
		case flag != name || !strings.HasPrefix(arg, "-"):
		case inOne:
			return value, true
		case i+1 < len(s.args) && !strings.HasPrefix(s.args[i+1], "-"):
			return s.args[i+1], true
		default:
			return "true", true
		}
	}
	return "", false
}

// secret is get for what may also be in a file of the container: file:///path
func (s settings) secret(ctx context.Context, inst engine.Instance, name string) (string, error) {
	value := s.get(name)
	file, named := strings.CutPrefix(value, "file://")
	if !named {
		return value, nil
	}
	text, err := inst.ReadFile(ctx, file, engine.SecretFileLimit)
	if err != nil {
		return "", problem.Wrap(problem.InvalidInput, err, "read the file that -%s names in the container", name).
			WithReason(engine.ReasonNoCredentials).WithHint("Set baktainer.db.user and baktainer.db.password_file.")
	}
	return string(bytes.TrimRight(text, "\r\n")), nil
}

// url is where the server answers in its own network.
func (s settings) url() string {
	scheme, host, port := "http", "127.0.0.1", "8428"
	// The first of several addresses is as good as any.
	address, _, _ := strings.Cut(s.get("httpListenAddr"), ",")
	if h, p, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(h); ip != nil && !ip.IsUnspecified() {
			host = h
		}
		if n, err := strconv.ParseUint(p, 10, 16); err == nil && n > 0 {
			port = p
		}
	}
	if tls := s.get("tls"); tls != "" && tls != "false" {
		scheme = "https"
	}
	prefix := strings.Trim(s.get("http.pathPrefix"), "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	return scheme + "://" + net.JoinHostPort(host, port) + prefix
}

// part is the first one of a length of time such as 1d12h.
var part = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(ms|mo|[smhdwy])`)

// retention is for how long the server keeps samples: months, unless there are
// units; one, unless it is said.
func (s settings) retention() (time.Duration, error) {
	const day = 24 * time.Hour
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "mo": 31 * day, "h": time.Hour, "d": day, "w": 7 * day, "y": 365 * day}
	text := cmp.Or(s.get("retentionPeriod"), "1")
	length, err := strconv.ParseFloat(text, 64)
	length *= float64(31 * day)
	for rest := strings.ToLower(strings.ReplaceAll(text, "M", "mo")); err != nil && rest != ""; {
		found := part.FindStringSubmatch(rest)
		if found == nil {
			length = 0
			break
		}
		n, _ := strconv.ParseFloat(found[1], 64) // it is one, or more than there can be
		length += n * float64(units[found[2]])
		rest = rest[len(found[0]):]
	}
	if !(length > 0) {
		return 0, problem.New(problem.InvalidInput, "the container's -retentionPeriod is no length of time: %q", text).WithReason(engine.ReasonUnsupported)
	}
	const forEver = 200 * 365 * day // more than that is no Duration
	return time.Duration(min(length, float64(forEver))), nil
}
