package mongodb

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// question is a query of Ask, taken apart.
type question struct {
	verb       string // count, exists or find
	collection string
	filter     string // JSON; empty: all documents
	fields     []string
}

// parseQuestion reads "count COLLECTION [FILTER]", "exists COLLECTION [FILTER]" or
// "find COLLECTION FILTER FIELD …". A name may have blanks: it ends at the filter.
func parseQuestion(query string) (question, error) {
	wrong := func(what string) (question, error) {
		return question{}, problem.New(problem.InvalidInput, "%s", what).WithReason(engine.ReasonUnsupported).
			WithHint(`MongoDB is asked by "count COLLECTION {filter}", "exists COLLECTION {filter}" or "find COLLECTION {filter} FIELD …", where the filter is JSON, and may be left out of the first two.`)
	}
	verb, rest, _ := strings.Cut(strings.TrimSpace(query), " ")
	q := question{verb: verb}
	if !slices.Contains([]string{"count", "exists", "find"}, verb) {
		return wrong("the query begins with none of count, exists, find")
	}
	name, behind := rest, ""
	if at := strings.IndexByte(rest, '{'); at >= 0 {
		var filter json.RawMessage
		d := json.NewDecoder(strings.NewReader(rest[at:]))
		if err := d.Decode(&filter); err != nil {
			return wrong("the filter is not JSON: " + err.Error())
		}
		name, behind, q.filter = rest[:at], rest[at:][d.InputOffset():], string(filter)
	}
	q.collection, q.fields = strings.TrimSpace(name), strings.Fields(behind)
	switch {
	case q.collection == "" || strings.ContainsAny(q.collection, "$\x00"):
		return wrong("the query names no collection")
	case verb == "find" && len(q.fields) == 0:
		return wrong("find wants a filter and names of fields behind it")
	case verb != "find" && len(q.fields) > 0:
		return wrong("only find takes names of fields")
	case slices.ContainsFunc(q.fields, func(f string) bool { return strings.Contains(f, ",") }):
		return wrong("names of fields are parted at blanks")
	}
	return q, nil
}

// Ask implements engine.Asker. Images of MongoDB come with one shell or another, or
// with none: what all have is mongoexport, which filters as they do.
func (s *session) Ask(ctx context.Context, database, query string) (string, error) {
	q, err := parseQuestion(query)
	if err != nil {
		return "", err
	}
	if database == "" {
		database = s.database
	}
	if database == "" {
		return "", problem.New(problem.InvalidInput, "the query names no database, and all are backed up").WithReason(engine.ReasonUnsupported).
			WithHint(`Write "DATABASE: " before it.`)
	}
	args := []string{"--db=" + database, "--collection=" + q.collection}
	if q.filter != "" {
		args = append(args, "--query="+q.filter)
	}
	if q.verb == "find" {
		return s.find(ctx, append(args, "--type=csv", "--noHeaderLine", "--fields="+strings.Join(q.fields, ",")))
	}
	if args = append(args, "--fields=_id"); q.verb == "exists" {
		args = append(args, "--limit=1")
	}
	n, err := s.count(ctx, args)
	if q.verb == "exists" {
		return strconv.FormatBool(n > 0), err
	}
	return strconv.FormatInt(n, 10), err
}

const export = "mongoexport"

// count counts documents: each is a line.
func (s *session) count(ctx context.Context, args []string) (n int64, err error) {
	p, err := s.inst.Exec(ctx, s.command(export, nil, args...))
	if err != nil {
		return 0, exporting(err)
	}
	var lines lineCounter
	_, _ = io.Copy(&lines, p) // Wait tells what went wrong
	exit, err := p.Wait()
	switch {
	case err != nil:
		return 0, exporting(err)
	case exit.Status != 0:
		return 0, s.explain(export, exit)
	}
	return int64(lines), nil
}

type lineCounter int64

func (l *lineCounter) Write(p []byte) (int, error) {
	*l += lineCounter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}

// find gives the fields of documents, parted by tabs.
func (s *session) find(ctx context.Context, args []string) (string, error) {
	out, exit, err := engine.Output(ctx, s.inst, s.command(export, nil, args...), engine.AnswerLimit)
	switch {
	case err != nil:
		return "", exporting(err)
	case exit.Status != 0:
		return "", s.explain(export, exit)
	}
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		return "", problem.Wrap(problem.Failed, err, "understand the answer of %s", export).WithReason(engine.ReasonMalformed)
	}
	var answer strings.Builder
	for _, row := range rows {
		answer.WriteString(strings.Join(row, "\t") + "\n")
	}
	return answer.String(), nil
}

// exporting says which tool is asked, and where it comes from.
func exporting(err error) error {
	if problem.ReasonOf(err) == engine.ReasonToolMissing {
		return problem.New(problem.Failed, "the container has no %s", export).WithReason(engine.ReasonToolMissing).
			WithHint("Queries are asked through it. It is one of the MongoDB Database Tools, as mongodump is: use an image that has them.")
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("ask %s: %w", export, err)
}
