package dockerproxy

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// fakeDocker has these containers: shop (labelled), web (not), ours (a helper), off
// (labelled false), one that a restore is making, and new, which one has made. It answers everything that reaches it.
type fakeDocker struct{ reached []string }

func (d *fakeDocker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	labels := map[string]map[string]string{
		"shop": {"baktainer.backup": "true"}, "web": {}, "ours": {"baktainer.helper": "1"}, "off": {"baktainer.backup": "false"},
		"new.baktainer-restore": {"baktainer.helper": "restore a1 r1"}, "new": {"baktainer.helper": "restore a1 r1"},
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) == 3 && parts[0] == "containers" && parts[2] == "json" {
		id := parts[1]
		if id == "sh" { // the beginning of an id will do
			id = "shop"
		}
		l, ok := labels[id]
		if !ok {
			http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": id, "Name": "/" + id, "Config": map[string]any{"Labels": l}})
		return
	}
	body, _ := io.ReadAll(r.Body)
	d.reached = append(d.reached, r.Method+" "+r.URL.Path+" "+string(body))
	if strings.HasSuffix(r.URL.Path, "/exec") {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id":"e1"}`)
	}
}

func start(t *testing.T) (*httptest.Server, *fakeDocker) {
	t.Helper()
	docker := &fakeDocker{}
	backend := httptest.NewServer(docker)
	t.Cleanup(backend.Close)
	u, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return u, nil }}
	front := httptest.NewServer(newProxy(transport, slog.New(slog.DiscardHandler)))
	t.Cleanup(front.Close)
	return front, docker
}

func send(t *testing.T, front *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, front.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestOnlyWhatTheAgentNeedsPasses(t *testing.T) {
	const helperOK = `{"Image":"baktainer-helper:x","Labels":{"baktainer.helper":"1"},"HostConfig":{"NetworkMode":"none","VolumesFrom":["shop"]}}`
	const drillOK = `{"Image":"sha256:1234","Labels":{"baktainer.helper":"drill a1 r1"},"Volumes":{"/data":{}},"HostConfig":{"NetworkMode":"none","LogConfig":{"Type":"json-file"},"Memory":1}}`
	const toolsOK = `{"Image":"sha256:1234","Labels":{"baktainer.helper":"tools"},"Entrypoint":["cat"],"HostConfig":{"NetworkMode":"container:shop","AutoRemove":true,"Tmpfs":{"/tmp":"size=64m"},"LogConfig":{"Type":"none"}}}`
	const keepOK = `{"Image":"sha256:1234","Labels":{"baktainer.helper":"restore a1 r1"},"HostConfig":{"NetworkMode":"default","LogConfig":{}}}`
	for _, tc := range []struct {
		method, path, body string
		allowed            bool
	}{
		{"GET", "/_ping", "", true},
		{"GET", "/v1.41/version", "", true},
		{"GET", "/v1.41/events?filters=%7B%7D", "", true},
		{"GET", "/containers/json?all=1", "", true},
		{"GET", "/v1.41/containers/shop/json", "", true},
		{"GET", "/v1.41/containers/web/json", "", false}, // would show its environment
		{"GET", "/v1.41/containers/off/json", "", false},
		{"GET", "/v1.41/containers/shop/top?ps_args=-eo+pid%2Cstat", "", true},
		{"GET", "/v1.41/containers/web/top?ps_args=-eo+pid%2Cstat", "", false},
		{"GET", "/v1.41/containers/shop/top?ps_args=e", "", false}, // would show variables
		{"GET", "/v1.41/containers/shop/top", "", false},
		{"POST", "/v1.41/containers/shop/exec", `{}`, true},
		{"POST", "/v1.41/containers/web/exec", `{}`, false},
		{"POST", "/v1.41/containers/shop/exec", `{"Privileged":true}`, false},
		{"POST", "/v1.41/containers/shop/exec", `{"privileged":true,"Privileged":null}`, false}, // null changes nothing
		{"POST", "/v1.41/containers/shop/exec", `not json`, false},
		{"POST", "/v1.22/containers/ours/start", `{"Privileged":true}`, false}, // in those days a start had a configuration
		{"POST", "/v1.24/containers/ours/start", "", true},
		{"POST", "/v1.41/exec/e0/start", "", false}, // not created through the proxy
		{"GET", "/v1.41/containers/shop/archive?path=/x", "", true},
		{"PUT", "/v1.41/containers/shop/archive?path=/x", "", false},
		{"GET", "/v1.41/containers/web/archive?path=/x", "", false},
		{"POST", "/v1.41/containers/shop/stop", "", false},
		{"POST", "/v1.41/containers/shop/start", "", false},
		{"POST", "/v1.41/containers/ours/start", "", true},
		{"DELETE", "/v1.41/containers/ours", "", true},
		{"DELETE", "/v1.41/containers/shop", "", false},
		{"POST", "/v1.41/images/create?fromImage=evil", "", false},
		{"POST", "/v1.41/images/create?fromSrc=-&repo=postgres", "", false},
		{"POST", "/v1.41/images/create?fromSrc=-&repo=baktainer-helper", "", true},
		{"POST", "/v1.41/containers/create", helperOK, true},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"shop"`, `"web"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"none"`, `"host"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"Binds":["/:/host"],"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"Mounts":[{"Type":"bind"}],"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"Privileged":true,"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"PidMode":"host","VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"CapAdd":["SYS_ADMIN"],"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"FutureOption":1,"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, "baktainer-helper:x", "debian", 1), false},
		{"POST", "/v1.41/containers/create", `{"Image":"baktainer-helper","HostConfig":{"NetworkMode":"none"}}`, false},
		{"POST", "/v1.41/containers/create", `not json`, false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"shop"`, `"sh"`, 1), false}, // could be another one by then
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"CapAdd":["DAC_READ_SEARCH"],"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"Privileged":true,"Privileged":null,"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"Labels"`, `"hostconfig":{"Privileged":true},"Labels"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"Labels"`, `"ho\u017ftConfig":{"Privileged":true},"Labels"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"ReadonlyPaths":null,"MaskedPaths":null,"VolumesFrom"`, 1), true},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"ReadonlyPaths":[],"VolumesFrom"`, 1), false}, // core_pattern
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"MaskedPaths":[],"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"RestartPolicy":{"Name":"","MaximumRetryCount":0},"VolumesFrom"`, 1), true},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"RestartPolicy":{"name":"always"},"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"VolumesFrom"`, `"LogConfig":{"type":"syslog"},"VolumesFrom"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"Labels"`, `"NetworkingConfig":null,"Labels"`, 1), true},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"Labels"`, `"NetworkingConfig":{"EndpointsConfig":{"shop_default":{}}},"Labels"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"HostConfig"`, `"Volumes":{"/data":{}},"HostConfig"`, 1), false},
		{"POST", "/v1.41/containers/create", drillOK, true},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"none"`, `"bridge"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"Memory"`, `"VolumesFrom":["shop"],"Memory"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"Memory"`, `"PidMode":"container:shop","Memory"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"Memory"`, `"CapAdd":["KILL"],"Memory"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"Memory"`, `"Binds":["/:/host"],"Memory"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"Memory"`, `"Privileged":true,"Memory"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, "json-file", "syslog", 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"baktainer.helper"`, `"baktainer.backup":"true","baktainer.helper"`, 1), false},
		{"POST", "/v1.41/containers/create", toolsOK, true},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, "container:shop", "container:ours", 1), true}, // that of a drill
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, "container:shop", "container:web", 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, "container:shop", "host", 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, "container:shop", "bridge", 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"NetworkMode":"container:shop",`, "", 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"AutoRemove"`, `"VolumesFrom":["shop"],"AutoRemove"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"AutoRemove"`, `"PidMode":"container:shop","AutoRemove"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"AutoRemove"`, `"CapAdd":["KILL"],"AutoRemove"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"AutoRemove"`, `"Binds":["/:/host"],"AutoRemove"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"Entrypoint"`, `"Volumes":{"/data":{}},"Entrypoint"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"tools"`, `"tools and more"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(toolsOK, `"none"`, `"json-file"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(drillOK, `"none"`, `"container:shop"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"none"`, `"container:shop"`, 1), false}, // the volumes, too
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"NetworkMode":"none","VolumesFrom":["shop"]`, `"NetworkMode":"container:shop"`, 1), true},
		{"POST", "/v1.41/containers/create", strings.Replace(helperOK, `"NetworkMode":"none","VolumesFrom":["shop"]`, `"NetworkMode":"container:web"`, 1), false},
		{"POST", "/v1.41/containers/create?name=new.baktainer-restore", keepOK, true},
		{"POST", "/v1.41/containers/create", strings.Replace(keepOK, `"default"`, `"host"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(keepOK, `"LogConfig"`, `"PortBindings":{"5432/tcp":[{"HostPort":"1"}]},"LogConfig"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(keepOK, `"LogConfig"`, `"Binds":["/:/host"],"LogConfig"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(keepOK, `"LogConfig"`, `"VolumesFrom":["shop"],"LogConfig"`, 1), false},
		{"POST", "/v1.41/containers/create", strings.Replace(keepOK, `"LogConfig"`, `"CapAdd":["KILL"],"LogConfig"`, 1), false},
		{"POST", "/v1.41/containers/new.baktainer-restore/rename?name=new", "", true},
		{"DELETE", "/v1.41/containers/new.baktainer-restore", "", true},
		{"DELETE", "/v1.41/containers/new", "", false}, // it is the user's by then
		{"POST", "/v1.41/containers/new/exec", `{}`, false},
		{"POST", "/v1.41/containers/new/rename?name=old", "", false},
		{"POST", "/v1.41/containers/shop/rename?name=x", "", false},
		{"GET", "/v1.41/containers/ours/logs?stdout=1", "", true},
		{"GET", "/v1.41/containers/shop/logs?stdout=1", "", false},
		{"POST", "/v1.41/build", "", false},
		{"POST", "/v1.41/swarm/init", "", false},
		{"GET", "/v1.41/secrets", "", false},
		{"GET", "/v1.41/containers/shop/../web/json", "", false},
		{"GET", "/v1.41/containers/shop%2f..%2fweb/json", "", false},
	} {
		t.Run(tc.method+" "+tc.path+" "+tc.body, func(t *testing.T) {
			front, docker := start(t)
			status, text := send(t, front, tc.method, tc.path, tc.body)
			if got := status != http.StatusForbidden; got != tc.allowed {
				t.Errorf("status %d %s, allowed = %v, want %v", status, text, got, tc.allowed)
			}
			if !tc.allowed && len(docker.reached) > 0 {
				t.Errorf("a refused request reached Docker: %v", docker.reached)
			}
			if tc.allowed && tc.body != "" && (len(docker.reached) != 1 || !strings.HasSuffix(docker.reached[0], tc.body)) {
				t.Errorf("the body did not arrive whole: %v", docker.reached)
			}
		})
	}
}

// Docker reads the fields of a form before those of the query.
func TestAFormIsRefused(t *testing.T) {
	front, docker := start(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", front.URL+"/v1.41/images/create?fromSrc=-&repo=baktainer-helper", strings.NewReader("repo=postgres"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "Application/x-www-form-urlencoded; charset=utf-8")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || len(docker.reached) > 0 {
		t.Errorf("status %d, reached Docker: %v", resp.StatusCode, docker.reached)
	}
}

// What is checked and what is used is one container, whatever happens in between.
func TestAContainerIsUsedByItsID(t *testing.T) {
	front, docker := start(t)
	if status, _ := send(t, front, "POST", "/v1.41/containers/sh/exec", `{}`); status != http.StatusCreated || len(docker.reached) != 1 || docker.reached[0] != "POST /v1.41/containers/shop/exec {}" {
		t.Errorf("status %d, reached Docker: %q", status, docker.reached)
	}
	if status, text := send(t, front, "POST", "/v1.41/containers/gone/exec", `{}`); status != http.StatusNotFound || len(docker.reached) != 1 {
		t.Errorf("status %d %s, reached Docker: %q", status, text, docker.reached)
	}
}

func TestAnExecIsUsableByWhoCreatedIt(t *testing.T) {
	front, _ := start(t)
	if status, text := send(t, front, "POST", "/v1.41/containers/shop/exec", `{"Cmd":["true"]}`); status != http.StatusCreated || !strings.Contains(text, "e1") {
		t.Fatalf("create: %d %s", status, text)
	}
	if status, _ := send(t, front, "POST", "/v1.41/exec/e1/start", `{}`); status != http.StatusOK {
		t.Errorf("start: %d", status)
	}
	if status, _ := send(t, front, "POST", "/v1.41/exec/e2/start", `{}`); status != http.StatusForbidden {
		t.Errorf("start of a foreign exec: %d", status)
	}
}

// What passes is harmless as Docker reads it: into fields whose names it takes in any
// case, and of which a null changes nothing.
func FuzzRequests(f *testing.F) {
	f.Add("POST", "/v1.41/containers/create", []byte(`{"HostConfig":{"Binds":["/:/h"]}}`))
	f.Add("GET", "/containers/a/json", []byte(""))
	f.Add("POST", "/v1.41/containers/create", []byte(`{"Image":"baktainer-helper:x","Labels":{"baktainer.helper":"1"},"HostConfig":{"NetworkMode":"none","VolumesFrom":["shop"],"Privileged":false,"PidMode":"","CapAdd":["KILL"],"ReadonlyPaths":null}}`))
	f.Add("POST", "/v1.41/containers/create", []byte(`{"Image":"x","Labels":{"baktainer.helper":"tools"},"HostConfig":{"NetworkMode":"container:shop","RestartPolicy":{"Name":"no"},"LogConfig":{"Type":"none","Config":{}}},"NetworkingConfig":{"EndpointsConfig":null}}`))
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		classify(method, path, url.Values{})
		if _, err := helperBody(body); err != nil {
			return
		}
		var c struct {
			Labels     map[string]string
			HostConfig struct {
				Binds, CapAdd, SecurityOpt, ReadonlyPaths, MaskedPaths []string
				Privileged                                             bool
				PidMode, NetworkMode, IpcMode, UsernsMode              string
				RestartPolicy                                          struct{ Name string }
				LogConfig                                              struct{ Type string }
			}
			NetworkingConfig struct{ EndpointsConfig map[string]any }
		}
		if json.Unmarshal(body, &c) != nil {
			return // nor would Docker
		}
		h := c.HostConfig
		own := func(s string) bool { return strings.HasPrefix(s, "container:") }
		if c.Labels["baktainer.helper"] == "" || len(h.Binds) > 0 || h.Privileged || h.ReadonlyPaths != nil || h.MaskedPaths != nil || h.IpcMode == "host" || h.UsernsMode == "host" ||
			h.PidMode != "" && !own(h.PidMode) || h.NetworkMode != "none" && h.NetworkMode != "default" && !own(h.NetworkMode) || len(c.NetworkingConfig.EndpointsConfig) > 0 ||
			h.RestartPolicy.Name != "" && h.RestartPolicy.Name != "no" || h.LogConfig.Type == "syslog" || strings.Contains(strings.Join(append(h.CapAdd, h.SecurityOpt...), " "), "ADMIN") {
			t.Errorf("let through: %s", body)
		}
	})
}
