package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// tick is the unit in which Linux tells processor time.
const tick = 0.01

// Process is one that goes on while its steps are measured.
type Process struct {
	Name  string
	pid   int
	cmd   *exec.Cmd
	ended chan struct{}
	err   error   // set before ended is closed
	cpu   float64 // at the last Mark
}

// Start starts a process whose output goes to a file.
func Start(name, logFile string, env []string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, pid: cmd.Process.Pid, cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Watch is the process that somebody else started.
func Watch(name string, pid int) *Process { return &Process{Name: name, pid: pid} }

// Mark begins a step: processor time counts from here, and so does the peak of
// memory where the kernel lets it be reset.
func (p *Process) Mark() error {
	cpu, err := cpuSeconds(p.pid)
	if err != nil {
		return err
	}
	p.cpu = cpu
	// Not allowed everywhere. Then the peak is that of the process's life.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0o600)
	return nil
}

// Since returns processor time and peak of memory since Mark.
func (p *Process) Since() (cpu float64, rss int64, err error) {
	now, err := cpuSeconds(p.pid)
	if err != nil {
		return 0, 0, err
	}
	rss, err = PeakRSS(p.pid)
	return now - p.cpu, rss, err
}

// Stop ends a process that Start started, and waits for its end.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	late := make(chan struct{})
	go func() {
		if clock.Sleep(ctx, time.Minute) == nil {
			close(late)
		}
	}()
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("stop %s: %w", p.Name, p.err)
		}
		return nil
	case <-late:
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("stop %s: it went on for a minute and was killed", p.Name)
	}
}

// Kill ends a process that Start started as a crash would, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// PeakRSS is the peak of resident memory of a process.
func PeakRSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return parsePeak(string(status))
}

func parsePeak(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read memory: %w", err)
			}
			return n << 10, nil
		}
	}
	return 0, errors.New("read memory: the process has none")
}

func cpuSeconds(pid int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return parseCPU(string(stat))
}

// parseCPU reads user and system time, the twelfth and thirteenth field after
// the name in parentheses, which may hold anything.
func parseCPU(stat string) (float64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("read processor time: too few fields")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return float64(user+system) * tick, nil
}
