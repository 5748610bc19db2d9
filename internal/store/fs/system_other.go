//go:build !linux

package fs

import (
	"context"
	"os"
)

// renameNew gives a file a name that no other file has yet: fs.ErrExist. The old name may remain.
func renameNew(from, to string) error { return os.Link(from, to) }

// Space implements store.Store.
func (s *Store) Space(context.Context) (free, total int64, ok bool, err error) {
	return 0, 0, false, nil
}
