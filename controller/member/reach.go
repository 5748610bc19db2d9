package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// Reach is the store as this controller has it: the folder of its own when that
// holds the cluster's repository, else that of another controller. Which one it
// is may change while it is used; what has begun goes on where it began.
type Reach struct {
	folder, peer store.Store
	repository   func() string
	now          atomic.Pointer[store.Store]
}

var _ store.Store = (*Reach)(nil)

// NewReach returns a store that is the peer until Look has found the repository in
// the folder, which may be nil. repository gives the id of the cluster's.
func NewReach(folder, peer store.Store, repository func() string) *Reach {
	r := &Reach{folder: folder, peer: peer, repository: repository}
	r.now.Store(&r.peer)
	return r
}

// Look finds out whether the folder holds the repository, and uses it from now on
// if so. When that cannot be told, everything stays as it is.
func (r *Reach) Look(ctx context.Context) (own bool, err error) {
	if r.folder == nil {
		return false, nil
	}
	found, _, err := repo.ListSlots(ctx, r.folder)
	switch {
	case problem.ReasonOf(err) == repo.ReasonNoRepository, errors.Is(err, store.ErrNotExist):
		// An empty folder, or the disk that should be there is not.
	case err != nil:
		return r.Own(), fmt.Errorf("look whether the repository is in %s: %w", r.folder.Describe(), err)
	case found != "" && found == r.repository():
		r.now.Store(&r.folder)
		return true, nil
	}
	r.now.Store(&r.peer)
	return false, nil
}

// Own says whether the store is this controller's own folder.
func (r *Reach) Own() bool { return r.now.Load() == &r.folder }

// Local gives the folder when it is used, else nil: what others may be served from.
func (r *Reach) Local() store.Store {
	if r.Own() {
		return r.folder
	}
	return nil
}

func (r *Reach) used() store.Store { return *r.now.Load() }

// Describe implements store.Store.
func (r *Reach) Describe() string { return r.used().Describe() }

// Put implements store.Store.
func (r *Reach) Put(ctx context.Context, name string, body io.Reader) (store.Info, error) {
	return r.used().Put(ctx, name, body)
}

// Get implements store.Store.
func (r *Reach) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	return r.used().Get(ctx, name, offset, length)
}

// Stat implements store.Store.
func (r *Reach) Stat(ctx context.Context, name string) (store.Info, error) {
	return r.used().Stat(ctx, name)
}

// List implements store.Store.
func (r *Reach) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	return r.used().List(ctx, prefix, fn)
}

// Delete implements store.Store.
func (r *Reach) Delete(ctx context.Context, name string) error { return r.used().Delete(ctx, name) }

// Space implements store.Store.
func (r *Reach) Space(ctx context.Context) (free, total int64, ok bool, err error) {
	return r.used().Space(ctx)
}
