package member

import (
	"context"
	"fmt"
	"sync"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// KeyFiles gives each controller a key of the repository of its own, in a slot that
// is named after it. It implements Keys.
type KeyFiles struct {
	Store store.Store
	// Key reads this controller's own key, from wherever the settings say that it is.
	Key   func() (repo.Key, error)
	Clock clock.Clock

	mu sync.Mutex // one change of the slots at a time
}

var _ Keys = (*KeyFiles)(nil)

// SlotLabel is the label of the key slot of a controller.
func SlotLabel(controller string) string { return "controller " + controller }

// Issue implements Keys.
func (k *KeyFiles) Issue(ctx context.Context, controller string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	mine, err := k.Key()
	if err != nil {
		return nil, fmt.Errorf("read the key of the repository: %w", err)
	}
	keys, err := repo.OpenKeys(ctx, k.Store, mine)
	if err != nil {
		return nil, fmt.Errorf("open the key slots: %w", err)
	}
	fresh, err := repo.GenerateKeyFile()
	if err != nil {
		return nil, problem.Wrap(problem.Internal, err, "make a key for controller %s", controller)
	}
	if _, err := keys.Reissue(ctx, fresh, SlotLabel(controller), k.Clock.Now()); err != nil {
		return nil, fmt.Errorf("make a key slot for controller %s: %w", controller, err)
	}
	return fresh.Encode(), nil
}
