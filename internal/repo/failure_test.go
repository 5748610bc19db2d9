package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// A snapshot in about eight packs.
func smallPacks(snapshot string) WriterOptions {
	o := options(snapshot, nil)
	o.PackSize, o.Compress = 1<<20, "off"
	return o
}

func TestSinkFailsAtEveryPoint(t *testing.T) {
	data := stream{"a", random(1, 8<<20)}
	healthy := faulty.Wrap(mem.New())
	backup(t, storeSink{healthy}, smallPacks(snap1), data)
	puts := len(healthy.Calls())
	if puts < 8 {
		t.Fatalf("only %d puts", puts)
	}
	for nth := 1; nth <= puts; nth++ {
		for _, kind := range []faulty.Kind{faulty.Fail, faulty.NoSpace, faulty.Torn, faulty.LostAnswer} {
			st := faulty.Wrap(mem.New(), faulty.Fault{Op: faulty.Put, Kind: kind, Nth: nth})
			w, err := NewWriter(t.Context(), smallPacks(snap1), storeSink{st})
			if err != nil {
				t.Fatal(err)
			}
			_, err = writeAll(w, data)
			if !errors.Is(err, faulty.ErrFault) {
				t.Errorf("put %d, kind %d: %v", nth, kind, err)
			}
			// It stays failed, and with the first failure.
			if _, again := w.Finish(t.Context()); again == nil || again.Error() != err.Error() {
				t.Errorf("put %d: finish again: %v, first %v", nth, again, err)
			}
			if _, err := w.Stream(StreamMeta{Name: "b"}); !errors.Is(err, faulty.ErrFault) {
				t.Errorf("put %d: another stream: %v", nth, err)
			}
			calls := st.Calls()
			if nth < puts && strings.Contains(strings.Join(calls, "\n"), "manifests") {
				t.Errorf("put %d failed, and yet the manifest was put", nth)
			}
			w.Abort()
		}
	}
}

// gate lets puts through one by one, and then ends the context.
type gate struct {
	left   atomic.Int64
	cancel context.CancelCauseFunc
}

func (g *gate) Put(ctx context.Context, _ string, _ []byte, _ ledger.Hash) error {
	if g.left.Add(-1) < 0 {
		g.cancel(errGate)
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

var errGate = errors.New("the lease is lost")

func TestContextEndsAtEveryPoint(t *testing.T) {
	data := stream{"a", random(1, 8<<20)}
	for nth := range 9 {
		for _, inFlight := range []int{1, 3} {
			ctx, cancel := context.WithCancelCause(t.Context())
			g := &gate{cancel: cancel}
			g.left.Store(int64(nth))
			o := smallPacks(snap1)
			o.InFlight = inFlight
			w, err := NewWriter(ctx, o, g)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := writeAll(w, data); !errors.Is(err, errGate) {
				t.Errorf("after %d puts: %v", nth, err)
			}
			cancel(nil)
		}
	}
}

func TestFinishContext(t *testing.T) {
	g := &gate{cancel: func(error) {}} // hangs at once
	w, err := NewWriter(t.Context(), smallPacks(snap1), g)
	if err != nil {
		t.Fatal(err)
	}
	sw, _ := w.Stream(StreamMeta{Name: "a"})
	if _, err := sw.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Close(Contents{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	g.cancel = func(error) { cancel(errGate) }
	if _, err := w.Finish(ctx); !errors.Is(err, errGate) {
		t.Errorf("finish: %v", err)
	}
	w.Abort()
}

func TestMisuse(t *testing.T) {
	for _, o := range []WriterOptions{
		{Source: "../x", Snapshot: snap1}, {Source: testSource, Snapshot: "short"}, {Source: testSource, Snapshot: snap1, Compress: "lots"},
		{Source: testSource, Snapshot: snap1, PackSize: -1}, {Source: testSource, Snapshot: snap1, Workers: -1}, {Source: testSource, Snapshot: snap1, InFlight: -1},
	} {
		if _, err := NewWriter(t.Context(), o, nowhere{}); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	w, err := NewWriter(t.Context(), options(snap1, nil), nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, name := range []string{"", ".", "..", "a/b", "a\\b", "a\x00", "a\n", "\xff", strings.Repeat("x", 256)} {
		if _, err := w.Stream(StreamMeta{Name: name}); err == nil {
			t.Errorf("stream %q is accepted", name)
		}
	}
	a, err := w.Stream(StreamMeta{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Stream(StreamMeta{Name: "b"}); err == nil {
		t.Error("two streams are open")
	}
	if _, err := a.Close(Contents{}); err != nil {
		t.Error(err)
	}
	if _, err := a.Close(Contents{}); err == nil {
		t.Error("closed twice")
	}
	if _, err := a.Write([]byte("x")); err == nil {
		t.Error("written after close")
	}
	if _, err := w.Stream(StreamMeta{Name: "a"}); err == nil {
		t.Error("two streams of one name")
	}
	if _, err := w.Finish(t.Context()); err != nil {
		t.Error(err)
	}
	w.Abort() // fine after Finish, and more than once
	w.Abort()
	if _, err := w.Finish(t.Context()); err == nil {
		t.Error("finished twice")
	}
	// An open stream keeps a snapshot from being finished.
	w, _ = NewWriter(t.Context(), options(snap1, nil), nowhere{})
	if _, err := w.Stream(StreamMeta{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(t.Context()); err == nil {
		t.Error("finished with a stream open")
	}
	w.Abort()
}

// blocked holds every put until it is told to go on, and counts the bytes held.
type blocked struct {
	mu      sync.Mutex
	held    int
	most    int
	entered chan struct{}
	release chan struct{}
}

func (b *blocked) Put(_ context.Context, _ string, data []byte, _ ledger.Hash) error {
	b.mu.Lock()
	b.held += len(data)
	b.most = max(b.most, b.held)
	b.mu.Unlock()
	select {
	case b.entered <- struct{}{}:
	default:
	}
	<-b.release
	b.mu.Lock()
	b.held -= len(data)
	b.mu.Unlock()
	return nil
}

// However much is written, the buffers are those that the options allow; and a
// sink that does not take any more makes Write wait.
func TestMemoryIsBounded(t *testing.T) {
	for _, c := range []struct{ workers, inFlight int }{{1, 1}, {2, 1}, {4, 3}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			b := &blocked{entered: make(chan struct{}, 1), release: make(chan struct{})}
			o := smallPacks(snap1)
			o.PackSize, o.Workers, o.InFlight = 2<<20, c.workers, c.inFlight
			w, err := NewWriter(t.Context(), o, b)
			if err != nil {
				t.Fatal(err)
			}
			data := stream{"a", random(1, 64<<20)}
			done := make(chan error)
			go func() { _, err := writeAll(w, data); done <- err }()
			<-b.entered
			select {
			case err := <-done:
				t.Fatalf("wrote all with a sink that takes nothing: %v", err)
			default:
			}
			raw, sent := w.Progress()
			if sent != 0 || raw == int64(len(data.data)) {
				t.Errorf("progress %d taken, %d sent", raw, sent)
			}
			close(b.release)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if raw, sent := w.Progress(); raw != int64(len(data.data)) || sent < raw {
				t.Errorf("at the end %d taken, %d sent", raw, sent)
			}
			if b.most > c.inFlight*o.PackSize {
				t.Errorf("%d bytes in the sink's hands, at most %d wanted", b.most, c.inFlight*o.PackSize)
			}
			if w.pipe.made > c.workers+2 || w.pipe.packsMade > c.inFlight+1 {
				t.Errorf("%d frames, %d packs", w.pipe.made, w.pipe.packsMade)
			}
		})
	}
}
