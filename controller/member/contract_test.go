package member_test

import (
	"testing"

	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/store/storetest"
)

// A store that another controller has is a store like any other.
func TestAPeerKeepsTheContractOfStores(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		folder, err := fs.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		h := newHouses(t)
		h.serve("c1", folder)
		return h.peer(0)
	})
}

// So it is when two controllers share a folder, and when one that is known is away.
func TestAPeerWithAControllerThatIsAwayKeepsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		folder, err := fs.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		h := newHouses(t)
		h.join("c0", nobody(t))
		h.serve("c1", folder)
		h.serve("c2", folder)
		return h.peer(0)
	})
}

// And so it is through a Reach, whichever store that uses.
func TestAReachKeepsTheContractOfStores(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Store {
		return member.NewReach(nil, mem.New(), func() string { return "" })
	})
}
