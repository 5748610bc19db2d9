package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNoFalseGreen spoils backups of each kind of database in every way that
// we know of, and looks at what the user is told: the backup fails with its
// reason, and no snapshot is listed.
func TestNoFalseGreen(t *testing.T) {
	needContainers(t)
	t.Parallel()
	for name, d := range everyDatabase() {
		if twin(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t) // its own: a cut hits all that goes through it
			u := startUp(t, upOptions{flags: []string{"--docker-host", w.host()}})
			spoil{up: u, wire: w, database: d}.all(t)
		})
	}
}

type spoil struct {
	up   *up
	wire *wire
	database
}

func (s spoil) all(t *testing.T) {
	t.Run("wrong password", func(t *testing.T) {
		if s.engine == "sqlite" || s.engine == "custom" {
			return // they have none
		}
		c := s.start(t, "baktainer.db.password=not the password")
		s.fails(t, c, "wrong-password")
	})
	c := s.start(t)
	s.seed(t, c, 20)
	t.Run("tool killed", func(t *testing.T) {
		s.failsWhile(t, c, func(p process) { kill(t, p, syscall.SIGKILL) }, "tool-failed", "stream-lost")
	})
	t.Run("wire cut", func(t *testing.T) {
		reasons := []string{"stream-lost"}
		if s.dumpers == nil {
			// The helper ends well, writing into nothing, and what came is too short; or it never began.
			reasons = append(reasons, "dump-truncated", "dump-empty", "")
		}
		s.failsWhile(t, c, func(process) { s.wire.cut() }, reasons...)
		s.up.sees(t, c, "ready")
		s.nothingLeft(t, c)
	})
	if s.dumpers != nil {
		for _, f := range fakes {
			if s.engine == "custom" && f.partial {
				continue // only the command's author knows what is whole
			}
			if f.killed && s.engine != "custom" && s.engine != "postgres" {
				continue // it takes ten seconds: time for the container to turn out to be stopping
			}
			t.Run(f.name, func(t *testing.T) {
				s.fake(t, c, f.script)
				defer s.unfake(t, c)
				s.fails(t, c, f.reasons...)
			})
		}
		t.Run("tool missing", func(t *testing.T) {
			s.hide(t, c)
			defer s.unhide(t, c)
			s.fails(t, c, "tool-missing")
		})
	}
	t.Run("container killed", func(t *testing.T) {
		if s.engine == "sqlite" {
			s.outlives(t, c)
			return
		}
		s.failsWhile(t, c, func(process) { docker(t, "kill", c.id) }, "not-running", "stream-lost", "tool-failed")
		s.up.sees(t, c, "stopped")
		r := s.up.cli(t, "backup", c.source())
		t.Logf("backup of a stopped container:\n%s", r.text())
		if r.status != failedStatus {
			t.Errorf("exit status %d, want %d", r.status, failedStatus)
		}
	})
	t.Run("and yet", func(t *testing.T) {
		docker(t, "start", c.id)
		s.wait(t, c)
		s.up.verify(t, s.up.backup(t, c))
	})
}

// fails has a backup fail for one of the reasons, and nothing listed for it.
func (s spoil) fails(t *testing.T, c *container, reasons ...string) {
	t.Helper()
	s.up.sees(t, c, "ready")
	before := s.up.snapshots(t, c.source())
	s.failed(t, c, s.up.cli(t, "backup", c.source()), before, reasons...)
}

func (s spoil) failed(t *testing.T, c *container, r result, before []snapshot, reasons ...string) {
	t.Helper()
	t.Logf("what the user reads:\n%s", r.text())
	if r.status != failedStatus {
		t.Errorf("exit status %d, want %d", r.status, failedStatus)
	}
	if list := s.up.snapshots(t, c.source()); len(list) != len(before) {
		t.Fatalf("%d snapshots are listed, %d before:\n%s", len(list), len(before), sprintJSON(list))
	}
	if f := s.up.failure(t, c.source()); !slices.Contains(reasons, f.Reason) {
		t.Errorf("the reason is %q, want one of %q:\n%s", f.Reason, reasons, sprintJSON(f))
	}
}

// failsWhile stops the dump tool in its middle, lets something befall it, and
// lets what is left of it go on.
func (s spoil) failsWhile(t *testing.T, c *container, befall func(process), reasons ...string) {
	t.Helper()
	p, done := s.freeze(t, c, func() []process { return s.dumping(t, c) })
	before := s.up.snapshots(t, c.source())
	befall(p)
	_ = syscall.Kill(p.pid, syscall.SIGCONT) // it may be gone
	s.failed(t, c, <-done, before, reasons...)
}

// outlives kills the container while its file is read: the reader is not in it,
// so the dump is whole or nothing.
func (s spoil) outlives(t *testing.T, c *container) {
	t.Helper()
	p, done := s.freeze(t, c, func() []process { return s.dumping(t, c) })
	before := s.up.snapshots(t, c.source())
	docker(t, "kill", c.id)
	_ = syscall.Kill(p.pid, syscall.SIGCONT)
	r := <-done
	t.Logf("what the user reads:\n%s", r.text())
	list := s.up.snapshots(t, c.source())
	if succeeded := r.status == fine; succeeded != (len(list) == len(before)+1) || !succeeded && len(list) != len(before) {
		t.Errorf("exit status %d, and %d snapshots after %d", r.status, len(list), len(before))
	}
	for _, snap := range list {
		s.up.verify(t, snap)
		s.up.dumpsWhatTheLedgerSays(t, snap)
	}
}

// freeze begins a backup and stops the process that dumps the container as soon
// as it has written something, or is about to. On a busy machine a small dump may
// be over before it was seen: then another one is begun.
func (s spoil) freeze(t *testing.T, c *container, dumping func() []process) (frozen process, done <-chan result) {
	t.Helper()
	s.up.sees(t, c, "ready")
	for range 20 {
		ended, missed := background(t, func() result { return s.up.cli(t, "backup", c.source()) }), false
		every(t, time.Millisecond, "a dump is being written", func() (bool, string) {
			for _, p := range dumping() {
				if p.moved(s.atOnce) > 1<<18 && syscall.Kill(p.pid, syscall.SIGSTOP) == nil {
					frozen = p
					return true, ""
				}
			}
			select {
			case r := <-ended:
				if r.status != fine {
					t.Fatalf("the backup fails by itself:\n%s", r.text())
				}
				missed = true
			default:
			}
			return missed, "no " + strings.Join(s.dumpers, ", ") + " has written anything"
		})
		if !missed {
			return frozen, ended
		}
		t.Log("the dump was over before it was seen")
	}
	t.Fatal("no dump was seen")
	return
}

// dumping lists the processes that dump the container.
func (s spoil) dumping(t *testing.T, c *container) []process {
	if s.dumpers != nil {
		return c.processes(s.dumpers...)
	}
	return c.helpers(t)
}

// nothingLeft waits until nothing that dumps runs any more.
func (s spoil) nothingLeft(t *testing.T, c *container) {
	t.Helper()
	eventually(t, "no dump tool is left behind", func() (bool, string) {
		left := s.dumping(t, c)
		return len(left) == 0, fmt.Sprint(left)
	})
}

func kill(t testing.TB, p process, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.pid, s); err != nil {
		t.Fatalf("signal %v to %s (%d): %v", s, p.name, p.pid, err)
	}
}

// fakes are dump tools that lie. $real is the real one, which also answers what
// is no dump.
var fakes = []struct {
	name, script string
	partial      bool
	killed       bool
	reasons      []string
}{
	{"half a dump, exit 0", `"$real" "$@" >/tmp/whole && head -c "$(($(wc -c </tmp/whole) / 2))" /tmp/whole`, true, false, []string{"dump-truncated"}},
	{"all but the last 20 bytes, exit 0", `"$real" "$@" >/tmp/whole && head -c -20 /tmp/whole`, true, false, []string{"dump-truncated", "dump-malformed"}},
	{"nothing, exit 0", `exit 0`, false, false, []string{"dump-empty"}},
	{"a word, exit 0", `echo fine`, true, false, []string{"dump-malformed", "dump-truncated", "dump-empty"}},
	{"all of it, exit 1", `"$real" "$@"; echo "the disk has a scratch" >&2; exit 1`, false, false, []string{"tool-failed"}},
	{"all of it, killed at the end", `"$real" "$@"; kill -9 $$`, false, true, []string{"tool-failed"}},
}

// fake puts a script before the dump tools in the container's PATH.
func (s spoil) fake(t *testing.T, c *container, script string) {
	t.Helper()
	for _, tool := range s.dumpers {
		c.script(t, `rm -f /usr/local/sbin/`+tool+`; real=$(command -v `+tool+`) || exit 0
{ echo '#!/bin/sh'; echo "real=$real"; cat <<'END'
case " $* " in *" --version "*|*" -V "*|*" --help "*) exec "$real" "$@" ;; *" `+s.dumpFlag+`"*) ;; *) exec "$real" "$@" ;; esac
`+script+`
END
} >/tmp/fake
mkdir -p /usr/local/sbin && chmod 755 /tmp/fake && mv /tmp/fake /usr/local/sbin/`+tool)
	}
}

func (s spoil) unfake(t *testing.T, c *container) {
	t.Helper()
	for _, tool := range s.dumpers {
		c.script(t, "rm -f /usr/local/sbin/"+tool+" /tmp/whole")
	}
}

// hide takes the tools away, wherever they are in PATH.
func (s spoil) hide(t *testing.T, c *container) { s.rename(t, c, `"$at"`, `"$at.hidden"`) }

func (s spoil) unhide(t *testing.T, c *container) { s.rename(t, c, `"$at.hidden"`, `"$at"`) }

func (s spoil) rename(t *testing.T, c *container, from, to string) {
	t.Helper()
	for _, tool := range s.dumpers {
		c.script(t, `IFS=:; for dir in $PATH; do at="$dir/`+tool+`"; if [ -e `+from+` ]; then mv `+from+` `+to+`; fi; done`)
	}
}
