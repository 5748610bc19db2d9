package state

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	maxAddress  = 300
	maxVersion  = 100
	maxLocation = 8 << 10
)

// setMember notes where a controller is reached.
func (w *writer) setMember(c *pb.SetMember) error {
	m := c.GetMember()
	switch {
	case !NamePattern.MatchString(m.GetId()):
		return bad("the controller's name is %.70q", m.GetId())
	case m.GetAddress() == "" || len(m.GetAddress()) > maxAddress || len(m.GetVersion()) > maxVersion:
		return bad("controller %s: it has no address, or too long a one", m.GetId())
	}
	w.put(tableMembers, m)
	return nil
}

// dropMember forgets a controller, and that it reaches stores.
func (w *writer) dropMember(c *pb.DropMember) error {
	if known, ok := first[*pb.MemberRecord](w.table, tableMembers, indexID, c.GetId()); ok {
		w.drop(tableMembers, known)
	}
	for _, s := range collect(rows[*pb.StoreRecord](w.table, tableStores, indexID, "", false), 0) {
		w.loseStore(s, c.GetId())
	}
	return nil
}

func (w *writer) loseStore(s *pb.StoreRecord, controller string) {
	i, there := slices.BinarySearch(s.GetControllers(), controller)
	if !there {
		return
	}
	left := proto.CloneOf(s)
	left.Controllers = slices.Delete(left.Controllers, i, i+1)
	w.put(tableStores, left)
}

// registerStore notes a store, and which controller reaches it by itself. Its
// name belongs to one repository for ever: ledger entries are by it.
func (w *writer) registerStore(c *pb.RegisterStore) error {
	if !idPattern.MatchString(c.GetName()) || len(c.GetLocation()) > maxLocation || len(c.GetRepository()) > maxWho {
		return bad("the store %.40q: its name is wrong, or its location too long", c.GetName())
	}
	if c.GetController() != "" && !NamePattern.MatchString(c.GetController()) {
		return bad("store %s: the controller's name is %.70q", c.GetName(), c.GetController())
	}
	known, exists := first[*pb.StoreRecord](w.table, tableStores, indexID, c.GetName())
	if c.GetLost() {
		switch {
		case c.GetController() == "":
			return bad("store %s: it is not said who has lost it", c.GetName())
		case !exists:
			return problem.New(problem.NotFound, "there is no store %s", c.GetName()).WithReason(ReasonNoStore)
		}
		w.loseStore(known, c.GetController())
		return nil
	}
	if known.GetRepository() != "" && c.GetRepository() != "" && known.GetRepository() != c.GetRepository() {
		return refuse(ReasonOtherRepo, "the store %s is repository %s, not %s", c.GetName(), known.GetRepository(), c.GetRepository()).
			WithHint("Give the controller the folder that belongs to this cluster, or an empty one.")
	}
	next := &pb.StoreRecord{Name: c.GetName(), Location: c.GetLocation(), Repository: c.GetRepository()}
	if next.GetRepository() == "" {
		next.Repository = known.GetRepository()
	}
	if c.GetController() != "" {
		next.Controllers = slices.Clone(known.GetControllers())
		if i, there := slices.BinarySearch(next.GetControllers(), c.GetController()); !there {
			next.Controllers = slices.Insert(next.Controllers, i, c.GetController())
		}
	}
	w.put(tableStores, next)
	return nil
}
