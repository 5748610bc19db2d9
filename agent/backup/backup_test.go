package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/backup"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store/mem"
)

func TestWhatIsStoredIsWhatWasDumped(t *testing.T) {
	o := &objects{Store: mem.New(), t: t}
	content := map[string][]byte{"globals.sql": []byte("CREATE ROLE shop;\n"), "shop.sql": noise(1, 300_000), "zoo.sql": noise(2, 3_000_000)}
	d := dumps(content, "globals.sql", "shop.sql", "zoo.sql")
	result, rep, _, err := run(t.Context(), t, d, o, first)
	if err != nil {
		t.Fatal(err)
	}
	got := stored(t, o, refOf(first, result.Summary))
	for name, want := range content {
		if !bytes.Equal(got[name], want) {
			t.Errorf("%s: %d bytes stored, not the %d that were dumped", name, len(got[name]), len(want))
		}
	}
	if result.Server != "Fake 1.0" || len(result.Summary.Streams) != 3 || result.Summary.Streams[1].Database != "shop" {
		t.Errorf("result = %+v", result)
	}
	want := []string{"connecting", "dumping globals.sql", "dumping shop.sql", "dumping zoo.sql", "storing"}
	if !slices.Equal(rep.phases, want) {
		t.Errorf("phases = %q, want %q", rep.phases, want)
	}
	raw, sent := rep.watch()
	if raw != result.Summary.RawBytes || sent != result.Summary.NewBytes {
		t.Errorf("progress at the end: %d and %d, want %d and %d", raw, sent, result.Summary.RawBytes, result.Summary.NewBytes)
	}
	for _, p := range d.started {
		if p.kills != 0 {
			t.Error("a tool that did well was killed")
		}
	}
}

func TestTheNextRunStoresOnlyWhatIsNew(t *testing.T) {
	o := &objects{Store: mem.New(), t: t}
	content := map[string][]byte{"shop.sql": noise(1, 3_000_000)}
	one, _, _, err := run(t.Context(), t, dumps(content, "shop.sql"), o, first)
	if err != nil {
		t.Fatal(err)
	}
	content["shop.sql"] = append(noise(1, 3_000_000), noise(3, 10_000)...)
	two, rep, log, err := run(t.Context(), t, dumps(content, "shop.sql"), o, second, refOf(first, one.Summary))
	if err != nil {
		t.Fatal(err)
	}
	if new := two.Summary.NewBytes; new < 10_000 || new > 300_000 {
		t.Errorf("%d bytes are new of %d, want about the 10000 that were added", new, two.Summary.RawBytes)
	}
	if !slices.Contains(rep.phases, "reading what is stored already") || strings.Contains(log, "level=WARN") {
		t.Errorf("phases %q, log:\n%s", rep.phases, log)
	}
	if !bytes.Equal(stored(t, o, refOf(second, two.Summary))["shop.sql"], content["shop.sql"]) {
		t.Error("what was stored is not what was dumped")
	}
}

// words is text of which every so many words are others.
func words(n, every int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x ", i*i*7919)
		if every > 0 && i%every == 0 {
			b.WriteString("changed ")
		}
	}
	return b.Bytes()
}

func TestACacheMakesTheNextRunSmaller(t *testing.T) {
	sizes := map[bool]int64{}
	for _, with := range []bool{false, true} {
		o := &objects{Store: mem.New(), t: t}
		var c backup.Cache
		if with {
			c = kept{mem.New(), t}
		}
		content := map[string][]byte{"shop.sql": words(2_000_000, 0)}
		one, _, _, err := runWork(t.Context(), t, backup.Work{Snapshot: first, Cache: c}, dumps(content, "shop.sql"), o)
		if err != nil {
			t.Fatal(err)
		}
		content["shop.sql"] = words(2_000_000, 1000)
		two, _, _, err := runWork(t.Context(), t, backup.Work{Snapshot: second, Cache: c, Base: []repo.Ref{refOf(first, one.Summary)}}, dumps(content, "shop.sql"), o)
		if err != nil {
			t.Fatal(err)
		}
		sizes[with] = two.Summary.NewBytes
		if got := stored(t, o, refOf(second, two.Summary)); !bytes.Equal(got["shop.sql"], content["shop.sql"]) {
			t.Error("what was stored is not what was dumped")
		}
	}
	if sizes[true]*3 > sizes[false] {
		t.Errorf("%d bytes new with a cache, %d without", sizes[true], sizes[false])
	}
}

func TestPacksToAvoidAreNotBuiltUpon(t *testing.T) {
	o := &objects{Store: mem.New(), t: t}
	content := map[string][]byte{"shop.sql": noise(1, 500_000)}
	one, _, _, err := run(t.Context(), t, dumps(content, "shop.sql"), o, first)
	if err != nil {
		t.Fatal(err)
	}
	s, err := repo.OpenSnapshot(t.Context(), o, masterKey.Source(theSource), refOf(first, one.Summary))
	if err != nil {
		t.Fatal(err)
	}
	spoilt := s.Header().Packs[0].ID
	two, _, log, err := runWork(t.Context(), t, backup.Work{Snapshot: second, Base: []repo.Ref{refOf(first, one.Summary)}, Avoid: []string{spoilt}}, dumps(content, "shop.sql"), o)
	if err != nil {
		t.Fatal(err)
	}
	if two.Summary.NewBytes < 400_000 || !strings.Contains(log, spoilt) {
		t.Errorf("%d bytes new; log:\n%s", two.Summary.NewBytes, log)
	}
}

func TestABaseThatCannotBeReadCostsOnlyDeduplication(t *testing.T) {
	content := map[string][]byte{"shop.sql": noise(1, 500_000)}
	for name, tc := range map[string]struct {
		harm func(*objects)
		log  string
	}{
		"manifest damaged": {func(o *objects) { o.Change(repo.ManifestName(theSource, first), flipped) }, "damaged="},
		"manifest gone":    {func(o *objects) { o.Change(repo.ManifestName(theSource, first), func([]byte) []byte { return nil }) }, "damaged="},
		"packs damaged": {func(o *objects) {
			for _, n := range o.names("sources/") {
				if strings.Contains(n, "/packs/") {
					o.Change(n, func(b []byte) []byte { return b[:len(b)-5] })
				}
			}
		}, "damaged="},
		"store silent": {func(o *objects) { o.getErr = problem.New(problem.Unavailable, "no answer") }, "everything is stored anew"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &objects{Store: mem.New(), t: t}
			one, _, _, err := run(t.Context(), t, dumps(content, "shop.sql"), o, first)
			if err != nil {
				t.Fatal(err)
			}
			tc.harm(o)
			two, _, log, err := run(t.Context(), t, dumps(content, "shop.sql"), o, second, refOf(first, one.Summary))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log, tc.log) || !strings.Contains(log, "snapshot verify") {
				t.Errorf("the log does not say %q and what to do:\n%s", tc.log, log)
			}
			if two.Summary.NewBytes < 500_000 {
				t.Errorf("only %d bytes were stored anew", two.Summary.NewBytes)
			}
			o.getErr = nil
			if !bytes.Equal(stored(t, o, refOf(second, two.Summary))["shop.sql"], content["shop.sql"]) {
				t.Error("what was stored anew is not what was dumped")
			}
		})
	}
}

func flipped(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

// Each failure leaves no manifest, so there is nothing to commit, and the error
// that is nearest to the cause is the one that is told.
func TestFailures(t *testing.T) {
	truncated := problem.New(problem.Failed, "the end mark is missing").WithReason(engine.ReasonTruncated)
	lost := problem.New(problem.Unavailable, "the stream was lost").WithReason(engine.ReasonStreamLost)
	broken := errors.New("connection reset")
	short := func(exit engine.Exit, waitErr error) func(engine.Stream) *tool {
		return func(engine.Stream) *tool {
			return &tool{output: strings.NewReader("half a dump"), exit: exit, waitErr: waitErr}
		}
	}
	cut := func(exit engine.Exit, waitErr error) func(engine.Stream) *tool {
		return func(engine.Stream) *tool {
			return &tool{output: failing("half a dump", broken), exit: exit, waitErr: waitErr}
		}
	}
	for name, tc := range map[string]struct {
		db     database
		putErr error
		is     error
		reason problem.Reason
		text   string
		killed bool
	}{
		"cannot open":                     {db: database{openErr: lost}, is: lost, text: "open fake"},
		"cannot list":                     {db: database{streamsErr: lost}, is: lost, text: "list what to dump"},
		"nothing to dump":                 {db: database{streams: []engine.Stream{}}, reason: engine.ReasonEmpty},
		"tool does not start":             {db: database{startErr: lost}, is: lost, text: "dump shop.sql"},
		"status":                          {db: database{tool: short(engine.Exit{Status: 1, Stderr: "oh"}, nil)}, reason: engine.ReasonToolFailed, text: "the tool said: oh"},
		"status before content":           {db: database{tool: short(engine.Exit{Status: 1, Stderr: "oh"}, nil), inspected: truncated}, reason: engine.ReasonToolFailed},
		"unknown end":                     {db: database{tool: short(engine.Exit{}, lost)}, is: lost, reason: engine.ReasonStreamLost},
		"unknown end before status":       {db: database{tool: short(engine.Exit{Status: 1}, lost)}, is: lost},
		"unknown end before content":      {db: database{tool: short(engine.Exit{}, lost), inspected: truncated}, is: lost},
		"content":                         {db: database{tool: short(engine.Exit{}, nil), inspected: truncated}, is: truncated, reason: engine.ReasonTruncated},
		"output cut":                      {db: database{tool: cut(engine.Exit{}, nil)}, is: broken, reason: engine.ReasonStreamLost},
		"output cut, but status":          {db: database{tool: cut(engine.Exit{Status: 1, Stderr: "oh"}, nil)}, reason: engine.ReasonToolFailed},
		"output cut, but unknown end":     {db: database{tool: cut(engine.Exit{}, lost)}, is: lost},
		"no bytes, the inspector forgets": {db: database{tool: func(engine.Stream) *tool { return &tool{output: strings.NewReader("")} }}, reason: engine.ReasonEmpty},
		"store fails half-way":            {db: database{tool: func(engine.Stream) *tool { return &tool{output: endless()} }}, putErr: errStore, is: errStore, text: "store dump", killed: true},
		"inspector breaks":                {db: database{tool: func(engine.Stream) *tool { return &tool{output: endless()} }, inspectorErr: broken}, is: broken, text: "inspect dump", killed: true},
		"store fails at the end":          {db: database{tool: short(engine.Exit{}, nil)}, putErr: errStore, is: errStore, text: "store snapshot"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &objects{Store: mem.New(), t: t, putErr: tc.putErr}
			d := &tc.db
			if d.streams == nil {
				d.streams = []engine.Stream{{Name: "shop.sql"}, {Name: "never.sql"}}
				if tc.text == "store snapshot" {
					d.streams = d.streams[:1]
				}
			}
			result, _, _, err := run(t.Context(), t, d, o, first)
			switch {
			case err == nil:
				t.Fatal("it went well")
			case tc.is != nil && !errors.Is(err, tc.is):
				t.Errorf("error %v, want %v", err, tc.is)
			case tc.reason != "" && problem.ReasonOf(err) != tc.reason:
				t.Errorf("error %v, want reason %s", err, tc.reason)
			case !strings.Contains(err.Error(), tc.text):
				t.Errorf("error %v, want %q in it", err, tc.text)
			}
			if len(result.Summary.Streams) != 0 {
				t.Errorf("a failed backup has a result: %+v", result)
			}
			if got := o.names(repo.ManifestsPrefix(theSource)); len(got) != 0 {
				t.Errorf("a failed backup left %q", got)
			}
			if len(d.started) > 1 {
				t.Errorf("%d tools were started after a failure", len(d.started))
			}
			if len(d.started) == 1 && (d.started[0].kills > 0) != tc.killed {
				t.Errorf("the tool was killed %d times", d.started[0].kills)
			}
		})
	}
}

func TestALaterStreamThatFailsSpoilsTheSnapshot(t *testing.T) {
	o := &objects{Store: mem.New(), t: t}
	d := dumps(map[string][]byte{"a.sql": noise(1, 100)}, "a.sql", "b.sql")
	_, _, _, err := run(t.Context(), t, d, o, first)
	if problem.ReasonOf(err) != engine.ReasonEmpty || !strings.Contains(err.Error(), "dump b.sql") {
		t.Errorf("error %v, want that b.sql is empty", err)
	}
	if got := o.names(""); len(got) != 0 {
		t.Errorf("objects are left: %q", got)
	}
}

func TestAFailureGivesUpWhatIsOnItsWay(t *testing.T) {
	o := &objects{Store: mem.New(), t: t, hangs: make(chan struct{})}
	d := dumps(nil, "a.sql")
	d.tool = func(engine.Stream) *tool {
		untilAPackIsSent := readerFunc(func([]byte) (int, error) {
			<-o.hangs
			return 0, io.EOF
		})
		return &tool{output: io.MultiReader(io.LimitReader(endless(), 20<<20), untilAPackIsSent), exit: engine.Exit{Status: 1, Stderr: "oh"}}
	}
	if _, _, _, err := run(t.Context(), t, d, o, first); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Errorf("error %v", err)
	}
}

func TestACancelledBackupSaysWhy(t *testing.T) {
	for name, tc := range map[string]struct{ putErr, waitErr error }{
		"tool killed":           {waitErr: context.Canceled},
		"store fails as well":   {putErr: errStore, waitErr: context.Canceled},
		"tool ended by then":    {},
		"tool lost at the time": {waitErr: errors.New("lost")},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			o := &objects{Store: mem.New(), t: t, putErr: tc.putErr}
			d := dumps(nil, "shop.sql")
			d.tool = func(engine.Stream) *tool {
				return &tool{waitErr: tc.waitErr, output: io.MultiReader(strings.NewReader("half a dump"), readerFunc(func([]byte) (int, error) {
					cancel(errCause)
					if tc.waitErr == nil {
						return 0, io.EOF
					}
					return 0, ctx.Err()
				}))}
			}
			_, _, _, err := run(ctx, t, d, o, first)
			if !errors.Is(err, errCause) {
				t.Errorf("error %v, want the cause", err)
			}
			if got := o.names(repo.ManifestsPrefix(theSource)); len(got) != 0 {
				t.Errorf("a cancelled backup left %q", got)
			}
		})
	}
}

func TestABackupThatIsCancelledWhileTheBaseIsReadDoesNotBlameTheBase(t *testing.T) {
	o := &objects{Store: mem.New(), t: t}
	one, _, _, err := run(t.Context(), t, dumps(map[string][]byte{"a.sql": noise(1, 100)}, "a.sql"), o, first)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	d := dumps(nil, "a.sql")
	cancel(errCause)
	_, _, log, err := run(ctx, t, d, o, second, refOf(first, one.Summary))
	if !errors.Is(err, errCause) {
		t.Errorf("error %v, want the cause", err)
	}
	if strings.Contains(log, "WARN") || len(d.started) > 0 {
		t.Errorf("%d tools started, log:\n%s", len(d.started), log)
	}
}

func TestAnIdOrNameThatCannotBeStoredIsRefusedBeforeTheDump(t *testing.T) {
	o := &objects{Store: mem.New(), t: t}
	for _, snapshot := range []string{"", "../x", strings.ToLower(third)} {
		d := dumps(nil, "a.sql")
		if _, _, _, err := run(t.Context(), t, d, o, snapshot); err == nil || !strings.Contains(err.Error(), "begin snapshot") {
			t.Errorf("%q: error %v", snapshot, err)
		}
		if len(d.started) > 0 {
			t.Errorf("%q: a tool was started", snapshot)
		}
	}
	d := dumps(nil, "../a.sql")
	if _, _, _, err := run(t.Context(), t, d, o, third); err == nil || len(d.started) > 0 {
		t.Errorf("a bad stream name: error %v, %d tools", err, len(d.started))
	}
}
