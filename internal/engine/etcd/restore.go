package etcd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/etcd/answer"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	// maxLine bounds a line: each byte of a pair may take four, as in \x00.
	maxLine = 4*answer.MaxPair + 1<<10
	// leastTime is the shortest time to live that a lease is given, in seconds, so
	// that it outlasts the transaction that uses it.
	leastTime = 60
	// deletion is how long deleting all keys may take; etcdctl gives up after five
	// seconds by itself.
	deletion = "ETCDCTL_COMMAND_TIMEOUT=10m"
)

// Restore puts the keys one transaction after the other: should r fail, those
// put so far stay, and the error says so.
func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if stream.Format != format {
		return problem.New(problem.InvalidInput, "the stream %s is no dump of etcd's keys", stream.Name).WithReason(engine.ReasonUnsupported)
	}
	p := &replay{s: s, from: bufio.NewReaderSize(r, 64<<10), empty: o.Overwrite}
	err := p.run(ctx)
	if err == nil || !p.begun {
		return err
	}
	return problem.Wrap(problem.CodeOf(err), err, "the restore broke off after %d keys; the etcd holds only a part of the snapshot", p.done).
		WithReason(problem.ReasonOf(err)).
		WithHint("Restore again, with overwriting permitted.")
}

// replay reads a dump and puts what it holds.
type replay struct {
	s     *session
	from  *bufio.Reader
	line  []byte
	empty bool // delete everything first
	begun bool // something was changed
	seen  int64
	done  int64 // keys that were put

	batch []put
	bytes int // of the batch
}

// run reads to the end of the stream before it puts the last keys, so that what
// is cut short is never there in full.
func (p *replay) run(ctx context.Context) error {
	line, err := p.next()
	if err == nil && !bytes.HasPrefix(line, []byte(firstLine)) {
		err = errLine
	}
	for err == nil {
		if line, err = p.next(); err != nil {
			break
		}
		if keys, last := parseLast(line); last {
			if keys != p.seen {
				return p.explain(errLine)
			}
			return p.finish(ctx)
		}
		err = p.add(ctx, string(line))
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return p.explain(err)
}

func (p *replay) finish(ctx context.Context) error {
	_, err := p.next()
	switch {
	case err == nil:
		return p.explain(errLine) // there is something behind the last line
	case !errors.Is(err, io.EOF):
		return p.explain(err)
	}
	return p.send(ctx)
}

// next reads a line, and gives it without its end.
func (p *replay) next() (line []byte, err error) {
	line, err = engine.ReadLine(p.from, p.line, maxLine)
	p.line = line[:0]
	return line, err
}

// explain says what is wrong with the dump.
func (p *replay) explain(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problem.New(problem.Failed, "the dump ends after %d keys, before its last line", p.seen).WithReason(engine.ReasonTruncated)
	case errors.Is(err, errLine), errors.Is(err, engine.ErrLongLine):
		return problem.New(problem.Failed, "after %d keys the dump holds what is none", p.seen).WithReason(engine.ReasonMalformed)
	}
	return err
}

// add takes one more line into the batch, after it has made room for it.
func (p *replay) add(ctx context.Context, line string) error {
	one, err := parsePut(line)
	if err != nil {
		return err
	}
	if n := len(p.batch); n == p.s.batch.lines || n > 0 && p.bytes+len(line) > p.s.batch.bytes {
		if err := p.send(ctx); err != nil {
			return err
		}
	}
	p.seen++
	p.batch = append(p.batch, one)
	p.bytes += len(line)
	return nil
}

// send puts the batch in one transaction.
func (p *replay) send(ctx context.Context) error {
	if p.empty {
		p.begun, p.empty = true, false
		_, exit, err := p.s.run(ctx, []string{deletion}, "del", "--prefix", "--", "")
		if err = p.s.ended(exit, err); err != nil {
			return fmt.Errorf("delete all keys: %w", err)
		}
	}
	if len(p.batch) == 0 {
		return nil
	}
	granted := map[int64]uint64{} // leases, by their time to live
	text := bytes.NewBuffer(make([]byte, 0, p.bytes+len(p.batch)*32))
	text.WriteByte('\n') // there is no condition
	for _, one := range p.batch {
		text.WriteString(linePut)
		if one.ttl > 0 {
			if granted[one.ttl] == 0 {
				id, err := p.grant(ctx, one.ttl)
				if err != nil {
					return err
				}
				granted[one.ttl] = id
			}
			fmt.Fprintf(text, "--lease=%x ", granted[one.ttl])
		}
		text.WriteString(one.pair)
		text.WriteByte('\n')
	}
	text.WriteString("\n\n") // nor is there anything to do otherwise
	p.begun = true
	out, exit, err := engine.Output(ctx, p.s.inst, p.s.command([]string{"ETCDCTL_WRITE_OUT=simple"}, text, "txn"), engine.AnswerLimit)
	if err = p.s.ended(exit, err); err != nil {
		return fmt.Errorf("put %d keys: %w", len(p.batch), err)
	}
	if !strings.HasPrefix(string(out), "SUCCESS") {
		return problem.New(problem.Failed, "etcdctl does not say that it has put the keys").WithReason(engine.ReasonToolFailed)
	}
	p.done += int64(len(p.batch))
	p.batch, p.bytes = p.batch[:0], 0
	return nil
}

// grant makes a lease and gives its id.
func (p *replay) grant(ctx context.Context, ttl int64) (uint64, error) {
	said, exit, err := p.s.run(ctx, []string{"ETCDCTL_WRITE_OUT=simple"}, "lease", "grant", fmt.Sprint(max(ttl, leastTime)))
	if err = p.s.ended(exit, err); err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	id, _, err := parseLease(said)
	if err != nil {
		return 0, problem.Wrap(problem.Failed, err, "understand what etcdctl says of a new lease").WithReason(engine.ReasonToolFailed)
	}
	return id, nil
}
