// Package store is the contract for a place that keeps objects: a directory, a
// bucket. Objects are immutable: written once, whole, then only read or deleted.
// Every store passes the suite in storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotExist = errors.New("object does not exist")
	ErrExists   = errors.New("object exists already")
	ErrNoSpace  = errors.New("no space left in the store")
	ErrRange    = errors.New("range beyond the end of the object")
)

// Info describes one object.
type Info struct {
	Name     string
	Size     int64
	Modified time.Time
}

// Store keeps objects. Implementations are safe for concurrent use.
type Store interface {
	// Describe names the store for people, without secrets: "fs:/var/lib/baktainer/store".
	Describe() string
	// Put stores all of r under name. When it returns nil the object is durable:
	// it survives a power cut. When it fails nothing is visible under name (unless
	// it was before). An existing object is never replaced: ErrExists, which means that
	// the one there is durable.
	Put(ctx context.Context, name string, r io.Reader) (Info, error)
	// Get reads length bytes from offset, or all that follows when length is -1. A
	// range beyond the end is ErrRange. ErrNotExist when there is no such object.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Stat describes an object. ErrNotExist when there is none.
	Stat(ctx context.Context, name string) (Info, error)
	// List calls fn for every object whose name begins with prefix, in byte order of
	// the names; an error of fn ends it and is returned.
	List(ctx context.Context, prefix string, fn func(Info) error) error
	// Delete removes an object for good. Removing one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Space tells the free and total bytes, or ok=false where a store has no such limit.
	Space(ctx context.Context) (free, total int64, ok bool, err error)
}

// CheckName says whether name may name an object: relative, slash-separated
// segments of letters, digits and "._~-", none empty, "." or "..", none beginning
// with a dot, at most 512 bytes. It keeps every store's naming rules, and
// whoever sends a name, inside the store.
func CheckName(name string) error {
	if name == "" || len(name) > 512 {
		return fmt.Errorf("object name %.40q: want 1 to 512 bytes", name)
	}
	for seg := range strings.SplitSeq(name, "/") {
		if seg == "" || seg[0] == '.' {
			return fmt.Errorf("object name %q: a segment is empty or begins with a dot", name)
		}
		for _, c := range []byte(seg) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._~-", c) >= 0) {
				return fmt.Errorf("object name %q: the character %q is not allowed", name, c)
			}
		}
	}
	return nil
}
