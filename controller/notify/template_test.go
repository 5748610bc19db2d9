package notify

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func happened(sequence uint64, kind pb.ConditionKind, subject string, closed bool) *pb.ConditionEvent {
	return &pb.ConditionEvent{
		Sequence: sequence, Closed: closed, At: timestamppb.New(noon),
		Condition: &pb.Condition{Kind: kind, Subject: subject, OpenedAt: timestamppb.New(ago(time.Hour)), Message: "no"},
	}
}

func TestOfEachSubjectTheLastEventIsTold(t *testing.T) {
	m := compose([]*pb.ConditionEvent{
		happened(1, failed, "shop", false), happened(2, failed, "blog", false), happened(3, failed, "shop", true), happened(4, stale, "shop", false),
		happened(5, failed, "wiki", false), happened(6, failed, "wiki", true), happened(7, failed, "wiki", false),
	}, time.UTC)
	var got []string
	for _, i := range m.Problems {
		got = append(got, i.Subject+" "+i.Event)
	}
	for _, i := range m.Recovered {
		got = append(got, i.Subject+" recovered")
	}
	if want := []string{"blog failure", "shop stale", "wiki failure", "shop recovered"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSummary(t *testing.T) {
	one := happened(1, failed, "shop", false)
	for want, events := range map[string][]*pb.ConditionEvent{
		"shop: backup failed":           {one},
		"shop: backups succeed again":   {happened(1, failed, "shop", true)},
		"2 problems":                    {one, happened(2, failed, "blog", false)},
		"1 problem, 1 recovered":        {one, happened(2, stale, "shop", true)},
		"1 problem, 1 backup succeeded": {one, happened(2, pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED, "blog", false)},
		"nothing new":                   nil,
	} {
		if got := compose(events, time.UTC).Summary(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func readTemplate(t *testing.T, content string) (*Text, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "t.tmpl")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadText(name)
}

func TestTemplatesOfOnesOwn(t *testing.T) {
	for name, tc := range map[string]struct{ content, subject, body string }{
		"both": {
			`{{define "subject"}}[{{upper "db"}}] {{len .Problems}} of {{.Cluster}}{{end}}{{define "body"}}{{range .Problems}}{{.Of}} {{.Subject}} {{.Event}} {{time .At}};{{end}}{{end}}`,
			"[DB] 1 of c", "source shop failure 2026-06-01 12:00:00 UTC;",
		},
		"the subject alone":       {`{{define "subject"}}x{{end}}`, "x", ""},
		"the body alone":          {`{{define "body"}}y{{end}}`, "Baktainer: shop: backup failed", "y"},
		"a subject of many lines": {"{{define \"subject\"}}a\r\nBcc: x\n\tb{{end}}", "a Bcc: x b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := readTemplate(t, tc.content)
			if err != nil {
				t.Fatal(err)
			}
			m := compose([]*pb.ConditionEvent{happened(1, failed, "shop", false)}, time.UTC)
			m.Cluster, m.At = "c", noon
			subject, body, err := text.Render(m)
			if err != nil || subject != tc.subject || tc.body != "" && body != tc.body || tc.body == "" && !strings.HasPrefix(body, "PROBLEMS\n") {
				t.Errorf("%q, %q, %v", subject, body, err)
			}
		})
	}
}

func TestWrongTemplatesAreFoundAtTheStart(t *testing.T) {
	for name, content := range map[string]string{
		"syntax": `{{define "body"}}{{if}}{{end}}`, "a field that is not there": `{{define "body"}}{{.Sources}}{{end}}`, "a function that is not there": `{{define "body"}}{{env "HOME"}}{{end}}`,
		"it needs a problem": `{{define "body"}}{{with index .Problems 0}}y{{end}}{{end}}`, "nothing defined": "hello", "too much written": `{{define "body"}}{{range 100000}}hunter2hunter2{{end}}{{end}}`, "too large": strings.Repeat("x", 70<<10),
	} {
		if _, err := readTemplate(t, content); problem.ExitStatus(err) != 2 || problem.Text(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadText(filepath.Join(t.TempDir(), "none")); problem.ExitStatus(err) != 2 {
		t.Errorf("no file: %v", err)
	}
}

func TestATemplateThatFailsLaterGivesWayToTheBuiltInText(t *testing.T) {
	text, err := readTemplate(t, `{{define "body"}}{{if .Problems}}{{if eq (index .Problems 0).Subject "odd"}}{{index .Recovered 9}}{{end}}{{end}}mine{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, body, err := text.Render(compose([]*pb.ConditionEvent{happened(1, failed, "shop", false)}, time.UTC)); err != nil || body != "mine" {
		t.Errorf("%q, %v", body, err)
	}
	subject, body, err := text.Render(compose([]*pb.ConditionEvent{happened(1, failed, "odd", false)}, time.UTC))
	if err == nil || subject != "Baktainer: odd: backup failed" || !strings.Contains(body, "odd: backup failed") {
		t.Errorf("%q, %q, %v", subject, body, err)
	}
}

func TestTextsAreBounded(t *testing.T) {
	var events []*pb.ConditionEvent
	for i := range 500 {
		e := happened(uint64(i+1), failed, strings.Repeat("s", 100)+string(rune('a'+i%26))+strings.Repeat("x", i/26), false)
		e.Condition.Message, e.Condition.Hint = strings.Repeat("m", 500), "line\nline"
		events = append(events, e)
	}
	text, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	subject, body, err := text.Render(compose(events, time.UTC))
	if err != nil || subject != "Baktainer: 500 problems" || len(body) > maxBody || !strings.Contains(body, "line line") {
		t.Errorf("%q, %d bytes, %v", subject, len(body), err)
	}
}
