package clocks

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPatch(t *testing.T) {
	t.Parallel()
	before := "package time\n\nfunc Now() Time {\n" + read + "	return x\n}\n"
	got, err := patch(before)
	if err != nil || !strings.Contains(got, read+"	sec += chaosSeconds()\n	return x") {
		t.Errorf("got %q, %v", got, err)
	}
	for _, other := range []string{"", "package time\n", "package time\n\nfunc Now() Time {\n	return other()\n}\n"} {
		if _, err := patch(other); err == nil {
			t.Errorf("%q is patched", other)
		}
	}
}

func command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// teller tells its clocks whenever it is asked: the wall clock, and how much
// time has passed since its start.
const teller = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().Unix(), time.Since(began).Milliseconds())
	}
}
`

// TestSteps builds a program with a clock of its own and steps it.
func TestSteps(t *testing.T) {
	if os.Getenv("BAKTAINER_E2E") != "1" {
		t.Skip("it builds the Go library anew; run make test")
	}
	dir := t.TempDir()
	source, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "teller")
	if err := os.WriteFile(source, []byte(teller), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Build(t.Context(), command, dir, source, out); err != nil {
		t.Fatal(err)
	}
	c, err := New(filepath.Join(dir, "clock"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), out)
	cmd.Env = append(os.Environ(), c.Env())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(from)
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		if err := c.Set(ahead); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in)
		line, err := lines.ReadString('\n')
		var wall, passed int64
		if _, scanErr := fmt.Sscan(line, &wall, &passed); err != nil || scanErr != nil {
			t.Fatalf("read %q: %v, %v", line, err, scanErr)
		}
		if off := time.Unix(wall, 0).Sub(time.Now().Add(ahead)); off < -10*time.Second || off > 10*time.Second {
			t.Errorf("set %v ahead, the clock is off by %v", ahead, off)
		}
		if passed < 0 || passed > 60_000 {
			t.Errorf("set %v ahead, %d ms have passed since the start", ahead, passed)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestClockFails(t *testing.T) {
	t.Parallel()
	if _, err := New("/does/not/exist/clock"); err == nil {
		t.Error("a clock in no folder")
	}
	if err := (&Clock{"/does/not/exist/clock"}).Set(time.Hour); err == nil {
		t.Error("a clock that is not there is set")
	}
}
