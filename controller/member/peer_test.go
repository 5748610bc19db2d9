package member_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ill is a store that fails as a test says; what is nil goes well.
type ill struct {
	store.Store
	get  func(io.ReadCloser) io.ReadCloser
	put  func(io.Reader) (io.Reader, error)
	list func(fn func(store.Info) error) func(store.Info) error
	stat func(context.Context) error
}

func (i ill) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	rc, err := i.Store.Get(ctx, name, offset, length)
	if err == nil && i.get != nil {
		rc = i.get(rc)
	}
	return rc, err
}

func (i ill) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	if i.put != nil {
		var err error
		if r, err = i.put(r); err != nil {
			return store.Info{}, err
		}
	}
	return i.Store.Put(ctx, name, r)
}

func (i ill) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	if i.list != nil {
		fn = i.list(fn)
	}
	return i.Store.List(ctx, prefix, fn)
}

func (i ill) Stat(ctx context.Context, name string) (store.Info, error) {
	if i.stat != nil {
		if err := i.stat(ctx); err != nil {
			return store.Info{}, err
		}
	}
	return i.Store.Stat(ctx, name)
}

var errDisk = errors.New("the disk gave up")

// breaks ends with an error after n bytes.
func breaks(n int64) func(io.ReadCloser) io.ReadCloser {
	return func(rc io.ReadCloser) io.ReadCloser {
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(rc, n), iotest.ErrReader(errDisk)), rc}
	}
}

// content is n bytes of which no two messages are alike.
func content(n int) string {
	period := make([]byte, 65_521) // a prime, so that no message begins like another
	for i := range period {
		period[i] = byte(i * 7 >> 3)
	}
	return string(bytes.Repeat(period, n/len(period)+1)[:n])
}

func stored(t *testing.T, objects map[string]string) *mem.Store {
	t.Helper()
	st := mem.New()
	for name, text := range objects {
		if _, err := st.Put(t.Context(), name, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func read(t *testing.T, p *member.Peer, name string, offset, length int64) (string, error) {
	t.Helper()
	rc, err := p.Get(t.Context(), name, offset, length)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(rc)
	if cerr := rc.Close(); cerr != nil {
		t.Error(cerr)
	}
	if _, err := rc.Read(make([]byte, 1)); err == nil {
		t.Error("it reads on after Close")
	}
	return string(b), err
}

func TestGetGoesOnElsewhereWhereItWas(t *testing.T) {
	t.Parallel()
	text := content(2_000_000)
	st := stored(t, map[string]string{"o": text})
	for _, c := range []struct {
		name           string
		offset, length int64
		brokenAfter    int64
		want           string
	}{
		{"all of it", 0, -1, 1_300_000, text},
		{"a range", 100, 1_500_000, 700_000, text[100:1_500_100]},
		{"before the first byte", 0, -1, 0, text},
		{"behind the last byte", 0, -1, 2_000_000, text},
		{"behind the last byte of a range", 5, 1_000_000, 1_000_000, text[5:1_000_005]},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouses(t)
			h.serve("c1", ill{Store: st, get: breaks(c.brokenAfter)})
			h.serve("c2", st)
			got, err := read(t, h.peer(0), "o", c.offset, c.length)
			if err != nil || got != c.want {
				t.Errorf("%d bytes, want %d, %v", len(got), len(c.want), err)
			}
			if asked := h.whoWasAsked(); !slices.Equal(asked, []string{"c1", "c2"}) {
				t.Errorf("asked %v", asked)
			}
		})
	}
}

func TestGetGoesOnWhenItsControllerDies(t *testing.T) {
	t.Parallel()
	text := content(20_000_000) // more than fits into the windows
	st := stored(t, map[string]string{"o": text})
	h := newHouses(t)
	first := h.serve("c1", st)
	h.serve("c2", st)
	rc, err := h.peer(0).Get(t.Context(), "o", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	head := make([]byte, 1_000)
	if _, err := io.ReadFull(rc, head); err != nil {
		t.Fatal(err)
	}
	first.Stop()
	tail, err := io.ReadAll(rc)
	if err != nil || string(head)+string(tail) != text {
		t.Errorf("%d bytes, %v", len(head)+len(tail), err)
	}
}

func TestGetGivesUpWhenNobodyGetsFurther(t *testing.T) {
	t.Parallel()
	h := newHouses(t)
	for _, id := range []string{"c1", "c2"} {
		h.serve(id, ill{Store: stored(t, map[string]string{"o": content(1_000)}), get: breaks(0)})
	}
	if _, err := read(t, h.peer(0), "o", 0, -1); err == nil || !strings.Contains(err.Error(), errDisk.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestASilentControllerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	st := stored(t, map[string]string{"o": "x"})
	h := newHouses(t)
	h.serve("c1", ill{Store: st, stat: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	h.serve("c2", st)
	p := h.peer(2 * time.Second)
	for range 2 {
		if _, err := p.Stat(t.Context(), "o"); err != nil {
			t.Fatal(err)
		}
	}
	if asked := h.whoWasAsked(); !slices.Equal(asked, []string{"c1", "c2", "c2"}) {
		t.Errorf("asked %v", asked)
	}
}

func TestAListingGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	objects := map[string]string{}
	for i := range 1_700 {
		objects[fmt.Sprintf("d/%04d", i)] = ""
	}
	st := stored(t, objects)
	h := newHouses(t)
	h.serve("c1", ill{Store: st, list: func(fn func(store.Info) error) func(store.Info) error {
		n := 0
		return func(i store.Info) error {
			if n++; n > 1_200 {
				return errDisk
			}
			return fn(i)
		}
	}})
	h.serve("c2", st)
	var got []string
	err := h.peer(0).List(t.Context(), "d/", func(i store.Info) error {
		got = append(got, i.Name)
		return nil
	})
	if err != nil || len(got) != 1_700 || !slices.IsSorted(got) || len(slices.Compact(got)) != 1_700 {
		t.Errorf("%d names, %v", len(got), err)
	}
	if asked := h.whoWasAsked(); !slices.Equal(asked, []string{"c1", "c2"}) {
		t.Errorf("asked %v", asked)
	}
}

func TestWhoIsAskedAndWhatIsSaidWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	h := newHouses(t)
	h.join("c1", nobody(t))
	h.start("c2", member.New(member.Options{Local: func(string) store.Store { return nil }}))
	h.join("me", nobody(t)) // whoever asks does not ask itself
	h.dir.stores[0].Controllers = append(h.dir.stores[0].Controllers, "removed")
	h.dir.members = append(h.dir.members, &pb.MemberRecord{Id: "without", Address: nobody(t)}) // does not reach it
	_, err := h.peer(0).Stat(t.Context(), "o")
	if problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != member.ReasonUnreached {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"c1: ", "c2: ", "does not reach the store"} {
		if !strings.Contains(problem.Text(err), want) {
			t.Errorf("%q is missing:\n%s", want, problem.Text(err))
		}
	}
	if asked := h.whoWasAsked(); !slices.Equal(asked, []string{"c1", "c2"}) {
		t.Errorf("asked %v", asked)
	}
	if got := h.peer(0).Describe(); got != "peer:main on c1, c2" {
		t.Errorf("described as %q", got)
	}
}

// A controller that is back is asked at once, however long its connection waits
// before it tries again by itself.
func TestAControllerThatIsBackIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	st := stored(t, map[string]string{"o": "x"})
	h := newHouses(t)
	service := member.New(member.Options{Local: func(string) store.Store { return st }})
	server := h.start("c1", service)
	p := h.peer(0)
	if _, err := p.Stat(t.Context(), "o"); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	for range 12 { // the pauses between attempts grow
		if _, err := p.Stat(t.Context(), "o"); problem.ReasonOf(err) != member.ReasonUnreached {
			t.Fatalf("while it is away: %v", err)
		}
	}
	h.listen(h.dir.members[0].GetAddress(), service)
	if _, err := p.Stat(t.Context(), "o"); err != nil {
		t.Errorf("it is back: %v", err)
	}
}
