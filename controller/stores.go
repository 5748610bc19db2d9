package controller

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	probeEvery   = 30 * time.Second
	probeTimeout = 10 * time.Second
	probePrefix  = "probe/"
)

// storeProbe finds out now and then whether the store can be written to, so
// that this is known before a backup needs it.
type storeProbe struct {
	store store.Store
	name  string

	clock clock.Clock

	mu      sync.Mutex
	last    *pb.StoreInfo
	failing time.Time // since when it cannot be written to
}

// run probes until ctx ends.
func (p *storeProbe) run(ctx context.Context) {
	p.sweep(ctx)
	for ctx.Err() == nil {
		p.probe(ctx)
		_ = clock.Sleep(ctx, probeEvery) // its only error ends the loop
	}
}

// sweep removes what an interrupted probe left behind.
func (p *storeProbe) sweep(ctx context.Context) {
	var left []string
	_ = p.store.List(ctx, probePrefix, func(o store.Info) error { // the probe itself tells what is wrong
		left = append(left, o.Name)
		return nil
	})
	for _, name := range left {
		_ = p.store.Delete(ctx, name)
	}
}

func (p *storeProbe) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	info := &pb.StoreInfo{Name: p.name, Location: p.store.Describe(), Healthy: true}
	name := probePrefix + rand.Text()
	_, err := p.store.Put(ctx, name, strings.NewReader("Baktainer looks whether it can write here.\n"))
	if err == nil {
		err = p.store.Delete(ctx, name)
	}
	if err != nil {
		info.Healthy, info.Detail = false, err.Error()
	}
	if free, total, ok, err := p.store.Space(ctx); err == nil && ok {
		info.FreeBytes, info.TotalBytes = free, total
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !info.GetHealthy() && (p.last == nil || p.last.GetHealthy()) {
		p.failing = p.clock.Now()
	}
	p.last = info
}

// infos tells what the last probe found.
func (p *storeProbe) infos() []*pb.StoreInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return []*pb.StoreInfo{{Name: p.name, Location: p.store.Describe(), Detail: "not looked at yet"}}
	}
	return []*pb.StoreInfo{p.last}
}
