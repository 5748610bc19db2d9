package repo

const (
	// jobSize is how many bytes of a stream are read in one go: mostly one frame.
	jobSize = 1 << 20
	// jobPieces bounds how many pieces they may come from.
	jobPieces = 1 << 12
	// windowSize is how many bytes of a stream are looked at to see which frames
	// can be fetched together.
	windowSize = 4 << 20
)

// job is a part of a stream that is read, and checked, in one go.
type job struct {
	pieces []packRun
	size   int
	last   bool // of the stream

	done chan struct{} // closed when what follows is there
	buf  []byte        // the bytes; when err is set, those before it
	err  error
}

func newJob() *job { return &job{done: make(chan struct{})} }

// plan divides a stream into jobs.
type plan struct {
	frames *frameReader
	packs  []packID // of the manifest's list
	runs   []packRun
	run    int
	nth    uint32 // the next chunk is the nth of that run
}

// window gives the next jobs, at least one, and what is to be fetched for them. The
// last one of the stream is the last; one with an error has no successor either.
func (p *plan) window() (jobs []*job, fetches []fetch) {
	j, size := newJob(), 0
	wanted, order := map[packID][]int{}, []*packIndex{}
	for p.run < len(p.runs) && size < windowSize {
		run := p.runs[p.run]
		x, err := p.frames.index(p.packs[run.pack])
		if err == nil && int64(run.first)+int64(p.nth) >= int64(len(x.ids)) {
			err = p.frames.failed(x.id, -1, malformed("it has no chunk %d", run.first+p.nth))
		}
		if err != nil {
			if j.size > 0 {
				jobs, j = append(jobs, j), newJob()
			}
			j.err = err
			close(j.done)
			break
		}
		piece, bytes, frame := p.piece(x, run)
		if j.size > 0 && (j.size+bytes > jobSize || len(j.pieces) == jobPieces) {
			jobs, j = append(jobs, j), newJob()
		}
		j.pieces, j.size, size = append(j.pieces, piece), j.size+bytes, size+bytes
		if n := wanted[x.id]; len(n) == 0 {
			order = append(order, x)
			wanted[x.id] = []int{frame}
		} else if n[len(n)-1] != frame {
			wanted[x.id] = append(n, frame)
		}
		if p.nth += piece.count; p.nth == run.count {
			p.run, p.nth = p.run+1, 0
		}
	}
	j.last = p.run == len(p.runs)
	for _, x := range order {
		fetches = append(fetches, p.frames.missing(x, wanted[x.id])...)
	}
	return append(jobs, j), fetches
}

// piece is what comes next and lies in one frame: as much as a job may have.
func (p *plan) piece(x *packIndex, run packRun) (piece packRun, bytes, frame int) {
	first := run.first + p.nth
	frame = x.frameOf(first)
	from, _ := x.bounds(first)
	end := min(run.first+run.count, x.frames[frame].next)
	for end > first+1 && x.ends[end-1]-from > jobSize {
		end -= max(1, (end-first)/8)
	}
	return packRun{run.pack, first, end - first}, int(x.ends[end-1] - from), frame
}
