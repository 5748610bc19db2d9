package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// dumps is a snapshot whose streams can be read one by one, from a controller
// or from a store.
type dumps struct {
	snapshot, source string
	streams          []streamView
	// copy writes one stream to w.
	copy func(ctx context.Context, stream string, w io.Writer) error
	// copyPart writes a dump of tables of one of the chosen streams, or of any, to w;
	// sized is told before how many bytes come.
	copyPart func(ctx context.Context, chosen, tables []string, sized func(int64), w io.Writer) error
	// contents is what is in it, nothing when that is not known.
	contents func(ctx context.Context) ([]contents.Object, error)
	// checks says that copy itself holds a stream against its hash in streams.
	checks bool
}

func (a *app) fromController(client pb.AdminServiceClient, snap *pb.Snapshot) dumps {
	get := func(ctx context.Context, req *pb.DumpSnapshotRequest, sized func(int64), w io.Writer) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // when w fails, the rest is not wanted
		chunks, err := client.DumpSnapshot(ctx, req)
		if err != nil {
			return err
		}
		receive := transport.Again[pb.DumpSnapshotResponse](chunks)
		for {
			resp, err := receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if resp.GetSize() > 0 {
				sized(resp.GetSize())
			}
			if _, err := w.Write(resp.GetData()); err != nil {
				return fmt.Errorf("write the dump: %w", err)
			}
		}
	}
	return dumps{
		snapshot: snap.GetId(), source: snap.GetSource(), streams: viewSnapshot(snap).Streams,
		copy: func(ctx context.Context, stream string, w io.Writer) error {
			return get(ctx, &pb.DumpSnapshotRequest{Snapshot: snap.GetId(), Select: stream}, func(int64) {}, w)
		},
		copyPart: func(ctx context.Context, chosen, tables []string, sized func(int64), w io.Writer) error {
			req := &pb.DumpSnapshotRequest{Snapshot: snap.GetId(), Tables: tables}
			if len(chosen) > 0 {
				req.Select = chosen[0]
			}
			return get(ctx, req, sized, w)
		},
		contents: func(ctx context.Context) ([]contents.Object, error) {
			h, _, err := a.readContents(ctx, client, snap.GetId())
			return h.objects, err
		},
	}
}

// pick returns the streams that the names select, all when there are none.
func (d dumps) pick(names []string) ([]streamView, error) {
	if len(names) == 0 {
		return d.streams, nil
	}
	var picked []streamView
	for _, n := range names {
		found := false
		for _, s := range d.streams {
			if (engine.Stream{Name: s.Name, Database: s.Database}).Called(n) {
				picked, found = append(picked, s), true
			}
		}
		if !found {
			p := problem.New(problem.NotFound, "snapshot %s has no database or stream %.80q", d.snapshot, n).WithSource(d.source)
			for _, s := range d.streams {
				p.WithDetails(strings.TrimSuffix(fmt.Sprintf("%s (database %s)", s.Name, s.Database), " (database )"))
			}
			return nil, p.WithHint("The lines above are what it has.")
		}
	}
	return picked, nil
}

// warnLeftOut tells what labels left out of dumps that are about to be written.
func (a *app) warnLeftOut(ctx context.Context, d dumps, streams []streamView) error {
	objects, err := d.contents(ctx)
	if err != nil {
		return err
	}
	of := map[string][]engine.Object{}
	for _, o := range objects {
		of[o.Stream] = append(of[o.Stream], engine.Object{Kind: o.Kind, Name: o.Name})
	}
	for _, s := range streams {
		if without := engine.SayLeftOut(s.Name, of[s.Name]); without != "" {
			a.warn([]string{without})
		}
	}
	return nil
}

// exported is what an export prints of each file.
type exported struct {
	Stream string `json:"stream" doc:"the stream"`
	Path   string `json:"path" doc:"the file"`
	Size   int64  `json:"size" doc:"bytes"`
	SHA256 string `json:"sha256" doc:"hash of the dump, as sha256sum prints it"`
}

// export writes streams to stdout ("-": one only), to a file, or when there are
// several into a folder, each under its name.
func (a *app) export(ctx context.Context, to string, f restoreFlags, d dumps) error {
	if len(f.tables) > 0 {
		return a.exportPart(ctx, to, f, d)
	}
	streams, err := d.pick(f.selected)
	if err != nil {
		return err
	}
	if err := a.warnLeftOut(ctx, d, streams); err != nil {
		return err
	}
	if to == "-" {
		if len(streams) != 1 {
			p := problem.New(problem.InvalidInput, "snapshot %s has %d streams; stdout takes one", d.snapshot, len(streams)).WithSource(d.source)
			for _, s := range streams {
				p.WithDetails(s.Name)
			}
			return p.WithHint("Name one of the lines above, or write all of them into a folder with `restore --to file:FOLDER`.")
		}
		if f.dry {
			a.say("%s of snapshot %s, %s, would be written to stdout.", streams[0].Name, d.snapshot, size(streams[0].Size))
			return nil
		}
		return a.copyChecked(ctx, d, streams[0], a.out)
	}
	files, err := plan(to, streams, f.overwrite)
	if err != nil {
		return err
	}
	if !f.dry {
		if err := a.writeAll(ctx, d, streams, files); err != nil {
			return err
		}
	}
	results := make([]exported, len(streams))
	rows := make([][]string, len(streams))
	for i, s := range streams {
		results[i] = exported{s.Name, files[i], s.Size, s.SHA256}
		rows[i] = []string{s.Name, files[i], size(s.Size), s.SHA256}
	}
	return a.print(results, files, func() {
		if f.dry {
			a.say("These files would be written:")
		}
		a.table([]string{"STREAM", "FILE", "SIZE", "SHA-256"}, rows)
	})
}

// exportPart writes a dump of some tables to stdout or to a file.
func (a *app) exportPart(ctx context.Context, to string, f restoreFlags, d dumps) error {
	if len(f.selected) > 1 {
		return problem.New(problem.InvalidInput, "tables come from one database, and %d are selected", len(f.selected)).
			WithHint("Export the tables of each database by themselves.")
	}
	if to != "-" {
		if err := free(f.overwrite, to); err != nil {
			return err
		}
	}
	if f.dry {
		a.say("A dump of %s from snapshot %s would be written to %s.", strings.Join(f.tables, ", "), d.snapshot, to)
		return nil
	}
	c := &checked{board: a.board(strings.Join(f.tables, ", "))}
	defer c.board.clear()
	write := func(w io.Writer) error {
		c.w = w
		if err := d.copyPart(ctx, f.selected, f.tables, func(n int64) { c.total = n }, c); err != nil {
			return err
		}
		if c.n == 0 || c.n != c.total {
			return problem.New(problem.Corrupt, "%d bytes came of %d", c.n, c.total).WithSource(d.source).WithHint("Do not use what was written.")
		}
		return nil
	}
	if to == "-" {
		return write(a.out)
	}
	if err := writeNew(to, write); err != nil {
		return err
	}
	c.board.clear()
	return a.print(exportedPart{f.tables, to, c.n}, []string{to}, func() {
		a.table([]string{"TABLES", "FILE", "SIZE"}, [][]string{{strings.Join(f.tables, ", "), to, size(c.n)}})
	})
}

// exportedPart is what an export of tables prints.
type exportedPart struct {
	Tables []string `json:"tables" doc:"the tables"`
	Path   string   `json:"path" doc:"the file"`
	Size   int64    `json:"size" doc:"bytes"`
}

// plan names the file of each stream, and refuses those that are there unless
// they may be overwritten.
func plan(to string, streams []streamView, overwrite bool) ([]string, error) {
	info, err := os.Stat(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, problem.Wrap(problem.Failed, err, "look at %s", to)
	}
	folder := len(streams) != 1 || (err == nil && info.IsDir())
	if folder && err == nil && !info.IsDir() {
		return nil, problem.New(problem.Conflict, "%s is a file, and there are %d streams to write", to, len(streams)).
			WithHint("Name a folder, or one stream with --select.")
	}
	files := make([]string, len(streams))
	for i, s := range streams {
		files[i] = to
		if folder {
			if s.Name == "" || s.Name != filepath.Base(s.Name) || s.Name == ".." || s.Name == "." {
				return nil, problem.New(problem.Corrupt, "the stream's name %.80q cannot be that of a file", s.Name)
			}
			files[i] = filepath.Join(to, s.Name)
		}
	}
	return files, free(overwrite, files...)
}

// free says whether files may be written. What is there and is no file, such as a
// folder or a device, is not replaced even when files may be.
func free(overwrite bool, paths ...string) error {
	var there []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			info, err = os.Lstat(path) // a link to nothing is there, too
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return problem.Wrap(problem.Failed, err, "look at %s", path)
		case !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink:
			return problem.New(problem.InvalidInput, "%s is no file", path).WithHint("Name a file, or - for stdout.")
		default:
			there = append(there, path)
		}
	}
	if len(there) > 0 && !overwrite {
		return problem.New(problem.Conflict, "what was to be written is there already").WithReason("file-exists").WithDetails(there...).
			WithHint("Choose another path, or replace what is there with --overwrite.")
	}
	return nil
}

func (a *app) writeAll(ctx context.Context, d dumps, streams []streamView, files []string) error {
	for i, s := range streams {
		if err := writeNew(files[i], func(w io.Writer) error { return a.copyChecked(ctx, d, s, w) }); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file and the folder that it is in.
func writeNew(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return problem.Wrap(problem.Failed, err, "make the folder of %s", path)
	}
	if err := writeWhole(path, write); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeWhole writes a file under another name beside its own, and renames it
// when it is whole and on disk: a file under its own name is never cut short.
// Only its owner may read it.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	partial := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".partial-"+rand.Text()[:6])
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return problem.Wrap(problem.Failed, err, "create the file")
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(partial)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(partial, path)); err != nil {
		return problem.Wrap(problem.Failed, err, "finish the file")
	}
	return nil
}

// copyChecked copies a stream and holds it against what the ledger says of it.
func (a *app) copyChecked(ctx context.Context, d dumps, s streamView, w io.Writer) error {
	c := &checked{w: w, board: a.board(s.Name), total: s.Size}
	if !d.checks {
		c.sum = sha256.New()
	}
	defer c.board.clear()
	if err := d.copy(ctx, s.Name, c); err != nil {
		return err
	}
	got := s.SHA256
	if c.sum != nil {
		got = hex.EncodeToString(c.sum.Sum(nil))
	}
	if c.n != s.Size || got != s.SHA256 {
		return problem.New(problem.Corrupt, "%s: %d bytes with SHA-256 %s came, the ledger says %d bytes with %s", s.Name, c.n, got, s.Size, s.SHA256).
			WithSource(d.source).WithHint("Do not use what was written. `baktainer snapshot verify %s` tells what is wrong.", d.snapshot)
	}
	return nil
}

// checked counts and hashes what passes, and shows how far it is.
type checked struct {
	w     io.Writer
	sum   hash.Hash // nil: is not wanted
	n     int64
	total int64
	board *board
	shown int64
}

// showEvery bounds how often the board is redrawn, in bytes.
const showEvery = 4 << 20

func (c *checked) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	c.n += int64(n)
	if c.board.live && c.n-c.shown >= showEvery {
		c.shown = c.n
		c.board.update(0, boardRow{done: c.n, total: c.total})
	}
	return n, err
}
