package redis

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/baktainer/baktainer/internal/engine/redis/rdb"
)

type replayOptions struct {
	flush     bool // delete everything first
	functions bool // the server knows functions
}

// replay reads a dump and gives the commands that make a server hold the same,
// in the server's protocol. When the dump is not whole, or reading it fails, so
// does reading the commands: the end is only told after a good checksum.
type replay struct {
	from     io.Reader
	options  replayOptions
	parser   *rdb.Parser
	chunk    []byte
	out      bytes.Buffer
	selected uint64
	sent     int64 // keys
	err      error // sticky, io.EOF at the end
}

func newReplay(r io.Reader, o replayOptions) *replay {
	p := &replay{from: r, options: o, chunk: make([]byte, 64<<10)}
	p.parser = rdb.New(&rdb.Handler{Entry: p.entry, Library: p.library})
	return p
}

func (p *replay) Read(b []byte) (int, error) {
	for p.out.Len() == 0 && p.err == nil {
		p.advance()
	}
	if p.out.Len() > 0 {
		return p.out.Read(b)
	}
	return 0, p.err
}

func (p *replay) advance() {
	n, err := p.from.Read(p.chunk)
	_, _ = p.parser.Write(p.chunk[:n]) // never fails
	switch {
	case p.parser.Err() != nil:
		p.err = explainDump(p.parser.Err())
	case errors.Is(err, io.EOF):
		p.err = io.EOF
		if _, bad := p.parser.Finish(); bad != nil {
			p.err = explainDump(bad)
			return
		}
		p.begin() // also when there are no keys
	case err != nil:
		p.err = err
	}
	const large = 1 << 20
	if p.out.Len() == 0 && p.out.Cap() > large {
		p.out = bytes.Buffer{}
	}
}

// begin sends what comes before everything else, once.
func (p *replay) begin() {
	if !p.options.flush {
		return
	}
	p.options.flush = false
	p.command([]byte("FLUSHALL"))
	if p.options.functions {
		p.command([]byte("FUNCTION"), []byte("FLUSH"))
	}
}

func (p *replay) entry(e rdb.Entry) error {
	p.begin()
	if e.Database != p.selected {
		p.selected = e.Database
		p.command([]byte("SELECT"), strconv.AppendUint(nil, e.Database, 10))
	}
	payload := len(e.Value) + 1 + rdb.FooterSize
	if payload > rdb.MaxValue {
		return rdb.ErrTooLong
	}
	p.array(6)
	p.bulk([]byte("RESTORE"))
	p.bulk(e.Key)
	p.bulk(strconv.AppendInt(nil, e.Expires, 10))
	p.header('$', payload)
	footer := p.parser.Footer(e)
	p.out.WriteByte(e.Type)
	p.out.Write(e.Value)
	p.out.Write(footer[:])
	p.out.WriteString("\r\n")
	p.bulk([]byte("REPLACE"))
	p.bulk([]byte("ABSTTL"))
	p.sent++
	return nil
}

func (p *replay) library(code []byte) error {
	p.begin()
	p.command([]byte("FUNCTION"), []byte("LOAD"), []byte("REPLACE"), code)
	return nil
}

func (p *replay) command(words ...[]byte) {
	p.array(len(words))
	for _, w := range words {
		p.bulk(w)
	}
}

func (p *replay) array(n int) { p.header('*', n) }

func (p *replay) bulk(b []byte) {
	p.header('$', len(b))
	p.out.Write(b)
	p.out.WriteString("\r\n")
}

func (p *replay) header(kind byte, n int) {
	p.out.WriteByte(kind)
	p.out.Write(strconv.AppendInt(p.out.AvailableBuffer(), int64(n), 10))
	p.out.WriteString("\r\n")
}
