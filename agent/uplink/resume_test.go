package uplink_test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/problem"
)

// stored puts an object into the store itself.
func (s *sending) stored(t *testing.T, name string, data []byte) {
	t.Helper()
	if _, err := s.store.Put(t.Context(), name, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func (s *sending) get(t *testing.T, name string, offset, length int64) ([]byte, error) {
	t.Helper()
	r, err := s.objects.Get(t.Context(), name, offset, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestAReaderGoesOnElsewhereWhereItWas(t *testing.T) {
	data := noise(50_000)
	for _, at := range []int{0, 1000, 25_000, 49_000} {
		for _, tc := range []struct{ offset, length int64 }{{0, -1}, {0, 50_000}, {500, -1}, {500, 49_499}} {
			t.Run(fmt.Sprintf("dies at %d of %d+%d", at, tc.offset, tc.length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSending(t, "c2", "c3")
					s.stored(t, "p0", data)
					s.when(func(e uplinktest.Event) bool { return e.Call == uplinktest.Reading && e.Bytes >= at }, s.kill)
					want := data[tc.offset:]
					if tc.length >= 0 {
						want = want[:tc.length]
					}
					got, err := s.get(t, "p0", tc.offset, tc.length)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
					}
					if s.objects.HandOvers() != 1 || s.at(uplinktest.Reading) != "c2 c3" {
						t.Errorf("%d hand-overs, read at %s", s.objects.HandOvers(), s.at(uplinktest.Reading))
					}
				})
			})
		}
	}
}

// All has come but the word that this was all.
func TestAReaderThatHasEverythingNeedsNobodyAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		data := noise(3000)
		s.stored(t, "p0", data)
		arrived := make(chan struct{})
		s.when(func(e uplinktest.Event) bool { return e.Call == uplinktest.Sent }, func(uplinktest.Event) {
			<-arrived
			for _, id := range []string{"c1", "c3", "c2"} {
				s.Kill(id)
			}
		})
		r, err := s.objects.Get(t.Context(), "p0", 1000, 1000)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := make([]byte, 1000)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, data[1000:2000]) {
			t.Error(err)
		}
		close(arrived)
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d bytes, %v", n, err)
		}
	})
}

// It dies again and again: every part comes from another.
func TestAReaderOutlivesManyControllers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2")
		data := noise(30_000)
		s.stored(t, "p0", data)
		s.mu.Lock()
		s.meet = func(e uplinktest.Event) error {
			if e.Bytes == 2000 {
				s.Kill(e.Node)
				for _, id := range []string{"c1", "c2", "c3"} {
					if id != e.Node {
						s.Revive(id)
					}
				}
				return errSlow
			}
			return nil
		}
		s.mu.Unlock()
		got, err := s.get(t, "p0", 0, -1)
		if err != nil || !bytes.Equal(got, data) || s.objects.HandOvers() < 5 {
			t.Errorf("%d bytes, %v, %d hand-overs", len(got), err, s.objects.HandOvers())
		}
	})
}

func TestAReaderWaitsWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2")
		data := noise(30_000)
		s.stored(t, "p0", data)
		back := time.AfterFunc(3*time.Minute, func() { s.Revive("c1") })
		defer back.Stop()
		s.when(func(e uplinktest.Event) bool { return e.Bytes == 5000 }, func(uplinktest.Event) {
			for _, id := range []string{"c1", "c3", "c2"} { // where it reads comes last
				s.Kill(id)
			}
		})
		got, err := s.get(t, "p0", 0, -1)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func TestAReaderLeavesAControllerThatSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		wake := make(chan struct{})
		defer close(wake)
		data := noise(30_000)
		s.stored(t, "p0", data)
		s.when(func(e uplinktest.Event) bool { return e.Bytes == 5000 }, func(uplinktest.Event) { <-wake })
		got, err := s.get(t, "p0", 0, -1)
		if err != nil || !bytes.Equal(got, data) || s.at(uplinktest.Reading) != "c2 c3" {
			t.Errorf("%d bytes, %v, read at %s", len(got), err, s.at(uplinktest.Reading))
		}
	})
}

// A tool may take what is read as slowly as it likes: it is not the controller's fault.
func TestAReaderWaitsForWhoeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		data := noise(8 << 20) // far more than is on the way at once
		s.stored(t, "p0", data)
		r, err := s.objects.Get(t.Context(), "p0", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got []byte
		for len(got) < len(data) {
			part := make([]byte, 1<<20)
			if _, err := io.ReadFull(r, part); err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
			<-time.After(time.Hour)
		}
		if !bytes.Equal(got, data) || s.at(uplinktest.Reading) != "c2" || s.objects.HandOvers() != 0 {
			t.Errorf("%d bytes, read at %s", len(got), s.at(uplinktest.Reading))
		}
		for range 2 { // the end is the end
			if n, err := r.Read(make([]byte, 10)); n != 0 || err != io.EOF {
				t.Errorf("after the end: %d, %v", n, err)
			}
		}
	})
}

func TestWhatIsNotThereIsNotLookedForElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2")
		if _, err := s.get(t, "p0", 0, -1); problem.CodeOf(err) != problem.NotFound || s.objects.HandOvers() != 0 {
			t.Errorf("error %v, %d hand-overs", err, s.objects.HandOvers())
		}
	})
}

// Several readers lose the same controller: all go on at one, in one hand-over.
func TestReadersLoseAControllerTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		data := noise(40_000)
		s.stored(t, "p0", data)
		s.when(func(e uplinktest.Event) bool { return e.Bytes == 20_000 }, s.kill)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if got, err := s.get(t, "p0", 0, -1); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
		if s.objects.HandOvers() != 1 {
			t.Errorf("%d hand-overs, log: %s", s.objects.HandOvers(), s.log)
		}
	})
}
