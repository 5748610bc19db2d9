package drill

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"

	"github.com/baktainer/baktainer/agent/drill/space"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// ReasonNoRoom says that the host has too little room on its disk for a drill.
const ReasonNoRoom problem.Reason = "drill-no-room"

// What a drill leaves free of a disk at least: a twentieth of it, within bounds.
// Others live on the disk that it fills.
const (
	leastReserve = 512 << 20
	mostReserve  = 10 << 30
	reserveShare = 20
	// needed is how many times the size of its dumps a database takes, with its
	// indexes and logs, as far as that can be told beforehand.
	needed = 2
)

// reserve is how much of a disk stays free.
func reserve(total int64) int64 { return min(max(total/reserveShare, leastReserve), mostReserve) }

// guard refuses a drill for which there is no room on the disk, and ends one that
// takes too much of it: the context that it gives ends then, with the cause. stop
// ends the watch.
func (d *drill) guard(ctx context.Context, dumps int64) (guarded context.Context, stop func(), err error) {
	paths := append([]string{"/"}, d.room.Facts().Mounts...)
	// The helper ends with its stdin: so it does when this process is killed.
	alive, hangUp := io.Pipe()
	proc, err := d.room.Helper(ctx, engine.Command{Argv: append([]string{"helper", space.Command}, paths...), Stdin: alive})
	if err != nil {
		return nil, nil, fmt.Errorf("look at the room on the disk: %w", err)
	}
	lines := space.NewLines(proc)
	end := func() error {
		_ = hangUp.Close()
		exit, err := proc.Wait()
		if err == nil && exit.Status != 0 {
			err = engine.ToolFailure("baktainer helper", exit)
		}
		return err
	}
	room, err := lines.Next()
	if err != nil {
		return nil, nil, problem.Wrap(problem.Failed, cmp.Or(end(), err), "look at the room on the disk")
	}
	if want := needed*dumps + reserve(room.Total); room.Free < want {
		_ = end() // it has done what it was for
		return nil, nil, noRoom("there is too little room on the disk for a drill: %s are free, and %s are wanted, %s of them to stay free",
			humanize.IBytes(uint64(room.Free)), humanize.IBytes(uint64(want)), humanize.IBytes(uint64(reserve(room.Total))))
	}
	guarded, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			room, err := lines.Next()
			if err != nil {
				return // stopped, or the helper was lost: what there was to see was seen
			}
			if room.Free < reserve(room.Total) {
				cancel(noRoom("the drill was ended: only %s were left on the disk", humanize.IBytes(uint64(room.Free))))
				return
			}
		}
	}()
	return guarded, func() {
		_ = hangUp.Close()
		proc.Kill() // should the Engine not pass that on
		<-watched   // it reads until the helper has ended
		_ = end()   // nothing depends on how
		cancel(nil)
	}, nil
}

func noRoom(format string, args ...any) *problem.Problem {
	return problem.New(problem.Failed, format, args...).WithReason(ReasonNoRoom).
		WithHint("Make room where Docker keeps its volumes, hold the drill on another host (`baktainer drill run --agent`), or set baktainer.drill.schedule=off.")
}
