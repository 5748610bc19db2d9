package fs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	errStopped = errors.New("the machine or the process has stopped")
	errBroken  = errors.New("input/output error")
)

// pageSize is small, so that small files have many.
const pageSize = 16

// ignored are the syncs that a disk takes and does not do.
type ignored struct {
	files       bool // the bytes of files
	names       bool // new names of files
	directories bool // new names of directories
	removals    bool
}

// disk simulates a file system and the power behind it. It keeps what programs
// see apart from what is durable. It promises no more than POSIX does: names are
// durable once their directory is synced, bytes once their file is, and until
// then each change may last or not, whatever becomes of the others; a file's
// pages may hold anything. It is for one goroutine.
type disk struct {
	now     time.Time
	root    *node
	nodes   uint64
	ignores ignored
	links   bool // it cannot rename without replacing: renameNew makes a second name

	ops             int // that were asked for
	stopAt, breakAt int // the operation that is the first not to be done, or the only one to fail; 0: none
	stopped         bool
}

// node is a file or a directory.
type node struct {
	number   uint64
	modified time.Time
	dir      bool

	data, durable []byte // of a file

	names, kept map[string]*node // of a directory, and those that are durable
	pending     []change         // what makes names of kept, in order
}

type change struct {
	name string
	node *node // nil: removed
}

func newDisk() *disk {
	d := &disk{now: time.Unix(1e9, 0)}
	d.root = d.node(true)
	return d
}

func (d *disk) node(dir bool) *node {
	d.nodes++
	n := &node{number: d.nodes, modified: d.now, dir: dir}
	if dir {
		n.names, n.kept = map[string]*node{}, map[string]*node{}
	}
	return n
}

// step begins an operation.
func (d *disk) step() error {
	d.ops++
	switch {
	case d.stopped || d.ops == d.stopAt:
		d.stopped = true
		return errStopped
	case d.ops == d.breakAt:
		return errBroken
	}
	return nil
}

// find gives the directory that name is in, and what is there under that name, nil for nothing.
func (d *disk) find(name string) (parent, n *node, err error) {
	n = d.root
	for seg := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		switch parent = n; {
		case seg == "":
			return parent, n, nil // the root
		case n == nil:
			return nil, nil, fs.ErrNotExist
		case !n.dir:
			return nil, nil, syscall.ENOTDIR
		}
		n = parent.names[seg]
	}
	return parent, n, nil
}

func (n *node) set(name string, to *node) {
	if n.names[name] = to; to == nil {
		delete(n.names, name)
	}
	n.pending = append(n.pending, change{name, to})
}

func (n *node) keep(c change) {
	if n.kept[c.name] = c.node; c.node == nil {
		delete(n.kept, c.name)
	}
}

func (d *disk) makeDirs(name string) error {
	if name == "/" {
		return nil
	}
	if err := d.makeDirs(path.Dir(name)); err != nil {
		return err
	}
	if err := d.makeDir(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (d *disk) makeDir(name string) error {
	_, err := d.add(name, true)
	return err
}

func (d *disk) add(name string, dir bool) (*node, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	parent, n, err := d.find(name)
	if err == nil && n != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, err
	}
	n = d.node(dir)
	parent.set(path.Base(name), n)
	return n, nil
}

func (d *disk) syncDir(name string) error {
	n, err := d.get(name)
	if err != nil {
		return err
	}
	var rest []change
	for _, c := range n.pending {
		switch {
		case c.node == nil && d.ignores.removals, c.node != nil && c.node.dir && d.ignores.directories, c.node != nil && !c.node.dir && d.ignores.names:
			rest = append(rest, c)
		default:
			n.keep(c)
		}
	}
	n.pending = rest
	return nil
}

// get is an operation on what is there.
func (d *disk) get(name string) (*node, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	_, n, err := d.find(name)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	return n, err
}

func (d *disk) readDir(name string) ([]fs.DirEntry, error) {
	n, err := d.get(name)
	if err != nil {
		return nil, err
	}
	if !n.dir {
		return nil, syscall.ENOTDIR
	}
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(info{name, n.names[name]}))
	}
	return entries, nil
}

func (d *disk) create(name string) (newFile, error) {
	n, err := d.add(name, false)
	return &handle{d: d, node: n}, err
}

func (d *disk) open(name string) (openFile, error) {
	n, err := d.get(name)
	if err != nil {
		return nil, err
	}
	return &handle{d, n, bytes.NewReader(n.data)}, nil
}

func (d *disk) lstat(name string) (fs.FileInfo, error) {
	n, err := d.get(name)
	return info{path.Base(name), n}, err
}

func (d *disk) renameNew(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	oldParent, n, err := d.find(from)
	if err != nil || n == nil {
		return errors.Join(fs.ErrNotExist, err)
	}
	newParent, there, err := d.find(to)
	if err == nil && there != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return err
	}
	newParent.set(path.Base(to), n)
	if !d.links {
		oldParent.set(path.Base(from), nil)
	}
	return nil
}

func (d *disk) remove(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	parent, n, err := d.find(name)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	if err == nil {
		parent.set(path.Base(name), nil)
	}
	return err
}

// cut takes the power away and gives it back: what was not durable is kept, lost
// or spoiled as the seed says.
func (d *disk) cut(seed uint64) {
	moods := rand.New(rand.NewPCG(seed, 0))
	names, pages := moods.IntN(5), moods.IntN(5) // of 4: how likely it is that one lasts
	seen := map[*node]bool{}
	var settle func(n *node)
	settle = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		random := rand.New(rand.NewPCG(seed, n.number)) // the names of temporary files must not matter
		if !n.dir {
			n.spoil(random, pages)
			return
		}
		lost := map[string]bool{} // of one name the changes before the first that is lost
		for _, c := range n.pending {
			if lost[c.name] = lost[c.name] || random.IntN(4) >= names; !lost[c.name] {
				n.keep(c)
			}
		}
		n.names, n.pending = maps.Clone(n.kept), nil
		for _, below := range n.names {
			settle(below)
		}
	}
	settle(d.root)
	d.stopped, d.stopAt, d.breakAt = false, 0, 0
	if moods.IntN(2) == 0 {
		d.now = d.now.Add(2 * staleAfter)
	}
}

// spoil makes of a file what a power cut does, unless it is synced.
func (n *node) spoil(random *rand.Rand, likely int) {
	if !bytes.Equal(n.data, n.durable) {
		size := [...]int{len(n.durable), len(n.data), len(n.durable) + random.IntN(len(n.data)-len(n.durable)+1)}[random.IntN(3)]
		left := make([]byte, size) // zeros
		copy(left, n.durable)
		for at := len(n.durable) / pageSize * pageSize; at < size; at += pageSize {
			end := min(at+pageSize, size)
			switch {
			case random.IntN(4) < likely:
				copy(left[at:end], n.data[at:end])
			case random.IntN(3) == 0: // the first half of the page
				copy(left[at:(at+end)/2], n.data[at:end])
			case random.IntN(2) == 0: // something else
				for i := range left[at:end] {
					left[at+i] = byte(random.Uint32())
				}
			}
		}
		n.data = left
	}
	n.durable = bytes.Clone(n.data)
}

// revive starts the process again: what programs saw is still there.
func (d *disk) revive() { d.stopped, d.stopAt = false, 0 }

// handle is an open file.
type handle struct {
	d    *disk
	node *node
	*bytes.Reader
}

func (h *handle) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := h.d.step(); err != nil {
		return 0, err
	}
	h.node.data = append(h.node.data, p...)
	return len(p), nil
}

// ReadFrom writes a little at a time, so that files take several operations.
func (h *handle) ReadFrom(r io.Reader) (total int64, err error) {
	buf := make([]byte, 3*pageSize/2)
	for {
		n, err := r.Read(buf)
		if _, err := h.Write(buf[:n]); err != nil {
			return total, err
		}
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (h *handle) Sync() error {
	if err := h.d.step(); err != nil {
		return err
	}
	if !h.d.ignores.files {
		h.node.durable = bytes.Clone(h.node.data)
	}
	return nil
}

func (h *handle) Stat() (fs.FileInfo, error) { return info{"", h.node}, nil }
func (h *handle) Close() error               { return nil }

// info describes a file.
type info struct {
	name string
	n    *node
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return int64(len(i.n.data)) }
func (i info) ModTime() time.Time { return i.n.modified }
func (i info) IsDir() bool        { return i.n.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.n.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
