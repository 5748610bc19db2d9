package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

// SalvageReport says what Snapshot.Salvage got, and what not.
type SalvageReport struct {
	Stream string
	// Size is that of the stream, Written what was there of it.
	Size, Written int64
	// Whole says that what was written is the very stream, by its hash.
	Whole bool
	// Lost are the parts that are missing, in order. No two of them touch.
	Lost []LostRange
	// Damage says which objects are to blame.
	Damage []Damage
}

// LostRange is a part of a stream that cannot be had.
type LostRange struct {
	// Offset and Length are bytes of the stream, -1 when they are not known: the
	// list that tells how long the chunks of a pack are may be lost too.
	Offset, Length int64
	// Chunks is how many chunks lie there.
	Chunks int64
	// At is where the part belongs in what was written.
	At int64
}

// Damage is an object that cannot be used, or not all of it.
type Damage struct {
	Object, Reason string
	// Chunks of the stream are lost for it, of so many bytes. When Unknown is set
	// there are more bytes than that.
	Chunks, Bytes int64
	Unknown       bool
}

// Salvage writes all chunks of a stream that are intact, in order, and leaves out
// those that cannot be had. What it writes is checked as Open does, except that
// the hash of the whole can be held against it only when nothing is lost. Damage
// is in the report; an error means that the store did not answer, that ctx ended,
// or that w failed.
func (s *Snapshot) Salvage(ctx context.Context, stream string, w io.Writer) (SalvageReport, error) {
	b, err := s.stream(stream)
	if err != nil {
		return SalvageReport{}, err
	}
	v := salvage{s: s, frames: s.reader(ctx), hasher: newHasher(s.key), w: w, sum: sha256.New()}
	v.report = SalvageReport{Stream: b.Name, Size: b.Size}
	packs := s.packIDs()
	for _, run := range b.runs {
		if err := v.run(packs[run.pack], run); err != nil {
			return v.report, fmt.Errorf("salvage stream %q: %w", b.Name, err)
		}
	}
	v.place()
	v.report.Whole = len(v.report.Lost) == 0 && v.report.Written == b.Size && ledger.Hash(v.sum.Sum(nil)) == b.SHA256
	return v.report, nil
}

type salvage struct {
	s      *Snapshot
	frames *frameReader
	hasher *hasher
	w      io.Writer
	sum    hash.Hash
	buf    []byte
	report SalvageReport
}

// run writes what is intact of a run of chunks.
func (v *salvage) run(pack packID, run packRun) error {
	x, err := v.frames.index(pack)
	if err != nil {
		return v.lose(pack, -1, int64(run.count), err)
	}
	for n, end := run.first, run.first+run.count; n < end; {
		if int64(n) >= int64(len(x.ids)) {
			return v.lose(pack, -1, int64(end-n), v.frames.failed(pack, -1, malformed("it has no chunk %d", n)))
		}
		f := x.frameOf(n)
		next := min(end, x.frames[f].next)
		from, _ := x.bounds(n)
		var err error
		if v.buf, err = v.frames.chunks(pack, n, next-n, v.buf[:0]); err == nil {
			err = v.write(x, n, next)
		} else {
			err = v.lose(pack, int64(x.ends[next-1]-from), int64(next-n), err)
		}
		if err != nil {
			return err
		}
		n = next
	}
	return nil
}

// write writes the chunks in v.buf, except those that do not have their ids.
func (v *salvage) write(x *packIndex, first, end uint32) error {
	good, at := 0, 0 // from good to at is to be written
	flush := func() error {
		n, err := v.w.Write(v.buf[good:at])
		_, _ = v.sum.Write(v.buf[good : good+n])
		v.report.Written += int64(n)
		good += n
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	for n := first; n < end; n++ {
		from, to := x.bounds(n)
		length := int(to - from)
		if v.hasher.id(v.buf[at:at+length]) == x.ids[n] {
			at += length
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		f := x.frameOf(n)
		if err := v.lose(x.id, int64(length), 1, v.frames.failed(x.id, f, malformed("frame %d: chunks do not have their ids", f))); err != nil {
			return err
		}
		at += length
		good = at
	}
	return flush()
}

// lose notes chunks that are lost for err, unless that does not mean damage.
func (v *salvage) lose(pack packID, bytes, chunks int64, err error) error {
	if !Damaging(err) {
		return err
	}
	r := &v.report
	if n := len(r.Lost); n > 0 && r.Lost[n-1].At == r.Written {
		last := &r.Lost[n-1]
		last.Chunks += chunks
		if last.Length < 0 || bytes < 0 {
			last.Length = -1
		} else {
			last.Length += bytes
		}
	} else {
		r.Lost = append(r.Lost, LostRange{Offset: -1, Length: bytes, Chunks: chunks, At: r.Written})
	}
	object, reason := PackName(v.s.header.Source, pack.String()), reasonOf(err)
	if e, ok := errors.AsType[*packError](err); ok {
		if reason = reasonOf(e.err); e.pack != pack {
			reason = "dictionaries of other packs lie in it: " + reason
		}
		object = PackName(v.s.header.Source, e.pack.String())
	}
	i := slices.IndexFunc(r.Damage, func(d Damage) bool { return d.Object == object && d.Reason == reason })
	if i < 0 {
		i, r.Damage = len(r.Damage), append(r.Damage, Damage{Object: object, Reason: reason})
	}
	d := &r.Damage[i]
	d.Chunks, d.Bytes, d.Unknown = d.Chunks+chunks, d.Bytes+max(bytes, 0), d.Unknown || bytes < 0
	return nil
}

// Damaging says whether an error of reading means that the object is damaged or
// missing, or lies where the disk cannot read it any more, so that trying again is
// of no use.
func Damaging(err error) bool {
	return problem.CodeOf(err) == problem.Corrupt || errors.Is(err, syscall.EIO)
}

// reasonOf is what err says below the naming of the object.
func reasonOf(err error) string {
	if p, ok := errors.AsType[*problem.Problem](err); ok && p.Err != nil {
		return strings.TrimPrefix(p.Err.Error(), errMalformed.Error()+": ")
	}
	return err.Error()
}

// place finds out where in the stream the lost parts were: counted from its
// beginning, and from its end past those whose length is not known. The length of
// one alone follows from the size of the stream.
func (v *salvage) place() {
	r := &v.report
	known, unknown := r.Written, 0
	for _, l := range r.Lost {
		known += max(l.Length, 0)
		if l.Length < 0 {
			unknown++
		}
	}
	if unknown == 1 {
		i := slices.IndexFunc(r.Lost, func(l LostRange) bool { return l.Length < 0 })
		if n := r.Size - known; n >= r.Lost[i].Chunks {
			r.Lost[i].Length = n
		}
	}
	lost := int64(0)
	for i := range r.Lost {
		l := &r.Lost[i]
		l.Offset = l.At + lost
		if l.Length < 0 {
			break
		}
		lost += l.Length
	}
	lost = 0
	for i := len(r.Lost) - 1; i >= 0 && r.Lost[i].Length >= 0; i-- {
		l := &r.Lost[i]
		if lost += l.Length; l.Offset < 0 {
			l.Offset = r.Size - (r.Written - l.At) - lost
		}
	}
}
