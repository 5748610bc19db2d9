package hosts

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/label"
)

func TestNarrow(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, given, want string }{
		{"nothing asked", "", `{"label":{"chaos.host=a1":true}}`},
		{"other filters stay", `{"type":{"container":true},"event":{"start":true,"die":true}}`, `{"type":{"container":true},"event":{"start":true,"die":true},"label":{"chaos.host=a1":true}}`},
		{"other labels stay", `{"label":{"x=y":true}}`, `{"label":{"x=y":true,"chaos.host=a1":true}}`},
		{"lists", `{"status":["exited"]}`, `{"status":{"exited":true},"label":{"chaos.host=a1":true}}`},
		{"helpers", `{"label":{"` + label.KeyHelper + `":true}}`, `{"label":{"` + label.KeyHelper + `":true}}`},
		{"not JSON", `{{`, `{{`},
	}
	for _, tt := range tests {
		query := url.Values{"all": {"1"}}
		if tt.given != "" {
			query.Set("filters", tt.given)
		}
		got := narrow(query, "a1")
		var g, w any
		gotErr, wantErr := json.Unmarshal([]byte(got.Get("filters")), &g), json.Unmarshal([]byte(tt.want), &w)
		if (gotErr == nil) != (wantErr == nil) || !reflect.DeepEqual(g, w) || (gotErr != nil && got.Get("filters") != tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got.Get("filters"), tt.want)
		}
		if got.Get("all") != "1" {
			t.Errorf("%s: other parameters are lost", tt.name)
		}
	}
}

// daemon is a Docker daemon that says what it was asked, and echoes what comes
// through an upgraded connection.
func daemon(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "d")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, r.URL.Query().Get("filters"))
			return
		}
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_ = buf.Flush()
		_, _ = io.Copy(conn, buf)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return socket
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func proxy(t *testing.T, socket string) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "p")
	p, err := Listen(t.Context(), path, socket, "a1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return path
}

func get(t *testing.T, socket, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	resp, err := client.Get("http://docker" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestProxyNarrowsListingsAlone(t *testing.T) {
	t.Parallel()
	path := proxy(t, daemon(t))
	for _, listing := range []string{"/v1.41/containers/json", "/containers/json?all=1", "/v1.41/events?filters=" + url.QueryEscape(`{"type":["container"]}`)} {
		if _, body := get(t, path, listing); !strings.Contains(body, "chaos.host=a1") {
			t.Errorf("%s: asked %s", listing, body)
		}
	}
	for _, other := range []string{"/v1.41/containers/abc/json", "/v1.41/images/json", "/_ping"} {
		if _, body := get(t, path, other); strings.Contains(body, "chaos.host") || !strings.Contains(body, other) {
			t.Errorf("%s: asked %s", other, body)
		}
	}
}

// The streams of execs go both ways through a connection that is no HTTP any more.
func TestProxyPassesUpgrades(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("unix", proxy(t, daemon(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /v1.41/exec/1/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	for _, word := range []string{"hello\n", "again\n"} {
		fmt.Fprint(conn, word)
		if got, err := in.ReadString('\n'); got != word {
			t.Errorf("said %q, heard %q, %v", word, got, err)
		}
	}
}

func TestProxyWithoutDaemon(t *testing.T) {
	t.Parallel()
	status, body := get(t, proxy(t, "/does/not/exist"), "/_ping")
	if status != http.StatusBadGateway || !strings.Contains(body, `"message"`) {
		t.Errorf("got %d %s", status, body)
	}
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	if _, err := Listen(t.Context(), "/does/not/exist/p", "", "a1"); err == nil {
		t.Error("it listens nowhere")
	}
}
