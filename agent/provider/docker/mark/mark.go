// Package mark finds and ends the processes of one exec, wherever in the tree
// of processes they are. Docker has no call that ends an exec'd program, and the
// number that it tells for one is only good in the host's own PID namespace. So
// each exec gets a random variable in its environment, which its children
// inherit, and which is found in /proc of any namespace that sees them.
package mark

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

const (
	// Variable is the variable that carries the mark.
	Variable = "BAKTAINER_EXEC"
	// Command is the name of the hidden subcommand that Main carries out.
	Command = "kill-exec"

	// Grace is how long processes have to end by themselves once asked to.
	Grace = 2 * time.Second
	// patience is how long to wait for the kernel to end killed processes.
	patience = 5 * time.Second
	tick     = 20 * time.Millisecond
)

// New returns a mark that no other process carries.
func New() string { return rand.Text() }

// Main carries out the subcommand; args is what follows its name: a mark. It
// returns the exit status: 0 when no process carries the mark any more, 1 when
// some cannot be ended, 2 when it is called wrongly.
func Main(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) != 1 || args[0] == "" {
		fmt.Fprintf(stderr, "%s: want a mark\n", Command)
		return 2
	}
	if _, err := Kill(ctx, "/proc", args[0]); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// process is one process, told from a later one with the same number by its
// start time.
type process struct {
	pid   int
	start string
}

// Kill ends the processes under proc that carry the mark, and what descends
// from them: first it asks (SIGTERM), after Grace it kills. It returns when none
// is left; found says whether there was any.
func Kill(ctx context.Context, proc, mark string) (found bool, err error) {
	victims := map[process]bool{} // true once it was asked to end
	for waited := time.Duration(0); ; waited += tick {
		if err := look(proc, mark, victims); err != nil {
			return found, err
		}
		if len(victims) == 0 {
			return found, nil
		}
		found = true
		if waited > Grace+patience {
			return found, fmt.Errorf("%d processes do not end", len(victims))
		}
		for p, asked := range victims {
			signal := syscall.SIGTERM
			if waited >= Grace {
				signal = syscall.SIGKILL
			} else if asked {
				continue
			}
			victims[p] = true
			if err := syscall.Kill(p.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return found, fmt.Errorf("signal process %d: %w", p.pid, err)
			}
		}
		if err := clock.Sleep(ctx, tick); err != nil {
			return found, err
		}
	}
}

// look drops from victims those that have ended and adds those found anew.
func look(proc, mark string, victims map[process]bool) error {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	alive := map[int]process{}
	parent := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, ppid, ok := status(proc, pid); ok {
			alive[pid], parent[pid] = p, ppid
		}
	}
	for p := range victims {
		if alive[p.pid] != p {
			delete(victims, p)
		}
	}
	for pid, p := range alive {
		if _, known := victims[p]; !known && carries(proc, pid, mark) {
			victims[p] = false
		}
	}
	for pid, p := range alive {
		// The bound is against a parent that changes while it is looked at.
		for up, hops := parent[pid], 0; up > 1 && hops < 64; up, hops = parent[up], hops+1 {
			if _, marked := victims[alive[up]]; marked {
				if _, known := victims[p]; !known {
					victims[p] = false
				}
				break
			}
		}
	}
	return nil
}

// status reads a process's start time and parent. A zombie has ended already.
func status(proc string, pid int) (p process, ppid int, ok bool) {
	stat, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, 0, false
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const state, parent, start = 0, 1, 19
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return process{}, 0, false
	}
	ppid, err = strconv.Atoi(fields[parent])
	return process{pid, fields[start]}, ppid, err == nil
}

// carries says whether a process has the mark. One whose environment may not
// be read does not count: it is not ours to end.
func carries(proc string, pid int, mark string) bool {
	env, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	want := []byte(Variable + "=" + mark)
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}
