package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
)

// Who sits at a terminal is asked before what cannot be taken back.
func TestAsking(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	write(t, file, "state")
	for _, tc := range []struct {
		args, types string
		done        bool
		asks        string
	}{
		{"cluster remove c3", "y\n", true, "This takes c3 at c3.example.com:8468 out of the cluster for good: 3 controllers are left, of which none may fail. Go on? [y/N] "},
		{"cluster remove c3", "YES\n", true, "Go on?"},
		{"cluster remove c3", "n\n", false, "Go on?"},
		{"cluster remove c3", "\n", false, "Go on?"},
		{"cluster remove c3 --yes", "n\n", true, ""},
		{"agent revoke db1", "y\n", true, "This shuts agent/db1 out at once"},
		{"agent revoke db1", "\n", false, "Go on?"},
		{"identity revoke viewer/bob", "no\n", false, "This shuts viewer/bob out"},
		{"ca rotate --finish", "y\n", true, "may be shut out. Go on?"},
		{"ca rotate --finish", "\n", false, "may be shut out. Go on?"},
		{"ca rotate", "\n", true, ""},
		{"cluster restore " + file, "cl\n", true, "This replaces all that the controllers of cluster cl know by what is in " + file + ".\nType the id of the cluster, cl, to go on: "},
		{"cluster restore " + file, "yes\n", false, "Type the id"},
		{"cluster restore " + file, "\n", false, "Type the id"},
		{"cluster restore " + file + " --confirm cl", "", true, ""},
		{"cluster restore " + file + " --confirm other", "cl\n", false, ""},
	} {
		f := &clustered{}
		r := cliTyping(t.Context(), t, Roof{}, typing(t, tc.types), serve(t, f), strings.Fields(tc.args)...)
		if done := f.last() != nil; done != tc.done || (r.status == 0) != tc.done || !strings.Contains(r.err, tc.asks) {
			t.Errorf("%s, %q: done %v, %+v", tc.args, tc.types, done, r)
		}
		if asked := strings.Contains(r.err, "go on: ") || strings.Contains(r.err, "[y/N]"); asked != (tc.asks != "") {
			t.Errorf("%s, %q: asked %v", tc.args, tc.types, asked)
		}
		if !tc.done && !strings.Contains(r.err, "nothing was changed") {
			t.Errorf("%s, %q: %s", tc.args, tc.types, r.err)
		}
	}
}

func TestTypingTheRecovery(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	write(t, file, "[]")
	for text, done := range map[string]bool{"cl\n": true, " cl \n": true, "y\n": false, "\n": false} {
		l := &lost{}
		r := cliTyping(t.Context(), t, l.roof(), typing(t, text), "", "controller", "recover", "--peers", file)
		if l.done != done || (r.status == 0) != done || !strings.Contains(r.err, "drops what only others knew.\nType the id of the cluster, cl, to go on: ") {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

// A token that is typed is not shown.
func TestTypedToken(t *testing.T) {
	roof, c := elsewhere(t)
	for _, flag := range []string{"--ask-token", ""} {
		t.Setenv("BAKTAINER_TOKEN", "")
		if flag != "" {
			t.Setenv("BAKTAINER_TOKEN", "another")
		}
		args := strings.Fields("login --controller c1:8468 --name alice " + flag)
		r := cliTyping(t.Context(), t, roof, typing(t, tokenText+"\n"), "", args...)
		if r.status != 0 || c.login.Token.Reveal() != tokenText || strings.Contains(r.out+r.err, "BKTN") || !strings.Contains(r.err, "Token: ") {
			t.Errorf("%q: %+v", flag, r)
		}
	}
}

// Who presses Ctrl-C at a question has answered it, and sees again what they type.
func TestInterruptedAtAQuestion(t *testing.T) {
	storeDir, _ := wreck(t)
	roof := Roof{OpenStore: func(dir string) (store.Store, error) { return fs.Open(dir) }}
	echoes := func(tty *os.File) bool {
		mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		return err != nil || mode.Lflag&unix.ECHO != 0
	}
	for _, args := range []string{"cluster remove c3", "rescue ls --ask-passphrase --store " + storeDir} {
		tty, f := typing(t, ""), &clustered{}
		ctx, interrupt := context.WithCancel(t.Context())
		secret := strings.Contains(args, "passphrase")
		asked := make(chan struct{})
		a := &app{roof: roof, in: tty, out: io.Discard, err: question(asked), zone: time.UTC, retryAfter: time.Millisecond}
		go func() {
			<-asked
			for secret && echoes(tty) {
				_ = clock.Sleep(ctx, time.Millisecond)
			}
			interrupt()
		}()
		if status := a.run(ctx, append(strings.Fields(args), "--socket", serve(t, f))); status != 1 || f.last() != nil || !echoes(tty) {
			t.Errorf("%s: status %d, %v, echo %v", args, status, f.last(), echoes(tty))
		}
	}
}

// question is closed by the first question that is written.
type question chan struct{}

func (a question) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("[y/N]")) || bytes.Contains(p, []byte("Passphrase: ")) {
		close(a)
	}
	return len(p), nil
}
