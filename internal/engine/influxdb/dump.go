package influxdb

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Pages grow from the first to about pageBytes, since nobody knows before how long
// points are: influx holds a whole page in memory. 10,000 rows are what InfluxDB
// sends at a time.
const (
	firstPage = 500
	pageGrows = 4
	pageRows  = 10_000
	pageBytes = 4 << 20
	// mostHeld bounds the lines of one time that are held, in bytes: beyond it, the
	// answer is none to what was asked.
	mostHeld = 4 * maxAnswer
)

// dump is a process that consists of several: one influx after the other gives a
// page of points. The last line is written when the last of them has ended well.
type dump struct {
	*io.PipeReader
	caller context.Context
	ctx    context.Context // ends also with Kill
	kill   context.CancelFunc
	done   chan struct{}
	err    error // when it is done
}

func (s *session) Dump(ctx context.Context, stream engine.Stream) (engine.Process, error) {
	d := &dump{caller: ctx, done: make(chan struct{})}
	d.ctx, d.kill = context.WithCancel(ctx)
	r, w := io.Pipe()
	d.PipeReader = r
	go func() {
		defer close(d.done)
		out := bufio.NewWriterSize(w, 64<<10)
		if d.err = s.write(d.ctx, out, stream.Database); d.err == nil {
			d.err = out.Flush()
		}
		_ = w.Close() // never fails
	}()
	return d, nil
}

// Kill implements engine.Process.
func (d *dump) Kill() { d.kill() }

// Wait implements engine.Process.
func (d *dump) Wait() (engine.Exit, error) {
	_, _ = io.Copy(io.Discard, d.PipeReader)
	<-d.done
	killed := d.ctx.Err() != nil
	d.kill()
	if killed && d.caller.Err() == nil && errors.Is(d.err, context.Canceled) {
		return engine.Exit{Status: 128 + 9}, nil
	}
	return engine.Exit{}, d.err
}

// write writes the dump of a database.
func (s *session) write(ctx context.Context, out *bufio.Writer, database string) error {
	how, err := s.made(ctx, database)
	if err != nil {
		return fmt.Errorf("read the definition of the database %s: %w", database, err)
	}
	first, then, err := how.definitions(database)
	if err != nil {
		return err
	}
	listed, err := s.list(ctx, "SHOW MEASUREMENTS ON "+ident(database))
	if err != nil {
		return fmt.Errorf("list the measurements of %s: %w", database, err)
	}
	all := make([][]*measurement, len(how.policies))
	for i, in := range how.policies {
		if all[i], err = s.measurements(ctx, database, in.name); err != nil {
			return fmt.Errorf("read the schema of %s.%s: %w", database, in.name, err)
		}
	}
	fmt.Fprintf(out, "%s%s\n%s\n", firstLine, s.version, lineDDL)
	for _, statement := range first {
		fmt.Fprintln(out, statement)
	}
	const named = 5
	if lost := unreadable(listed, all); len(lost) > 0 {
		fmt.Fprintf(out, "%sInfluxDB lists measurements without fields, which are not in the dump: either they were dropped, or their names have a backslash before a comma or a blank, and no query finds them: %.100q\n", lineNote, lost[:min(len(lost), named)])
	}
	for _, in := range how.policies[:min(len(how.policies), named)] {
		if len(in.more) > 0 {
			fmt.Fprintf(out, "%sof the retention policy %q this is not in the dump: %.100q\n", lineNote, in.name, in.more)
		}
	}
	for _, statement := range then {
		fmt.Fprintln(out, lineThen+statement)
	}
	fmt.Fprintf(out, "%s\n%s%s\n", lineDML, lineDB, database)
	p := &pager{s: s, out: out, database: database, limit: firstPage}
	for i, in := range how.policies {
		list := slices.DeleteFunc(all[i], func(m *measurement) bool { return !m.points })
		if len(list) == 0 {
			continue
		}
		if p.shards, err = s.shards(ctx, database, in.name); err != nil {
			return fmt.Errorf("list the shards of %s.%s: %w", database, in.name, err)
		}
		fmt.Fprintf(out, "%s%s\n", linePolicy, in.name)
		for _, m := range list {
			if err := p.dump(ctx, m); err != nil {
				return fmt.Errorf("read the points of %s.%s.%s: %w", database, in.name, m.name, err)
			}
		}
	}
	fmt.Fprintf(out, "%s%d points\n", lastLine, p.points)
	return nil
}

// unreadable are measurements without fields. InfluxDB may just list them for too
// long after they were dropped; but it mistakes names that have a backslash before a
// comma or a blank, which it lists without that, and finds what they hold by no query.
func unreadable(listed []string, all [][]*measurement) []string {
	known := map[string]bool{}
	for _, m := range slices.Concat(all...) {
		known[m.name] = true
	}
	return slices.DeleteFunc(listed, func(name string) bool { return known[name] || !strings.ContainsAny(name, ", ") })
}

// pager reads measurements page by page.
type pager struct {
	s        *session
	out      *bufio.Writer
	database string
	shards   []span
	limit    int   // rows of the next page
	points   int64 // written so far

	m       *measurement
	escaped string // its name in a line
	line    []byte
}

// page is what came of one question.
type page struct {
	rows  int
	bytes int
	last  int64    // the time of the last row
	times int      // how many different times there were
	held  []string // lines of the last time
}

// dump writes the points of a measurement. As several may have the same time, in
// no order that holds, the last time of a full page is asked for again, whole.
func (p *pager) dump(ctx context.Context, m *measurement) error {
	p.m, p.escaped = m, inMeasurement.Replace(m.name)
	p.limit = min(p.limit, firstPage) // points of another measurement tell nothing of the length of these
	mixed := m.mixed()
	columns, known := m.columns(nil), m.first-1
	full := false
	for from := m.first; from <= m.last; {
		until := m.last
		// A question for all shards costs InfluxDB more than one for the next. One
		// that has few points may have them all over.
		if full || len(mixed) > 0 {
			from, until = p.window(from)
		}
		if len(mixed) > 0 && until != known {
			numbers, err := p.numbers(ctx, mixed, from, until)
			if err != nil {
				return err
			}
			columns, known = m.columns(numbers), until
		}
		limit := p.limit
		got, err := p.page(ctx, columns, from, until, limit)
		if err != nil {
			return err
		}
		if got.rows > 0 {
			p.limit = min(max(1, pageBytes*got.rows/max(got.bytes, 1)), limit*pageGrows, pageRows)
		}
		switch full = got.rows >= limit; {
		case !full:
			if err := p.flush(got.held); err != nil {
				return err
			}
			from = until + 1
		case got.times > 1 || p.limit > limit: // a larger page may hold all of that time
			from = got.last
		default:
			if err := p.instant(ctx, columns, got.last); err != nil {
				return err
			}
			from = got.last + 1
		}
	}
	return nil
}

// window is where to go on from a time, and the last time of the shard there: what is
// between two shards holds no points.
func (p *pager) window(from int64) (start, until int64) {
	for _, one := range p.shards {
		if from < one.end {
			return max(from, one.start), min(p.m.last, one.end-1)
		}
	}
	return from, p.m.last
}

// question asks for points within a span of time.
func (p *pager) question(columns []column, from, until int64, rest string) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = ident(c.name) + "::" + c.kind
	}
	return fmt.Sprintf("SELECT %s FROM %s WHERE time >= %d AND time <= %d %s", strings.Join(names, ","), p.m.source(p.database), from, until, rest)
}

// page writes the points of one question, save those of the last time, which are
// held: they may not be all.
func (p *pager) page(ctx context.Context, columns []column, from, until int64, limit int) (page, error) {
	got := page{last: from - 1}
	held := 0
	question := p.question(columns, from, until, fmt.Sprintf("ORDER BY time LIMIT %d", limit))
	err := p.s.points(ctx, question, func(_ *series, row []any) error {
		at, err := p.point(columns, row)
		if err != nil {
			return err
		}
		if at < max(got.last, from) || at > until || got.rows >= limit {
			return errAnswer // it might go on for ever
		}
		if at > got.last {
			if err := p.flush(got.held); err != nil {
				return err
			}
			got.held, got.last = got.held[:0], at
			got.times++
			held = 0
		}
		if held += len(p.line); held > mostHeld {
			return errAnswer
		}
		got.held = append(got.held, string(p.line))
		got.rows++
		got.bytes += len(p.line)
		return nil
	})
	return got, err
}

// flush writes the lines of one time, sorted: InfluxDB gives them in another order
// each time, and the same data are to be the same dump.
func (p *pager) flush(lines []string) error {
	slices.Sort(lines)
	for _, line := range lines {
		if _, err := p.out.WriteString(line); err != nil {
			return err
		}
	}
	p.points += int64(len(lines))
	return nil
}

// instant writes the points of one time, series by series: these have an order. A
// page is one of series, whether they have a point at that time or not, so that the
// number of them all tells which page is the last, and the rows on it do not.
func (p *pager) instant(ctx context.Context, columns []column, at int64) error {
	var all int64
	var before, now map[string]bool // lines: a new series meanwhile pushes others onto the next page
	for offset := 0; ; offset += p.limit {
		held := 0
		before, now = now, map[string]bool{}
		question := p.question(columns, at, at, fmt.Sprintf("GROUP BY * SLIMIT %d SOFFSET %d", p.limit, offset))
		err := p.s.points(ctx, question, func(_ *series, row []any) error {
			of, err := p.point(columns, row)
			if held += len(p.line); err == nil && (of != at || held > mostHeld) {
				err = errAnswer
			}
			if err != nil {
				return err
			}
			if now[string(p.line)] = true; before[string(p.line)] {
				return nil
			}
			p.points++
			_, err = p.out.Write(p.line)
			return err
		})
		if next := int64(offset + p.limit); err == nil && next >= all {
			if all, err = p.series(ctx); err == nil && next >= all {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// series counts those of the measurement.
func (p *pager) series(ctx context.Context) (n int64, err error) {
	question := fmt.Sprintf("SHOW SERIES EXACT CARDINALITY ON %s FROM %s.%s", ident(p.database), ident(p.m.policy), ident(p.m.name))
	err = p.s.ask(ctx, question, func(_ *series, row []any) error {
		if len(row) != 1 {
			return errAnswer
		}
		n, err = whole(row[0])
		return err
	})
	return n, err
}

// point makes the line of a row, and tells its time.
func (p *pager) point(columns []column, row []any) (int64, error) {
	if len(row) != 1+len(columns) {
		return 0, errAnswer
	}
	at, err := whole(row[0])
	if err != nil {
		return 0, err
	}
	p.line, err = appendPoint(p.line[:0], p.escaped, columns, row)
	if err != nil {
		return 0, err
	}
	if slices.Contains(p.line, '\n') {
		p.line = append([]byte(lineEscaped), inOneLine.Replace(string(p.line))...)
	}
	p.line = append(p.line, '\n')
	return at, nil
}

// numbers finds of which type fields are within one shard: an operator that
// InfluxDB has for integers alone tells.
func (p *pager) numbers(ctx context.Context, mixed []string, from, until int64) (map[string]string, error) {
	types := map[string]string{}
	for _, name := range mixed {
		question := fmt.Sprintf("SELECT %s & 0 FROM %s WHERE time >= %d AND time <= %d LIMIT 1", ident(name), p.m.source(p.database), from, until)
		out, exit, err := engine.Output(ctx, p.s.inst, p.s.command(strings.NewReader(question), "-format=json"), engine.AnswerLimit)
		if err == nil && exit.Status == 0 { // which influx also ends with when its connection broke
			err = readAnswer(bytes.NewReader(out), func(*series, []any) error { return nil })
		}
		said := strings.ToLower(exit.Stderr)
		switch {
		case err != nil:
			return nil, err
		case exit.Status == 0, strings.Contains(said, "incompatible types: string"), strings.Contains(said, "incompatible types: boolean"):
			types[name] = "integer"
		case strings.Contains(said, "incompatible types: float and integer"):
			types[name] = "float"
		default:
			return nil, p.s.Explain(exit)
		}
		if !slices.Contains(p.m.fields[name], types[name]) {
			return nil, problem.New(problem.Failed, "the field %s of %s has the types %s", name, p.m.name, strings.Join(p.m.fields[name], ", ")).WithReason(engine.ReasonUnsupported)
		}
	}
	return types, nil
}
