// Package space tells how much room the file systems of a throwaway container have
// left. Only who shares its volumes sees that, so it runs in a helper container: as
// the hidden subcommand watch-space PATH…, which writes a line a second.
package space

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// Command is the name of the hidden subcommand that Main carries out.
const Command = "watch-space"

// pause is the time between two lines.
const pause = time.Second

// Room is what a file system has, in bytes.
type Room struct {
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
}

// Main writes the room of the fullest of the file systems that the paths in args
// are on, again and again, until stdin ends, as it does when whoever wants to know
// is gone. It returns the exit status: 0, 1 when a path cannot be looked at, 2 when
// it is called wrongly.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintf(stderr, "%s: want paths\n", Command)
		return 2
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // however it ends
		cancel()
	}()
	for lines := json.NewEncoder(stdout); ; {
		room, err := tightest(args)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		if lines.Encode(room) != nil || clock.Sleep(ctx, pause) != nil {
			return 0
		}
	}
}

// tightest is the room of that file system which has the least.
func tightest(paths []string) (Room, error) {
	var least Room
	for i, path := range paths {
		var s syscall.Statfs_t
		if err := syscall.Statfs(path, &s); err != nil {
			return Room{}, fmt.Errorf("look at the room of %s: %w", path, err)
		}
		r := Room{Free: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize}
		if i == 0 || r.Free < least.Free {
			least = r
		}
	}
	return least, nil
}

// Lines reads what Main writes.
type Lines struct{ from *bufio.Scanner }

// NewLines reads from the output of Main.
func NewLines(r io.Reader) Lines {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4<<10)
	return Lines{s}
}

// Next waits for the next line. io.EOF: there is none any more.
func (l Lines) Next() (r Room, err error) {
	if !l.from.Scan() {
		if err := l.from.Err(); err != nil {
			return r, fmt.Errorf("read the room: %w", err)
		}
		return r, io.EOF
	}
	if err := json.Unmarshal(l.from.Bytes(), &r); err != nil || r.Free < 0 || r.Total <= 0 {
		return r, fmt.Errorf("read the room: %.80q is none", l.from.Bytes())
	}
	return r, nil
}
