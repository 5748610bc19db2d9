package transport_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/baktainer/baktainer/internal/pki"
)

// The authority is replaced in three steps while an agent calls without a pause:
// no call fails. A stream that began under the old root lives until that is dropped.
func TestARotationBreaksNoCalls(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	agent := c.holder(pki.RoleAgent, "db1")
	conn := dial(t, n, agent)
	session, _ := s.open(t, conn)

	stop := make(chan struct{})
	var calls atomic.Int64
	var calling sync.WaitGroup
	calling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := heartbeat(t, conn); err != nil {
				t.Errorf("call %d: %v", calls.Load(), err)
				return
			}
			calls.Add(1)
		}
	})
	renew := func() { // and wait until calls come with the new certificate
		n.holder.Use(c.credentials(pki.RoleController, "c1", c.clock.Now()))
		next := c.credentials(pki.RoleAgent, "db1", c.clock.Now())
		agent.Use(next)
		until(t, "calls with the new certificate", func() bool { return s.shown.Load() == next.Leaf().SerialNumber.String() })
	}
	old, next := c.root, c.newRoot()
	c.change(func() { c.trusted, c.version = []*pki.Root{old, next}, 2 })
	renew() // everybody trusts both
	c.change(func() { c.root, c.version = next, 3 })
	renew() // everybody has one of the new
	s.next <- struct{}{}
	if _, err := session.Recv(); err != nil {
		t.Errorf("a stream that began with a certificate which was renewed since: %v", err)
	}
	c.change(func() { c.trusted, c.version = []*pki.Root{next}, 4 })
	for range 2 {
		if err := <-s.ended; err == nil {
			t.Error("a stream that began under the old root ended well")
		}
	}
	renew()
	until(t, "a few calls", func() bool { return calls.Load() > 20 })
	close(stop)
	calling.Wait()
}

// A controller whose root is dropped is left, whatever it wants.
func TestAClientLeavesADroppedRoot(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", register: s.register}) // knows of nothing
	agent := c.holder(pki.RoleAgent, "db1")
	session, upload := s.open(t, dial(t, n, agent))
	next := c.newRoot()
	c.change(func() { c.root, c.trusted, c.version = next, []*pki.Root{next}, 2 })
	agent.Use(c.credentials(pki.RoleAgent, "db1", c.clock.Now()))
	if _, err := session.Recv(); err == nil {
		t.Error("the session goes on")
	}
	if _, err := upload.CloseAndRecv(); err == nil {
		t.Error("the upload succeeds")
	}
	for range 2 {
		if err := <-s.ended; err == nil {
			t.Error("a handler ended well")
		}
	}
}
