// Package cache keeps sealed packs that were sent to the controller on the
// agent's own disk as well, so that the next backup can compress new data against
// what it replaces without fetching that. Nothing depends on it: what is missing
// or damaged here costs room in the store. It holds no keys.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// unfinished ends the names of files that are being written.
const unfinished = ".part"

// Cache is a folder of packs, each a file named by the pack's id and its size. It
// is safe for concurrent use, by one process.
type Cache struct {
	dir   string
	limit int64
	clock clock.Clock
	log   *slog.Logger

	mu    sync.Mutex
	off   bool
	size  int64
	packs map[string]*entry // by pack id
}

type entry struct {
	size int64
	used time.Time
}

func (c *Cache) path(id string, size int64) string {
	return filepath.Join(c.dir, id+"-"+strconv.FormatInt(size, 10))
}

// Open returns the cache in dir, which is made if need be, of at most limit
// bytes. A folder that cannot be used makes a cache that keeps nothing, with a
// warning.
func Open(dir string, limit int64, clk clock.Clock, log *slog.Logger) *Cache {
	c := &Cache{dir: dir, limit: limit, clock: clk, log: log, packs: map[string]*entry{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(); err != nil {
		c.fail(err)
	}
	return c
}

// load finds what an earlier process has left.
func (c *Cache) load() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	files, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("list the folder: %w", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		id, size, ok := parse(f.Name())
		switch {
		case ok && info.Size() == size:
			c.packs[id] = &entry{size, info.ModTime()}
			c.size += size
		case ok || strings.HasSuffix(f.Name(), unfinished): // a crash left it
			_ = os.Remove(filepath.Join(c.dir, f.Name()))
		}
	}
	c.evict(0)
	return nil
}

// parse reads a file's name: the id of a pack and its size.
func parse(file string) (id string, size int64, ok bool) {
	id, number, ok := strings.Cut(file, "-")
	size, err := strconv.ParseInt(number, 10, 64)
	return id, size, ok && err == nil && isPackID(id)
}

func isPackID(id string) bool { return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" }

// Put keeps an object if it is a pack; others it ignores.
func (c *Cache) Put(name string, data []byte) {
	o, err := repo.ParseName(name)
	size := int64(len(data))
	if err != nil || o.Kind != repo.KindPack || size > c.limit {
		return
	}
	c.mu.Lock()
	_, there := c.packs[o.ID]
	off := c.off
	c.mu.Unlock()
	if there || off {
		return
	}
	part, err := c.write(o.ID, data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.packs[o.ID] == nil {
		c.evict(size)
		if err = os.Rename(part, c.path(o.ID, size)); err == nil {
			c.packs[o.ID] = &entry{size, c.clock.Now()}
			c.size += size
		}
	}
	if part != "" {
		_ = os.Remove(part) // gone already when all went well
	}
	if err != nil {
		c.fail(err)
	}
}

// write makes a file that does not count yet.
func (c *Cache) write(id string, data []byte) (part string, err error) {
	f, err := os.CreateTemp(c.dir, id+"-*"+unfinished)
	if err != nil {
		return "", fmt.Errorf("make a file: %w", err)
	}
	_, err = f.Write(data)
	return f.Name(), errors.Join(err, f.Close())
}

// fail switches the cache off. The caller holds c.mu.
func (c *Cache) fail(err error) {
	if !c.off {
		c.log.Warn("the cache of packs is switched off until the agent starts again: backups take more room in the store", "folder", c.dir, "error", err)
	}
	c.off = true
}

// evict makes room for more bytes: what was used longest ago goes first. The
// caller holds c.mu.
func (c *Cache) evict(more int64) {
	if c.size+more <= c.limit {
		return
	}
	ids := make([]string, 0, len(c.packs))
	for id := range c.packs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return c.packs[a].used.Compare(c.packs[b].used) })
	for _, id := range ids {
		if c.size+more <= c.limit {
			return
		}
		c.remove(id)
	}
}

func (c *Cache) remove(id string) {
	e := c.packs[id]
	_ = os.Remove(c.path(id, e.size)) // if it stays, the next start finds it
	delete(c.packs, id)
	c.size -= e.size
}

// Get implements repo.ObjectReader. What is not here is store.ErrNotExist.
func (c *Cache) Get(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	o, err := repo.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("get %s from the cache: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := fmt.Errorf("get %s from the cache: %w", name, store.ErrNotExist)
	e := c.packs[o.ID]
	if o.Kind != repo.KindPack || e == nil {
		return nil, missing
	}
	if length < 0 {
		length = e.size - offset
	}
	if offset < 0 || length < 0 || offset+length > e.size {
		return nil, fmt.Errorf("get %s from the cache: %w", name, store.ErrRange)
	}
	f, err := os.Open(c.path(o.ID, e.size))
	if err != nil {
		c.remove(o.ID)
		return nil, missing
	}
	c.touch(o.ID, e)
	return file{io.NewSectionReader(f, offset, length), f}, nil
}

// touchEvery is how exact the time of last use is, which is kept in the file's time.
const touchEvery = 10 * time.Minute

func (c *Cache) touch(id string, e *entry) {
	now := c.clock.Now()
	if now.Sub(e.used) < touchEvery && now.After(e.used) {
		return
	}
	e.used = now
	_ = os.Chtimes(c.path(id, e.size), time.Time{}, now) // only the order of eviction depends on it
}

// file is a part of a file.
type file struct {
	io.Reader
	io.Closer
}
