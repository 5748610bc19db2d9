package engine_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestTail(t *testing.T) {
	for name, tc := range map[string]struct {
		limit   int
		secrets []string
		writes  []string
		want    string
	}{
		"all":                  {100, nil, []string{"a\n", "b\n"}, "a\nb\n"},
		"the last":             {6, nil, []string{"first\n", "12\n45\n"}, "45\n"},
		"the end of one line":  {4, nil, []string{"0123456789"}, "6789"},
		"a secret":             {100, []string{"s3cret"}, []string{"pw s3cret, s3cret."}, "pw [hidden], [hidden]."},
		"a secret, split":      {100, []string{"s3cret"}, []string{"pw s3", "c", "ret."}, "pw [hidden]."},
		"the beginning of one": {100, []string{"s3cret"}, []string{"pw s3"}, "pw s3"},
		"one in another":       {100, []string{"abc", "abcdef"}, []string{"abc", "def abc abcd"}, "[hidden] [hidden] [hidden]d"},
		"empty secret":         {100, []string{""}, []string{"x"}, "x"},
		"repeated":             {100, []string{"aab"}, []string{"aa", "aab"}, "aa[hidden]"},
		"control characters":   {100, nil, []string{"a\x1b[31mb\r\nc\x00\td\xff"}, "a[31mb\nc\td?"},
	} {
		t.Run(name, func(t *testing.T) {
			tail := engine.NewTail(tc.limit, tc.secrets)
			for _, w := range tc.writes {
				if n, err := tail.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("Write: %d, %v", n, err)
				}
			}
			for range 2 { // looking does not change it
				if got := tail.String(); got != tc.want {
					t.Errorf("%q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestTailCutsNoSecretOpen(t *testing.T) {
	const secret = "0123456789abcdef"
	for before := range 200 {
		tail := engine.NewTail(64, []string{secret})
		_, _ = tail.Write([]byte(strings.Repeat("x", before) + secret + strings.Repeat("y", 50)))
		if got := tail.String(); strings.Contains(got, "cdef") {
			t.Fatalf("%d bytes before: %q", before, got)
		}
	}
}

func FuzzTail(f *testing.F) {
	f.Add("pw s3cret\nand more", "s3cret", 3, 100)
	f.Add("aaab", "aab", 1, 4)
	f.Fuzz(func(t *testing.T, text, secret string, size, limit int) {
		limit, size = min(max(limit, 0), 4096), max(size, 1)
		tail := engine.NewTail(limit, []string{secret})
		for b := []byte(text); len(b) > 0; {
			n := min(size, len(b))
			_, _ = tail.Write(b[:n])
			b = b[n:]
		}
		got := tail.String()
		if len(got) > limit || !utf8.ValidString(got) {
			t.Fatalf("%d bytes of %d, %q", len(got), limit, got)
		}
		atOnce := engine.NewTail(limit, []string{secret})
		_, _ = atOnce.Write([]byte(text))
		if limit > 2*len(text)+len("[hidden]")*len(text) && atOnce.String() != got {
			t.Fatalf("%q in pieces, %q at once", got, atOnce.String())
		}
	})
}

func TestExplain(t *testing.T) {
	patterns := []engine.Pattern{
		{Any: []string{"access denied"}, Reason: engine.ReasonWrongPassword, Code: problem.Denied, Hint: "look again"},
		{Any: []string{"Denied"}, Reason: engine.ReasonNoDatabase, Code: problem.NotFound},
	}
	for _, tc := range []struct {
		exit   engine.Exit
		reason problem.Reason
		code   problem.Code
	}{
		{engine.Exit{Status: 1, Stderr: "x\nACCESS DENIED\n"}, engine.ReasonWrongPassword, problem.Denied},
		{engine.Exit{Status: 1, Stderr: "denied"}, engine.ReasonNoDatabase, problem.NotFound},
		{engine.Exit{Status: 1, Stderr: "what?"}, engine.ReasonToolFailed, problem.Failed},
		{engine.Exit{Status: 127}, engine.ReasonToolMissing, problem.Failed},
		{engine.Exit{Status: 137}, engine.ReasonToolFailed, problem.Failed},
	} {
		p := engine.Explain("tool", tc.exit, patterns)
		if p.Reason != tc.reason || p.Code != tc.code {
			t.Errorf("%+v: %s %s, want %s %s", tc.exit, p.Reason, p.Code, tc.reason, tc.code)
		}
	}
	if p := engine.Explain("tool", engine.Exit{Status: 1, Stderr: strings.Repeat("line\n\n", 100)}, patterns); len(p.Details) > 20 || len(p.Details) == 0 {
		t.Errorf("%d details", len(p.Details))
	}
}
