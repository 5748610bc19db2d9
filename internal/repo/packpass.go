package repo

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/baktainer/baktainer/internal/ledger"
)

// maxPasses is how many packs are being read at a time. Whoever reads a snapshot
// in order comes back to most of its packs again and again.
const maxPasses = 16

// pass is one reading of a whole pack from its beginning to its end. All of it
// goes through the hash; of the frames on the way those that are asked for are kept.
type pass struct {
	id   packID
	ref  PackRef
	name string
	rc   io.ReadCloser
	at   int64
	sum  hash.Hash
}

// passes reads packs to hold them against their hashes, and frames of them for a
// frameReader. So a pack is read once as long as frames are wanted in the order
// in which they lie in it; those that are not are read again by themselves. It is
// for one goroutine.
type passes struct {
	r    *frameReader
	tell func(n int)
	open []*pass          // the one used last is the last
	seen map[packID]error // what was found of packs that were read to their end
	left map[packID]bool  // could not be read: not before the end is it tried again
	buf  []byte
}

func newPasses(r *frameReader, tell func(int)) *passes {
	return &passes{r: r, tell: tell, seen: map[packID]error{}, left: map[packID]bool{}, buf: make([]byte, 256<<10)}
}

// request fetches frames that were announced.
func (p *passes) request(f fetch) {
	q := p.of(f.x.id)
	from, to := f.span()
	if q == nil || q.at > from {
		p.r.request(f)
		return
	}
	for _, a := range f.arrivals {
		a.sole = false // whoever wants it may try, too
	}
	err := p.skip(q, from)
	p.r.arrive(f, func(b []byte) error {
		if err == nil {
			err = readFull(q.rc, b)
		}
		if err == nil {
			q.pass(b)
			p.tell(len(b))
		}
		return err
	})
	switch {
	case err != nil:
		p.left[q.id] = true
		p.close(q)
	case to == q.ref.Size-q.ref.Tail:
		p.finish(q)
	}
}

// of gives the pass that a pack is in, nil when it had it or cannot have one.
func (p *passes) of(id packID) *pass {
	for i, q := range p.open {
		if q.id == id {
			copy(p.open[i:], p.open[i+1:])
			p.open[len(p.open)-1] = q
			return q
		}
	}
	if _, ok := p.seen[id]; ok || p.left[id] {
		return nil
	}
	q, err := p.begin(id)
	if err != nil {
		p.left[id] = true
		return nil
	}
	if len(p.open) == maxPasses {
		p.finish(p.open[0])
	}
	p.open = append(p.open, q)
	return q
}

func (p *passes) begin(id packID) (*pass, error) {
	q := &pass{id: id, ref: p.r.packs[id], name: PackName(p.r.source, id.String()), sum: sha256.New()}
	rc, err := p.r.objects.Get(p.r.ctx, q.name, 0, -1)
	if err != nil {
		return nil, readFailure(p.r.ctx, p.r.source, q.name, err)
	}
	q.rc = rc
	return q, nil
}

func (q *pass) pass(b []byte) {
	_, _ = q.sum.Write(b) // a hash
	q.at += int64(len(b))
}

// skip reads what lies before a place.
func (p *passes) skip(q *pass, to int64) error {
	for q.at < to {
		n, err := q.rc.Read(p.buf[:min(int64(len(p.buf)), to-q.at)])
		q.pass(p.buf[:n])
		p.tell(n)
		if err != nil && q.at < to {
			return err
		}
	}
	return nil
}

// finish reads the rest of a pack, and notes what is wrong with it.
func (p *passes) finish(q *pass) {
	defer p.close(q)
	err := p.skip(q, q.ref.Size+1)
	switch {
	case err != nil && err != io.EOF: //nolint:errorlint // an error that wraps io.EOF is not the end
		err = readFailure(p.r.ctx, p.r.source, q.name, err)
	case q.at < q.ref.Size:
		err = corrupt(p.r.source, q.name, malformed("the object is cut short"))
	case q.at > q.ref.Size || ledger.Hash(q.sum.Sum(nil)) != q.ref.SHA256:
		err = corrupt(p.r.source, q.name, malformed("it is not the pack that the manifest records"))
	default:
		err = nil
	}
	p.seen[q.id] = err
}

func (p *passes) close(q *pass) {
	_ = q.rc.Close()
	for i := range p.open {
		if p.open[i] == q {
			p.open = append(p.open[:i], p.open[i+1:]...)
			return
		}
	}
}

// end finishes what is open, and reads the packs that were never asked for, as
// far as they are wanted.
func (p *passes) end(packs []packID, wanted func(packID) bool) {
	for len(p.open) > 0 {
		p.finish(p.open[0])
	}
	for _, id := range packs {
		if _, ok := p.seen[id]; ok || p.r.ctx.Err() != nil || !wanted(id) {
			continue
		}
		q, err := p.begin(id)
		if err != nil {
			p.seen[id] = err
			continue
		}
		p.finish(q)
	}
}
