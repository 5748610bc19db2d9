package disks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMountedIn(t *testing.T) {
	t.Parallel()
	mounts := "/dev/vda / ext4 rw 0 0\n/dev/vda /tmp/chaos-1 ext4 rw 0 0\n/dev/loop0 /tmp/chaos-1/c1 ext4 rw 0 0\n/dev/loop1 /tmp/chaos-10/c1 ext4 rw 0 0\n/dev/loop2 /tmp/chaos-1/c2 ext4 rw 0 0\nbroken\n"
	if got := mountedIn(mounts, "/tmp/chaos-1/"); !slices.Equal(got, []string{"/tmp/chaos-1", "/tmp/chaos-1/c1", "/tmp/chaos-1/c2"}) {
		t.Errorf("got %v", got)
	}
}

func command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func TestNewFails(t *testing.T) {
	t.Parallel()
	if _, err := New(t.Context(), "/does/not/exist", "c1", 1<<20, command); err == nil {
		t.Error("a disk in no folder")
	}
	refuses := func(context.Context, ...string) (string, error) { return "", errors.New("refused") }
	if _, err := New(t.Context(), t.TempDir(), "c1", 1<<20, refuses); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a disk that cannot be made: %v", err)
	}
}

// A disk that fails to thaw keeps its watchdog.
func TestDogStaysUntilThawed(t *testing.T) {
	t.Parallel()
	fail := true
	d := &Disk{Dir: "/proc", run: func(_ context.Context, args ...string) (string, error) {
		if fail && slices.Contains(args, "-u") {
			return "", errors.New("busy")
		}
		return "", nil
	}}
	if err := d.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	dog := d.dog.Process.Pid
	if err := d.Thaw(t.Context()); err == nil || syscall.Kill(dog, 0) != nil {
		t.Errorf("the watchdog is gone before the disk is thawed: %v", err)
	}
	fail = false
	if err := d.Thaw(t.Context()); err != nil || syscall.Kill(dog, 0) == nil {
		t.Errorf("the watchdog outlives the freeze: %v", err)
	}
	if err := d.Thaw(t.Context()); err != nil {
		t.Errorf("a second thaw: %v", err)
	}
}

// Where no disk is mounted, nothing is frozen: that would be the machine's own.
func TestFreezeKnowsItsOwn(t *testing.T) {
	t.Parallel()
	d := &Disk{Dir: t.TempDir(), run: func(context.Context, ...string) (string, error) {
		t.Error("a command was run")
		return "", nil
	}}
	for _, dir := range []string{d.Dir, "/does/not/exist"} {
		d.Dir = dir
		if err := d.Freeze(t.Context()); err == nil || d.dog != nil {
			t.Errorf("%s is frozen: %v", dir, err)
		}
	}
}

// TestRealDisk fills a disk, freezes it, makes it fail, and leaves nothing behind.
func TestRealDisk(t *testing.T) {
	if os.Getenv("BAKTAINER_E2E") != "1" || os.Getuid() != 0 {
		t.Skip("needs root and BAKTAINER_E2E=1; run make test")
	}
	folder := t.TempDir()
	must(t, Share(t.Context(), folder, command))
	d, err := New(t.Context(), folder, "c1", 32<<20, command)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Clean(context.WithoutCancel(t.Context()), folder, command); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(d.Dir, "f")
	put := func(size int) error { return os.WriteFile(file, make([]byte, size), 0o600) }
	must(t, put(1<<20))

	must(t, d.Fill())
	if err := put(1 << 21); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full disk: %v", err)
	}
	must(t, d.Drain())
	must(t, put(1<<21))

	must(t, d.Freeze(t.Context()))
	wrote := make(chan error, 1)
	go func() { wrote <- put(1 << 10) }()
	select {
	case err := <-wrote:
		t.Errorf("a write to a frozen disk came back: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	must(t, d.Thaw(t.Context()))
	if err := <-wrote; err != nil {
		t.Errorf("a write that had to wait: %v", err)
	}

	// Somebody who was started meanwhile, in a mount namespace of his own as from
	// `ip netns exec`, is not to keep the failed disk.
	other := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "slave", "cat")
	stdin, err := other.StdinPipe()
	must(t, err)
	stdout, err := other.StdoutPipe()
	must(t, err)
	must(t, other.Start())
	defer func() { _ = errors.Join(stdin.Close(), other.Wait()) }()
	_, err = stdin.Write([]byte("x"))
	must(t, err)
	_, err = stdout.Read(make([]byte, 1)) // it is there
	must(t, err)

	open, err := os.OpenFile(file, os.O_WRONLY, 0)
	must(t, err)
	must(t, d.Fail(t.Context()))
	_, err = open.WriteString("x")
	if err = errors.Join(err, open.Sync(), open.Close()); err == nil {
		t.Error("a write to a failed disk succeeds")
	}
	must(t, d.Repair(t.Context()))
	must(t, put(1<<20))
	must(t, d.Remove(t.Context()))
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
