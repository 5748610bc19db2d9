package docker

import (
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/label"
)

// A container that gets its name for good while somebody looks for left-over ones
// is listed under the one before, and stays.
func TestWhatIsBeingSettledIsNotLeftOver(t *testing.T) {
	for name, settles := range map[string]bool{"settled meanwhile": true, "left over": false} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
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
				return []any{map[string]any{
					"Id": b.id, "Names": []string{"/shop" + label.Unfinished}, "Labels": map[string]string{label.KeyHelper: label.KeepMark + " r1"},
					"Created": time.Now().Add(-time.Hour).Unix(),
				}}
			}
			p.removeRooms(t.Context())
			if removed := f.removed.Load() > 0; removed == settles {
				t.Errorf("removed: %v", removed)
			}
		})
	}
}
