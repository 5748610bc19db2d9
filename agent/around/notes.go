package around

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/durable"
)

// note is what is written down of a run before its companions are touched.
type note struct {
	Run        string  `json:"run"`
	Source     string  `json:"source"`
	Containers []noted `json:"containers"`
}

// noted is a container that is, or may be, paused or stopped.
type noted struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Action string `json:"action"`
}

const noteSuffix = ".json"

func (a *Around) path(run string) string { return filepath.Join(a.Dir, run+noteSuffix) }

// write makes a note durable.
func (a *Around) write(n note) error {
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode a note: %w", err)
	}
	return durable.Replace(a.path(n.Run), data)
}

// forget removes a note. One that stays has its containers looked at once more
// when the agent starts, which harms nobody.
func (a *Around) forget(n note) {
	if err := os.Remove(a.path(n.Run)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Logger.Warn("a note of paused containers is not removed", "error", err)
	}
}

// notes reads what is written down.
func (a *Around) notes() ([]note, error) {
	entries, err := os.ReadDir(a.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []note
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), noteSuffix) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(a.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		n := note{}
		if err := json.Unmarshal(data, &n); err != nil || n.Run+noteSuffix != e.Name() {
			// A note is renamed when it is whole: this is none of ours.
			a.Logger.Warn("a file among the notes of paused containers cannot be read", "file", e.Name(), "error", err)
			continue
		}
		all = append(all, n)
	}
	return all, nil
}

// Run has what a crash has left paused or stopped go on, and tries until it
// does; before that no companion is paused. It returns when ctx ends: call it
// when no backup is at work any more.
func (a *Around) Run(ctx context.Context) {
	defer a.busy.Wait()
	defer a.end()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Minute) {
		err := a.recover(ctx)
		if err == nil {
			close(a.recovered)
			<-ctx.Done()
			return
		}
		if ctx.Err() == nil {
			a.Logger.Error("containers that were paused or stopped for a backup do not go on yet; trying again", "error", err)
		}
		if clock.Sleep(ctx, pause) != nil {
			return
		}
	}
}

func (a *Around) recover(ctx context.Context) error {
	left, err := a.notes()
	if err != nil {
		return fmt.Errorf("read which containers are to go on: %w", err)
	}
	var failed []error
	for _, n := range left {
		err := a.goOnAfterCrash(ctx, n)
		failed = append(failed, err)
		if err == nil {
			a.forget(n)
		}
	}
	return errors.Join(failed...)
}

func (a *Around) goOnAfterCrash(ctx context.Context, n note) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.goOn(ctx, n.Containers)
	if err == nil {
		a.Logger.Warn("containers go on that were paused or stopped when the agent ended", "run", n.Run, "source", n.Source, "containers", len(n.Containers))
	}
	return err
}
