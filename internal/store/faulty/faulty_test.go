package faulty_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/store/storetest"
)

func TestContractWithoutFaults(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return faulty.Wrap(mem.New()) })
}

func TestPuts(t *testing.T) {
	for name, c := range map[string]struct {
		kind  faulty.Kind
		err   error
		there string // "-": nothing
	}{
		"fail":          {faulty.Fail, faulty.ErrFault, "-"},
		"no space":      {faulty.NoSpace, store.ErrNoSpace, "-"},
		"torn":          {faulty.Torn, faulty.ErrFault, "01234"},
		"torn silently": {faulty.TornSilently, nil, "01234"},
		"lost answer":   {faulty.LostAnswer, faulty.ErrFault, "0123456789"},
		"lost":          {faulty.Lost, nil, "-"},
		"hang":          {faulty.Hang, context.Canceled, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			inner := mem.New()
			s := faulty.Wrap(inner, faulty.Fault{Op: faulty.Put, Kind: c.kind, Name: "b", Nth: 2})
			for _, n := range []string{"a", "b1", "c", "d"} {
				if _, err := s.Put(t.Context(), n, strings.NewReader("0123456789")); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			if c.kind == faulty.Hang {
				cancel()
			}
			if _, err := s.Put(ctx, "b2", strings.NewReader("0123456789")); !errors.Is(err, c.err) {
				t.Errorf("put: %v, want %v", err, c.err)
			}
			cancel()
			got := "-"
			if rc, err := inner.Get(t.Context(), "b2", 0, -1); err == nil {
				b, _ := io.ReadAll(rc)
				got = string(b)
			}
			if got != c.there {
				t.Errorf("there is %q, want %q", got, c.there)
			}
			if _, err := s.Put(t.Context(), "b3", strings.NewReader("x")); err != nil {
				t.Errorf("the third: %v", err)
			}
		})
	}
}

func TestGets(t *testing.T) {
	for name, c := range map[string]struct {
		fault faulty.Fault
		want  string
		err   error
	}{
		"short":        {faulty.Fault{Kind: faulty.Short}, "234", nil},
		"broken":       {faulty.Fault{Kind: faulty.Broken}, "234", faulty.ErrFault},
		"flip":         {faulty.Fault{Kind: faulty.Flip, Offset: 4}, "23$567", nil},
		"flip outside": {faulty.Fault{Kind: faulty.Flip, Offset: 9}, "234567", nil},
		"fail":         {faulty.Fault{Kind: faulty.Fail}, "", faulty.ErrFault},
	} {
		t.Run(name, func(t *testing.T) {
			c.fault.Op = faulty.Get
			s := faulty.Wrap(mem.New(), c.fault)
			if _, err := s.Put(t.Context(), "a", strings.NewReader("0123456789")); err != nil {
				t.Fatal(err)
			}
			var got []byte
			rc, err := s.Get(t.Context(), "a", 2, 6)
			if err == nil {
				got, err = io.ReadAll(rc)
			}
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}
