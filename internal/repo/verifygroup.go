package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"runtime"
	"sync"
	"sync/atomic"
)

// verifyAhead is how many jobs of all snapshots together are planned before the
// streams come to them.
const verifyAhead = 8

// verifyMemory leaves room for the manifests of several snapshots, where Open has
// the parts of the stream that are read ahead.
var verifyMemory = readMemory{frames: 40 << 20, indexes: 12 << 20, ahead: 12 << 20}

// verification reads snapshots of one source side by side. One goroutine plans
// what comes next, of the snapshot that is the farthest behind; one fetches it,
// and reads packs to their ends for it; some open frames and check chunks; and
// one for each snapshot hashes the streams.
type verification struct {
	ctx      context.Context
	frames   *frameReader
	passes   *passes
	subjects []*subject
	fetches  chan fetch
	work     chan opening
	tell     func(n int)
}

// subject is a snapshot that is being verified.
type subject struct {
	s      *Snapshot
	packs  []packID // of the manifest's list
	lists  map[packID]bool
	failed atomic.Bool // nothing more of it is wanted
	order  chan *job   // as they come in the streams

	// Of the one that plans:
	stream         int   // is being planned
	plan           *plan // of that stream, nil when it has not begun
	jobs           []*job
	planned, total int64 // bytes
	over           bool
}

// opening is a job whose frames are to be opened.
type opening struct {
	of *subject
	*job
}

// verifyGroup verifies snapshots that have packs in common, and says of each what
// is wrong.
func verifyGroup(ctx context.Context, snapshots []*Snapshot, packs []PackRef, tell func(int)) []error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	first := snapshots[0]
	readers := min(runtime.GOMAXPROCS(0), maxReaders)
	v := &verification{
		ctx: inner, tell: tell, fetches: make(chan fetch, maxRequests), work: make(chan opening, readers+1),
		frames: newFrameReader(inner, first.objects, first.key, first.header.Cipher, first.header.Source, packs, verifyMemory),
	}
	v.passes = newPasses(v.frames, tell)
	for _, s := range snapshots {
		v.subjects = append(v.subjects, newSubject(s, max(2, verifyAhead/len(snapshots))))
	}
	errs := make([]error, len(snapshots))
	var running sync.WaitGroup
	running.Go(v.plan)
	running.Go(func() { v.fetch(packs) })
	for range readers {
		running.Go(v.open)
	}
	for i, k := range v.subjects {
		running.Go(func() {
			if errs[i] = v.streams(k); errs[i] != nil {
				k.failed.Store(true)
				for range k.order { // the others go on
				}
			}
		})
	}
	running.Wait()
	for i, k := range v.subjects {
		for _, id := range k.packs {
			if errs[i] == nil {
				errs[i] = v.passes.seen[id]
			}
		}
		if ctx.Err() != nil {
			errs[i] = context.Cause(ctx)
		}
	}
	return errs
}

func newSubject(s *Snapshot, ahead int) *subject {
	k := &subject{s: s, packs: s.packIDs(), lists: map[packID]bool{}, order: make(chan *job, ahead), over: len(s.body.streams) == 0}
	for _, id := range k.packs {
		k.lists[id] = true
	}
	for _, b := range s.body.streams {
		k.total += b.Size
	}
	if k.over {
		close(k.order)
	}
	return k
}

// plan hands out jobs, those of the snapshot that is the farthest behind first.
func (v *verification) plan() {
	defer close(v.work)
	defer close(v.fetches)
	for {
		var k *subject
		for _, o := range v.subjects {
			if !o.over && (k == nil || o.progress() < k.progress()) {
				k = o
			}
		}
		if k == nil {
			return
		}
		v.next(k)
	}
}

func (k *subject) progress() float64 { return float64(k.planned) / float64(max(k.total, 1)) }

// next hands out the next job of a snapshot.
func (v *verification) next(k *subject) {
	end := func() {
		k.over = true
		close(k.order)
	}
	if k.failed.Load() || v.ctx.Err() != nil {
		end()
		return
	}
	if len(k.jobs) == 0 {
		if k.plan == nil {
			k.plan = &plan{frames: v.frames, packs: k.packs, runs: k.s.body.streams[k.stream].runs}
		}
		var fetches []fetch
		k.jobs, fetches = k.plan.window()
		for _, f := range fetches {
			v.fetches <- f
		}
	}
	j := k.jobs[0]
	k.jobs, k.planned = k.jobs[1:], k.planned+int64(j.size)
	select {
	case k.order <- j:
	case <-v.ctx.Done():
		end()
		return
	}
	if j.err == nil {
		select {
		case v.work <- opening{k, j}:
		case <-v.ctx.Done():
			end()
			return
		}
	}
	if j.last {
		k.stream, k.plan = k.stream+1, nil
	}
	if j.err != nil || k.stream == len(k.s.body.streams) {
		end()
	}
}

// fetch gets what is planned, then what is left of the packs.
func (v *verification) fetch(packs []PackRef) {
	for f := range v.fetches {
		if v.ctx.Err() != nil {
			abandon([]fetch{f}, context.Cause(v.ctx))
			continue
		}
		v.passes.request(f)
	}
	ids := make([]packID, len(packs))
	for i, ref := range packs {
		ids[i], _ = parsePackID(ref.ID)
	}
	v.passes.end(ids, func(id packID) bool {
		for _, k := range v.subjects {
			if k.lists[id] && !k.failed.Load() {
				return true
			}
		}
		return false
	})
}

// open opens the frames of jobs and checks their chunks, so that they are at hand
// when the stream comes to them. What fails then fails there again.
func (v *verification) open() {
	h := newHasher(v.subjects[0].s.key)
	for o := range v.work {
		for _, p := range o.pieces {
			if o.of.failed.Load() || v.ctx.Err() != nil {
				break
			}
			x, err := v.frames.index(o.of.packs[p.pack])
			if err != nil {
				break
			}
			f, _, err := v.frames.checked(x, p.first, p.count, h)
			if f != nil {
				v.frames.frames.release(f)
			}
			if err != nil {
				break
			}
		}
		close(o.done)
	}
}

// streams reads the streams of a snapshot to their ends, and computes the root.
func (v *verification) streams(k *subject) error {
	r := verifyingReader{v: v, k: k, hasher: newHasher(k.s.key)}
	for i := range k.s.body.streams {
		r.sum, r.size = sha256.New(), 0
		r.stream, r.chunks, r.group = &k.s.body.streams[i], 0, 0
		for last := false; !last; {
			j, err := v.job(k)
			if err != nil {
				return err
			}
			for _, p := range j.pieces {
				if err := r.piece(p); err != nil {
					return err
				}
			}
			last = j.last
		}
		if err := k.s.matches(&k.s.body.streams[i], r.size, r.sum); err != nil {
			return err
		}
	}
	if r.tree.root() != k.s.body.root {
		return corrupt(k.s.header.Source, ManifestName(k.s.header.Source, k.s.header.Snapshot), malformed("its chunks do not have its Merkle root"))
	}
	return nil
}

// job waits for the next job of a snapshot.
func (v *verification) job(k *subject) (*job, error) {
	j, ok := <-k.order
	if !ok {
		return nil, errors.Join(errors.New("verification ended early"), context.Cause(v.ctx))
	}
	select {
	case <-j.done:
		return j, j.err
	case <-v.ctx.Done():
		return nil, context.Cause(v.ctx)
	}
}

// verifyingReader is where the streams of one snapshot come together.
type verifyingReader struct {
	v      *verification
	k      *subject
	hasher *hasher
	sum    hash.Hash
	size   int64
	tree   merkle
	stream *bodyStream
	chunks int64  // of the stream
	group  uint32 // bytes of the group that is not complete
}

// count takes in the length of the next chunk, and says whether the groups of
// chunks are as long as the manifest says.
func (r *verifyingReader) count(length int) bool {
	if r.stream.groups == nil {
		return true
	}
	r.chunks, r.group = r.chunks+1, r.group+uint32(length)
	n := (r.chunks - 1) / groupChunks
	if r.chunks%groupChunks != 0 && r.chunks != r.stream.chunks {
		return true
	}
	whole := r.group == r.stream.groups[n]
	r.group = 0
	return whole
}

// piece takes in chunks of one frame.
func (r *verifyingReader) piece(p packRun) error {
	frames := r.v.frames
	x, err := frames.index(r.k.packs[p.pack])
	if err != nil {
		return err
	}
	f, b, err := frames.checked(x, p.first, p.count, r.hasher)
	if f != nil {
		defer frames.frames.release(f)
	}
	if err != nil {
		return err
	}
	for _, id := range f.value.packs {
		if !r.k.lists[id] { // another snapshot's list may have let it pass
			return frames.failed(x.id, x.frameOf(p.first), malformed("pack %s is not among those that the snapshot lists", id))
		}
	}
	_, _ = r.sum.Write(b) // a hash
	r.size += int64(len(b))
	at, _ := x.bounds(p.first)
	for n := p.first; n < p.first+p.count; n++ {
		length := int(x.ends[n] - at)
		r.tree.add(x.ids[n], length)
		if !r.count(length) {
			h := r.k.s.header
			return corrupt(h.Source, ManifestName(h.Source, h.Snapshot), malformed("a group of its chunks does not have the length that it says"))
		}
		at = x.ends[n]
	}
	r.v.tell(len(b))
	return nil
}
