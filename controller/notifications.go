package controller

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/baktainer/baktainer/controller/notify"
	"github.com/baktainer/baktainer/controller/scheduler"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// knownStores tells of the stores that were looked at, and whether they have the
// room that they should have.
func (c *Controller) knownStores() []notify.Store {
	stores := c.stores.known()
	for i := range stores {
		s := &stores[i]
		s.Least = c.Options.Retention.TellBelow.Of(s.Total)
		s.Paused = c.retain.Paused()
	}
	return stores
}

// known tells of the store once it was looked at.
func (p *storeProbe) known() []notify.Store {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return nil
	}
	s := notify.Store{Name: p.name, Free: p.last.GetFreeBytes(), Total: p.last.GetTotalBytes()}
	if !p.last.GetHealthy() {
		s.Failing, s.Since = p.last.GetDetail(), p.clock.Now().Sub(p.failing)
	}
	return []notify.Store{s}
}

// rhythm knows how often schedules fire.
type rhythm struct {
	clock clock.Clock
	zone  *time.Location

	mu              sync.Mutex
	view            *state.View // that backups and drills were taken from
	backups, drills *scheduler.Holding
	// longest is the longest pause of a schedule, by expression and zone.
	longest map[string]time.Duration
}

// looked is how many fires of a schedule are looked at for the longest pause
// between two: a week of working days has one.
const looked = 8

// mostRhythms is how many schedules' pauses are remembered.
const mostRhythms = 1000

// every is how long a source waits at most for its next backup, 0 when nothing
// fires for it.
func (r *rhythm) every(v *state.View, src *pb.Source) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look(v)
	return r.shortest(r.backups, src)
}

// everyDrill is the same for drills.
func (r *rhythm) everyDrill(v *state.View, src *pb.Source) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look(v)
	return r.shortest(r.drills, src)
}

func (r *rhythm) look(v *state.View) {
	if r.view != v {
		r.view, r.backups, r.drills = v, scheduler.Hold(v, false), scheduler.Hold(v, true)
	}
}

func (r *rhythm) shortest(hold *scheduler.Holding, src *pb.Source) (every time.Duration) {
	for _, s := range hold.For(src.GetName()) {
		if p := r.pause(s); p > 0 && (every == 0 || p < every) {
			every = p
		}
	}
	return every
}

func (r *rhythm) pause(s *pb.Schedule) time.Duration {
	key := s.GetCron() + "\x00" + s.GetTimezone()
	if d, ok := r.longest[key]; ok {
		return d
	}
	order, faults := scheduler.OrderOf(s, r.zone)
	if len(faults) > 0 {
		return 0
	}
	var longest time.Duration
	for i, at := 0, order.Next(r.clock.Now()); i < looked && !at.IsZero(); i++ {
		next := order.Next(at)
		if !next.IsZero() {
			longest = max(longest, next.Sub(at))
		}
		at = next
	}
	if r.longest == nil || len(r.longest) >= mostRhythms {
		r.longest = map[string]time.Duration{}
	}
	r.longest[key] = longest
	return longest
}

// missed lists the last fire of each source that its schedules passed over, and
// since which nothing was queued for it.
func missed(v *state.View) []notify.Missed {
	latest := map[string]notify.Missed{}
	add := func(source string, k *pb.SkippedFire) {
		m := notify.Missed{Source: source, Fire: k.GetFireTime().AsTime(), Why: k.GetReason()}
		if m.Fire.After(latest[source].Fire) {
			latest[source] = m
		}
	}
	hold := scheduler.Hold(v, false)
	for _, s := range v.Schedules() {
		if scheduler.OfDrills(s) {
			continue
		}
		var all *pb.SkippedFire // the newest that is of all its sources
		for _, k := range s.GetSkipped() {
			switch {
			case k.GetSource() != "":
				add(k.GetSource(), k)
			case s.GetSource() != "":
				add(s.GetSource(), k)
			default:
				all = k
			}
		}
		if all == nil {
			continue
		}
		for _, src := range v.Sources() {
			if hold.Covers(s, src.GetName()) {
				add(src.GetName(), all)
			}
		}
	}
	var list []notify.Missed
	for _, source := range slices.Sorted(maps.Keys(latest)) {
		m := latest[source]
		since := v.RunsOf(pb.RunKind_RUN_KIND_BACKUP, source, 1)
		if len(since) == 0 || since[0].GetQueuedAt().AsTime().Before(m.Fire) {
			list = append(list, m)
		}
	}
	return list
}
