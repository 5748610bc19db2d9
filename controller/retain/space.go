package retain

import (
	"context"
	"fmt"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/retention"
)

// SpaceLimits say at how much free space in the store something happens; a zero
// one never does. Stores that have no such limit are not watched.
type SpaceLimits struct {
	// Prune deletes what is forgotten and can no longer be taken back, at once
	// rather than in the next round, and never more. Pause begins no backup.
	Prune, Pause retention.Threshold
}

// spaceState is what was found when the store was looked at last.
type spaceState struct {
	pressed, paused bool
	why             string // no backup is begun
}

// WatchSpace looks at the store's free space, again and again, until ctx ends.
func (r *Retain) WatchSpace(ctx context.Context) {
	for {
		if err := r.LookAtSpace(ctx); err != nil && ctx.Err() == nil {
			r.Logger.Warn("free space is not known", "error", err)
		}
		if clock.Sleep(ctx, r.SpaceEvery) != nil {
			return
		}
	}
}

// Paused says why no backup is begun at present; empty: they may be.
func (r *Retain) Paused() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.space.why
}

// LookAtSpace looks at the store's free space once, and does what is set for it.
func (r *Retain) LookAtSpace(ctx context.Context) error {
	free, total, ok, err := r.Store.Space(ctx)
	if err != nil {
		return fmt.Errorf("measure free space: %w", err)
	}
	if !ok {
		return nil
	}
	// What was under a limit stays so until there is a tenth more, so that nothing
	// goes back and forth.
	under := func(t retention.Threshold, before bool) bool {
		limit := t.Of(total)
		if before {
			limit += limit / 10
		}
		return free < limit
	}
	r.mu.Lock()
	was := r.space
	now := spaceState{pressed: under(r.Space.Prune, was.pressed), paused: under(r.Space.Pause, was.paused)}
	if now.paused {
		now.why = fmt.Sprintf("the store has %s free, less than the %s at which backups pause", bytesText(free), r.Space.Pause)
	}
	r.space = now
	r.mu.Unlock()

	switch {
	case now.paused && !was.paused:
		r.Logger.Error("no backup is begun: there is too little space", "free", free, "limit", r.Space.Pause.String())
	case was.paused && !now.paused:
		r.Logger.Info("there is enough space again", "free", free)
	}
	if !now.pressed {
		return nil
	}
	for _, name := range r.Sources() {
		if !r.mayTry(name) {
			continue
		}
		if err := r.pruneDue(ctx, name, true); err != nil {
			r.Logger.Warn("nothing could be pruned", "source", name, "error", err)
			r.mu.Lock()
			r.stuck[name] = r.Clock.Now()
			r.mu.Unlock()
		}
	}
	return nil
}

// mayTry says whether it is time to prune a source again of which nothing could be
// pruned: what stands against it most often takes a person, and each attempt takes
// the place of an older record in the audit.
func (r *Retain) mayTry(source string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since, ok := r.stuck[source]; ok && r.Clock.Now().Sub(since) < r.Every {
		return false
	}
	delete(r.stuck, source)
	return true
}

func bytesText(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
