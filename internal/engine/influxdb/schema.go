package influxdb

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// policy is a retention policy.
type policy struct {
	name            string
	duration, shard time.Duration // duration 0: for ever
	replication     int64
	standard        bool     // the database's default
	more            []string // what else it has, which is not in a dump
}

// measurement is one within a retention policy.
type measurement struct {
	policy string
	name   string
	fields map[string][]string // types by name: old shards may have others
	tags   []string
	first  int64 // the times of its first and its last point
	last   int64
	points bool // there are any
}

// source is how a query names it.
func (m *measurement) source(database string) string {
	return ident(database) + "." + ident(m.policy) + "." + ident(m.name)
}

// made is how a database was made.
type made struct {
	policies []policy
	queries  map[string]string // the statements that make its continuous queries, by name
}

func (s *session) made(ctx context.Context, database string) (made, error) {
	m := made{queries: map[string]string{}}
	err := s.ask(ctx, "SHOW RETENTION POLICIES ON "+ident(database)+"; SHOW CONTINUOUS QUERIES", func(in *series, row []any) error {
		if slices.Contains(in.columns, "duration") {
			p, err := parsePolicy(in.columns, row)
			m.policies = append(m.policies, p)
			return err
		}
		if in.name != database {
			return nil
		}
		name, err := text(row, 0)
		if err != nil {
			return err
		}
		m.queries[name], err = text(row, 1)
		return err
	})
	slices.SortFunc(m.policies, func(a, b policy) int { return cmp.Compare(a.name, b.name) })
	return m, err
}

func parsePolicy(columns []string, row []any) (p policy, err error) {
	for i, column := range columns {
		switch column {
		case "name":
			p.name, err = text(row, i)
		case "duration":
			p.duration, err = duration(row, i)
		case "shardGroupDuration":
			p.shard, err = duration(row, i)
		case "replicaN":
			p.replication, err = whole(row[i])
		case "default":
			p.standard, _ = row[i].(bool)
		default: // a later version's
			if value := row[i]; value != nil && value != "" && value != "0s" && value != false {
				p.more = append(p.more, fmt.Sprintf("%s %v", column, value))
			}
		}
		if err != nil {
			return p, err
		}
	}
	if p.name == "" || p.shard <= 0 || p.replication <= 0 {
		return p, errAnswer
	}
	return p, nil
}

func duration(row []any, n int) (time.Duration, error) {
	said, err := text(row, n)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(said)
	if err != nil || d < 0 {
		return 0, errAnswer
	}
	return d, nil
}

// inQL is a duration in InfluxQL.
func inQL(d time.Duration) string {
	switch {
	case d == 0:
		return "INF"
	case d%time.Second == 0:
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dns", d)
}

// definitions are the statements that make a database, before its points and behind
// them. Until then its retention policies keep all, so that old points are taken.
func (m made) definitions(database string) (first, then []string, err error) {
	db := ident(database)
	first = []string{"CREATE DATABASE " + db}
	for _, p := range m.policies {
		how := fmt.Sprintf("DURATION INF REPLICATION %d SHARD DURATION %s", p.replication, inQL(p.shard))
		if p.standard {
			first[0] += " WITH " + how + " NAME " + ident(p.name)
		} else {
			first = append(first, fmt.Sprintf("CREATE RETENTION POLICY %s ON %s %s", ident(p.name), db, how))
		}
		if p.duration > 0 {
			then = append(then, fmt.Sprintf("ALTER RETENTION POLICY %s ON %s DURATION %s SHARD DURATION %s", ident(p.name), db, inQL(p.duration), inQL(p.shard)))
		}
	}
	var last []string
	for _, query := range m.queries {
		last = append(last, query)
	}
	slices.Sort(last)
	then = append(then, last...)
	for _, statement := range slices.Concat(first, then) {
		if strings.ContainsAny(statement, "\n\r") || statement == "" || statement[0] == comment {
			return nil, nil, problem.New(problem.Failed, "a definition is not one line: %.200q", statement).WithReason(engine.ReasonUnsupported)
		}
	}
	return first, then, nil
}

// everyMeasurement stands behind a retention policy.
const everyMeasurement = "./.*/"

// measurements are those of a retention policy in their order.
func (s *session) measurements(ctx context.Context, database, in string) ([]*measurement, error) {
	byName := map[string]*measurement{}
	everything := " ON " + ident(database) + " FROM " + ident(in) + everyMeasurement
	err := s.ask(ctx, "SHOW FIELD KEYS"+everything+"; SHOW TAG KEYS"+everything, func(of *series, row []any) error {
		key, err := text(row, 0)
		if err != nil || len(of.columns) == 0 {
			return errAnswer
		}
		m := byName[of.name]
		if of.columns[0] == "tagKey" {
			if m == nil { // it has points in another retention policy alone
				return nil
			}
			m.tags = append(m.tags, key)
			return checkKey("tag", key)
		}
		if m == nil {
			if err := checkKey("measurement", of.name); err != nil {
				return err
			}
			m = &measurement{policy: in, name: of.name, fields: map[string][]string{}}
			byName[of.name] = m
		}
		of1, err := text(row, 1)
		if err != nil {
			return err
		}
		m.fields[key] = append(m.fields[key], of1)
		return checkKey("field", key)
	})
	if err != nil {
		return nil, err
	}
	var list []*measurement
	for _, m := range byName {
		slices.Sort(m.tags)
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *measurement) int { return cmp.Compare(a.name, b.name) })
	const atOnce = 50
	for some := range slices.Chunk(list, atOnce) {
		if err := s.extents(ctx, database, byName, some); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// extents asks for the times of the first and the last points: what is written
// behind the last while the dump goes on is not in it, or it might never end.
func (s *session) extents(ctx context.Context, database string, byName map[string]*measurement, some []*measurement) error {
	var question strings.Builder
	for _, m := range some {
		var fields []string
		for _, c := range m.columns(nil) {
			if c.kind != kindTag {
				fields = append(fields, ident(c.name)+"::"+c.kind)
			}
		}
		for _, order := range []string{"ASC", "DESC"} {
			fmt.Fprintf(&question, "SELECT %s FROM %s ORDER BY time %s LIMIT 1;", strings.Join(fields, ","), m.source(database), order)
		}
	}
	return s.points(ctx, question.String(), func(of *series, row []any) error {
		m := byName[of.name]
		if m == nil || len(row) == 0 {
			return errAnswer
		}
		at, err := whole(row[0])
		if err != nil {
			return err
		}
		if !m.points {
			m.first, m.last, m.points = at, at, true
		}
		m.first, m.last = min(m.first, at), max(m.last, at)
		return nil
	})
}

// mixed are the fields that are numbers of several types in several shards: asked
// for one of them, InfluxDB makes it of the others.
func (m *measurement) mixed() []string {
	var names []string
	for name, types := range m.fields {
		numbers := 0
		for _, t := range types {
			if t == "float" || t == "integer" || t == "unsigned" {
				numbers++
			}
		}
		if numbers > 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// columns are what a query asks for. numbers says of which type the mixed fields
// are; those that it does not know are asked for as all types that they have.
func (m *measurement) columns(numbers map[string]string) []column {
	var list []column
	for name, types := range m.fields {
		for _, t := range types {
			number := t == "float" || t == "integer" || t == "unsigned"
			if is := numbers[name]; number && is != "" && is != t {
				continue
			}
			list = append(list, column{name, t, inKey.Replace(name)})
		}
	}
	slices.SortFunc(list, func(a, b column) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	})
	for _, tag := range m.tags {
		list = append(list, column{tag, kindTag, inKey.Replace(tag)})
	}
	return list
}

// span is the time that a shard holds the points of: from its start to before its end.
type span struct{ start, end int64 }

// shards are those of a retention policy, in their order.
func (s *session) shards(ctx context.Context, database, in string) ([]span, error) {
	var spans []span
	err := s.ask(ctx, "SHOW SHARDS", func(of *series, row []any) error {
		if of.name != database {
			return nil
		}
		var one span
		var mine bool
		for i, column := range of.columns {
			var err error
			switch column {
			case "retention_policy":
				mine = row[i] == in
			case "start_time":
				one.start, err = nanoseconds(row[i])
			case "end_time":
				one.end, err = nanoseconds(row[i])
			}
			if err != nil {
				return err
			}
		}
		if mine {
			spans = append(spans, one)
		}
		return nil
	})
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return spans, err
}

// InfluxDB has no other times than these.
var (
	minTime = time.Unix(0, -1<<63+2)
	maxTime = time.Unix(0, 1<<63-2)
)

func nanoseconds(value any) (int64, error) {
	said, _ := value.(string)
	t, err := time.Parse(time.RFC3339, said)
	switch {
	case err != nil:
		return 0, errAnswer
	case t.Before(minTime):
		return minTime.UnixNano(), nil
	case t.After(maxTime):
		return maxTime.UnixNano(), nil
	}
	return t.UnixNano(), nil
}
