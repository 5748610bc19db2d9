// Package clocks builds the program so that its clock can be stepped from
// outside, each process's by itself, as if somebody had set the clock of its
// host: the wall clock jumps, the monotonic one goes on. The machine's own clock
// is left alone.
//
// It is the program's code as it is, with two lines more in the Go library's
// time.Now (by the compiler's -overlay): a number of seconds is added that lies
// in a file, which the process has mapped into its memory.
package clocks

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Variable names the file of a process's clock.
const Variable = "CHAOS_CLOCK"

// Runner runs a command to its end and returns what it prints.
type Runner func(ctx context.Context, args ...string) (string, error)

// library is what is added to the package time.
const library = `package time

import (
	"syscall"
	"unsafe"
)

var chaosClock *int64

func init() {
	path, ok := syscall.Getenv("` + Variable + `")
	if !ok {
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("` + Variable + `: " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("` + Variable + `: " + err.Error())
	}
	chaosClock = (*int64)(unsafe.Pointer(&page[0]))
}

func chaosSeconds() int64 {
	if chaosClock == nil {
		return 0
	}
	return *chaosClock
}
`

// read is how time.Now reads the clock, in the version of Go that this is for.
const read = "	sec, nsec, mono := runtimeNow()\n"

// patch adds the step to the text of the package's time.go.
func patch(source string) (string, error) {
	head, body, found := strings.Cut(source, "\nfunc Now() Time {\n")
	if !found || !strings.HasPrefix(body, read) {
		return "", errors.New("this version of Go reads the clock in another way: internal/chaos/clocks has to follow it")
	}
	return head + "\nfunc Now() Time {\n" + read + "	sec += chaosSeconds()\n" + strings.TrimPrefix(body, read), nil
}

// Build builds the package of the module into the file out. dir is for what the
// build needs.
func Build(ctx context.Context, run Runner, dir, pkg, out string) error {
	root, err := run(ctx, "go", "env", "GOROOT")
	if err != nil {
		return fmt.Errorf("find the Go library: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(root), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return fmt.Errorf("read the Go library: %w", err)
	}
	patched, err := patch(string(source))
	if err != nil {
		return err
	}
	replaced, added := filepath.Join(dir, "time.go.txt"), filepath.Join(dir, "chaos.go.txt")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		original: replaced, filepath.Join(filepath.Dir(original), "chaos_clock.go"): added,
	}})
	if err != nil {
		return fmt.Errorf("write the overlay: %w", err)
	}
	list := filepath.Join(dir, "overlay.json")
	for path, text := range map[string]string{replaced: patched, added: library, list: string(overlay)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the overlay: %w", err)
		}
	}
	if _, err := run(ctx, "env", "CGO_ENABLED=0", "go", "build", "-overlay", list, "-o", out, pkg); err != nil {
		return fmt.Errorf("build the program with a clock of its own: %w", err)
	}
	return nil
}

// Clock is the clock of one process.
type Clock struct{ path string }

// New makes a clock, which is right, in a file.
func New(path string) (*Clock, error) {
	c := &Clock{path}
	if err := os.WriteFile(path, make([]byte, 8), 0o600); err != nil {
		return nil, fmt.Errorf("make a clock: %w", err)
	}
	return c, nil
}

// Env is what the process needs to have it.
func (c *Clock) Env() string { return Variable + "=" + c.path }

// Set sets how far the clock is ahead of the machine's.
func (c *Clock) Set(ahead time.Duration) error {
	f, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(ahead/time.Second))
	// In its place and in one piece: the process reads it at any moment.
	_, err = f.WriteAt(b[:], 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	return nil
}
