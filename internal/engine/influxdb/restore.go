package influxdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// A batch is what one influx is given; it sends 5000 lines of it at a time, and a
// server takes 25 MB of them.
const (
	batchLines = 20_000
	batchBytes = 4 << 20
	maxLine    = 64 << 20
)

var errLine = errors.New("a line is none of a dump")

// Restore writes the points batch by batch: should r fail, those written so far
// stay, and the error says so.
func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if stream.Format != format {
		return problem.New(problem.InvalidInput, "the stream %s is no dump of a database of InfluxDB", stream.Name).WithReason(engine.ReasonUnsupported)
	}
	p := &replay{s: s, database: stream.Database, overwrite: o.Overwrite}
	p.from = bufio.NewReaderSize(io.TeeReader(r, &p.given), 64<<10)
	err := p.run(ctx)
	if err == nil || !p.begun {
		return err
	}
	return problem.Wrap(problem.CodeOf(err), err, "the restore broke off after %d points; the database %s holds only a part of the snapshot", p.done, p.database).
		WithReason(problem.ReasonOf(err)).
		WithHint("%s", hintOf(err, "Restore again, with overwriting permitted."))
}

// hintOf is what an error advises already, with more behind it.
func hintOf(err error, more string) string {
	if p, ok := errors.AsType[*problem.Problem](err); ok && p.Hint != "" {
		return p.Hint + " Then: " + more
	}
	return more
}

// replay reads a dump and writes what it holds.
type replay struct {
	s        *session
	from     *bufio.Reader
	given    inspector // of all that is read
	line     []byte
	database string
	// overwrite: what the database has may be dropped.
	overwrite bool
	policy    string
	span      time.Duration // of its shards
	shard     time.Time     // where that of the last point begins

	first, then []string // statements
	begun       bool     // something was changed
	seen        int64
	done        int64 // points that were written

	batch []byte // lines
	lines int
	odd   []string // points with line ends in them
	size  int      // of those
}

func (p *replay) run(ctx context.Context) error {
	if err := p.head(); err != nil {
		return p.explain(err)
	}
	for {
		line, err := p.next()
		if err != nil {
			return p.explain(cutShort(err))
		}
		if points, last := parseLast(line); last {
			if points != p.seen {
				return p.explain(errLine)
			}
			return p.finish(ctx)
		}
		if err := p.add(ctx, line); err != nil {
			return p.explain(err)
		}
	}
}

// cutShort makes the end of the stream an untimely one.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// head reads the definitions.
func (p *replay) head() error {
	for n := 0; ; n++ {
		line, err := p.next()
		if err != nil {
			return cutShort(err)
		}
		said := string(line)
		statement, then := strings.CutPrefix(said, lineThen)
		switch {
		case n == 0 && strings.HasPrefix(said, firstLine):
		case n == 1 && said == lineDDL:
		case n < 2:
			return errLine
		case said == lineDML:
			return nil
		case strings.HasPrefix(said, lineNote):
		case then:
			p.then = append(p.then, statement)
		case strings.HasPrefix(said, "CREATE "):
			p.first = append(p.first, said)
		default:
			return errLine
		}
	}
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
		return problem.New(problem.Failed, "the dump ends after %d points, before its last line", p.seen).WithReason(engine.ReasonTruncated)
	case errors.Is(err, errLine), errors.Is(err, engine.ErrLongLine):
		return problem.New(problem.Failed, "after %d points the dump holds what is none", p.seen).WithReason(engine.ReasonMalformed)
	}
	return err
}

// add takes one more line into the batch, after it has made room for it.
func (p *replay) add(ctx context.Context, line []byte) error {
	if database, is := bytes.CutPrefix(line, []byte(lineDB)); is {
		if string(database) != p.database {
			return errLine
		}
		return nil
	}
	if policy, is := bytes.CutPrefix(line, []byte(linePolicy)); is {
		err := p.send(ctx)
		p.policy = string(policy)
		p.span, p.shard = spanOf(p.first, p.policy), time.Time{}
		return err
	}
	if p.policy == "" {
		return errLine
	}
	escaped, isEscaped := bytes.CutPrefix(line, []byte(lineEscaped))
	if !isEscaped && (len(line) == 0 || line[0] == comment) {
		return errLine
	}
	if p.lines+len(p.odd) >= batchLines || len(p.batch)+p.size+len(line) > batchBytes {
		if err := p.send(ctx); err != nil {
			return err
		}
	}
	if err := p.enter(ctx, line, isEscaped); err != nil {
		return err
	}
	p.seen++
	if isEscaped {
		p.odd = append(p.odd, outOfOneLine.Replace(string(escaped)))
		p.size += len(escaped)
		return nil
	}
	p.batch = append(append(p.batch, line...), '\n')
	p.lines++
	return nil
}

// enter sees to it that points of several shards are not written at once: of what
// one request has for several new shards, InfluxDB may not find all by its queries,
// before it is started anew.
func (p *replay) enter(ctx context.Context, line []byte, escaped bool) error {
	at, err := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ' ')+1:]), 10, 64)
	if err != nil {
		return errLine
	}
	shard := time.Unix(0, at).UTC().Truncate(p.span)
	if shard.Equal(p.shard) {
		return nil
	}
	p.shard = shard
	if escaped || len(p.odd) > 0 || !p.importable() {
		return p.send(ctx)
	}
	p.batch = append(append(append(p.batch, linePolicy...), p.policy...), '\n') // has influx send what it has
	return nil
}

var shardDuration = regexp.MustCompile(` SHARD DURATION (\d+n?s)(?: NAME .*)?$`)

// spanOf is how long a shard of a policy is, by the statement that makes it.
func spanOf(statements []string, policy string) time.Duration {
	for _, statement := range statements {
		if !strings.HasSuffix(statement, " NAME "+ident(policy)) && !strings.HasPrefix(statement, "CREATE RETENTION POLICY "+ident(policy)+" ON ") {
			continue
		}
		if found := shardDuration.FindStringSubmatch(statement); found != nil {
			if d, err := time.ParseDuration(found[1]); err == nil && d > 0 {
				return d
			}
		}
	}
	return time.Hour // the least that InfluxDB has
}

// finish reads to the end of the stream before it writes the last points, so that
// what is cut short is never there in full.
func (p *replay) finish(ctx context.Context) error {
	_, err := p.next()
	switch {
	case err == nil:
		return p.explain(errLine) // there is something behind the last line
	case !errors.Is(err, io.EOF):
		return p.explain(err)
	}
	if err := p.send(ctx); err != nil {
		return err
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	if err := p.compare(ctx); err != nil {
		return err
	}
	return p.execute(ctx, p.then)
}

// compare counts the points of every measurement, by a dump of what is there now.
func (p *replay) compare(ctx context.Context) error {
	given, err := p.given.Finish()
	if err != nil {
		return err
	}
	process, err := p.s.Dump(ctx, engine.Stream{Database: p.database})
	if err != nil {
		return err
	}
	var seen inspector
	_, _ = io.Copy(&seen, process) // Wait tells what went wrong
	if _, err := process.Wait(); err != nil {
		return fmt.Errorf("compare what was restored: %w", err)
	}
	there, err := seen.Finish()
	if err != nil {
		return fmt.Errorf("compare what was restored: %w", err)
	}
	fewer := lacking(given.Objects, there.Objects)
	if len(fewer) == 0 {
		return nil
	}
	return problem.New(problem.Failed, "InfluxDB does not find all points of %s that it has taken", p.database).WithReason(engine.ReasonToolFailed).
		WithHint("Start InfluxDB anew and count them: its index may be wrong. If they are still not there: did somebody delete points meanwhile?").WithDetails(fewer...)
}

// lacking says of which measurements there are fewer points than were given. Long
// names may be shown alike.
func lacking(given, there []engine.Object) (fewer []string) {
	rows := func(list []engine.Object) map[string]int64 {
		of := map[string]int64{}
		for _, o := range list {
			of[o.Name] += o.Rows
		}
		return of
	}
	want, have := rows(given), rows(there)
	const most = 20
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if have[name] < want[name] && len(fewer) < most {
			fewer = append(fewer, fmt.Sprintf("%s: there are %d points, and %d were written", name, have[name], want[name]))
		}
	}
	return fewer
}

// begin makes the database anew, with its retention policies. It is dropped rather
// than emptied, for the sake of InfluxDB's index (see enter); the grants on it that
// its users lose by that are given to them again.
func (p *replay) begin(ctx context.Context) error {
	if p.begun {
		return nil
	}
	if len(p.first) == 0 {
		return errLine
	}
	if !p.overwrite {
		if err := p.empty(ctx); err != nil {
			return err
		}
	}
	grants, err := p.s.grants(ctx, p.database)
	if err != nil {
		return fmt.Errorf("read the grants on %s: %w", p.database, err)
	}
	p.begun = true
	db := ident(p.database)
	if err := p.execute(ctx, []string{"DROP DATABASE " + db, p.first[0]}); err != nil {
		return err
	}
	statements := p.first[1:]
	if !strings.HasPrefix(p.first[0], "CREATE DATABASE "+db+" WITH ") { // InfluxDB may have made a policy of its own
		now, err := p.s.made(ctx, p.database)
		if err != nil {
			return err
		}
		for _, in := range now.policies {
			statements = append([]string{"DROP RETENTION POLICY " + ident(in.name) + " ON " + db}, statements...)
		}
	}
	return p.execute(ctx, slices.Concat(statements, grants))
}

// empty fails when the database, which may not be overwritten, has something: Prepare
// has seen to it, and something may have filled it since.
func (p *replay) empty(ctx context.Context) error {
	if err := p.s.look(ctx); err != nil {
		return err
	}
	held, err := p.s.held(ctx, p.database)
	if err != nil {
		return fmt.Errorf("look into the database %s: %w", p.database, err)
	}
	if len(held) == 0 {
		return nil
	}
	return problem.New(problem.Conflict, "the database %s is not empty any more", p.database).WithReason(engine.ReasonTargetNotEmpty).
		WithHint("Stop the applications that use it and restore again.")
}

// grants are the statements that give users what they may do with a database.
func (s *session) grants(ctx context.Context, database string) ([]string, error) {
	users, err := s.list(ctx, "SHOW USERS")
	if err != nil {
		return nil, err
	}
	var statements []string
	for _, user := range users {
		err := s.ask(ctx, "SHOW GRANTS FOR "+ident(user), func(_ *series, row []any) error {
			on, err := text(row, 0)
			if err != nil || on != database {
				return err
			}
			privilege, err := text(row, 1)
			if err == nil && slices.Contains([]string{"READ", "WRITE", "ALL PRIVILEGES"}, privilege) {
				statements = append(statements, fmt.Sprintf("GRANT %s ON %s TO %s", privilege, ident(database), ident(user)))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return statements, nil
}

// execute has statements executed, one after the other.
func (p *replay) execute(ctx context.Context, statements []string) error {
	for _, statement := range statements {
		if err := p.s.ask(ctx, statement, func(*series, []any) error { return nil }); err != nil {
			return fmt.Errorf("%.200s: %w", statement, err)
		}
	}
	return nil
}

// send writes the batch.
func (p *replay) send(ctx context.Context) error {
	if p.lines+len(p.odd) == 0 {
		return nil
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	var err error
	switch {
	case p.lines == 0:
	case p.importable():
		err = p.importLines(ctx, p.batch, p.lines)
	default:
		err = p.post(ctx, strings.Split(strings.TrimSuffix(string(p.batch), "\n"), "\n"))
	}
	if err == nil && len(p.odd) > 0 {
		err = p.post(ctx, p.odd)
	}
	if err != nil {
		return err
	}
	p.done += int64(p.lines + len(p.odd))
	p.batch, p.lines, p.odd, p.size = p.batch[:0], 0, p.odd[:0], 0
	return nil
}

// importable says whether `influx -import` can be told where points go.
func (p *replay) importable() bool {
	for _, name := range []string{p.database, p.policy} {
		if strings.Contains(name, ":") || strings.TrimSpace(name) != name {
			return false
		}
	}
	return true
}

var processed = regexp.MustCompile(`Processed (\d+) inserts`)

// importLines writes lines by `influx -import`. It goes on when the server refuses
// some, and says at its end how many it took. Of what it says of a refusal the
// lines that were refused are the most: they are halved until the one is left that
// tells why.
func (p *replay) importLines(ctx context.Context, lines []byte, count int) error {
	head := fmt.Sprintf("%s\n%s%s\n%s%s\n", lineDML, lineDB, p.database, linePolicy, p.policy)
	input := io.MultiReader(strings.NewReader(head), bytes.NewReader(lines))
	out, exit, err := engine.Output(ctx, p.s.inst, p.s.command(input, "-import", "-path=/dev/stdin", "-precision=ns"), engine.AnswerLimit)
	if err != nil {
		return fmt.Errorf("run influx -import: %w", err)
	}
	if exit.Status != 0 {
		if count > 1 && strings.Contains(exit.Stderr, "not inserted") {
			return p.halve(ctx, lines, count)
		}
		return p.s.Explain(withoutPoints(exit))
	}
	said := processed.FindSubmatch(out)
	if said == nil || string(said[1]) != strconv.Itoa(count) {
		return problem.New(problem.Failed, "influx -import does not say that it has written all of %d points", count).WithReason(engine.ReasonToolFailed)
	}
	return nil
}

// withoutPoints leaves out of what influx says of a failure the points themselves.
func withoutPoints(exit engine.Exit) engine.Exit {
	var kept []string
	for line := range strings.Lines(exit.Stderr) {
		if strings.Contains(line, "error writing batch:") || strings.Contains(line, "ERROR: ") || strings.Contains(line, "ailed to connect") {
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}
	exit.Stderr = strings.Join(kept, "\n")
	return exit
}

// halve writes both halves of lines that were not all taken. It fails, save when
// what stood in the way has gone.
func (p *replay) halve(ctx context.Context, lines []byte, count int) error {
	at, half := 0, count/2
	for n := 0; n < half; {
		if lines[at] != comment {
			n++
		}
		at += bytes.IndexByte(lines[at:], '\n') + 1
	}
	if err := p.importLines(ctx, lines[:at], half); err != nil {
		return err
	}
	return p.importLines(ctx, lines[at:], count-half)
}

// post writes points by curl, which the official images have: `influx -import`
// would double the line ends in them, and cannot be told every name. Everything is
// in the configuration that it reads from its stdin.
func (p *replay) post(ctx context.Context, points []string) error {
	if slices.ContainsFunc(points, func(point string) bool { return strings.IndexByte(point, 0) >= 0 }) {
		return problem.New(problem.Failed, "a point of %s.%s holds a zero byte beside a line end, or in a database whose name has a colon: curl cannot be given that", p.database, p.policy).
			WithReason(engine.ReasonUnsupported)
	}
	where := url.URL{Scheme: "http", Host: p.s.host(), Path: "/write", RawQuery: url.Values{
		"db": {p.database}, "rp": {p.policy}, "precision": {"ns"},
	}.Encode()}
	if p.s.secure {
		where.Scheme = "https"
	}
	var config strings.Builder
	option := func(name, value string) { fmt.Fprintf(&config, "%s = \"%s\"\n", name, inCurl.Replace(value)) }
	option("url", where.String())
	option("write-out", "\n%{http_code}")
	option("noproxy", "*")
	config.WriteString("silent\nshow-error\ninsecure\n")
	cmd := engine.Command{Argv: []string{"curl", "-q", "-K", "-"}}
	if p.s.user != "" {
		basic := base64.StdEncoding.EncodeToString([]byte(p.s.user + ":" + p.s.password.Reveal()))
		option("header", "Authorization: Basic "+basic)
		cmd.Secrets = []string{p.s.password.Reveal(), basic}
	}
	addData(&config, points)
	cmd.Stdin = strings.NewReader(config.String())
	out, exit, err := engine.Output(ctx, p.s.inst, cmd, engine.AnswerLimit)
	switch answer := strings.TrimSpace(string(out)); {
	case problem.ReasonOf(err) == engine.ReasonToolMissing:
		return problem.New(problem.Failed, "the container has no curl, which %d points of %s.%s need: influx -import cannot write text with line ends in it, nor into a name with a colon", len(points), p.database, p.policy).
			WithReason(engine.ReasonUnsupported).WithHint("Restore into a container that has curl, such as that of the official image influxdb:1.8 (the one with -alpine has none).")
	case err != nil:
		return fmt.Errorf("run curl: %w", err)
	case exit.Status != 0:
		return engine.Explain("curl", exit, patterns)
	case answer != "204":
		const enough = 1000
		exit.Stderr = answer[:min(len(answer), enough)]
		return engine.Explain("curl", exit, patterns)
	}
	return nil
}

// curlLine is how much of a line of its configuration curl takes for certain.
const curlLine = 64 << 10

// addData adds points to a configuration of curl, in as many options as it takes.
// What curl sends of these is parted by an &, which is made a comment for InfluxDB.
func addData(config *strings.Builder, points []string) {
	size := 0
	config.WriteString(`data-raw = "`)
	for _, point := range points {
		said := inCurl.Replace(point + "\n")
		if size > 0 && size+len(said) > curlLine {
			config.WriteString("#\"\ndata-raw = \"\\n")
			size = 0
		}
		config.WriteString(said)
		size += len(said)
	}
	config.WriteString("\"\n")
}

// inCurl is a value in a configuration of curl.
var inCurl = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`)
