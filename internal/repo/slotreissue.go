package repo

import (
	"context"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

// Reissue makes a slot for the key file of a holder who is known by the slot's
// label, such as a controller of a cluster, and removes the key-file slots that
// had that label before: a holder that asks again has lost its key, or never got
// it. The slot of the key at hand is never removed. With an error, a slot is
// returned when one was added.
func (k *Keys) Reissue(ctx context.Context, fresh KeyFile, label string, now time.Time) (Slot, error) {
	if label == "" {
		return Slot{}, problem.New(problem.InvalidInput, "a key slot that is made for a holder needs a label")
	}
	slots, err := k.current(ctx)
	if err != nil {
		return Slot{}, err
	}
	s, err := k.add(ctx, slots, fresh, label, now)
	if err != nil {
		return Slot{}, err
	}
	for _, old := range slots {
		v := k.genuine(old)
		if v == nil || v.Type != SlotKeyFile || v.Label != label || k.opens(k.key, v) {
			continue
		}
		err := k.remove(ctx, old.id, s, false)
		if c := problem.CodeOf(err); err != nil && c != problem.Conflict && c != problem.NotFound {
			return s.describe(), fmt.Errorf("slot %s was added, and slot %s is still there: %w", s.ID, old.id, err)
		}
	}
	return s.describe(), nil
}
