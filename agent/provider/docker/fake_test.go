package docker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// fake is an Engine with one container and one exec, which misbehaves as told.
type fake struct {
	stream    func(net.Conn) // what goes over the exec's connection, then it is closed
	refuse    int            // status in place of the stream
	onRefusal func()
	exec      func() (int, any) // status and body of the exec's inspection
	started   atomic.Int32      // how often the container has been started, from 1; 0: not running
	list      func() []any      // of containers
	events    func(io.Writer)   // writes events until the stream shall end
	top       func() string     // what ps says of process 77; nil: nobody may ask
	rm        bool              // the container is removed when it ends
	stopped   atomic.Int32      // how often the container has been stopped
	removed   func(id string)   // is told of containers that are removed
	server    *httptest.Server
}

func ended(status int) func() (int, any) {
	return func() (int, any) { return 200, map[string]any{"Running": false, "ExitCode": status, "Pid": 77} }
}

// outlives is a program that ends well, a few looks after its output has.
func outlives(looks int32) func() (int, any) {
	var n atomic.Int32
	return func() (int, any) {
		if n.Add(1) <= looks {
			return 200, map[string]any{"Running": true, "ExitCode": nil, "Pid": 77}
		}
		return ended(0)()
	}
}

func newFake(t *testing.T, f *fake) *Provider {
	t.Helper()
	f.started.CompareAndSwap(0, 1)
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	p, err := New(Options{Host: strings.Replace(f.server.URL, "http://", "tcp://", 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.client.Close() })
	p.proc = t.TempDir()
	p.patience = patience{settle: 50 * time.Millisecond, recovery: 50 * time.Millisecond, stopping: 50 * time.Millisecond, guard: 10 * time.Millisecond}
	return p
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	switch {
	case path == "/_ping":
	case path == "/containers/json":
		answer(200, f.list())
	case path == "/events":
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		f.events(w)
	case path == "/containers/c/stop":
		f.stopped.Add(1)
		w.WriteHeader(204)
	case path == "/containers/c/rename":
		w.WriteHeader(204)
	case r.Method == http.MethodDelete:
		f.removed(strings.TrimPrefix(path, "/containers/"))
		w.WriteHeader(204)
	case path == "/containers/c/json", path == "/containers/d/json":
		n := f.started.Load()
		answer(200, map[string]any{"Id": path[12:13], "Name": "/" + path[12:13], "HostConfig": map[string]any{"AutoRemove": f.rm}, "Config": map[string]any{"Labels": labelled},
			"State": map[string]any{"Running": n > 0, "StartedAt": fmt.Sprint("life ", n)}})
	case path == "/containers/c/top" && f.top != nil:
		answer(200, map[string]any{"Titles": []string{"PID", "STAT"}, "Processes": [][]string{{"7", "Ss"}, {"77", f.top()}}})
	case path == "/containers/c/exec":
		answer(201, map[string]any{"Id": "e"})
	case path == "/exec/e/json":
		answer(f.exec())
	case path == "/exec/e/start" && f.refuse != 0:
		if f.onRefusal != nil {
			f.onRefusal()
		}
		answer(f.refuse, map[string]any{"message": "refused"})
	case path == "/exec/e/start":
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		f.stream(conn)
		conn.Close()
	default:
		answer(404, map[string]any{"message": "no such thing"})
	}
}

func frame(stream byte, content string) string {
	header := [8]byte{stream}
	binary.BigEndian.PutUint32(header[4:], uint32(len(content)))
	return string(header[:]) + content
}

func says(parts ...string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, strings.Join(parts, "")) }
}

func TestBrokenStreams(t *testing.T) {
	whole := frame(1, "INSERT 1;") + frame(2, "a warning") + frame(1, "INSERT 2;")
	notFound := `OCI runtime exec failed: exec failed: exec: "pg_dump": executable file not found in $PATH: unknown` + "\r\n"
	neverStarted := func() (int, any) { return 200, map[string]any{"Running": false, "ExitCode": 127, "Pid": 0} }
	tests := map[string]struct {
		fake   *fake
		status int
		reason problem.Reason
		read   string
	}{
		"whole":                    {fake: &fake{stream: says(whole), exec: ended(0)}, read: "INSERT 1;INSERT 2;"},
		"whole, status 3":          {fake: &fake{stream: says(whole), exec: ended(3)}, status: 3, read: "INSERT 1;INSERT 2;"},
		"nothing":                  {fake: &fake{stream: says(), exec: ended(0)}},
		"cut in a frame":           {fake: &fake{stream: says(whole[:len(whole)-3]), exec: ended(0)}, reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT"},
		"cut in a frame of stderr": {fake: &fake{stream: says(whole[:29]), exec: ended(0)}, reason: engine.ReasonStreamLost, read: "INSERT 1;"},
		"cut in a header":          {fake: &fake{stream: says(whole[:20]), exec: ended(0)}, reason: engine.ReasonStreamLost, read: "INSERT 1;"},
		"cut after a header":       {fake: &fake{stream: says(whole[:8]), exec: ended(0)}, reason: engine.ReasonStreamLost},
		"not in frames":            {fake: &fake{stream: says("hello, world"), exec: ended(0)}, reason: engine.ReasonStreamLost},
		"the Engine gives up":      {fake: &fake{stream: says(frame(1, "x"), frame(3, "log driver failed")), exec: ended(0)}, reason: engine.ReasonStreamLost, read: "x"},
		"reset": {fake: &fake{stream: func(c net.Conn) {
			says(frame(1, "x"))(c)
			_ = c.(*net.TCPConn).SetLinger(0)
		}, exec: ended(0)}, reason: engine.ReasonStreamLost},
		"it goes on after the end": {fake: &fake{stream: says(whole), exec: func() (int, any) { return 200, map[string]any{"Running": true, "ExitCode": nil, "Pid": 77} }},
			reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT 2;"},
		"it goes on after the cut, and ends well": {fake: &fake{stream: says(whole), exec: outlives(2), top: func() string { return "S+" }}, reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT 2;"},
		"it is ending":           {fake: &fake{stream: says(whole), exec: outlives(1), top: func() string { return "R" }}, read: "INSERT 1;INSERT 2;"},
		"it has ended, a zombie": {fake: &fake{stream: says(whole), exec: outlives(2), top: func() string { return "Zs" }}, read: "INSERT 1;INSERT 2;"},
		"nobody may ask":         {fake: &fake{stream: says(whole), exec: outlives(2)}, read: "INSERT 1;INSERT 2;"},
		"nobody knows its status": {fake: &fake{stream: says(whole), exec: func() (int, any) { return 200, map[string]any{"Running": false, "ExitCode": nil, "Pid": 0} }},
			reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT 2;"},
		"the Engine has forgotten it": {fake: &fake{stream: says(whole), exec: func() (int, any) { return 404, map[string]any{} }}, reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT 2;"},
		"the Engine cannot tell":      {fake: &fake{stream: says(whole), exec: func() (int, any) { return 500, map[string]any{} }}, reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT 2;"},
		"missing":                     {fake: &fake{stream: says(frame(1, notFound)), exec: neverStarted}, reason: engine.ReasonToolMissing, read: notFound},
		"missing, told at once":       {fake: &fake{refuse: 400, exec: neverStarted}, reason: engine.ReasonToolMissing},
		"127 of its own":              {fake: &fake{stream: says(frame(1, notFound)), exec: ended(127)}, status: 127, read: notFound},
		"126 in silence":              {fake: &fake{stream: says(whole), exec: ended(126)}, reason: engine.ReasonStreamLost, read: "INSERT 1;INSERT 2;"},
		"126 with a word":             {fake: &fake{stream: says(frame(2, "sh: ./x: Permission denied")), exec: ended(126)}, status: 126},
		"refused, container stopped":  {fake: &fake{refuse: 409, exec: func() (int, any) { return 404, nil }}, reason: engine.ReasonNotRunning},
		"refused":                     {fake: &fake{refuse: 409, exec: func() (int, any) { return 200, map[string]any{"Running": false, "ExitCode": nil} }}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newFake(t, tt.fake)
			if strings.Contains(name, "container stopped") {
				tt.fake.onRefusal = func() { tt.fake.started.Store(-1) }
			}
			proc, err := p.Instance("c").Exec(t.Context(), engine.Command{Argv: []string{"pg_dump"}})
			if tt.fake.refuse != 0 {
				if err == nil || problem.ReasonOf(err) != tt.reason {
					t.Errorf("Exec: %v, want %q", err, tt.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, readErr := io.ReadAll(proc)
			if string(got) != tt.read && name != "reset" {
				t.Errorf("read %q, want %q", got, tt.read)
			}
			exit, err := proc.Wait()
			if problem.ReasonOf(err) != tt.reason || exit.Status != tt.status && tt.reason == "" {
				t.Errorf("Wait = %+v, %v, want %d, %q", exit, err, tt.status, tt.reason)
			}
			if readErr != nil && err == nil {
				t.Errorf("Read failed with %v and Wait with nothing", readErr)
			}
		})
	}
}

func TestContainerEnds(t *testing.T) {
	for name, life := range map[string]int32{"stopped": -1, "restarted": 2} {
		const leftOpen = -1
		for _, cut := range []int{0, 3, leftOpen} {
			t.Run(fmt.Sprint(name, " cut ", cut), func(t *testing.T) {
				f := &fake{exec: ended(137)}
				f.stream = func(c net.Conn) {
					f.started.Store(life)
					content := frame(1, "INSERT")
					says(content[:len(content)-max(cut, 0)])(c)
					if cut == leftOpen {
						_, _ = io.Copy(io.Discard, c)
					}
				}
				p := newFake(t, f)
				proc, err := p.Instance("c").Exec(t.Context(), engine.Command{Argv: []string{"pg_dump"}})
				if err != nil {
					t.Fatal(err)
				}
				if exit, err := proc.Wait(); problem.ReasonOf(err) != engine.ReasonNotRunning {
					t.Errorf("Wait = %+v, %v", exit, err)
				}
			})
		}
	}
}

func TestWatchEventsLost(t *testing.T) {
	var lists, streams atomic.Int32
	containers := func(ids ...string) (cs []any) {
		for _, id := range ids {
			cs = append(cs, map[string]any{"Id": id, "Names": []string{"/" + id}, "Labels": labelled})
		}
		return cs
	}
	f := &fake{
		list: func() []any {
			if lists.Add(1); streams.Load() < 2 {
				return containers("c")
			}
			return containers("c", "d")
		},
		// The first stream ends in the middle of an event.
		events: func(w io.Writer) {
			if streams.Add(1) == 1 {
				_, _ = io.WriteString(w, `{"Type":"conta`)
			}
		},
	}
	p := newFake(t, f)
	w := watch(t, p)
	until(t, "the container that came while events were lost is seen", func() bool { return w.running("d") })
	if lists.Load() < 2 {
		t.Errorf("listed %d times", lists.Load())
	}
}

func TestDemuxKeepsStderr(t *testing.T) {
	tail := engine.NewTail(100, []string{"hunter2"})
	d := newDemux(strings.NewReader(frame(2, "pass hun")+frame(1, "a")+frame(2, "ter2 is wrong\n")+frame(1, "")+frame(1, "b")), tail)
	got, err := io.ReadAll(d)
	if string(got) != "ab" || err != nil || tail.String() != "pass [hidden] is wrong\n" {
		t.Errorf("got %q, %v, %q", got, err, tail.String())
	}
}

func FuzzDemux(f *testing.F) {
	f.Add([]byte(frame(1, "x")+frame(2, "y")), 3)
	f.Add([]byte(frame(3, "x")), 1)
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1}, 7)
	f.Add([]byte("not in frames at all"), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 || size > 1<<16 {
			return
		}
		// Any bytes: never more out than in, and the end only between frames.
		d := newDemux(bytes.NewReader(in), io.Discard)
		out, err := readBy(d, size)
		if len(out) > len(in) || (err == nil && d.left != 0) {
			t.Errorf("%d bytes of %d, %v, %d left", len(out), len(in), err, d.left)
		}
		// The same bytes in frames of that size come out as they are; cut short, never whole.
		var framed strings.Builder
		for rest := in; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			framed.WriteString(frame(1, string(rest[:min(size, len(rest))])))
			framed.WriteString(frame(2, "noise"))
		}
		out, err = readBy(newDemux(strings.NewReader(framed.String()), io.Discard), size)
		if err != nil || !bytes.Equal(out, in) {
			t.Errorf("got %q, %v, want %q", out, err, in)
		}
		if n := framed.Len(); n > 0 {
			if _, err := readBy(newDemux(strings.NewReader(framed.String()[:n-1]), io.Discard), size); err == nil {
				t.Error("a stream that was cut passes for whole")
			}
		}
	})
}

func readBy(r io.Reader, size int) (out []byte, err error) {
	for buf := make([]byte, size); ; {
		n, err := r.Read(buf)
		out = append(out, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}
