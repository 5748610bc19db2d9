package notify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// The bounds of a text: the most that the usual services take whole, in
// characters, and what a template may write at all, in bytes.
const (
	maxSubject = 200
	maxBody    = 3500
	maxWritten = 256 << 10
	maxFile    = 64 << 10
)

// builtIn is the text when nobody has another. It is ASCII, so that every mail
// server and pager shows it.
const builtIn = `
{{- define "subject"}}Baktainer: {{.Summary}}{{end}}

{{- define "body"}}
{{- if .Test}}This is a test: messages of Baktainer arrive here.
{{end}}
{{- if .Problems}}PROBLEMS
{{range first 10 .Problems}}  {{.Subject}}: {{.Title}}
{{with .Message}}    {{cut 250 .}}
{{end}}{{with .Hint}}    -> {{cut 250 .}}
{{end}}{{with .Run}}    baktainer run show {{.}}
{{end}}{{end}}{{with rest 10 .Problems}}  ... and {{.}} more
{{end}}
{{end}}
{{- if .Recovered}}RECOVERED
{{range first 15 .Recovered}}  {{.Subject}}: {{.Title}}, after {{span .Since .At}}
{{end}}{{with rest 15 .Recovered}}  ... and {{.}} more
{{end}}
{{end}}
{{- if .Successes}}SUCCEEDED
{{range first 15 .Successes}}  {{.Subject}}: {{.Message}}
{{end}}{{with rest 15 .Successes}}  ... and {{.}} more
{{end}}
{{end}}
{{- if .Lost}}{{.Lost}} earlier events could not be told and were dropped.
{{end}}
{{- if eq .Open 1}}1 problem is open: baktainer notify ls
{{else if .Open}}{{.Open}} problems are open: baktainer notify ls
{{else if .Recovered}}No problem is open any more.
{{end}}
{{- time .At}}, controller {{.Controller}}, cluster {{.Cluster}}
{{end}}`

// Text renders messages.
type Text struct {
	own, usual *template.Template
}

// functions are what templates may use besides Go's own.
var functions = template.FuncMap{
	// first gives the first n items, rest how many are left, 0 for none.
	"first": func(n int, items []Item) []Item { return items[:max(0, min(n, len(items)))] },
	"rest":  func(n int, items []Item) int { return max(0, len(items)-max(n, 0)) },
	// span is the time between two moments for people.
	"span": func(from, to time.Time) string { return span(to.Sub(from)) },
	"time": func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
	// cut makes one line of at most n characters.
	"cut":   func(n int, text string) string { return cutTo(oneLine(text), max(n, 3), "...") },
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
	"join":  func(sep string, parts []string) string { return strings.Join(parts, sep) },
}

// BuiltIn is the text when nobody has another.
func BuiltIn() (*Text, error) {
	t, err := template.New("built-in").Funcs(functions).Parse(builtIn)
	if err != nil {
		return nil, fmt.Errorf("read the built-in text: %w", err)
	}
	return &Text{usual: t, own: t}, nil
}

// ReadText reads a user's templates from a file, empty for none, and tries them:
// what is wrong with them is an InvalidInput.
func ReadText(file string) (*Text, error) {
	text, err := BuiltIn()
	if err != nil || file == "" {
		return text, err
	}
	wrong := func(err error) error {
		return problem.Wrap(problem.InvalidInput, err, "notify-template %s", file).
			WithHint("docs/notifications.md says what templates may use.")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, wrong(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, wrong(err)
	case len(content) > maxFile:
		return nil, wrong(fmt.Errorf("it has more than %d KiB", maxFile>>10))
	}
	if err := text.override(string(content)); err != nil {
		return nil, wrong(err)
	}
	return text, nil
}

// override replaces subject, body or both, and tries them on messages of every form.
func (t *Text) override(content string) error {
	own, err := t.usual.Clone()
	if err != nil {
		return err
	}
	before := map[string]*template.Template{"subject": own.Lookup("subject"), "body": own.Lookup("body")}
	trees := [2]any{before["subject"].Tree, before["body"].Tree}
	if _, err := own.New("file").Parse(content); err != nil {
		return err
	}
	if trees == [2]any{own.Lookup("subject").Tree, own.Lookup("body").Tree} {
		return errors.New(`it defines neither "subject" nor "body": {{define "subject"}}…{{end}}`)
	}
	for _, m := range []*Message{sample(), testMessage(), compose(nil, time.UTC)} {
		for _, name := range []string{"subject", "body"} {
			if _, err := write(own, name, m); err != nil {
				return err
			}
		}
	}
	t.own = own
	return nil
}

// Render gives subject and body of a message. When a user's template fails the
// built-in text takes its place, and err says why.
func (t *Text) Render(m *Message) (subject, body string, err error) {
	subject, err = write(t.own, "subject", m)
	if err == nil {
		body, err = write(t.own, "body", m)
	}
	if err != nil {
		var usualErr error
		if subject, usualErr = write(t.usual, "subject", m); usualErr == nil {
			body, usualErr = write(t.usual, "body", m)
		}
		if usualErr != nil { // a defect of ours: say at least what it is about
			subject, body = "Baktainer: "+m.Summary(), m.Summary()+"\n"
		}
	}
	return cutTo(oneLine(subject), maxSubject, "..."), cutTo(body, maxBody, "\n... cut\n"), err
}

var errTooLong = fmt.Errorf("it writes more than %d KiB", maxWritten>>10)

// limited is a writer that fails when too much is written.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxWritten {
		return 0, errTooLong
	}
	return l.Builder.Write(p)
}

func write(t *template.Template, name string, m *Message) (string, error) {
	var out limited
	if err := t.ExecuteTemplate(&out, name, m); err != nil {
		return "", err
	}
	return out.String(), nil
}

// oneLine makes a subject of a text: a line end in it would begin another header of a mail.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}

func cutTo(text string, most int, end string) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-len(end)]) + end
}

// sample is a message with something in every field.
func sample() *Message {
	var events []*pb.ConditionEvent
	at := time.Date(2026, 6, 1, 3, 0, 0, 0, time.UTC)
	for k := range len(pb.ConditionKind_name) - 1 { // all but the unspecified
		for _, closed := range []bool{false, true} {
			subject := "shop/db"
			if closed {
				subject = "blog/db"
			}
			events = append(events, &pb.ConditionEvent{Sequence: uint64(len(events) + 1), Closed: closed, At: timestamppb.New(at), Condition: &pb.Condition{
				Kind: pb.ConditionKind(k + 1), Subject: subject, OpenedAt: timestamppb.New(at.Add(-time.Hour)),
				Message: "dump database shop: the server refused the password", Hint: "Check the label baktainer.db.password.", Run: "4f1c",
			}})
		}
	}
	m := compose(events, time.UTC)
	m.Cluster, m.Controller, m.At, m.Open, m.Lost = "c0ffee", "c1", at, len(m.Problems), 3
	return m
}

func testMessage() *Message {
	m := compose(nil, time.UTC)
	m.Test, m.Cluster, m.Controller = true, "c0ffee", "c1"
	return m
}
