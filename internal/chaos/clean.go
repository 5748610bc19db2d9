package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/disks"
	"github.com/baktainer/baktainer/internal/chaos/load"
	"github.com/baktainer/baktainer/internal/chaos/network"
	"github.com/baktainer/baktainer/internal/clock"
)

// downLimit bounds the taking down of a rig.
const downLimit = 2 * time.Minute

const lockName = "lock"

// claim makes the rig's folder and takes its lock. What an earlier rig of that
// name has left is removed first.
func (r *Rig) claim() error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("make the rig's folder: %w", err)
	}
	lock, err := lockOf(r.dir)
	if err != nil {
		return fmt.Errorf("a rig of this seed is at work already: %w", err)
	}
	r.lock = lock
	if err := clean(context.Background(), r.name, r.dir); err != nil {
		return fmt.Errorf("remove what an earlier rig left: %w", err)
	}
	if err := os.MkdirAll(r.Logs, 0o750); err != nil {
		return fmt.Errorf("make the folder of logs: %w", err)
	}
	return nil
}

// lockOf takes the lock of a rig's folder. It ends with this process.
func lockOf(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("take the lock: %w", err), f.Close())
	}
	return f, nil
}

// down takes the rig down: processes first, then what they stood on.
func (r *Rig) down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	if r.stopWriting != nil {
		r.stopWriting()
		r.writing.Wait()
	}
	var errs []error
	if r.clients != nil {
		r.clients.kill()
	}
	for _, a := range r.allAgents() {
		errs = append(errs, a.close())
	}
	for _, c := range r.controllers {
		errs = append(errs, c.close(ctx))
	}
	if r.net != nil {
		errs = append(errs, r.net.Down(ctx))
	}
	errs = append(errs, clean(ctx, r.name, r.dir), os.RemoveAll(r.dir), r.lock.Close())
	return errors.Join(errs...)
}

// clean removes whatever carries the name of a rig but its folder, and kills
// what still runs in it.
func clean(ctx context.Context, name, dir string) error {
	killAll(ctx, name)
	err := errors.Join(
		load.Clean(ctx, name, nil),
		disks.Clean(ctx, dir, command),
		network.Clean(ctx, name, command),
	)
	entries, readErr := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, readErr)
}

// killAll kills the processes in the namespaces of a rig, and waits a little for
// their end.
func killAll(ctx context.Context, name string) {
	found, _ := network.Namespaces(ctx, command) // Clean says what is wrong with them
	for range 100 {
		alive := 0
		for _, ns := range found {
			if !strings.HasPrefix(ns, name+"-") {
				continue
			}
			pids, _ := command(ctx, "ip", "netns", "pids", ns) // none in a namespace that is gone
			for _, text := range strings.Fields(pids) {
				if pid, err := strconv.Atoi(text); err == nil && pid != os.Getpid() {
					alive++
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
				}
			}
		}
		if alive == 0 || clock.Sleep(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}

// CleanAll removes what rigs have left that are no longer at work, and returns
// their names.
func CleanAll(ctx context.Context) ([]string, error) {
	found, err := network.Namespaces(ctx, command)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, ns := range found {
		names = append(names, ns[:strings.LastIndex(ns, "-")])
	}
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), network.Prefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("look for rigs: %w", err)
	}
	for _, dir := range dirs {
		if rigDir(dir) {
			names = append(names, filepath.Base(dir))
		}
	}
	slices.Sort(names)
	var cleaned []string
	var errs []error
	for _, name := range slices.Compact(names) {
		dir := filepath.Join(os.TempDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			errs = append(errs, err)
			continue
		}
		lock, err := lockOf(dir)
		if err != nil {
			continue // it is at work
		}
		errs = append(errs, clean(ctx, name, dir), os.RemoveAll(dir), lock.Close())
		cleaned = append(cleaned, name)
	}
	return cleaned, errors.Join(errs...)
}

// rigDir says whether a folder is a rig's: the name alone could be anybody's.
func rigDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, lockName))
	return err == nil && len(filepath.Base(dir)) == len(network.Name(0))
}
