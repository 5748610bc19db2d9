package member_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

func TestASmallObjectIsSentToAnotherController(t *testing.T) {
	t.Parallel()
	h := newHouses(t)
	h.serve("c1", ill{Store: mem.New(), put: func(io.Reader) (io.Reader, error) { return nil, errDisk }})
	second := mem.New()
	h.serve("c2", second)
	if _, err := h.peer(0).Put(t.Context(), "o", strings.NewReader("small")); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Stat(t.Context(), "o"); err != nil {
		t.Error(err)
	}
}

// What was read from the sender is gone, so the sender has to send it again.
func TestALargeObjectThatIsCutHasToBeSentAgain(t *testing.T) {
	t.Parallel()
	h := newHouses(t)
	dead := mem.New()
	var first *grpc.Server
	first = h.serve("c1", ill{Store: dead, put: func(r io.Reader) (io.Reader, error) {
		if _, err := io.CopyN(io.Discard, r, 600_000); err != nil { // more than the first message
			return nil, err
		}
		go first.Stop() // a power cut
		return r, nil
	}})
	second := mem.New()
	h.serve("c2", second)
	p := h.peer(0)
	text := content(40_000_000)
	_, err := p.Put(t.Context(), "o", strings.NewReader(text))
	if problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != member.ReasonCut {
		t.Fatalf("cut: %v", err)
	}
	for _, st := range []store.Store{dead, second} {
		if _, err := st.Stat(t.Context(), "o"); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("half an object is there: %v", err)
		}
	}
	info, err := p.Put(t.Context(), "o", strings.NewReader(text))
	if err != nil || info.Size != int64(len(text)) {
		t.Fatalf("again: %+v, %v", info, err)
	}
	if got, err := read(t, p, "o", 0, -1); err != nil || got != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if asked := h.whoWasAsked(); !slices.Equal(asked, []string{"c1", "c2", "c2"}) {
		t.Errorf("asked %v: the one that is gone should be asked last", asked)
	}
}

// The other end reads while the sender has more to send.
func TestPutDoesNotGatherTheObject(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	st := mem.New()
	h := newHouses(t)
	h.serve("c1", ill{Store: st, put: func(r io.Reader) (io.Reader, error) {
		var begin bytes.Buffer
		if _, err := io.CopyN(&begin, r, 2_000_000); err != nil {
			return nil, err
		}
		close(arrived)
		return io.MultiReader(&begin, r), nil
	}})
	text := content(3_000_000)
	late := readerFunc(func([]byte) (int, error) {
		<-arrived
		return 0, io.EOF
	})
	_, err := h.peer(0).Put(t.Context(), "o", io.MultiReader(strings.NewReader(text), late))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := st.Stat(t.Context(), "o"); err != nil || info.Size != int64(len(text)) {
		t.Errorf("%+v, %v", info, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAReaderThatFailsInTheMiddleLeavesNothing(t *testing.T) {
	t.Parallel()
	st := mem.New()
	h := newHouses(t)
	h.serve("c1", st)
	broken := fmt.Errorf("the sender is gone: %w", io.ErrUnexpectedEOF)
	for _, n := range []int{0, 10, 600_000, 5_000_000} {
		_, err := h.peer(0).Put(t.Context(), "o", io.MultiReader(strings.NewReader(content(n)), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, err := st.Stat(t.Context(), "o"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("something is there: %v", err)
	}
}

func TestAFullStoreIsFullFromAfarToo(t *testing.T) {
	t.Parallel()
	h := newHouses(t)
	h.serve("c1", ill{Store: mem.New(), put: func(io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("put: %w", store.ErrNoSpace)
	}})
	for _, n := range []int{10, 3_000_000} {
		if _, err := h.peer(0).Put(t.Context(), "o", strings.NewReader(content(n))); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
