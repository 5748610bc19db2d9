package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/ingest"
	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// watched is a store that tells what is read from it, and lets a test step in.
type watched struct {
	*mem.Store
	mu     sync.Mutex
	read   []string
	listed int
	puts   int
	midway func() // called once some bytes have gone in or out
}

func (w *watched) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	w.mu.Lock()
	w.read = append(w.read, name)
	w.mu.Unlock()
	rc, err := w.Store.Get(ctx, name, offset, length)
	if err != nil || w.midway == nil {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{w.interrupted(rc), rc}, nil
}

func (w *watched) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	w.mu.Lock()
	w.puts++
	w.mu.Unlock()
	if w.midway != nil {
		r = w.interrupted(r)
	}
	return w.Store.Put(ctx, name, r)
}

func (w *watched) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	w.listed++
	return w.Store.List(ctx, prefix, fn)
}

// interrupted reads ten bytes, then calls midway, then the rest.
func (w *watched) interrupted(r io.Reader) io.Reader {
	return io.MultiReader(io.LimitReader(r, 10), readerFunc(func([]byte) (int, error) {
		w.midway()
		return 0, io.EOF
	}), r)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// packsRead counts how often packs were read.
func (w *watched) packsRead() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.read {
		if strings.Contains(name, "/packs/") {
			n++
		}
	}
	return n
}

// other is the ingest of another controller of the same cluster.
func (f *fixture) other(change func(*ingest.Options)) *ingest.Ingest {
	o := f.ingest.Options
	if change != nil {
		change(&o)
	}
	return ingest.New(o)
}

// What was sent through one controller is committed through another, without
// reading the packs again.
func TestReceiptsAreGoodEverywhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	req, sent := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(40<<20), nil)
	if len(f.receipts) != len(sent) || len(sent) < 3 {
		t.Fatalf("%d receipts for %d objects", len(f.receipts), len(sent))
	}
	req.Receipts = f.receipts
	resp, err := f.other(nil).CommitSnapshot(t.Context(), req)
	if err != nil || resp.GetLedgerIndex() != 1 {
		t.Fatalf("commit = %v, %v", resp, err)
	}
	if n := f.seen.packsRead(); n != 0 {
		t.Errorf("packs were read %d times", n)
	}
	again, err := f.ingest.CommitSnapshot(t.Context(), req)
	if err != nil || again.GetLedgerIndex() != 1 {
		t.Errorf("asked again elsewhere: %v, %v", again, err)
	}
}

func TestAReceiptForAnythingElseIsWorthless(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(r *pb.Receipt)
		who   func(o *ingest.Options)
	}{
		"of no one":             {func(r *pb.Receipt) { r.Mac = nil }, nil},
		"cut":                   {func(r *pb.Receipt) { r.Mac = r.GetMac()[:16] }, nil},
		"forged":                {func(r *pb.Receipt) { r.Mac[7] ^= 1 }, nil},
		"another object":        {func(r *pb.Receipt) { r.Name = repo.PackName(source, strings.Repeat("ab", 16)) }, nil},
		"by another key":        {func(*pb.Receipt) {}, func(o *ingest.Options) { o.ReceiptKey[0] = 2 }},
		"in another store":      {func(*pb.Receipt) {}, func(o *ingest.Options) { o.StoreName = "other" }},
		"where there is no key": {func(*pb.Receipt) {}, func(o *ingest.Options) { o.ReceiptKey = [32]byte{} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			req, sent := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
			f.change(sent, "/packs/", func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
			for _, r := range f.receipts {
				r = proto.CloneOf(r)
				tc.spoil(r)
				req.Receipts = append(req.Receipts, r)
			}
			_, err := f.other(tc.who).CommitSnapshot(t.Context(), req)
			if problem.ReasonOf(err) != ingest.ReasonIncomplete || f.seen.packsRead() == 0 {
				t.Errorf("a damaged pack was committed: %v", err)
			}
			if tc.who == nil { // the true ones would have been taken
				req.Receipts = f.receipts
				if _, err := f.other(nil).CommitSnapshot(t.Context(), req); err != nil {
					t.Errorf("with true receipts: %v", err)
				}
			}
		})
	}
}

// Receipts of a lease that was lost help nobody under the next one.
func TestAReceiptIsForOneLease(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
	old := f.receipts
	f.must(&pb.Command{Command: &pb.Command_ReleaseLease{ReleaseLease: &pb.ReleaseLease{Run: "r1", Epoch: 1}}})
	f.must(&pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: "r1", Agent: "a1", Snapshot: later, ExpiresAt: first.GetSnapshot().GetStartedAt()}}})
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 2}, later, random(1<<20), nil)
	for _, r := range old { // for the packs of the second attempt, as the first one's word
		for _, p := range f.receipts[len(old):] {
			if strings.Contains(r.GetName(), "/packs/") && strings.Contains(p.GetName(), "/packs/") {
				stale := proto.CloneOf(p)
				stale.Mac = r.GetMac()
				req.Receipts = append(req.Receipts, stale)
			}
		}
	}
	if _, err := f.other(nil).CommitSnapshot(t.Context(), req); err != nil || f.seen.packsRead() == 0 {
		t.Errorf("commit: %v; packs were read %d times", err, f.seen.packsRead())
	}
	first.Receipts = old
	if _, err := f.other(nil).CommitSnapshot(t.Context(), first); problem.ReasonOf(err) != state.ReasonRunEnded && problem.ReasonOf(err) != state.ReasonStaleEpoch {
		t.Errorf("the first attempt's commit: %v", err)
	}
}

func TestWithoutAKeyNoReceiptIsGiven(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.ingest.ReceiptKey = [32]byte{}
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
	if len(f.receipts) != 0 {
		t.Errorf("receipts: %v", f.receipts)
	}
	if _, err := f.ingest.CommitSnapshot(t.Context(), req); err != nil || f.seen.packsRead() != 0 {
		t.Errorf("commit: %v; packs were read %d times", err, f.seen.packsRead())
	}
}

// releases ends the lease of r1 while bytes are on their way.
func (f *fixture) releases() func() {
	return sync.OnceFunc(func() {
		f.must(&pb.Command{Command: &pb.Command_ReleaseLease{ReleaseLease: &pb.ReleaseLease{Run: "r1", Epoch: 1}}})
	})
}

func TestALeaseThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	l, name, data := &pb.Lease{Run: "r1", Epoch: 1}, repo.PackName(source, strings.Repeat("ab", 16)), random(3<<20)
	t.Run("while an object is sent", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		during := 0
		release := f.releases()
		f.seen.midway = func() {
			during = f.ingest.Uploads()
			release()
		}
		if err := f.upload(header(l, name, data), data, 100_000); problem.ReasonOf(err) != state.ReasonStaleEpoch || len(f.receipts) != 0 {
			t.Errorf("upload: %v, receipts %v", err, f.receipts)
		}
		if during != 1 || f.ingest.Uploads() != 0 {
			t.Errorf("%d uploads were in flight, %d after it", during, f.ingest.Uploads())
		}
	})
	t.Run("while an object is read", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		if err := f.upload(header(l, name, data), data, 100_000); err != nil {
			t.Fatal(err)
		}
		f.seen.midway = f.releases()
		stream, err := f.client.ReadObject(t.Context(), &pb.ReadObjectRequest{Lease: l, Name: name, Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for {
			m, err := stream.Recv()
			if err != nil {
				if problem.ReasonOf(err) != state.ReasonStaleEpoch {
					t.Errorf("after %d bytes: %v", got, err)
				}
				break
			}
			got += len(m.GetData())
		}
		if got == len(data) {
			t.Error("all of it was read")
		}
	})
}

func TestOnlyTheLeasesAgentMayUseIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	l := &pb.Lease{Run: "r1", Epoch: 1}
	req, sent := f.write(l, snapshot, random(1<<20), nil)
	refused := errors.New("another agent")
	var asked []string
	theirs := f.other(func(o *ingest.Options) {
		o.Caller = func(_ context.Context, agent string) error {
			asked = append(asked, agent)
			return refused
		}
	})
	if _, err := theirs.CommitSnapshot(t.Context(), req); !errors.Is(err, refused) {
		t.Errorf("commit by another agent: %v", err)
	}
	if _, err := f.ingest.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.CommitSnapshot(t.Context(), req); err == nil {
		t.Error("another agent was told of the commit")
	}
	for _, agent := range asked {
		if agent != "a1" {
			t.Errorf("asked for agent %q", agent)
		}
	}
	if len(asked) != 3 || len(sent) == 0 {
		t.Errorf("asked %d times", len(asked))
	}
}

// A controller that does not lead copies the entry that it has committed, and
// leaves what else is missing to the leader.
func TestLedgerCopiesOfAFollower(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	follower := f.other(func(o *ingest.Options) { o.Leads = func() bool { return false } })
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
	if _, err := f.ingest.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Delete(t.Context(), repo.LedgerName(1)); err != nil {
		t.Fatal(err)
	}
	listed := f.seen.listed
	req, _ = f.write(f.lease("r2", later), later, random(1<<20), nil)
	if _, err := follower.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	there := func(index uint64) bool {
		_, err := f.store.Stat(t.Context(), repo.LedgerName(index))
		return err == nil
	}
	if there(1) || !there(2) || f.seen.listed != listed {
		t.Errorf("copies: %t, %t; the store was listed %d times", there(1), there(2), f.seen.listed-listed)
	}
	if err := f.other(nil).WriteLedgerCopies(t.Context()); err != nil || !there(1) {
		t.Errorf("the leader's: %v, %t", err, there(1))
	}
	rc, err := f.store.Get(t.Context(), repo.LedgerName(2), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	if _, err := sealed.ReadFrom(rc); err != nil {
		t.Fatal(err)
	}
	if text, err := f.repo.OpenLedger(2, sealed.Bytes()); err != nil || !bytes.Contains(text, []byte(later)) {
		t.Errorf("the follower's copy: %s, %v", text, err)
	}
}

// lagging is a log that does not hear of what is committed.
type lagging struct {
	*fixture
	view *state.View
}

func (l lagging) View() *state.View { return l.view }

// A commit that a controller which lags has had made is no failure of the run: the
// agent asks another one.
func TestACommitThatThisControllerHasNotHeardOfYet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
	follower := f.other(func(o *ingest.Options) { o.Log, o.Leads = lagging{f, f.View()}, func() bool { return false } })
	if _, err := follower.CommitSnapshot(t.Context(), req); problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != lease.ReasonBehind {
		t.Errorf("the one that lags: %v", err)
	}
	if resp, err := f.ingest.CommitSnapshot(t.Context(), req); err != nil || resp.GetLedgerIndex() != 1 {
		t.Errorf("another: %v, %v", resp, err)
	}
}

// Who leads again after a long time asks what the store has, rather than offering
// it every entry that others have copied meanwhile.
func TestLedgerCopiesAfterALongTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	one, two := f.other(nil), f.other(nil)
	commit := func(n int) {
		t.Helper()
		run, snap := fmt.Sprintf("many-%d", n), fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ69G%04d", n)
		f.must(&pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{
			Id: run, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "many", FireTime: timestamppb.New(start.Add(time.Duration(n) * time.Second)),
		}}}}})
		f.must(&pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: run, Agent: "a1", Snapshot: snap, ExpiresAt: timestamppb.New(start)}}})
		f.must(&pb.Command{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: run, Epoch: 1, Snapshot: &pb.Snapshot{
			Id: snap, Source: "many", Engine: "postgres", ManifestSha256: make([]byte, 32), ManifestSize: 1, Root: make([]byte, 32), StartedAt: timestamppb.New(start),
		}}}})
	}
	write := func(i *ingest.Ingest) (puts int) {
		t.Helper()
		before := f.seen.puts
		if err := i.WriteLedgerCopies(t.Context()); err != nil {
			t.Fatal(err)
		}
		return f.seen.puts - before
	}
	commit(0)
	if n := write(one); n != 1 {
		t.Errorf("%d objects for one entry", n)
	}
	for n := range 150 {
		commit(n + 1)
	}
	if n := write(two); n != 150 {
		t.Errorf("%d objects for 150 entries, of which the first is copied", n)
	}
	if n := write(one); n != 0 {
		t.Errorf("%d objects were offered that are there", n)
	}
	commit(151)
	if n := write(one); n != 1 {
		t.Errorf("%d objects for one entry more", n)
	}
	// The state is replaced by one that was saved before the last two.
	var saved bytes.Buffer
	if _, err := f.tables.WriteTo(&saved); err != nil {
		t.Fatal(err)
	}
	commit(152)
	commit(153)
	write(one)
	if _, err := f.tables.ReadFrom(&saved); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	one.Logger = slog.New(slog.NewTextHandler(&said, nil))
	commit(154)
	write(one)
	commit(155)
	commit(156)
	write(one)
	for _, index := range []uint64{153, 154, 155} {
		if got := strings.Contains(said.String(), repo.LedgerName(index)); got != (index < 155) {
			t.Errorf("of the copy of entry %d it is said %t that it is of another:\n%s", index, got, said.String())
		}
	}
	if _, err := f.store.Stat(t.Context(), repo.LedgerName(155)); err != nil {
		t.Errorf("of what comes after them: %v", err)
	}
	if n := write(one); n != 0 {
		t.Errorf("%d objects were offered again", n)
	}
}
