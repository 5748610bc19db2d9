package verify

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// scrubEvery is the time between two looks at what is due, and before the first:
// a controller that has just started has other things to do.
const scrubEvery = 10 * time.Minute

// Scrub verifies by itself what nobody has verified for long, one source after the
// other. Only the leader's may run.
type Scrub struct {
	Verifier *Verifier
	Logger   *slog.Logger
	Clock    clock.Clock
	// Age is how old what is known of a snapshot may be.
	Age time.Duration
}

// Run verifies what is due until ctx ends.
func (s *Scrub) Run(ctx context.Context) {
	for clock.Sleep(ctx, scrubEvery) == nil {
		s.Step(ctx)
	}
}

// Step verifies all that is due now. What fails is tried again next time.
func (s *Scrub) Step(ctx context.Context) {
	tried := map[string]bool{}
	for ctx.Err() == nil {
		list := Due(s.Verifier.View().Snapshots("", 0), s.Clock.Now(), s.Age, tried)
		if len(list) == 0 {
			return
		}
		source := list[0].GetSource()
		tried[source] = true
		s.Logger.Info("verifying what was not verified for long", "source", source, "snapshots", len(list))
		if err := s.Verifier.Settle(ctx, list, s.Logger); err != nil && ctx.Err() == nil {
			s.Logger.Warn("not verified; that is tried again", "source", source, "error", err)
		}
	}
}

// Due lists what is to be verified next: of one source, all that was last verified
// longer ago than age, or was never and is that old. Of a source of which no
// snapshot was ever verified it is the newest. The source that has waited longest
// comes first; sources in tried are left out. Damaged snapshots are not looked at
// again: nothing mends them but what a person does.
func Due(all []*pb.Snapshot, now time.Time, age time.Duration, tried map[string]bool) []*pb.Snapshot {
	of := map[string][]*pb.Snapshot{}
	for _, s := range all {
		if !tried[s.GetSource()] {
			of[s.GetSource()] = append(of[s.GetSource()], s)
		}
	}
	var next []*pb.Snapshot
	var waits time.Time
	for _, snapshots := range of {
		list, oldest := dueOf(snapshots, now, age)
		if len(list) > 0 && (next == nil || oldest.Before(waits) || oldest.Equal(waits) && list[0].GetSource() < next[0].GetSource()) {
			next, waits = list, oldest
		}
	}
	return next
}

// dueOf is Due for one source; oldest is since when the first of them has waited.
func dueOf(snapshots []*pb.Snapshot, now time.Time, age time.Duration) (list []*pb.Snapshot, oldest time.Time) {
	known := func(s *pb.Snapshot) time.Time {
		if s.GetVerifiedAt() != nil {
			return s.GetVerifiedAt().AsTime()
		}
		return s.GetCommittedAt().AsTime()
	}
	snapshots = slices.DeleteFunc(slices.Clone(snapshots), func(s *pb.Snapshot) bool { return s.GetDamagedAt() != nil })
	never := !slices.ContainsFunc(snapshots, func(s *pb.Snapshot) bool { return s.GetVerifiedAt() != nil })
	slices.SortFunc(snapshots, func(a, b *pb.Snapshot) int { return cmp.Compare(b.GetLedgerIndex(), a.GetLedgerIndex()) })
	for i, s := range snapshots {
		if never && i == 0 || now.Sub(known(s)) > age {
			list = append(list, s)
			if oldest.IsZero() || known(s).Before(oldest) {
				oldest = known(s)
			}
		}
	}
	return list, oldest
}

// Slowly is a store of which at most so many bytes are read in a second; 0: as
// many as it gives.
func Slowly(s store.Store, bytes int64) store.Store {
	if bytes <= 0 {
		return s
	}
	return slow{s, rate.NewLimiter(rate.Limit(bytes), int(min(bytes, 1<<20)))}
}

type slow struct {
	store.Store
	limit *rate.Limiter
}

func (s slow) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	return &throttled{r, ctx, s.limit}, nil
}

// throttled reads no faster than its limit.
type throttled struct {
	io.ReadCloser
	ctx   context.Context // of the one call of Get that it comes from
	limit *rate.Limiter
}

func (t *throttled) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b[:min(len(b), t.limit.Burst())])
	if n > 0 {
		if werr := t.limit.WaitN(t.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}
