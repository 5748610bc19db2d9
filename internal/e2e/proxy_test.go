package e2e

import (
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

func lockThread() { runtime.LockOSThread() }

// wire stands between the program and the Docker Engine and can be cut.
type wire struct {
	path string

	mu    sync.Mutex
	away  bool
	conns map[net.Conn]bool
}

const dockerSocket = "/var/run/docker.sock"

func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{path: filepath.Join(tempDir(t), "docker.sock"), conns: map[net.Conn]bool{}}
	l, err := net.Listen("unix", w.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	return w
}

func (w *wire) host() string { return "unix://" + w.path }

// cut breaks every connection there is; new ones work.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

// goAway breaks every connection and refuses new ones until comeBack.
func (w *wire) goAway() { w.setAway(true); w.cut() }

func (w *wire) comeBack() { w.setAway(false) }

func (w *wire) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *wire) serve(client net.Conn) {
	defer client.Close()
	if !w.keep(client) {
		return
	}
	defer w.drop(client)
	engine, err := net.Dial("unix", dockerSocket)
	if err != nil {
		return
	}
	defer engine.Close()
	if !w.keep(engine) {
		return
	}
	defer w.drop(engine)
	var both sync.WaitGroup
	both.Go(func() { pass(engine, client) })
	both.Go(func() { pass(client, engine) })
	both.Wait()
}

// pass copies one direction and hands on its end, as exec needs.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // a cut ends it, too
	_ = to.(*net.UnixConn).CloseWrite()
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}
