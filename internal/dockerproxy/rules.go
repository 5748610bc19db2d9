// Package dockerproxy stands between the agent and the Docker socket and lets
// through only what the agent needs: whoever holds the real socket is root on
// the host, whoever holds this one may run programs in labelled containers and
// nothing else.
package dockerproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/label"
)

// subject is what a request is about and what must hold for it to pass.
type subject struct {
	// kind says which check is due.
	kind check
	// id is the container or exec concerned.
	id string
}

type check int

const (
	denied    check = iota
	free            // passes as it is
	labelled        // container id must carry baktainer.backup=true, be a companion or a helper
	companion       // container id must be a companion or a helper
	helper          // container id must be a helper
	knownExec       // exec id must have been created through this proxy
	creation        // the body must describe a helper
	newExec         // labelled, and the exec's id is remembered
)

// rule lets one kind of request through.
type rule struct {
	methods string
	path    *regexp.Regexp
	kind    check
	query   func(url.Values) bool
}

const id = `([A-Za-z0-9][A-Za-z0-9_.-]*)`

func path(p string) *regexp.Regexp { return regexp.MustCompile(`^` + p + `$`) }

var rules = []rule{
	{methods: "GET HEAD", path: path(`/_ping`), kind: free},
	{methods: "GET", path: path(`/(version|info|events)`), kind: free},
	{methods: "GET", path: path(`/containers/json`), kind: free},
	{methods: "GET", path: path(`/containers/` + id + `/json`), kind: labelled},
	{methods: "GET", path: path(`/containers/` + id + `/top`), kind: labelled, query: asksForStates},
	{methods: "GET HEAD", path: path(`/containers/` + id + `/archive`), kind: labelled},
	{methods: "POST", path: path(`/containers/` + id + `/exec`), kind: newExec},
	{methods: "POST", path: path(`/exec/` + id + `/start`), kind: knownExec},
	{methods: "GET", path: path(`/exec/` + id + `/json`), kind: knownExec},
	{methods: "GET", path: path(`/images/(.+)/json`), kind: free},
	{methods: "POST", path: path(`/images/create`), kind: free, query: importsHelper},
	{methods: "POST", path: path(`/containers/create`), kind: creation},
	{methods: "POST", path: path(`/containers/` + id + `/(?:start|stop|pause|unpause)`), kind: companion},
	{methods: "POST", path: path(`/containers/` + id + `/(?:attach|wait|kill|rename)`), kind: helper},
	{methods: "GET", path: path(`/containers/` + id + `/logs`), kind: helper},
	{methods: "DELETE", path: path(`/containers/` + id), kind: helper},
}

// versionPrefix takes no version before 1.24: by those, a container's start changes
// its configuration.
var versionPrefix = regexp.MustCompile(`^/v1\.(?:2[4-9]|[3-9][0-9]|[1-9][0-9]{2})(/.*)$`)

// classify says what a request is about. It looks at nothing but the request line.
func classify(method, urlPath string, query url.Values) subject {
	if m := versionPrefix.FindStringSubmatch(urlPath); m != nil {
		urlPath = m[1]
	}
	for _, r := range rules {
		m := r.path.FindStringSubmatch(urlPath)
		if m == nil || !slices.Contains(strings.Fields(r.methods), method) || r.query != nil && !r.query(query) {
			continue
		}
		s := subject{kind: r.kind}
		if len(m) > 1 {
			s.id = m[1]
		}
		return s
	}
	return subject{}
}

// asksForStates: other columns would show commands and variables.
func asksForStates(q url.Values) bool {
	return len(q["ps_args"]) == 1 && q.Get("ps_args") == "-eo pid,stat"
}

// importsHelper: an image may be made from the bytes sent, under the helper's
// name only; nothing may be pulled.
func importsHelper(q url.Values) bool {
	return q.Get("fromSrc") == "-" && q.Get("fromImage") == "" && (q.Get("repo") == label.HelperImage || strings.HasPrefix(q.Get("repo"), label.HelperImage+":"))
}

// harmless are the fields of a helper's host configuration that may have a
// value, each with what it may be. Everything else must be absent or empty, so
// that an option that Docker learns tomorrow is refused until it is looked at.
var harmless = map[string]func(any) bool{
	"VolumesFrom": anything, // checked by the caller: labelled containers only
	"PidMode":     func(v any) bool { s, _ := v.(string); return s == "" || strings.HasPrefix(s, ofContainer) },
	"NetworkMode": func(v any) bool { s, _ := v.(string); return s == "none" || strings.HasPrefix(s, ofContainer) },
	// Never DAC_READ_SEARCH, which opens any file of the host by its handle.
	"CapAdd":         onlyOf("DAC_OVERRIDE", "CHOWN", "FOWNER", "KILL", "SYS_PTRACE"),
	"CapDrop":        anything,
	"SecurityOpt":    onlyOf("no-new-privileges", "no-new-privileges:true"),
	"ReadonlyRootfs": anything,
	"Memory":         anything,
	"MemorySwap":     anything,
	"NanoCpus":       anything,
	"PidsLimit":      anything,
	"LogConfig":      has("Type", "none"),
	"RestartPolicy":  has("Name", "no"),
	// An empty list of these leaves nothing of the kernel's files masked or read-only.
	"MaskedPaths":     func(v any) bool { return v == nil },
	"ReadonlyPaths":   func(v any) bool { return v == nil },
	"Tmpfs":           anything,
	"AutoRemove":      anything,
	"ConsoleSize":     anything,
	"ShmSize":         anything,
	"Isolation":       isEmpty,
	"OomScoreAdj":     isEmpty,
	"Privileged":      isEmpty,
	"PublishAllPorts": isEmpty,
}

// ofDrills are the fields in which a container for a drill differs from other
// helpers, ofTools those in which a side-car does, and ofRestores those in which one
// does that a restore makes to stay.
var (
	ofDrills = map[string]func(any) bool{
		"VolumesFrom": isEmpty,
		"PidMode":     isEmpty,
		"CapAdd":      isEmpty,
		"NetworkMode": func(v any) bool { s, _ := v.(string); return s == "none" },
		"LogConfig":   has("Type", "none", "json-file"),
	}
	ofTools = map[string]func(any) bool{
		"VolumesFrom": isEmpty,
		"PidMode":     isEmpty,
		"CapAdd":      isEmpty,
		"NetworkMode": func(v any) bool { s, _ := v.(string); return strings.HasPrefix(s, ofContainer) },
	}
	// It may be reached, on the network that every container is on.
	ofRestores = map[string]func(any) bool{
		"VolumesFrom": isEmpty,
		"PidMode":     isEmpty,
		"CapAdd":      isEmpty,
		"NetworkMode": func(v any) bool { s, _ := v.(string); return s == "default" },
		"LogConfig":   has("Type"),
	}
)

// ofContainer begins the name of a namespace that is another container's.
const ofContainer = "container:"

// helperBody checks the body of a container's creation. It returns the ids or
// names of the containers whose volumes, processes or network the helper will see.
// One for a drill, or to stay, may be of any image that is there, and sees nobody's;
// so may be a side-car, which sees a network alone.
func helperBody(body []byte) (sees []string, err error) {
	var c struct {
		Image            string
		Labels           map[string]string
		HostConfig       map[string]any
		Volumes          map[string]any
		NetworkingConfig map[string]any
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := unambiguous(json.NewDecoder(bytes.NewReader(body)), true); err != nil {
		return nil, err
	}
	for name, value := range c.NetworkingConfig {
		if !isEmpty(value) {
			return nil, fmt.Errorf("NetworkingConfig.%s=%v is not allowed for a helper", name, value)
		}
	}
	if c.Labels[label.KeyHelper] == "" {
		return nil, fmt.Errorf("only containers labelled %s may be created", label.KeyHelper)
	}
	if label.Concerns(without(c.Labels, label.KeyHelper)) {
		return nil, fmt.Errorf("a helper may carry no other label of ours")
	}
	var own map[string]func(any) bool
	mark := c.Labels[label.KeyHelper]
	tools := mark == label.ToolsMark
	switch {
	case tools:
		own = ofTools
	case strings.HasPrefix(mark, label.DrillMark):
		own = ofDrills
	case strings.HasPrefix(mark, label.KeepMark):
		own = ofRestores
	}
	if name, _, _ := strings.Cut(c.Image, ":"); name != label.HelperImage && own == nil {
		return nil, fmt.Errorf("a helper may only be made from the image %s", label.HelperImage)
	}
	if len(c.Volumes) > 0 && (own == nil || tools) {
		return nil, fmt.Errorf("a helper may have no volumes of its own")
	}
	for name, value := range c.HostConfig {
		allowed := harmless[name]
		if differs, ok := own[name]; ok {
			allowed = differs
		}
		if allowed == nil {
			allowed = isEmpty
		}
		if !allowed(value) {
			return nil, fmt.Errorf("HostConfig.%s=%v is not allowed for a helper", name, value)
		}
	}
	if _, ok := c.HostConfig["NetworkMode"]; !ok {
		return nil, fmt.Errorf("HostConfig.NetworkMode must be given")
	}
	from, _ := c.HostConfig["VolumesFrom"].([]any)
	for _, v := range from {
		s, _ := v.(string)
		name, _, _ := strings.Cut(s, ":")
		sees = append(sees, name)
	}
	for _, namespace := range []string{"PidMode", "NetworkMode"} {
		if s, _ := c.HostConfig[namespace].(string); strings.HasPrefix(s, ofContainer) {
			sees = append(sees, strings.TrimPrefix(s, ofContainer))
		}
	}
	// A helper sees one thing of another container.
	if len(sees) > 1 {
		return nil, fmt.Errorf("a helper sees the volumes, the processes or the network of another container, and not two of these")
	}
	return sees, nil
}

// execBody checks the body of an exec's creation.
func execBody(body []byte) error {
	var c struct{ Privileged bool }
	if err := json.Unmarshal(body, &c); err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	if c.Privileged {
		return fmt.Errorf("a privileged exec is not allowed")
	}
	return nil
}

// unambiguous refuses a JSON value with a key that is there twice: of two values
// Docker may keep another one than we have looked at, or some of both. fold says that
// at the first level keys are the same whatever their case, as they are to Docker.
func unambiguous(d *json.Decoder, fold bool) error {
	t, err := d.Token()
	if err != nil || t != json.Delim('{') && t != json.Delim('[') {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		if t == json.Delim('{') {
			k, err := d.Token()
			if err != nil {
				return err
			}
			key, _ := k.(string)
			if fold {
				key = strings.ToLower(strings.ToUpper(key))
			}
			if seen[key] {
				return fmt.Errorf("%.40q is there twice", key)
			}
			seen[key] = true
		}
		if err := unambiguous(d, false); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// without is labels but for one.
func without(labels map[string]string, key string) map[string]string {
	rest := maps.Clone(labels)
	delete(rest, key)
	return rest
}

func anything(any) bool { return true }

// has allows an object whose key, if it is there, is empty or one of the values. Keys
// of another spelling are refused, as Docker would take them for it.
func has(key string, values ...string) func(any) bool {
	return func(v any) bool {
		m, isMap := v.(map[string]any)
		for name, value := range m {
			s, isText := value.(string)
			switch {
			case name == key && isText && (s == "" || slices.Contains(values, s)):
			case name == "Config" || name == "MaximumRetryCount": // says nothing alone
			default:
				return false
			}
		}
		return isMap || v == nil
	}
}

func onlyOf(allowed ...string) func(any) bool {
	return func(v any) bool {
		if isEmpty(v) {
			return true
		}
		list, ok := v.([]any)
		return ok && !slices.ContainsFunc(list, func(e any) bool {
			s, _ := e.(string)
			return !slices.Contains(allowed, strings.TrimPrefix(s, "CAP_"))
		})
	}
}

// isEmpty says whether a JSON value is what Docker's clients send for "not set".
func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == "" || v == "default"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
