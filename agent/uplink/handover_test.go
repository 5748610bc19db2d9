package uplink_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
)

// sending is an agent with a lease amid a cluster of three.
type sending struct {
	*uplinktest.Cluster
	store   *mem.Store
	client  *uplink.Client
	objects *uplink.Objects
	log     *bytes.Buffer

	mu     sync.Mutex
	events []uplinktest.Event
	meet   func(uplinktest.Event) error
}

// newSending has a lease whose objects go to these controllers first.
func newSending(t *testing.T, prefer ...string) *sending {
	t.Helper()
	s := &sending{store: mem.New(), log: &bytes.Buffer{}}
	s.Cluster = uplinktest.StartCluster(t, s.store, 3)
	s.Answer(uplinktest.Answers{Meet: func(e uplinktest.Event) error {
		s.mu.Lock()
		s.events = append(s.events, e)
		meet := s.meet
		s.mu.Unlock()
		if meet != nil {
			return meet(e)
		}
		return nil
	}})
	o := options("c1")
	o.Known = []uplink.Controller{{ID: "c1", Address: "c1:7070"}, {ID: "c2", Address: "c2:7070"}, {ID: "c3", Address: "c3:7070"}}
	s.client = s.ClientOf(o)
	s.objects = s.client.Objects(uplink.Hold{Lease: lease}, prefer, slog.New(slog.NewTextHandler(s.log, nil)).With("run", "r1"))
	return s
}

// when does something, once, at the first event that it is for, and has the call
// fail as one whose answer never comes.
func (s *sending) when(is func(uplinktest.Event) bool, do func(uplinktest.Event)) {
	var done atomic.Bool
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meet = func(e uplinktest.Event) error {
		if !is(e) || !done.CompareAndSwap(false, true) {
			return nil
		}
		do(e)
		return errors.New("it has died")
	}
}

func (s *sending) kill(e uplinktest.Event) { s.Kill(e.Node) }

// at are the controllers at which a kind of event was, each once in a row.
func (s *sending) at(call uplinktest.Call) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nodes []string
	for _, e := range s.events {
		if e.Call == call {
			nodes = append(nodes, e.Node)
		}
	}
	return strings.Join(slices.Compact(nodes), " ")
}

func (s *sending) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := s.objects.Put(t.Context(), name, data, sha256.Sum256(data)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

// has says whether the store has the object as it was sent.
func (s *sending) has(t *testing.T, name string, data []byte) {
	t.Helper()
	rc, err := s.store.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: %d bytes, %v", name, len(got), err)
	}
}

// commit commits and returns the names of the receipts shown at last, with who gave them.
func (s *sending) commit(t *testing.T) string {
	t.Helper()
	if err := s.objects.Commit(t.Context(), uplink.Snapshot{ID: "snap"}, nil); err != nil {
		t.Fatal(err)
	}
	commits := s.Heard().Commits
	var shown []string
	for _, r := range commits[len(commits)-1].GetReceipts() {
		shown = append(shown, r.GetName()+" "+string(r.GetMac()))
	}
	return strings.Join(shown, ", ")
}

func TestObjectsGoToTheControllerThatIsBest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c9", "c3", "c1")
		for i := range 3 {
			s.put(t, fmt.Sprint("p", i), noise(1000))
		}
		if got := s.at(uplinktest.Uploading); got != "c3" {
			t.Errorf("sent to %s", got)
		}
		if got := s.commit(t); got != "p0 c3, p1 c3, p2 c3" || s.at(uplinktest.Committing) != "c3" {
			t.Errorf("receipts %s, commit at %s", got, s.at(uplinktest.Committing))
		}
		if s.log.Len() > 0 || s.objects.HandOvers() != 0 {
			t.Errorf("%d hand-overs, log: %s", s.objects.HandOvers(), s.log)
		}
	})
}

func TestAControllerDiesWithAnObject(t *testing.T) {
	data := noise(3*transport.DataMessage + 7)
	for name, when := range map[string]func(uplinktest.Event) bool{
		"before its first byte": func(e uplinktest.Event) bool { return e.Call == uplinktest.Uploading && e.Object == "p1" },
		"amid it":               func(e uplinktest.Event) bool { return e.Object == "p1" && e.Bytes > transport.DataMessage },
		"with all but the end":  func(e uplinktest.Event) bool { return e.Object == "p1" && e.Bytes == len(data) },
		"before the answer":     func(e uplinktest.Event) bool { return e.Call == uplinktest.Uploaded && e.Object == "p1" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSending(t, "c2", "c3")
				s.when(when, s.kill)
				s.put(t, "p0", data)
				s.put(t, "p1", data)
				s.Revive("c2")
				s.put(t, "p2", data) // it stays where it is
				for _, p := range []string{"p0", "p1", "p2"} {
					s.has(t, p, data)
				}
				if got := s.commit(t); got != "p0 c2, p1 c3, p2 c3" {
					t.Errorf("receipts: %s", got)
				}
				if got := s.at(uplinktest.Uploading); got != "c2 c3" {
					t.Errorf("sent to %s", got)
				}
				if s.objects.HandOvers() != 1 {
					t.Errorf("%d hand-overs", s.objects.HandOvers())
				}
				want := fmt.Sprintf(`level=INFO msg="the controller c2 does not answer: going on with c3" run=r1 bytes=%d`, 2*len(data))
				if strings.Count(s.log.String(), "\n") != 1 || !strings.Contains(s.log.String(), want) {
					t.Errorf("log: %s, want %s", s.log, want)
				}
			})
		})
	}
}

func TestAControllerDiesWithACommit(t *testing.T) {
	for call, heard := range map[uplinktest.Call]int{uplinktest.Committing: 1, uplinktest.Committed: 2} {
		t.Run(string(call), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSending(t, "c1", "c2")
				s.put(t, "p0", noise(10))
				s.when(func(e uplinktest.Event) bool { return e.Call == call }, s.kill)
				if got := s.commit(t); got != "p0 c1" {
					t.Errorf("receipts: %s", got)
				}
				if got := s.at(uplinktest.Committing); got != "c1 c2" {
					t.Errorf("committed at %s", got)
				}
				if n := len(s.Heard().Commits); n != heard {
					t.Errorf("%d commits were heard, want %d", n, heard)
				}
			})
		})
	}
}

// All are away for longer than any pause; the pack waits, and so does the dump behind it.
func TestAllControllersAreAwayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		data := noise(transport.DataMessage)
		s.put(t, "p0", data)
		for _, id := range []string{"c1", "c2", "c3"} {
			s.Kill(id)
		}
		back := time.AfterFunc(5*time.Minute, func() { s.Revive("c1") })
		defer back.Stop()
		s.put(t, "p1", data)
		s.has(t, "p1", data)
		if got := s.commit(t); got != "p0 c2, p1 c1" || s.objects.HandOvers() != 1 {
			t.Errorf("receipts: %s; %d hand-overs", got, s.objects.HandOvers())
		}
		log := s.log.String()
		if strings.Count(log, "\n") != 2 || !strings.Contains(log, "no controller answers") || !strings.Contains(log, "the controller c2 does not answer: going on with c1") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestTheOnlyOneToAnswerAgainIsTheOneThatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2")
		s.put(t, "p0", noise(10))
		for _, id := range []string{"c1", "c2", "c3"} {
			s.Kill(id)
		}
		back := time.AfterFunc(time.Minute, func() { s.Revive("c2") })
		defer back.Stop()
		s.put(t, "p1", noise(10))
		if log := s.log.String(); s.objects.HandOvers() != 0 || !strings.Contains(log, "the controller c2 answers") {
			t.Errorf("%d hand-overs, log: %s", s.objects.HandOvers(), log)
		}
	})
}

func TestARefusalIsNotTakenElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2")
		s.mu.Lock()
		s.meet = func(uplinktest.Event) error { return problem.New(problem.Conflict, "the lease is another's") }
		s.mu.Unlock()
		err := s.objects.Put(t.Context(), "p0", noise(10), sha256.Sum256(noise(10)))
		if problem.CodeOf(err) != problem.Conflict || s.at(uplinktest.Uploading) != "c2" {
			t.Errorf("error %v, sent to %s", err, s.at(uplinktest.Uploading))
		}
	})
}

// Its process is stopped, or its disk hangs: the connection is there and nothing moves.
func TestAControllerThatTakesNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		wake := make(chan struct{})
		defer close(wake)
		s.when(func(e uplinktest.Event) bool { return e.Call == uplinktest.Uploaded && e.Object == "p1" }, func(uplinktest.Event) { <-wake })
		s.put(t, "p0", noise(10))
		from := time.Now()
		s.put(t, "p1", noise(10))
		if took := time.Since(from); took > 3*time.Minute || s.at(uplinktest.Uploading) != "c2 c3" {
			t.Errorf("after %v at %s", took, s.at(uplinktest.Uploading))
		}
	})
}

// Where every store is slow, the time given grows until one is quick enough.
func TestSlowStoresAreGivenMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t, "c2", "c3")
		s.mu.Lock()
		s.meet = func(e uplinktest.Event) error {
			if e.Call == uplinktest.Uploaded {
				<-time.After(7 * time.Minute)
			}
			return nil
		}
		s.mu.Unlock()
		s.put(t, "p0", noise(10))
		s.has(t, "p0", noise(10))
		<-time.After(time.Hour) // what was left goes to its end
	})
}

func TestNothingIsSentOnceTheLeaseIsOver(t *testing.T) {
	over := problem.New(problem.Unavailable, "the lease was lost")
	data := noise(3 * transport.DataMessage)
	for name, tc := range map[string]struct {
		after int // how often it is asked before it is over
		do    func(*testing.T, *uplink.Objects) error
		most  int // parts that may have come
	}{
		"put": {0, func(t *testing.T, o *uplink.Objects) error {
			return o.Put(t.Context(), "p", data, sha256.Sum256(data))
		}, 0},
		"amid a put": {3, func(t *testing.T, o *uplink.Objects) error {
			return o.Put(t.Context(), "p", data, sha256.Sum256(data))
		}, 2},
		"commit": {0, func(t *testing.T, o *uplink.Objects) error {
			return o.Commit(t.Context(), uplink.Snapshot{}, nil)
		}, 0},
		"get": {0, func(t *testing.T, o *uplink.Objects) error {
			r, err := o.Get(t.Context(), "p", 0, -1)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.ReadAll(r)
			return err
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSending(t)
				asked := 0
				o := s.client.Objects(uplink.Hold{Lease: lease, Lasts: func() error {
					if asked++; asked > tc.after {
						return over
					}
					return nil
				}}, nil, slog.New(slog.DiscardHandler))
				if err := tc.do(t, o); !errors.Is(err, over) {
					t.Errorf("error %v", err)
				}
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				if len(s.events) > tc.most+1 || (tc.most == 0 && len(s.events) > 0) {
					t.Errorf("events %v", s.events)
				}
				for _, e := range s.events {
					if e.Call == uplinktest.Uploaded {
						t.Error("it was stored")
					}
				}
			})
		})
	}
}

func TestOldControllersGiveNoReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending(t)
		s.Old()
		s.put(t, "p0", noise(10))
		if got := s.commit(t); got != "" || len(s.Heard().Commits) != 1 {
			t.Errorf("receipts %q of %d commits", got, len(s.Heard().Commits))
		}
	})
}
