package main

import (
	"crypto/rand"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
)

// keptID reads the id kept in a file, and makes one when there is no file yet.
func keptID(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(text)) != "" {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := "agent-" + strings.ToLower(rand.Text()[:12])
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	// Half an id, or none, would be another agent after a crash.
	return id, durable.Replace(path, []byte(id+"\n"))
}

// ownBinary opens the program that is running, for helper containers.
func ownBinary() (io.ReadCloser, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "find this program's own file")
	}
	f, err := os.Open("/proc/self/exe") // also right after the file was replaced
	if err != nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open this program's own file: %w", err)
	}
	if err := standsAlone(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// standsAlone refuses a program that needs a loader and libraries: a helper container
// has neither, and says no more than that there is no such file.
func standsAlone(program io.ReaderAt) error {
	f, err := elf.NewFile(program)
	if err != nil {
		return nil //nolint:nilerr // of what else there is the Engine can say why it does not run
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return problem.New(problem.Failed, "this program is linked dynamically, and cannot run in a helper container").
				WithHint("Build it with CGO_ENABLED=0, as `make build` does.")
		}
	}
	return nil
}
