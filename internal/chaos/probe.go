package chaos

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// probeEvery is how often a small command is proposed while a prober runs.
	probeEvery = 20 * time.Millisecond
	// probesAtOnce bounds how many of them wait for an answer.
	probesAtOnce = 12
	probeLimit   = 20 * time.Second
)

// prober proposes small commands all the time, through controllers that live,
// and notes when they were committed.
type prober struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	news  chan struct{}
	acks  []ack
	first time.Time
}

// ack is a command that was committed.
type ack struct{ asked, answered time.Time }

// probe starts a prober that asks the controllers.
func (r *Rig) probe(ctx context.Context, through []*controller) *prober {
	ctx, stop := context.WithCancel(ctx)
	p := &prober{stop: stop, news: make(chan struct{}), first: r.clock.Now()}
	slots := make(chan struct{}, probesAtOnce)
	p.running.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			c := through[n%len(through)]
			select {
			case slots <- struct{}{}:
				p.running.Go(func() {
					defer func() { <-slots }()
					p.once(ctx, r.clock, c)
				})
			default: // enough of them wait already
			}
			_ = clock.Sleep(ctx, probeEvery) // its only error ends the loop
		}
	})
	return p
}

// once proposes one command: the cluster's limits, as they are.
func (p *prober) once(ctx context.Context, now clock.Clock, c *controller) {
	a, err := c.apis()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	asked := now.Now()
	if _, err := a.cluster.SetLimits(ctx, &pb.SetLimitsRequest{Limits: &pb.Limits{}}); err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks = append(p.acks, ack{asked, now.Now()})
	close(p.news)
	p.news = make(chan struct{})
}

// after waits for the first answer to a command that was proposed after a
// moment, and returns how long after that it came; 0 when none came in time.
func (p *prober) after(ctx context.Context, moment time.Time, limit time.Duration) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		p.mu.Lock()
		took, news := firstAfter(p.acks, moment), p.news
		p.mu.Unlock()
		if took > 0 {
			return took
		}
		select {
		case <-news:
		case <-ctx.Done():
			return 0
		}
	}
}

// firstAfter is how long after a moment the first command was committed that was
// proposed after it; 0: none was.
func firstAfter(acks []ack, moment time.Time) time.Duration {
	var least time.Duration
	for _, a := range acks {
		if took := a.answered.Sub(moment); !a.asked.Before(moment) && (least == 0 || took < least) {
			least = took
		}
	}
	return least
}

// end stops the prober and returns what was committed.
func (p *prober) end() []ack {
	p.stop()
	p.running.Wait()
	return p.acks
}

// longestGap is the longest time without a commit that ended after a moment.
func longestGap(acks []ack, moment time.Time) time.Duration {
	var answers []time.Time
	for _, a := range acks {
		answers = append(answers, a.answered)
	}
	slices.SortFunc(answers, time.Time.Compare)
	var longest time.Duration
	for i := 1; i < len(answers); i++ {
		if answers[i].After(moment) {
			longest = max(longest, answers[i].Sub(answers[i-1]))
		}
	}
	return longest
}
