package mongodb

import (
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

func TestAsk(t *testing.T) {
	const three = `{"_id":1}` + "\n" + `{"_id":2}` + "\n" + `{"_id":3}` + "\n"
	for name, tt := range map[string]struct {
		spec            source.Spec
		database, query string
		out             enginetest.Answer
		want, argv      string
		reason          problem.Reason
	}{
		"counts":          {database: "shop", query: "count items", out: enginetest.Answer{Stdout: three}, want: "3", argv: "--db=shop --collection=items --fields=_id"},
		"with a filter":   {database: "shop", query: `count we ird {"a": {"$gt": 1}}`, want: "0", argv: `--db=shop --collection=we ird --query={"a": {"$gt": 1}} --fields=_id`},
		"exists":          {spec: source.Spec{Database: "shop"}, query: `exists items {"a":"}"}`, out: enginetest.Answer{Stdout: "{}\n"}, want: "true", argv: `--db=shop --collection=items --query={"a":"}"} --fields=_id --limit=1`},
		"does not exist":  {database: "x", query: "exists items", want: "false", argv: "--db=x --collection=items --fields=_id --limit=1"},
		"finds":           {database: "x", query: `find items {} name a.b`, out: enginetest.Answer{Stdout: "\"Zoë, \"\"Z\"\"\",1\nx,\n"}, want: "Zoë, \"Z\"\t1\nx\t\n", argv: "--db=x --collection=items --query={} --type=csv --noHeaderLine --fields=name,a.b"},
		"odd CSV":         {database: "x", query: `find items {} name`, out: enginetest.Answer{Stdout: "\"x\n"}, reason: engine.ReasonMalformed},
		"no database":     {query: "count items", reason: engine.ReasonUnsupported},
		"no verb":         {database: "x", query: "db.items.count()", reason: engine.ReasonUnsupported},
		"no collection":   {database: "x", query: "count {}", reason: engine.ReasonUnsupported},
		"not JSON":        {database: "x", query: "count items {a: 1}", reason: engine.ReasonUnsupported},
		"a filter alone":  {database: "x", query: "find items {}", reason: engine.ReasonUnsupported},
		"two fields":      {database: "x", query: "find items {} a,b", reason: engine.ReasonUnsupported},
		"fields of count": {database: "x", query: "count items {} a", reason: engine.ReasonUnsupported},
		"empty":           {database: "x", reason: engine.ReasonUnsupported},
		"fails":           {database: "x", query: "count items", out: enginetest.Answer{Status: 1, Stderr: "not authorized on x"}, reason: engine.ReasonWrongPassword},
		"lost":            {database: "x", query: "count items", out: enginetest.Answer{WaitErr: problem.New(problem.Unavailable, "x").WithReason(engine.ReasonStreamLost)}, reason: engine.ReasonStreamLost},
	} {
		t.Run(name, func(t *testing.T) {
			inst := script(rooted, nil, enginetest.Answer{}).On("mongoexport", func(c enginetest.Call) enginetest.Answer {
				want := "mongoexport --username=root --authenticationDatabase=admin " + tt.argv
				if tt.argv != "" && (c.Args() != want || c.Input != "hunter2\n") {
					t.Errorf("it runs %s with %q, want %s", c.Args(), c.Input, want)
				}
				return tt.out
			})
			got, err := open(t, inst, tt.spec).Ask(t.Context(), tt.database, tt.query)
			if problem.ReasonOf(err) != tt.reason || (err == nil) != (tt.reason == "") || err == nil && got != tt.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	_, err := open(t, script(rooted, nil, enginetest.Answer{}), source.Spec{}).Ask(t.Context(), "x", "count items")
	if problem.ReasonOf(err) != engine.ReasonToolMissing || !strings.Contains(problem.Text(err), "MongoDB Database Tools") {
		t.Errorf("without the tool: %v", err)
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(`count items {"a": 1}`)
	f.Add("find x {} a b")
	f.Add("exists {{")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := parseQuestion(query)
		if err == nil && (q.collection == "" || q.verb == "find" && len(q.fields) == 0) {
			t.Errorf("%q: %+v", query, q)
		}
	})
}
