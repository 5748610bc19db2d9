package drill_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent/drill"
	"github.com/baktainer/baktainer/agent/fresh"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

const snapshotID = "01JZ0000000000000000000001"

var key = repo.MasterKey{7}.Source("shop/db")

// database is an engine, its session, its instance and the maker of its rooms in
// one. It keeps what it is fed, a table a line, and dumps that. What is not
// implemented here is not a drill's to call.
type database struct {
	engine.Engine
	engine.Session
	engine.Instance

	image      string // that is there
	openErr    []error
	restoreErr []error
	loses      string // the line that a restore forgets
	answer     string
	failed     error // why the container does not run
	rooms      []string
	noTools    error // why there is no side-car
	deaf       bool  // helpers do not hear of the end of their input

	selects bool // a session was opened that leaves something out
	data    map[string][]byte
	asked   provider.Sandbox
	removed int
	tools   []string // images of side-cars
	closed  int
}

func (d *database) Name() string { return "fake" }

func (d *database) Blank(_ engine.Facts, s source.Spec, secret source.Secret) engine.Blank {
	return engine.Blank{Spec: s, Env: map[string]string{"PASSWORD": secret.Reveal()}, Notes: []string{"A note."}}
}

func take(errs *[]error) (err error) {
	if len(*errs) > 0 {
		err, *errs = (*errs)[0], (*errs)[1:]
	}
	return err
}

func (d *database) Open(_ context.Context, _ engine.Instance, s source.Spec) (engine.Session, error) {
	d.selects = d.selects || s.Dump.Selects()
	return d, take(&d.openErr)
}

func (d *database) Streams(context.Context) (list []engine.Stream, err error) {
	for name := range d.data {
		list = append(list, engine.Stream{Name: name})
	}
	return list, nil
}

func (d *database) Prepare(context.Context, []engine.Stream, engine.RestoreOptions) (engine.RestorePlan, error) {
	return engine.RestorePlan{}, nil
}

func (d *database) Restore(_ context.Context, s engine.Stream, r io.Reader, _ engine.RestoreOptions) error {
	data, err := io.ReadAll(r)
	if err := errors.Join(err, take(&d.restoreErr)); err != nil {
		return err
	}
	if d.data == nil {
		d.data = map[string][]byte{}
	}
	if d.data[s.Name] = data; d.loses != "" {
		d.data[s.Name] = bytes.ReplaceAll(data, []byte(d.loses), nil)
	}
	return nil
}

func (d *database) Dump(_ context.Context, s engine.Stream) (engine.Process, error) {
	return &process{Reader: bytes.NewReader(d.data[s.Name])}, nil
}

func (d *database) Inspect(engine.Stream) engine.Inspector { return &inspector{} }

func (d *database) Ask(_ context.Context, database, query string) (string, error) {
	if query == "fail" {
		return "", problem.New(problem.Failed, "no such table")
	}
	if query == "away" {
		return "", problem.New(problem.Unavailable, "the Docker Engine does not answer")
	}
	return database + d.answer + "\n", nil
}

func (d *database) Facts() engine.Facts { return engine.Facts{Mounts: []string{"/data"}} }

// Sidecar is the database itself: nothing that it does is a matter of tools.
func (d *database) Sidecar(_ context.Context, image string, _ int64) (engine.Sidecar, error) {
	d.tools = append(d.tools, image)
	return d, d.noTools
}

func (d *database) Close() { d.closed++ }

// Helper tells of rooms, a line at each look, the last of them for ever.
func (d *database) Helper(_ context.Context, cmd engine.Command) (engine.Process, error) {
	if got := strings.Join(cmd.Argv, " "); got != "helper watch-space / /data" {
		return nil, fmt.Errorf("a helper is asked to %s", got)
	}
	rooms := d.rooms
	if rooms == nil {
		rooms = []string{`{"free":100000000000,"total":200000000000}`}
	}
	r, w := io.Pipe()
	go func() {
		if _, _ = io.Copy(io.Discard, cmd.Stdin); !d.deaf {
			_ = w.Close()
		}
	}()
	go func() {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintln(w, rooms[min(i, len(rooms)-1)]); err != nil {
				return
			}
		}
	}()
	return &watch{r}, nil
}

// watch is a process that goes on until its input ends.
type watch struct{ *io.PipeReader }

func (w *watch) Wait() (engine.Exit, error) {
	_ = w.Close()
	return engine.Exit{}, nil
}
func (w *watch) Kill() { _ = w.Close() }

func (d *database) Sandbox(_ context.Context, s provider.Sandbox) (*provider.Room, error) {
	d.asked = s
	if !slices.Contains(s.Images, d.image) {
		return nil, provider.ErrNoImage
	}
	return &provider.Room{
		Instance: d, Image: d.image,
		Failed: func(context.Context) error { return d.failed },
		Log:    func(context.Context) []string { return []string{"out of luck"} },
		Remove: func(context.Context) error { d.removed++; return nil },
	}, nil
}

type process struct{ io.Reader }

func (p *process) Wait() (engine.Exit, error) { return engine.Exit{}, nil }
func (p *process) Kill()                      {}

// inspector counts lines that are alike as the rows of one table.
type inspector struct{ bytes.Buffer }

func (i *inspector) Finish() (c engine.Contents, err error) {
	rows := map[string]int64{}
	var order []string
	for line := range strings.Lines(i.String()) {
		if line = strings.TrimSpace(line); rows[line] == 0 {
			order = append(order, line)
		}
		rows[line]++
	}
	for _, name := range order {
		c.Objects = append(c.Objects, engine.Object{Kind: "table", Name: name, Rows: rows[name]})
	}
	return c, nil
}

type sink struct{ *mem.Store }

func (s sink) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

type phases []string

func (p *phases) Phase(what string)         { *p = append(*p, what) }
func (*phases) Watch(func() (int64, int64)) {}

const dump = "guests\nguests\norders\n"

// snapshot is a store with one snapshot of two streams.
func snapshot(t *testing.T) (*mem.Store, repo.Ref) {
	t.Helper()
	st := mem.New()
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{Source: "shop/db", Snapshot: snapshotID, Key: key, Compress: source.CompressOff}, sink{st})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, name := range []string{"shop.sql", "zoo.sql"} {
		sw, err := w.Stream(engine.Stream{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		i := &inspector{}
		_, werr := io.MultiWriter(sw, i).Write([]byte(dump))
		seen, _ := i.Finish()
		if _, err := sw.Close(seen); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
	}
	sum, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st, repo.Ref{Source: "shop/db", Snapshot: snapshotID, Manifest: sum.Manifest, Size: sum.ManifestSize}
}

func TestRun(t *testing.T) {
	boom := problem.New(problem.Failed, "the tool failed")
	assertion := func(query, want string) source.Drill {
		return source.Drill{Assertions: []source.Assertion{{Name: "a", Query: query, Want: want}}}
	}
	for name, tc := range map[string]struct {
		db      database
		drill   source.Drill
		damaged bool
		verdict bool
		reason  problem.Reason
		words   string // of the error; empty: it passes
	}{
		"passes":                       {verdict: true},
		"slow to start":                {db: database{openErr: []error{boom, boom}}, verdict: true},
		"the server restarts under it": {db: database{restoreErr: []error{boom}}, verdict: true},
		"assertion holds":              {db: database{answer: "7  rows"}, drill: assertion("q", "7 rows"), verdict: true},
		"an Engine that loses an end":  {db: database{deaf: true}, verdict: true},
		"no image":                     {db: database{image: "other"}, reason: engine.ReasonNoImage, words: "no image"},
		"does not start":               {db: database{openErr: []error{boom}, failed: boom}, reason: fresh.ReasonNotReady, words: "does not run"},
		"no room":                      {db: database{rooms: []string{`{"free":2000000000,"total":100000000000}`}}, reason: drill.ReasonNoRoom, words: "there is too little room on the disk"},
		"the room ends":                {db: database{rooms: []string{`{"free":90000000000,"total":100000000000}`, `{"free":4000000000,"total":100000000000}`}, openErr: slices.Repeat([]error{boom}, 10000)}, reason: drill.ReasonNoRoom, words: "only 3.7 GiB were left"},
		"no room is told":              {db: database{rooms: []string{"what?"}}, words: "look at the room on the disk"},
		"cannot be restored":           {db: database{restoreErr: []error{boom, boom}}, verdict: true, words: "the tool failed"},
		"store away":                   {db: database{restoreErr: []error{problem.New(problem.Unavailable, "x"), problem.New(problem.Unavailable, "no controller")}}, words: "no controller"},
		"never does that":              {db: database{restoreErr: []error{boom, problem.New(problem.Failed, "no way").WithReason(engine.ReasonUnsupported)}}, reason: engine.ReasonUnsupported, words: "no way"},
		"a table is missing":           {db: database{loses: "orders\n"}, verdict: true, reason: drill.ReasonMismatch, words: "in 2 places"},
		"damaged":                      {damaged: true, verdict: true, words: "shop/db"},
		"assertion does not hold":      {db: database{answer: "6"}, drill: assertion("q", "7"), verdict: true, reason: drill.ReasonAssertion, words: `a: the answer is "6", and "7" is expected`},
		"cannot be asked":              {drill: assertion("away", "7"), words: "does not answer"},
		"assertion fails":              {drill: assertion("fail", "7"), verdict: true, reason: drill.ReasonAssertion, words: "no such table"},
	} {
		t.Run(name, func(t *testing.T) {
			st, ref := snapshot(t)
			if tc.damaged {
				err := st.List(t.Context(), "sources/", func(i store.Info) error {
					if strings.Contains(i.Name, "/packs/") {
						st.Change(i.Name, func(b []byte) []byte { return b[:len(b)/2] })
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			db := tc.db
			if db.image == "" {
				db.image = "img"
			}
			r, err := drill.Run(t.Context(), drill.Work{
				Run: "r1", Snapshot: ref, Key: key, Engine: &db, Spec: source.Spec{Drill: tc.drill, Dump: source.Dump{NoData: make([]source.Pattern, 1)}}, Images: []string{"old", "img"}, Other: 1, Pause: time.Millisecond,
			}, &db, st, &phases{}, clock.System{}, slog.New(slog.DiscardHandler))
			text := ""
			if err != nil {
				text = problem.Text(err)
			}
			if r.Verdict != tc.verdict || (err == nil) != (tc.words == "") || !strings.Contains(text, tc.words) || tc.reason != "" && problem.ReasonOf(err) != tc.reason {
				t.Fatalf("verdict %v, reason %q, %s", r.Verdict, problem.ReasonOf(err), text)
			}
			if db.selects {
				t.Error("what is restored is counted as the labels want it dumped")
			}
			if made := tc.reason != engine.ReasonNoImage; made != (db.removed == 1) {
				t.Errorf("the container was removed %d times", db.removed)
			}
			if db.asked.Memory != source.DefaultDrillMemory || db.asked.Run != "r1" || db.asked.Blank.Env["PASSWORD"] == "" {
				t.Errorf("it asked for %+v", db.asked)
			}
			report := strings.Join(r.Report, "\n")
			if err == nil && (r.Objects != 4 || r.Rows != 6 || r.Image != "img" || r.Assertions != len(tc.drill.Assertions) ||
				!strings.Contains(report, "Counted 4 objects with 6 rows") || !strings.Contains(report, "not the image") || !strings.Contains(report, "A note.")) {
				t.Errorf("%+v", r)
			}
			if tc.reason == fresh.ReasonNotReady && !strings.Contains(text, "out of luck") {
				t.Errorf("the container's log is not shown: %s", text)
			}
		})
	}
}

func TestADrillThatIsCancelledComesToNoVerdict(t *testing.T) {
	st, ref := snapshot(t)
	cancelled := errors.New("somebody has cancelled it")
	ctx, cancel := context.WithCancelCause(t.Context())
	db := database{image: "img"}
	db.restoreErr = []error{problem.New(problem.Failed, "the tool was killed")}
	report := cancelling{cancel: func() { cancel(cancelled) }}
	r, err := drill.Run(ctx, drill.Work{Snapshot: ref, Key: key, Engine: &db, Images: []string{"img"}, Other: 1, Pause: time.Millisecond}, &db, st, report, clock.System{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, cancelled) || r.Verdict || db.removed != 1 {
		t.Errorf("verdict %v, %v, removed %d times", r.Verdict, err, db.removed)
	}
}

// cancelling cancels when the first stream is being restored.
type cancelling struct{ cancel func() }

func (c cancelling) Phase(what string) {
	if strings.HasPrefix(what, "restoring") {
		c.cancel()
	}
}
func (cancelling) Watch(func() (int64, int64)) {}

func TestJudge(t *testing.T) {
	object := func(kind, name string, rows int64) contents.Object {
		return contents.Object{Stream: "s", Kind: kind, Name: name, Rows: rows}
	}
	for name, tc := range map[string]struct {
		before, after []contents.Object
		wrong         []string
		objects, rows int64
	}{
		"nothing":                     {},
		"the same":                    {[]contents.Object{object("table", "a", 2), object("role", "r", -1)}, []contents.Object{object("role", "r", -1), object("table", "a", 2)}, nil, 2, 2},
		"more of its own":             {[]contents.Object{object("table", "a", 2)}, []contents.Object{object("table", "a", 2), object("table", "b", 9)}, nil, 1, 2},
		"gone":                        {[]contents.Object{object("table", "a", 2), object("role", "r", -1)}, nil, []string{"s: the table a is missing", "s: the role r is missing"}, 2, 2},
		"fewer and more":              {[]contents.Object{object("table", "a", 2), object("table", "b", 2)}, []contents.Object{object("table", "a", 1), object("table", "b", 3)}, []string{"s: the table a has 1 rows, and had 2", "s: the table b has 3 rows, and had 2"}, 2, 4},
		"expired":                     {[]contents.Object{object("database", "db0", 9), object(engine.KindExpiring, "db0", 4)}, []contents.Object{object("database", "db0", 6), object(engine.KindExpiring, "db0", 1)}, nil, 1, 6},
		"one that does not expire":    {[]contents.Object{object("database", "db0", 9), object(engine.KindExpiring, "db0", 4)}, []contents.Object{object("database", "db0", 8), object(engine.KindExpiring, "db0", 4)}, []string{"s: the database db0 has 8 rows, and had 9"}, 1, 9},
		"they do not expire any more": {[]contents.Object{object("database", "db0", 9), object(engine.KindExpiring, "db0", 4)}, []contents.Object{object("database", "db0", 9)}, []string{"s: 4 of the rows of db0 ended by themselves, and do not any more"}, 1, 9},
		"all expired":                 {[]contents.Object{object("database", "db0", 4), object(engine.KindExpiring, "db0", 4)}, nil, nil, 1, 0},
		"more than expire":            {[]contents.Object{object("database", "db0", 9), object(engine.KindExpiring, "db0", 2)}, []contents.Object{object("database", "db0", 6)}, []string{"s: the database db0 has 6 rows, and had 9"}, 1, 9},
		"left out":                    {[]contents.Object{object(engine.KindLeftOut, "b", -1), object(engine.KindRowsLeftOut, "a", -1), object("table", "a", 0)}, []contents.Object{object("table", "a", 0)}, nil, 1, 0},
	} {
		wrong, objects, rows := drill.Judge(tc.before, tc.after)
		if !slices.Equal(wrong, tc.wrong) || objects != tc.objects || rows != tc.rows {
			t.Errorf("%s: %q, %d objects, %d rows", name, wrong, objects, rows)
		}
	}
	// A dump with more tables than are listed: what is listed has to be there all the same.
	var many []contents.Object
	for i := range engine.MaxObjects {
		many = append(many, object("table", fmt.Sprint(i), 1))
	}
	if wrong, _, _ := drill.Judge(many, many[:2]); len(wrong) != engine.MaxObjects-2 {
		t.Errorf("%d tables are missing, want %d", len(wrong), engine.MaxObjects-2)
	}
	if wrong, _, _ := drill.Judge(many, append(many[1:], object("table", "beyond", 1))); len(wrong) != 0 {
		t.Errorf("both are cut: %q", wrong)
	}
}

// TestToolsOfAnotherImage looks at the side-car of a drill: there is one, beside the
// throwaway container, and it is gone in the end.
func TestToolsOfAnotherImage(t *testing.T) {
	for name, tc := range map[string]struct {
		db     database
		reason problem.Reason
		closed int
	}{
		"passes":                  {closed: 1},
		"fails":                   {db: database{loses: "orders\n"}, reason: drill.ReasonMismatch, closed: 1},
		"no tools":                {db: database{noTools: problem.New(problem.NotFound, "no image").WithReason(engine.ReasonNoImage)}, reason: engine.ReasonNoImage},
		"no container to join it": {db: database{noTools: errors.New("what?"), failed: errors.New("ended")}, reason: fresh.ReasonNotReady},
	} {
		t.Run(name, func(t *testing.T) {
			st, ref := snapshot(t)
			db := tc.db
			db.image = "img"
			r, err := drill.Run(t.Context(), drill.Work{
				Run: "r1", Snapshot: ref, Key: key, Engine: &db, Spec: source.Spec{Tools: source.Tools{Image: "tools:1"}}, Images: []string{"img"}, Pause: time.Millisecond,
			}, &db, st, &phases{}, clock.System{}, slog.New(slog.DiscardHandler))
			if problem.ReasonOf(err) != tc.reason || r.Verdict != (tc.closed > 0) {
				t.Fatalf("verdict %v, %v", r.Verdict, err)
			}
			if !slices.Equal(db.tools, []string{"tools:1"}) || db.closed != tc.closed || db.removed != 1 {
				t.Errorf("side-cars of %q, %d closed; the container was removed %d times", db.tools, db.closed, db.removed)
			}
			if said := slices.Contains(r.Report, "The tools are those of the image tools:1."); said != (tc.closed > 0) {
				t.Errorf("the report: %q", r.Report)
			}
		})
	}
}
