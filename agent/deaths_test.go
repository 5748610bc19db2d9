package agent_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/repo"
)

// gate is the output of a dump tool that stands still before a byte until it is opened.
type gate struct {
	io.Reader
	left    int
	reached chan struct{}
	open    chan struct{}
}

func (g *gate) Read(p []byte) (int, error) {
	if g.left == 0 {
		close(g.reached)
		<-g.open
		g.left = -1
	}
	if g.left > 0 {
		p = p[:min(len(p), g.left)]
	}
	n, err := g.Reader.Read(p)
	if g.left > 0 {
		g.left -= n
	}
	return n, err
}

var errDies = errors.New("it dies")

// One dump, and whatever happens to controllers meanwhile: the one that takes
// its packs dies in the middle of one, the next after it has stored one, the
// leader is another by the middle of the dump, and the one that commits dies
// before it can say so. The tool runs once, and the snapshot is whole.
func TestADumpComesWholeThroughDeathsOfControllers(t *testing.T) {
	w := newWorldOf(t, 3, nil)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	w.db.dump = make([]byte, 60<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(w.db.dump)
	g := &gate{left: 40 << 20, reached: make(chan struct{}), open: make(chan struct{})}
	w.db.output = func(r io.Reader) io.Reader {
		g.Reader = r
		return g
	}
	var mu sync.Mutex
	var story []string
	cut := "" // the object that the first death met
	dies := func(e uplinktest.Event, then func()) error {
		story = append(story, string(e.Call)+" at "+e.Node)
		w.controller.Kill(e.Node)
		then()
		return errDies
	}
	w.controller.Answer(uplinktest.Answers{Meet: func(e uplinktest.Event) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case len(story) == 0 && e.Call == uplinktest.Uploading && e.Bytes > 5<<20:
			return dies(e, func() { cut = e.Object })
		case len(story) == 1 && e.Call == uplinktest.Uploaded && e.Object != cut:
			return dies(e, func() { w.controller.Revive("c2") })
		case len(story) == 2 && e.Call == uplinktest.Committed:
			return dies(e, func() { w.controller.Revive("c3") })
		}
		return nil
	}})
	a := backupOf("shop", "r1", 1)
	a.Controllers = []string{"c2", "c3"}
	s.Assign(a)

	<-g.reached
	w.controller.Lead("c2")
	s = w.controller.NextSession()
	s.Complete(a)
	close(g.open)

	h := w.controller.Await("the commit, twice", func(h uplinktest.Heard) bool { return len(h.Commits) == 2 || ended(h) })
	if ended(h) {
		t.Fatalf("the backup failed: %v", h.Ends[0])
	}
	mu.Lock()
	if got := strings.Join(story, ", "); got != "upload at c2, uploaded at c3, committed at c1" {
		t.Errorf("what happened: %s", got)
	}
	mu.Unlock()
	if w.db.started() != 1 || w.db.opened != 1 {
		t.Errorf("the database was opened %d times and dumped %d times", w.db.opened, w.db.started())
	}
	commit := h.Commits[1]
	snap := commit.GetSnapshot()
	opened, err := repo.OpenSnapshot(t.Context(), w.store, keyOf("shop"), repo.Ref{
		Source: "shop", Snapshot: snap.GetId(), Manifest: [32]byte(snap.GetManifestSha256()), Size: snap.GetManifestSize(),
	})
	if err != nil {
		t.Fatal(err)
	}
	receipts := map[string]string{}
	for _, r := range commit.GetReceipts() {
		receipts[r.GetName()] = string(r.GetMac())
	}
	for _, p := range opened.Header().Packs {
		if receipts[repo.PackName("shop", p.ID)] == "" {
			t.Errorf("no receipt for pack %s", p.ID)
		}
	}
	if len(receipts) != len(opened.Header().Packs)+1 || len(receipts) < 4 {
		t.Errorf("%d receipts, %d packs", len(receipts), len(opened.Header().Packs))
	}
	if _, err := opened.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	var log []string
	for _, l := range commit.GetLogs() {
		log = append(log, l.GetMessage())
	}
	// A slow machine may notice both deaths at once.
	told := regexp.MustCompile(`the controller c2 does not answer: going on with c3[^$]*hand_overs=2|the controllers c2, c3 do not answer: going on with c1[^$]*hand_overs=1`)
	if text := strings.Join(log, "\n"); !told.MatchString(text) {
		t.Errorf("log of the run:\n%s", text)
	}
	w.stop()
	if h := w.controller.Heard(); len(h.Ends) != 0 {
		t.Errorf("ends %v", h.Ends)
	}
}

// A restore reads on at another controller; the tool gets every byte once.
func TestARestoreGoesOnWhenItsControllerDies(t *testing.T) {
	w := newWorldOf(t, 3, nil)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	w.db.dump = make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{4}).Read(w.db.dump)
	ref := w.backedUp(s)
	var once sync.Once
	w.controller.Answer(uplinktest.Answers{Meet: func(e uplinktest.Event) (err error) {
		if e.Call == uplinktest.Reading && e.Bytes > 300_000 {
			once.Do(func() {
				w.controller.Kill(e.Node)
				err = errDies
			})
		}
		return err
	}})
	s.Assign(uplink.Assignment{
		Lease: uplink.Lease{Run: "r2", Epoch: 1}, Source: "shop", Duration: time.Minute, Key: keyOf("shop"), Controllers: []string{"c3"},
		Restore: &uplink.RestoreWork{Snapshot: ref, Engine: "fake"},
	})
	end := w.controller.Await("the end", ended).Ends[0]
	if f := end.GetFailure(); f != nil || w.db.has()["shop.sql"] != string(w.db.dump) {
		t.Errorf("end %v, %d bytes restored", end, len(w.db.has()["shop.sql"]))
	}
	var log []string
	for _, l := range end.GetLogs() {
		log = append(log, l.GetMessage())
	}
	if text := strings.Join(log, "\n"); !strings.Contains(text, "the controller c3 does not answer: going on with c1") {
		t.Errorf("log of the run:\n%s", text)
	}
}
