// Package measure runs processes and tells what they cost: processor time,
// wall time, the peak of resident memory.
package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// sampling is how often the peak of memory of a running command is read. The
// kernel keeps the peak, so that only what rises in the last moment is missed.
const sampling = 20 * time.Millisecond

// Command is a command line to be measured.
type Command struct {
	Args  []string
	Env   []string // beside the environment
	Dir   string
	Input string // a file that is fed through a pipe, by cat; "" for none
	Keep  bool   // return what it prints; else it is counted and dropped
}

// Usage is what a command cost.
type Usage struct {
	Wall, CPU float64 // seconds
	RSS       int64   // bytes
	Printed   int64   // bytes on standard output
	Output    string  // if asked for
}

// Run runs a command to its end.
func Run(ctx context.Context, c Command) (Usage, error) {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	var errText tail
	cmd.Stderr = &errText
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Usage{}, fmt.Errorf("make a pipe: %w", err)
	}
	feed, err := feeder(ctx, cmd, c.Input)
	if err != nil {
		return Usage{}, err
	}
	clk := clock.System{}
	start := clk.Now()
	if err := cmd.Start(); err != nil {
		_ = feed()
		return Usage{}, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	// The feeder starts after its reader, so that it is never alone with the pipe.
	fed := make(chan error, 1)
	go func() { fed <- feed() }()
	peak := make(chan int64, 1)
	over, stop := context.WithCancel(ctx)
	go func() { peak <- watchPeak(over, cmd.Process.Pid) }()

	var u Usage
	var kept strings.Builder
	into := io.Discard
	if c.Keep {
		into = &kept
	}
	u.Printed, err = io.Copy(into, out)
	waitErr := cmd.Wait()
	u.Wall = clk.Now().Sub(start).Seconds()
	stop()
	u.RSS = <-peak
	feedErr := <-fed
	if state := cmd.ProcessState; state != nil {
		u.CPU = (state.UserTime() + state.SystemTime()).Seconds()
	}
	u.Output = kept.String()
	if waitErr != nil {
		return u, fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), waitErr, errText.last())
	}
	return u, errors.Join(err, feedErr)
}

// feeder prepares cat FILE as the input of cmd. The function that it returns
// runs it to its end, after cmd was started.
func feeder(ctx context.Context, cmd *exec.Cmd, file string) (func() error, error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	cmd.Stdin = r
	cat := exec.CommandContext(ctx, "cat", file)
	cat.Stdout = w
	return func() error {
		err := cat.Start()
		_, _ = r.Close(), w.Close() // theirs now
		if err == nil {
			err = cat.Wait()
		}
		if err != nil {
			return fmt.Errorf("feed %s: %w", file, err)
		}
		return nil
	}, nil
}

// watchPeak reads the peak of memory of a process until it ends.
func watchPeak(ctx context.Context, pid int) int64 {
	var peak int64
	for {
		if now, err := PeakRSS(pid); err == nil {
			peak = max(peak, now)
		}
		if clock.Sleep(ctx, sampling) != nil {
			return peak
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 8<<10 {
		t.b = t.b[len(t.b)-4<<10:]
	}
	return len(p), nil
}

// last is the end of the text, on one line.
func (t *tail) last() string {
	s := strings.Join(strings.Fields(string(t.b)), " ")
	return s[max(0, len(s)-400):]
}
