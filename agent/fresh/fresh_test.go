package fresh_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent/fresh"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store/mem"
)

var key = repo.MasterKey{7}.Source("shop/db")

// database is an engine, its session, its instance and what makes that.
type database struct {
	engine.Engine
	engine.Session
	engine.Instance
	fleeting, silent    bool
	makeErr, restoreErr error
	settleErr           error
	onRestore           func()
	asked               provider.Sandbox
	secret              string
	fed                 string
	options             engine.RestoreOptions
	removed, settled    int
}

func (d *database) Name() string { return "fake" }

func (d *database) Blank(_ engine.Facts, s source.Spec, secret source.Secret) engine.Blank {
	d.secret = secret.Reveal()
	env := map[string]string{"PASSWORD": d.secret, "OTHER": "x"}
	if d.silent {
		delete(env, "PASSWORD")
	}
	return engine.Blank{Spec: s, Env: env, Fleeting: d.fleeting}
}

func (d *database) Open(context.Context, engine.Instance, source.Spec) (engine.Session, error) {
	return d, nil
}
func (d *database) Streams(context.Context) ([]engine.Stream, error) { return nil, nil }
func (d *database) Prepare(context.Context, []engine.Stream, engine.RestoreOptions) (engine.RestorePlan, error) {
	return engine.RestorePlan{}, nil
}

func (d *database) Restore(_ context.Context, _ engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if d.onRestore != nil {
		d.onRestore()
	}
	if d.restoreErr != nil {
		return d.restoreErr
	}
	d.options = o
	b, err := io.ReadAll(r)
	d.fed = string(b)
	return err
}

func (d *database) Sandbox(_ context.Context, s provider.Sandbox) (*provider.Room, error) {
	if d.asked = s; d.makeErr != nil {
		return nil, d.makeErr
	}
	return &provider.Room{
		Instance: d, Image: s.Images[0],
		Failed: func(context.Context) error { return nil },
		Log:    func(context.Context) []string { return nil },
		Settle: func(context.Context) error { d.settled++; return d.settleErr },
		Remove: func(ctx context.Context) error { d.removed++; return ctx.Err() },
	}, nil
}

type sink struct{ *mem.Store }

func (s sink) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, strings.NewReader(string(data)))
	return err
}

type silent struct{}

func (silent) Phase(string)                {}
func (silent) Watch(func() (int64, int64)) {}

func snapshot(t *testing.T) (*mem.Store, repo.Ref) {
	t.Helper()
	const id = "01JZ0000000000000000000001"
	st := mem.New()
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{Source: "shop/db", Snapshot: id, Key: key, Compress: source.CompressOff}, sink{st})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	sw, err := w.Stream(engine.Stream{Name: "shop.sql"})
	if err == nil {
		_, err = sw.Write([]byte("shop"))
	}
	if err == nil {
		_, err = sw.Close(engine.Contents{})
	}
	if err != nil {
		t.Fatal(err)
	}
	sum, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st, repo.Ref{Source: "shop/db", Snapshot: id, Manifest: sum.Manifest, Size: sum.ManifestSize}
}

func TestAContainerThatStays(t *testing.T) {
	boom := problem.New(problem.Failed, "the tool failed")
	taken := problem.New(problem.Conflict, "there is a container x already")
	for name, tc := range map[string]struct {
		db               database
		dry              bool
		reason           problem.Reason
		words            string // of the error; empty: it succeeds
		settled, removed int
		report           []string
	}{
		"restores":          {settled: 1, report: []string{"Made container again from the image img", "docker exec again printenv PASSWORD", "no label"}},
		"passwords as were": {db: database{silent: true}, settled: 1, report: []string{"as in the source"}},
		"a dry run":         {dry: true, report: []string{"make container again from the image img", "remove the container"}},
		"no image":          {db: database{makeErr: provider.ErrNoImage}, reason: engine.ReasonNoImage, words: "--image"},
		"name taken":        {db: database{makeErr: taken}, words: "there is a container x already"},
		"for drills alone":  {db: database{fleeting: true}, reason: engine.ReasonUnsupported, words: "no container to keep"},
		"the tool fails":    {db: database{restoreErr: boom}, removed: 1, words: "the tool failed"},
		"not to be named":   {db: database{settleErr: taken}, settled: 1, removed: 1, words: "give the container its name"},
	} {
		t.Run(name, func(t *testing.T) {
			st, ref := snapshot(t)
			db := tc.db
			work := restore.Work{Snapshot: ref, Key: key, Options: engine.RestoreOptions{DryRun: tc.dry, NoOwner: true}}
			made := fresh.Work{Run: "r1", Engine: &db, Images: []string{"img"}, Other: 1, Keep: "again", Pause: time.Millisecond}
			done, err := fresh.Into(t.Context(), made, work, &db, st, silent{}, clock.System{}, slog.New(slog.DiscardHandler))
			text := ""
			if err != nil {
				text = problem.Text(err)
			}
			if (err == nil) != (tc.words == "") || !strings.Contains(text, tc.words) || problem.ReasonOf(err) != tc.reason {
				t.Fatalf("reason %q: %s", problem.ReasonOf(err), text)
			}
			if db.settled != tc.settled || db.removed != tc.removed {
				t.Errorf("it was named %d times and removed %d times", db.settled, db.removed)
			}
			report := strings.Join(done.Report, "\n")
			for _, w := range tc.report {
				if !strings.Contains(report, w) {
					t.Errorf("the report lacks %q:\n%s", w, report)
				}
			}
			if strings.Contains(report+text, db.secret) {
				t.Error("the password is told")
			}
			if err == nil && !tc.dry && (db.fed != "shop" || !db.options.Overwrite || !db.options.NoOwner) {
				t.Errorf("fed %q with %+v", db.fed, db.options)
			}
			if !tc.db.fleeting && (db.asked.Keep != "again" || db.asked.Look != tc.dry || db.asked.Memory != 0) {
				t.Errorf("it asked for %+v", db.asked)
			}
		})
	}
}

// One that is cancelled leaves nothing behind, though nobody waits any more.
func TestNothingIsLeftOfARestoreThatIsCancelled(t *testing.T) {
	st, ref := snapshot(t)
	ctx, cancel := context.WithCancel(t.Context())
	db := database{onRestore: cancel, restoreErr: errors.New("it was killed")}
	made := fresh.Work{Engine: &db, Images: []string{"img"}, Other: 1, Keep: "again", Pause: time.Millisecond}
	done, err := fresh.Into(ctx, made, restore.Work{Snapshot: ref, Key: key}, &db, st, silent{}, clock.System{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, context.Canceled) || db.removed != 1 || db.settled != 0 {
		t.Errorf("%v, removed %d times, named %d times", err, db.removed, db.settled)
	}
	if slices.ContainsFunc(done.Report, func(l string) bool { return strings.Contains(l, "printenv") }) {
		t.Errorf("it tells how to log in: %q", done.Report)
	}
}
