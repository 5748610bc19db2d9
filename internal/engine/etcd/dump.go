package etcd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/etcd/answer"
	"github.com/baktainer/baktainer/internal/problem"
)

// Pages grow from the first to about pageBytes, since nobody knows before how
// long values are: etcd and etcdctl hold a whole page in memory.
const (
	firstPage = 16
	pageGrows = 4
	pageKeys  = 1000
	pageBytes = 4 << 20
)

// maxLeases bounds the leases that are asked for their time to live, one by one.
// The others are given the longest time of these.
const maxLeases = 256

// dump is a process that consists of several: one etcdctl after the other gives
// a page of keys. The last line is written when the last of them has ended well
// and there are as many keys as etcd has said.
type dump struct {
	s      *session
	caller context.Context
	ctx    context.Context // ends also with Kill
	kill   context.CancelFunc

	out     bytes.Buffer // lines to be read
	line    []byte
	page    engine.Process // nil between two
	answer  *answer.Reader
	limit   int    // keys of the page
	got     int    // keys of the page so far
	bytes   int    // of them
	next    []byte // where the next page begins
	keys    int64  // so far
	total   int64  // keys that there are
	at      int64  // the revision, 0 before the first page
	leases  map[int64]int64
	longest int64

	ended bool
	exit  engine.Exit
	err   error
}

func (s *session) Dump(ctx context.Context, _ engine.Stream) (engine.Process, error) {
	d := &dump{s: s, caller: ctx, limit: firstPage, leases: map[int64]int64{}, longest: 1}
	d.ctx, d.kill = context.WithCancel(ctx)
	err := d.askLeases()
	if err == nil {
		err = d.turn()
	}
	if err != nil {
		d.kill()
		return nil, err
	}
	return d, nil
}

// Read implements engine.Process.
func (d *dump) Read(p []byte) (int, error) {
	for d.out.Len() == 0 && !d.ended {
		d.advance()
	}
	if d.out.Len() == 0 {
		return 0, io.EOF
	}
	return d.out.Read(p)
}

// Kill implements engine.Process.
func (d *dump) Kill() { d.kill() }

// Wait implements engine.Process.
func (d *dump) Wait() (engine.Exit, error) {
	_, _ = io.Copy(io.Discard, d)
	killed := d.ctx.Err() != nil
	d.kill()
	if killed && d.caller.Err() == nil && errors.Is(d.err, context.Canceled) {
		return engine.Exit{Status: 128 + 9}, nil
	}
	return d.exit, d.err
}

// turn starts the next page.
func (d *dump) turn() error {
	question := fmt.Sprintf("\nget --from-key --limit=%d --rev=%d -- %q\n\n\n", d.limit, d.at, d.next)
	p, err := d.s.inst.Exec(d.ctx, d.s.command([]string{"ETCDCTL_WRITE_OUT=protobuf"}, strings.NewReader(question), "txn"))
	if err != nil {
		return fmt.Errorf("start etcdctl: %w", err)
	}
	d.page, d.answer, d.got, d.bytes = p, answer.NewReader(p), 0, 0
	return nil
}

// advance writes the next key, or goes on to the next page, or ends.
func (d *dump) advance() {
	pair, err := d.answer.Next()
	if err == nil {
		if err = d.write(pair); err == nil {
			return
		}
		d.page.Kill()
		_, _ = d.page.Wait() // it was ended for a reason that is known
		d.end(engine.Exit{}, d.explain(err))
		return
	}
	whole := errors.Is(err, io.EOF)
	exit, waitErr := d.page.Wait()
	switch {
	case waitErr != nil || exit.Status != 0: // says more than an answer that is not whole
		d.end(exit, waitErr)
	case !whole:
		d.end(engine.Exit{}, d.explain(err))
	default:
		d.turned()
	}
}

// turned goes on after a whole page.
func (d *dump) turned() {
	if d.keys == int64(d.got) {
		d.total = d.answer.Count // on the first page: all keys
	}
	if d.got == 0 || !d.answer.More {
		d.finish()
		return
	}
	d.limit = min(max(1, pageBytes*d.got/max(d.bytes, 1)), d.limit*pageGrows, pageKeys)
	if err := d.turn(); err != nil {
		d.end(engine.Exit{}, err)
	}
}

func (d *dump) end(exit engine.Exit, err error) { d.ended, d.exit, d.err = true, exit, err }

// finish writes the last line.
func (d *dump) finish() {
	d.begin() // also when there are no keys
	if d.keys != d.total {
		d.end(engine.Exit{}, problem.New(problem.Failed, "etcd has %d keys and gave %d", d.total, d.keys).WithReason(engine.ReasonTruncated))
		return
	}
	fmt.Fprintf(&d.out, "%s%d keys\n", lastLine, d.keys)
	d.end(engine.Exit{}, nil)
}

// begin writes the first line, once.
func (d *dump) begin() {
	if d.at == 0 {
		d.at = d.answer.Revision
		fmt.Fprintf(&d.out, "%s%d, etcdctl %s\n", firstLine, d.at, d.s.tool)
	}
}

func (d *dump) write(p answer.Pair) error {
	if bytes.Compare(p.Key, d.next) < 0 || d.answer.Revision == 0 {
		return answer.ErrMalformed // it would go on for ever
	}
	d.begin()
	d.line = append(d.line[:0], linePut...)
	if p.Lease != 0 {
		d.line = append(d.line, lineLease...)
		d.line = append(strconv.AppendInt(d.line, d.timeToLive(p.Lease), 10), ' ')
	}
	d.line = appendPair(d.line, p.Key, p.Value)
	d.out.Write(d.line)
	d.next = append(append(d.next[:0], p.Key...), 0) // what may follow at the earliest
	d.keys++
	d.got++
	d.bytes += len(p.Key) + len(p.Value)
	return nil
}

// timeToLive is what a lease was granted, as far as is known.
func (d *dump) timeToLive(lease int64) int64 {
	if ttl, known := d.leases[lease]; known {
		return ttl
	}
	return d.longest
}

// askLeases learns the leases and what they were granted, in seconds, before the
// first page: while a page is not read to its end, Docker does not tell of the end
// of another program in the same container.
func (d *dump) askLeases() error {
	ids, err := d.s.leases(d.ctx)
	if err != nil {
		return fmt.Errorf("list the leases: %w", err)
	}
	for _, id := range ids {
		said, exit, err := d.s.run(d.ctx, []string{"ETCDCTL_WRITE_OUT=simple"}, "lease", "timetolive", strconv.FormatInt(id, 16))
		if err == nil && strings.Contains(said, "already expired") {
			continue
		}
		if err = d.s.ended(exit, err); err != nil {
			return fmt.Errorf("ask for a lease: %w", err)
		}
		_, ttl, err := parseLease(said)
		if err != nil {
			return problem.Wrap(problem.Failed, err, "understand what etcdctl says of a lease").WithReason(engine.ReasonToolFailed)
		}
		d.leases[id] = ttl
		d.longest = max(d.longest, ttl)
	}
	return nil
}

// leases lists the leases; of many, maxLeases from all over the list, which is in
// the order of their ends.
func (s *session) leases(ctx context.Context) ([]int64, error) {
	p, err := s.inst.Exec(ctx, s.command([]string{"ETCDCTL_WRITE_OUT=simple"}, nil, "lease", "list"))
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(p)
	var ids []int64
	total, every := -1, 1
	for n := -1; lines.Scan(); n++ {
		if n < 0 {
			if _, err := fmt.Sscanf(lines.Text(), "found %d leases", &total); err == nil {
				every = max(1, (total+maxLeases-2)/(maxLeases-1)) // the last one comes on top
			}
			continue
		}
		id, err := strconv.ParseInt(lines.Text(), 16, 64)
		if err == nil && len(ids) < maxLeases && (n%every == 0 || n == total-1) {
			ids = append(ids, id)
		}
	}
	exit, err := p.Wait()
	if err = s.ended(exit, err); err == nil && total < 0 {
		err = problem.New(problem.Failed, "etcdctl answered something other than a list").WithReason(engine.ReasonMalformed)
	}
	return ids, err
}

// parseLease reads what etcdctl says of a lease: its id and its time to live.
func parseLease(said string) (id uint64, ttl int64, err error) {
	_, err = fmt.Sscanf(said, "lease %x granted with TTL(%ds)", &id, &ttl)
	if err == nil && (id == 0 || ttl <= 0) {
		err = errors.New("it is no lease")
	}
	return id, ttl, err
}

// explain says what is wrong with an answer.
func (d *dump) explain(err error) error {
	p := problem.Wrap(problem.Failed, err, "read an answer of etcdctl after %d keys", d.keys)
	switch {
	case errors.Is(err, answer.ErrEmpty):
		return p.WithReason(engine.ReasonEmpty)
	case errors.Is(err, answer.ErrTruncated):
		return p.WithReason(engine.ReasonTruncated)
	case errors.Is(err, answer.ErrMalformed):
		return p.WithReason(engine.ReasonMalformed)
	case errors.Is(err, answer.ErrTooLong):
		p.What = fmt.Sprintf("the key after %.100q is longer than the %d MiB that etcdctl could restore", bytes.TrimSuffix(d.next, []byte{0}), answer.MaxPair>>20)
		p.Err = nil
		return p.WithReason(engine.ReasonUnsupported)
	}
	return err
}
