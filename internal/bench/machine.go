package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/measure"
)

// run runs a command that nobody measures and returns what it prints.
func run(ctx context.Context, args ...string) (string, error) {
	u, err := measure.Run(ctx, measure.Command{Args: args, Keep: true})
	return strings.TrimSpace(u.Output), err
}

// docker runs a command of the Docker client.
func docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, append([]string{"docker"}, args...)...)
}

// knows says whether the program has a command.
func knows(ctx context.Context, binary string, command ...string) bool {
	help, err := run(ctx, append(append([]string{binary}, command...), "--help")...)
	return err == nil && strings.Contains(help, "baktainer "+strings.Join(command, " "))
}

// machine describes where the run takes place.
func machine(dir string) (figures.Machine, error) {
	m := figures.Machine{Cores: runtime.NumCPU()}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, fmt.Errorf("look at the machine: %w", err)
	}
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, fmt.Errorf("look at the machine: %w", err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, fmt.Errorf("look at the machine: %w", err)
	}
	m.CPU = field(string(cpu), "model name", ":")
	if kib, err := strconv.ParseInt(strings.TrimSuffix(field(string(memory), "MemTotal", ":"), " kB"), 10, 64); err == nil {
		m.Memory = kib << 10
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	if release, err := os.ReadFile("/etc/os-release"); err == nil {
		m.System = strings.Trim(field(string(release), "PRETTY_NAME", "="), `"`)
	}
	m.Disk = fileSystem(dir)
	return m, nil
}

// field is the value of the first line that begins with a name.
func field(text, name, separator string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem is the type of the file system that a folder is on.
func fileSystem(dir string) string {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return ""
	}
	var longest, kind string
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[1]) >= len(longest) && (f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/")) {
			longest, kind = f[1], f[2]
		}
	}
	return kind
}

// versions asks every tool, which also tells whether it is there.
func (b *Bench) versions(ctx context.Context) ([]figures.Version, error) {
	var all []figures.Version
	for _, v := range []struct {
		tool string
		args []string
	}{
		{"baktainer", []string{b.Binary, "version"}},
		{"restic", []string{"restic", "version"}},
		{"borg", []string{"borg", "--version"}},
		{"gzip", []string{"gzip", "--version"}},
		{"zstd", []string{"zstd", "--version"}},
		{"PostgreSQL", []string{"docker", "run", "--rm", "--entrypoint", "pg_dump", postgresImage, "--version"}},
		{"Docker", []string{"docker", "version", "-f", "{{.Server.Version}}"}},
		{"Go", []string{"go", "version"}},
	} {
		out, err := run(ctx, v.args...)
		if err != nil {
			return nil, fmt.Errorf("ask for the version of %s: %w", filepath.Base(v.tool), err)
		}
		line, _, _ := strings.Cut(out, "\n")
		all = append(all, figures.Version{Tool: v.tool, Version: strings.Trim(line, " *")})
	}
	return all, nil
}
