package around

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// event is what a URL is told.
type event struct {
	// Event is before-backup or after-backup.
	Event  string    `json:"event"`
	Source string    `json:"source"`
	Run    string    `json:"run"`
	Time   time.Time `json:"time"`
	// Outcome is succeeded or failed: of the dump, whose snapshot is committed
	// afterwards. Only with after-backup.
	Outcome string `json:"outcome,omitempty"`
}

const (
	before = "before-backup"
	after  = "after-backup"
)

// before runs what a place has done before a backup.
func (a *Around) before(ctx context.Context, w Work, p Place) error {
	return a.hooks(ctx, w, p, p.Hooks.Before, p.Hooks.BeforeURL, event{Event: before}, func(err error) error {
		if p.Hooks.IgnoreFailure && ctx.Err() == nil {
			w.Logger.Warn("the hook before the backup failed, which is to be ignored", "container", p.Name, "error", err)
			return nil
		}
		return err
	})
}

// after runs what a place has done after a backup. That it fails is told, and
// changes nothing.
func (a *Around) after(ctx context.Context, w Work, p Place, outcome string) {
	_ = a.hooks(ctx, w, p, p.Hooks.After, p.Hooks.AfterURL, event{Event: after, Outcome: outcome}, func(err error) error {
		w.Logger.Warn("the hook after the backup failed", "container", p.Name, "error", err)
		return nil
	})
}

// hooks runs a program and tells a URL. Of what fails failed says whether that matters.
func (a *Around) hooks(ctx context.Context, w Work, p Place, argv []string, target source.Secret, e event, failed func(error) error) error {
	if len(argv) == 0 && target == "" {
		return nil
	}
	e.Source, e.Run, e.Time = w.Source, w.Run, a.Clock.Now().UTC()
	w.Phase("running hooks of " + p.Name)
	limit := p.Hooks.Timeout
	if limit <= 0 {
		limit = source.DefaultHookTimeout
	}
	if len(argv) > 0 {
		err := a.within(ctx, limit, e, p, func(ctx context.Context) error { return execute(ctx, p.Instance, argv, e) })
		if err == nil {
			w.Logger.Info("hook was run", "event", e.Event, "container", p.Name)
		} else if err = failed(err); err != nil {
			return err
		}
	}
	if target == "" {
		return nil
	}
	if err := a.within(ctx, limit, e, p, func(ctx context.Context) error { return a.post(ctx, target, e) }); err != nil {
		return failed(err)
	}
	return nil
}

// within bounds a hook, and says of whom it is that failed.
func (a *Around) within(ctx context.Context, limit time.Duration, e event, p Place, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bounded.Err() != nil:
		err = fmt.Errorf("it took longer than %s", limit)
	}
	return problem.Wrap(problem.Failed, err, "the hook %s of container %s", e.Event, p.Name).WithReason(ReasonHook)
}

func execute(ctx context.Context, in engine.Instance, argv []string, e event) error {
	env := []string{"BAKTAINER_EVENT=" + e.Event, "BAKTAINER_SOURCE=" + e.Source, "BAKTAINER_RUN=" + e.Run}
	if e.Outcome != "" {
		env = append(env, "BAKTAINER_OUTCOME="+e.Outcome)
	}
	process, err := in.Exec(ctx, engine.Command{Argv: argv, Env: env})
	if err != nil {
		return err
	}
	exit, err := process.Wait()
	if err != nil {
		return err
	}
	if exit.Status != 0 {
		p := problem.New(problem.Failed, "%s ended with status %d", argv[0], exit.Status)
		if exit.Stderr != "" {
			p.WithDetails(exit.Stderr)
		}
		return p
	}
	return nil
}

// post tells a URL. Errors name its host alone, since the rest may be a secret.
func (a *Around) post(ctx context.Context, target source.Secret, e event) error {
	u, err := url.Parse(target.Reveal())
	if err != nil {
		return errors.New("it is no URL")
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode what is posted: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request to %s", u.Host)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "baktainer")
	resp, err := a.http.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // without the URL
		}
		return fmt.Errorf("post to %s: %w", u.Host, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("post to %s: it answers %s", u.Host, resp.Status)
	}
	return nil
}
