package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/notify/notifytest"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var update = flag.Bool("update", false, "write the examples in the documentation")

const docs = "../../docs/notifications.md"

// example is what the documentation quotes, judged and rendered as everything is.
func example(t *testing.T) *outgoing {
	t.Helper()
	open := []*pb.Condition{{Kind: failed, Subject: "blog/db", OpenedAt: timestamppb.New(ago(33 * time.Hour))}}
	sizes := []int64{3 * mib, 512 * mib, 510 * mib, 508 * mib}
	changes := Judge(open, Facts{Sources: []Source{
		{Name: "blog/db", LastSuccess: ago(time.Minute)},
		{Name: "shop/db", LastSuccess: ago(24 * time.Hour), Failures: 1, Run: "5f0c8a1be3d94c27", Failure: &pb.Failure{
			Message: `open mysql: connect as "root": mariadb ended with status 1`,
			Hint:    "The server refused user and password. Set baktainer.db.user and baktainer.db.password_file (or another password label).",
		}},
		{Name: "wiki/db", LastSuccess: ago(time.Minute), Sizes: sizes, Snapshot: "01KTC5YB8N3V7QWZ4E1XGDR9MH"},
	}}, usual(t), noon)
	var events []*pb.ConditionEvent
	for i, c := range changes {
		if c.GetCondition().OpenedAt = timestamppb.New(noon); c.GetClosed() {
			c.GetCondition().OpenedAt = open[0].GetOpenedAt()
		}
		events = append(events, &pb.ConditionEvent{Sequence: uint64(41 + i), Condition: c.GetCondition(), Closed: c.GetClosed(), At: timestamppb.New(noon)})
	}
	m := compose(events, time.UTC)
	m.Cluster, m.Controller, m.At, m.Open = "tvpnut6m5wzids427byb4hhs6a", "c1", noon.Add(time.Minute), 2
	text, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	subject, body, err := text.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	return &outgoing{Message: m, subject: subject, body: body}
}

func TestDocumentationIsFresh(t *testing.T) {
	m := example(t)
	hooks := notifytest.NewHookServer(t)
	if err := parse(t, signingSecret, "webhook+"+hooks.URL)[0].send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	if err := json.Indent(&body, bytes.TrimSpace(hooks.Wait(1)[0].Body), "", "  "); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	want := string(content)
	for name, block := range map[string]string{
		"mail":    fmt.Sprintf("```text\nSubject: %s\n\n%s```\n", m.subject, m.body),
		"webhook": fmt.Sprintf("```json\n%s\n```\n", body.String()),
	} {
		between := regexp.MustCompile(`(?s)(<!-- ` + name + `: [^\n]* -->\n).*?(<!-- end -->)`)
		if !between.MatchString(want) {
			t.Fatalf("there is no place for %s", name)
		}
		parts := between.FindStringSubmatchIndex(want)
		want = want[:parts[3]] + block + want[parts[4]:]
	}
	if *update {
		if err := os.WriteFile(docs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(content) {
		t.Errorf("%s is stale: go test ./controller/notify -run Documentation -update; want\n%s", docs, want)
	}
}

// TestDocumentationsTemplateIsRight has the template that the documentation shows read.
func TestDocumentationsTemplateIsRight(t *testing.T) {
	content, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```text\n({{define.*?)```").FindSubmatch(content)
	if found == nil {
		t.Fatal("there is none")
	}
	text, err := readTemplate(t, string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	if subject, body, err := text.Render(example(t).Message); err != nil || subject != "[backup] 2 problems, 1 recovered" || body == "" {
		t.Errorf("%q, %q, %v", subject, body, err)
	}
}
