package uplink

import (
	"errors"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
)

// phone is a connection that only counts.
type phone struct {
	grpc.ClientConnInterface
	address string
	closed  int
	hurried int
}

func (p *phone) ResetConnectBackoff() { p.hurried++ }

func (p *phone) Close() error { p.closed++; return nil }

// exchange dials phones and keeps them.
type exchange struct {
	phones []*phone
	err    error
}

func (e *exchange) Dial(address string) (Conn, error) {
	if e.err != nil {
		return nil, e.err
	}
	p := &phone{address: address}
	e.phones = append(e.phones, p)
	return p, nil
}

// take takes a line and returns what releases it.
func take(t *testing.T, p *pool, l line) func() {
	t.Helper()
	_, release, err := p.take(l)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestAConnectionIsMadeOnceForEachLine(t *testing.T) {
	t.Parallel()
	e := &exchange{}
	p := newPool(e)
	for range 3 {
		take(t, p, line{"a", false})()
		take(t, p, line{"a", true})()
		take(t, p, line{"b", true})()
	}
	if len(e.phones) != 3 {
		t.Fatalf("%d connections", len(e.phones))
	}
	p.close()
	for _, ph := range e.phones {
		if ph.closed != 1 {
			t.Errorf("the one to %s was closed %d times", ph.address, ph.closed)
		}
	}
	if _, _, err := p.take(line{"a", false}); err == nil {
		t.Error("a connection was made after the end")
	}
}

func TestAConnectionThatIsNotWantedIsClosedOnceNobodyUsesIt(t *testing.T) {
	t.Parallel()
	e := &exchange{}
	p := newPool(e)
	busy, again := take(t, p, line{"a", true}), take(t, p, line{"a", true})
	take(t, p, line{"a", false})()
	take(t, p, line{"b", true})()
	p.keep([]string{"b"})
	if e.phones[0].closed != 0 || e.phones[1].closed != 1 || e.phones[2].closed != 0 {
		t.Fatalf("closed: %+v", e.phones)
	}
	busy()
	busy() // once is once
	if e.phones[0].closed != 0 {
		t.Fatal("closed while somebody uses it")
	}
	again()
	if e.phones[0].closed != 1 {
		t.Error("not closed after its last use")
	}
	// One that comes back is dialled anew.
	take(t, p, line{"a", true})()
	if len(e.phones) != 4 || e.phones[3].address != "a" {
		t.Errorf("connections: %+v", e.phones)
	}
}

// Certificates may be unreadable just now; another address, or later, may do.
func TestAnAddressThatCannotBeDialledIsNoAnswer(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such file")
	_, _, err := newPool(&exchange{err: problem.Wrap(problem.InvalidInput, cause, "read the certificate")}).take(line{"a:1", false})
	if problem.CodeOf(err) != problem.Unavailable || !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func TestConnectionsAreHurried(t *testing.T) {
	t.Parallel()
	e := &exchange{}
	p := newPool(e)
	take(t, p, line{"a", true})()
	take(t, p, line{"b", false})()
	p.keep([]string{"a"})
	p.hurry()
	if e.phones[0].hurried != 1 || e.phones[1].hurried != 0 {
		t.Errorf("hurried: %+v", e.phones)
	}
}
