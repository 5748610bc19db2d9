package retention_test

import (
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/retention"
)

func TestParse(t *testing.T) {
	tests := []struct{ text, want, wrong string }{
		{"last=3 hourly=24 daily=7 weekly=4 monthly=12 yearly=3", "last=3 hourly=24 daily=7 weekly=4 monthly=12 yearly=3", ""},
		{"daily=7,weekly=4,,at-least=2", "daily=7 weekly=4 at-least=2", ""},
		{"within=48h within-daily=30d within-weekly=6w within-yearly=1y6mo", "within=48h within-daily=30d within-weekly=42d within-yearly=1y6mo", ""},
		{"tag=golden tag=b+a tag=a+b last=1", "last=1 tag=golden tag=a+b", ""},
		{"yearly=all", "yearly=all", ""},
		{"last=0 daily=1", "daily=1", ""},
		{"off", "off", ""},
		{"", "", "the policy is empty"},
		{"daily", "", `"daily" is no rule`},
		{"daily=7 daily=8", "", `"daily" is there twice`},
		{"at-least=3", "", "no rule says what to keep"},
		{"last=0", "", "no rule says what to keep"},
		{"daily=-1", "", "daily: \"-1\" is no number from 0 to 100000, nor all"},
		{"daily=1 off", "", `"off" is no rule`},
		{"within=3m", "", "m may mean months or minutes"},
		{"within=3", "", "is no length of time"},
		{"within=1d1d", "", "is no length of time"},
		{"within=99999d", "", "is no length of time"},
		{"tag=", "", "a tag has 1 to 64 characters"},
		{"tag=-x", "", `"-x" is no tag`},
		{"at-least=0 last=1", "", "at-least: \"0\""},
		{"dayly=3 last=x", "", "there is no rule \"dayly\": there are last, hourly"},
		{"dayly=3 last=x", "", `last: "x" is no number`},
		{strings.Repeat("x", 600), "", "longer than 512 bytes"},
	}
	for _, tt := range tests {
		p, err := retention.Parse(tt.text)
		switch {
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%q: %v, want %q", tt.text, err, tt.wrong)
		case tt.wrong == "" && (err != nil || p.String() != tt.want):
			t.Errorf("%q is %q, %v; want %q", tt.text, p, err, tt.want)
		}
	}
}

func TestPoliciesWithNames(t *testing.T) {
	ps, err := retention.ParsePolicies("gold: last=3 daily=7; silver: daily=3;")
	if err != nil || ps.String() != "gold: last=3 daily=7; silver: daily=3" {
		t.Fatalf("%v, %v", ps, err)
	}
	for text, want := range map[string]string{"gold": "last=3 daily=7", "last=9": "last=9", "off": "off"} {
		if p, err := ps.Find(text); err != nil || p.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, p, err, want)
		}
	}
	if _, err := ps.Find("lead"); err == nil || !strings.Contains(err.Error(), "there are gold, silver") {
		t.Error(err)
	}
	_, err = retention.ParsePolicies("a: b; off: last=1; x; a: last=1; a: last=2")
	for _, want := range []string{"policy a: ", `"off" is no name`, `"x" is not NAME: POLICY`, `two policies named "a"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// Calendars, not hours: a day is a day, however long it takes.
func TestSpanFollowsTheCalendar(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ span, from, want string }{
		{"1d", "2026-03-29 12:00", "2026-03-28 12:00"}, // the clocks went forward between: 23 hours
		{"24h", "2026-03-29 12:00", "2026-03-28 11:00"},
		{"1mo", "2026-05-31 12:00", "2026-05-01 12:00"},
		{"1y1w2d", "2024-03-10 00:00", "2023-03-01 00:00"},
	} {
		s, err := retention.ParseSpan(tt.span)
		from, parseErr := time.ParseInLocation("2006-01-02 15:04", tt.from, vienna)
		if err != nil || parseErr != nil {
			t.Fatal(err, parseErr)
		}
		if got := s.Before(from).Format("2006-01-02 15:04"); got != tt.want {
			t.Errorf("%s before %s is %s, want %s", tt.span, tt.from, got, tt.want)
		}
	}
}

// Whatever is written, it is read or refused, and what was read is read again as
// the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"last=3 hourly=24 daily=7 weekly=4 monthly=12 yearly=3 within=48h within-daily=30d tag=golden at-least=1", "off", "gold", "yearly=all,tag=a+b", "within=1y6mo2w3d4h", "last=\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := retention.Parse(text)
		if err != nil {
			if len(err.Error()) > 64<<10 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if p.Floor() < 1 {
			t.Errorf("%q leaves nothing", text)
		}
		if again, err := retention.Parse(p.String()); len(p.String()) <= retention.MaxText && (err != nil || again.String() != p.String()) {
			t.Errorf("%q is %q, and that is %q: %v", text, p, again, err)
		}
		_, _ = retention.ParsePolicies(text)
	})
}
