package archive

import (
	"bytes"
	"errors"
	"io"
)

// Filter reads an archive and passes it on without some collections: what is left is
// an archive of the others. What cannot be read as an archive passes as it is, for
// whoever checks it. Only a framing document is held back, until it is known whose
// it is.
type Filter struct {
	src    io.Reader
	drop   func(database, collection string) bool
	parser *Parser
	held   []byte // from heldAt on
	heldAt int64
	out    bytes.Buffer
	inside bool // a block, of which bytes may be passed on or dropped as they come
	away   bool // it is dropped
	buffer []byte
	err    error
}

// NewFilter makes a filter; drop says which collections do not pass.
func NewFilter(src io.Reader, drop func(database, collection string) bool) *Filter {
	const readSize = 64 << 10
	f := &Filter{src: src, drop: drop, parser: New(), buffer: make([]byte, readSize)}
	f.parser.Begins = func(database, collection string) {
		f.settle(f.parser.begin, false) // nothing, as what came before has ended
		f.inside, f.away = true, drop(database, collection)
	}
	f.parser.Piece = func(database, collection string, _, to int64) {
		f.settle(to, (database != "" || collection != "") && drop(database, collection))
		f.inside = false
	}
	return f
}

// settle passes on or drops what is held, up to an offset.
func (f *Filter) settle(to int64, drop bool) {
	n := to - f.heldAt
	if n > 0 && !drop {
		f.out.Write(f.held[:n])
	}
	if n > 0 {
		f.held, f.heldAt = f.held[n:], to
	}
}

// Read implements io.Reader.
func (f *Filter) Read(p []byte) (int, error) {
	for f.out.Len() == 0 {
		if f.err != nil {
			return 0, f.err
		}
		n, err := f.src.Read(f.buffer)
		f.held = append(f.held, f.buffer[:n]...)
		_, _ = f.parser.Write(f.buffer[:n]) // never fails
		if f.inside {
			f.settle(f.parser.at, f.away)
		}
		if f.err = err; errors.Is(err, io.EOF) || f.parser.err != nil {
			f.settle(f.heldAt+int64(len(f.held)), false)
		}
	}
	return f.out.Read(p)
}
