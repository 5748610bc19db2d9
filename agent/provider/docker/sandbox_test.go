package docker

import (
	"slices"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/label"
)

// summary is how a container of ours is listed, made long ago.
func summary(id, name, mark string, volumes ...string) any {
	mounts := []any{}
	for _, v := range volumes {
		mounts = append(mounts, map[string]any{"Type": "volume", "Name": v})
	}
	return map[string]any{
		"Id": id, "Names": []string{"/" + name}, "Labels": map[string]string{label.KeyHelper: mark}, "Mounts": mounts,
		"Created": time.Now().Add(-time.Hour).Unix(),
	}
}

// A container that gets its name for good while somebody looks for left-over ones
// is listed under the one before, and stays.
func TestWhatIsBeingSettledIsNotLeftOver(t *testing.T) {
	for name, settles := range map[string]bool{"settled meanwhile": true, "left over": false} {
		t.Run(name, func(t *testing.T) {
			removed := false
			f := &fake{removed: func(string) { removed = true }}
			p := newFake(t, f)
			b := &sandbox{p: p, id: "c", keep: "shop"}
			if settles {
				p.rooms[b.id] = true
			}
			f.list = func() []any {
				if settles {
					if err := b.settle(t.Context()); err != nil {
						t.Error(err)
					}
				}
				return []any{summary(b.id, "shop"+label.Unfinished, label.KeepMark+" r1")}
			}
			p.removeRooms(t.Context())
			if removed == settles {
				t.Errorf("removed: %v", removed)
			}
		})
	}
}

// The Engine keeps volumes that another container uses, so helpers go first.
func TestHelpersOfWhatIsLeftOverGoFirst(t *testing.T) {
	var removed []string
	f := &fake{
		removed: func(id string) { removed = append(removed, id) },
		list: func() []any {
			return []any{
				summary("room", "x", label.DrillMark+" r1", "v1", "v2"), summary("helper", "y", "1", "v2"),
				summary("other", "z", "1", "v3"), summary("theirs", "w", label.DrillMark+"them r2", "v3"),
			}
		},
	}
	newFake(t, f).removeRooms(t.Context())
	if want := []string{"helper", "room"}; !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
}
