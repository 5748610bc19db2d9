// Package disks gives controllers of a fault rig a disk of their own: a small
// file system in a file, which can be filled, can hang and can refuse to be
// written to, while nobody else's is touched. It needs root.
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
	"time"
)

// MaxFreeze bounds how long a disk hangs. Whatever becomes of the rig, a process
// of its own thaws the disk then: a frozen file system hangs everybody who asks
// the machine to write out all of them.
const MaxFreeze = 30 * time.Second

// Runner runs a command to its end and returns what it prints.
type Runner func(ctx context.Context, args ...string) (string, error)

// Disk is a file system in a file.
type Disk struct {
	// Dir is where it is to be seen.
	Dir   string
	image string
	run   Runner
	// dog thaws the disk when nobody else does.
	dog *exec.Cmd
}

// New makes a disk of some size in the folder, and mounts it on the folder NAME in it.
func New(ctx context.Context, folder, name string, size int64, run Runner) (*Disk, error) {
	d := &Disk{Dir: filepath.Join(folder, name), image: filepath.Join(folder, name+".img"), run: run}
	f, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(d.Dir, 0o700)); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	// No reserved blocks: root is to find it full, too.
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	return d, d.mount(ctx)
}

// Share makes a folder one in which disks come and go for processes in other mount
// namespaces too. Without it a process that was started meanwhile keeps a failed
// disk mounted, and Repair gets the failed one back. Clean undoes it.
func Share(ctx context.Context, folder string, run Runner) error {
	for _, args := range [][]string{{"mount", "--bind", folder, folder}, {"mount", "--make-shared", folder}} {
		if _, err := run(ctx, args...); err != nil {
			return fmt.Errorf("share the folder of disks: %w", err)
		}
	}
	return nil
}

func (d *Disk) mount(ctx context.Context) error {
	if _, err := d.run(ctx, "mount", "-o", "loop,errors=remount-ro", d.image, d.Dir); err != nil {
		return fmt.Errorf("mount a disk: %w", err)
	}
	return nil
}

func (d *Disk) filler() string { return filepath.Join(d.Dir, "filler") }

// Fill leaves no room on the disk.
func (d *Disk) Fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill a disk: %w", err)
	}
	for _, size := range []int{1 << 20, 64 << 10, 4 << 10} {
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return errors.Join(fmt.Errorf("fill a disk: %w", err), f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("fill a disk: %w", err)
	}
	return nil
}

// Drain makes room again.
func (d *Disk) Drain() error {
	if err := os.Remove(d.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make room on a disk: %w", err)
	}
	return nil
}

// Freeze has everybody wait who writes to the disk, until Thaw, and no longer
// than MaxFreeze.
func (d *Disk) Freeze(ctx context.Context) error {
	// Where nothing is mounted, it would be the machine's own disk.
	if own, err := separate(d.Dir); err != nil || !own {
		return errors.Join(fmt.Errorf("freeze a disk: none is mounted on %s", d.Dir), err)
	}
	// The dog comes first, in a session of its own: there is no moment in which
	// the disk is frozen and nobody would thaw it.
	d.dog = exec.Command("sh", "-c", fmt.Sprintf("sleep %d; fsfreeze -u '%s'", int(MaxFreeze.Seconds()), d.Dir))
	d.dog.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.dog.Start(); err != nil {
		return fmt.Errorf("freeze a disk: %w", err)
	}
	if _, err := d.run(ctx, "fsfreeze", "-f", d.Dir); err != nil {
		return errors.Join(fmt.Errorf("freeze a disk: %w", err), d.Thaw(context.WithoutCancel(ctx)))
	}
	return nil
}

// separate says whether a folder is on another file system than the one above it.
func separate(dir string) (bool, error) {
	var here, above syscall.Stat_t
	if err := errors.Join(syscall.Stat(dir, &here), syscall.Stat(filepath.Dir(filepath.Clean(dir)), &above)); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}

// Thaw ends a freeze. It does nothing on a disk that is not frozen.
func (d *Disk) Thaw(ctx context.Context) error {
	if d.dog == nil {
		return nil
	}
	_, err := d.run(ctx, "fsfreeze", "-u", d.Dir)
	if err != nil && !strings.Contains(err.Error(), "Invalid argument") { // that is: it is not frozen
		return fmt.Errorf("thaw a disk: %w", err) // the dog stays
	}
	_ = syscall.Kill(-d.dog.Process.Pid, syscall.SIGKILL) // it has ended when it had to thaw
	_ = d.dog.Wait()                                      // how it ended says nothing
	d.dog = nil
	return nil
}

// Fail has the disk behave as if it had had an error: everything that was not
// written is lost, and no write succeeds any more.
func (d *Disk) Fail(ctx context.Context) error {
	if _, err := d.run(ctx, "mount", "-o", "remount,abort", d.Dir); err != nil {
		return fmt.Errorf("make a disk fail: %w", err)
	}
	return nil
}

// Repair brings a failed disk back. Nobody may use it meanwhile.
func (d *Disk) Repair(ctx context.Context) error {
	if _, err := d.run(ctx, "umount", d.Dir); err != nil {
		return fmt.Errorf("repair a disk: %w", err)
	}
	// Its exit status is 1 when it has repaired something.
	if _, err := d.run(ctx, "sh", "-c", `e2fsck -fy "$1" >&2 || [ $? -eq 1 ]`, "sh", d.image); err != nil {
		return fmt.Errorf("repair a disk: %w", err)
	}
	return d.mount(ctx)
}

// Remove unmounts the disk and deletes it.
func (d *Disk) Remove(ctx context.Context) error {
	if err := d.Thaw(ctx); err != nil {
		return err
	}
	if _, err := d.run(ctx, "umount", d.Dir); err != nil {
		return fmt.Errorf("remove a disk: %w", err)
	}
	return errors.Join(os.Remove(d.Dir), os.Remove(d.image))
}

// Clean thaws and unmounts whatever is mounted in the folder of a rig that may be
// gone, and the folder itself if it was shared. What was mounted last comes first.
func Clean(ctx context.Context, folder string, run Runner) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("look for disks: %w", err)
	}
	var errs []error
	for _, dir := range slices.Backward(mountedIn(string(mounts), folder)) {
		if dir != filepath.Clean(folder) { // that is no disk
			_, _ = run(ctx, "fsfreeze", "-u", dir) // fails where nothing is frozen
		}
		if _, err := run(ctx, "umount", dir); err != nil {
			errs = append(errs, fmt.Errorf("remove a disk: %w", err))
		}
	}
	return errors.Join(errs...)
}

// mountedIn lists what is mounted on a folder and below it, in the order of /proc/mounts.
func mountedIn(mounts, folder string) []string {
	var dirs []string
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1]+"/", strings.TrimSuffix(folder, "/")+"/") {
			dirs = append(dirs, f[1])
		}
	}
	return dirs
}
