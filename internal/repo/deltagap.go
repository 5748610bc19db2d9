package repo

// gap is the new chunks since the last one that the base knows. What they
// replace shows when the next known one comes.
type gap struct {
	raw     []byte
	ids     []chunkID
	lengths []uint32
}

// differ takes a new chunk of a stream that follows an order.
func (w *Writer) differ(s *writtenStream, id *chunkID, chunk []byte) error {
	g, f := &w.gap, s.follow
	if len(g.ids) > 0 && len(g.raw)+len(chunk) > frameSize {
		// The base may never come back. Suppose that as many chunks went as came.
		if err := w.settle(f, f.at+min(uint32(len(g.ids)), f.order.length-f.at)); err != nil {
			return err
		}
	} else if n := len(s.runs); len(g.ids) == 0 && n > 0 {
		if p, ok := f.order.position(s.runs[n-1].first+s.runs[n-1].count-1, f.at); ok {
			f.at = p + 1
		}
	}
	if g.raw == nil {
		g.raw = make([]byte, 0, frameSize)
	}
	g.raw = append(g.raw, chunk...)
	g.ids = append(g.ids, *id)
	g.lengths = append(g.lengths, uint32(len(chunk)))
	return nil
}

// resume ends a gap where a known chunk of the base follows.
func (w *Writer) resume(f *follower, entry uint32) error {
	p, ok := f.order.position(entry, f.at)
	if !ok {
		return nil // it is known from elsewhere
	}
	return w.settle(f, p)
}

// settle puts the chunks of the gap in frames, to be compressed against those
// that they stand for: the ones before position to. The base goes on there.
func (w *Writer) settle(f *follower, to uint32) error {
	g, n, raw := &w.gap, uint32(len(w.gap.ids)), w.gap.raw
	for i := range g.ids {
		chunk := raw[:g.lengths[i]]
		raw = raw[len(chunk):]
		front, back := f.replaced(uint32(i), n, to)
		limit := frameSize
		if w.frame != nil && len(w.frame.near) > 0 || front.from < front.to || back.from < back.to {
			limit = deltaFrameSize
			if w.frame != nil && (w.frame.far(f.order, front) || w.frame.far(f.order, back)) {
				limit = 0 // it ends here
			}
		}
		if err := w.gather(&g.ids[i], chunk, limit); err != nil {
			return err
		}
		w.frame.lean(f.order, front)
		w.frame.lean(f.order, back)
	}
	g.raw, g.ids, g.lengths = g.raw[:0], g.ids[:0], g.lengths[:0]
	f.at = to
	return nil
}
