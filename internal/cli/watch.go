package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// patience is how often a controller that broke off is asked again about a run.
const patience = 60

// news is what became of one run that is watched.
type news struct {
	i   int
	run *pb.Run
	err error
}

// watch follows runs to their end, shows how they go, and returns them as they
// ended. When ctx ends it stops; the runs go on.
func (a *app) watch(ctx context.Context, client pb.AdminServiceClient, runs []*pb.Run) ([]*pb.Run, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	names := make([]string, len(runs))
	heard := make(chan news)
	for i, r := range runs {
		names[i] = r.GetSource()
		wg.Go(func() {
			err := a.follow(ctx, client, r.GetId(), func(now *pb.Run) {
				select {
				case heard <- news{i: i, run: now}:
				case <-ctx.Done():
				}
			})
			select {
			case heard <- news{i: i, err: err}:
			case <-ctx.Done():
			}
		})
	}
	show := a.board(names...)
	defer show.clear()
	logged := make([]time.Time, len(runs))
	ended := append([]*pb.Run(nil), runs...)
	for open := len(runs); open > 0; {
		select {
		case <-ctx.Done():
			return nil, stopped(ctx, runs)
		case n := <-heard:
			switch {
			case n.run != nil:
				ended[n.i] = n.run
				if a.verbose {
					logged[n.i] = a.showLog(show.note, n.run, logged[n.i])
				}
				show.update(n.i, row(n.run))
			case ctx.Err() != nil:
				return nil, stopped(ctx, runs)
			case !errors.Is(n.err, errEnded):
				return nil, fmt.Errorf("watch run %s: %w", runs[n.i].GetId(), n.err)
			default:
				open--
			}
		}
	}
	return ended, nil
}

// errEnded says that a run came to its end.
var errEnded = errors.New("the run ended")

// follow reports each state of a run until it has ended, and then returns
// errEnded. A controller that breaks off, or has no leader, is asked again for a while.
func (a *app) follow(ctx context.Context, client pb.AdminServiceClient, id string, report func(*pb.Run)) error {
	for failures := 0; ; failures++ {
		stream, err := client.WatchRun(ctx, &pb.WatchRunRequest{Id: id})
		for err == nil {
			var resp *pb.WatchRunResponse
			if resp, err = stream.Recv(); err == nil {
				failures = 0
				report(resp.GetRun())
				if over(resp.GetRun()) {
					return errEnded
				}
			}
		}
		again := errors.Is(err, io.EOF) || problem.CodeOf(err) == problem.Unavailable
		if !again || failures >= patience {
			return err
		}
		if err := clock.Sleep(ctx, a.retryAfter); err != nil {
			return err
		}
	}
}

func over(r *pb.Run) bool {
	switch r.GetState() {
	case pb.RunState_RUN_STATE_SUCCEEDED, pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED:
		return true
	}
	return false
}

// stopped says that we no longer wait; the runs do not end with us.
func stopped(ctx context.Context, runs []*pb.Run) error {
	p := problem.Wrap(problem.Cancelled, context.Cause(ctx), "stopped waiting; what was started goes on")
	for _, r := range runs {
		p.WithDetails(fmt.Sprintf("%s: run %s", r.GetSource(), r.GetId()))
	}
	return p.WithHint("`baktainer run show ID` tells how it went; `baktainer run cancel ID` ends it.")
}

func row(r *pb.Run) boardRow {
	v := viewRun(r)
	return boardRow{state: v.State, phase: v.Phase, done: v.BytesDone, total: v.BytesTotal, ended: over(r)}
}

// showLog writes the lines of a run's log that are newer than since, and
// returns the time of the newest.
func (a *app) showLog(write func(string, ...any), r *pb.Run, since time.Time) time.Time {
	newest := since
	for _, l := range r.GetLogs() {
		at := l.GetTime().AsTime()
		if !at.After(since) {
			continue
		}
		if at.After(newest) {
			newest = at
		}
		write("%s", a.logLine(r.GetSource(), l))
	}
	return newest
}

func (a *app) logLine(source string, l *pb.LogLine) string {
	return fmt.Sprintf("%s %-5s %s: %s", l.GetTime().AsTime().In(a.zone).Format("15:04:05"), l.GetLevel(), source, l.GetMessage())
}
