package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
)

func TestNamesThatAreNoted(t *testing.T) {
	var names engine.Names
	for _, n := range []string{"shop", `o'd "role", x`, "", "größe\n", "shop"} {
		names.Add(n)
	}
	var c engine.Contents
	names.Note(&c, "roles")
	engine.Names{}.Note(&c, "none")
	if len(c.Notes) != 1 {
		t.Fatalf("notes %q", c.Notes)
	}
	if got := c.Named("roles"); !slices.Equal(got, []string{"größe\n", `o'd "role", x`, "shop"}) {
		t.Errorf("noted as %q, read as %q", c.Notes, got)
	}
	if got := c.Named("none"); len(got) > 0 {
		t.Errorf("none are %q", got)
	}
	var many engine.Names
	for i := range 2 * engine.MaxNames {
		many.Add(fmt.Sprint(i))
	}
	many.Note(&c, "many")
	if got := c.Named("many"); len(got) != engine.MaxNames {
		t.Errorf("%d names", len(got))
	}
}

func FuzzNamed(f *testing.F) {
	f.Add(`"a", "b"`)
	f.Add(`"a`)
	f.Add("'x', `y`")
	f.Fuzz(func(t *testing.T, rest string) {
		got := engine.Contents{Notes: []string{"roles: " + rest}}.Named("roles")
		if len(got) > len(rest) {
			t.Errorf("%q gives %d names", rest, len(got))
		}
	})
}

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		now, dumped string
		parts       int
		want        bool
	}{
		{"14.9 (Debian 14.9-1)", "15.18", 1, true},
		{"15.2", "15.18", 1, false},
		{"16.0", "9.6.24", 2, false},
		{"10.11.6-MariaDB", "11.4.2-MariaDB", 2, true},
		{"10.11.6", "10.11.14", 2, false},
		{"8", "8.4", 2, true},
		{"unknown", "15", 1, false},
		{"15", "", 1, false},
		{"99999999999999999999.1", "15", 1, false},
	} {
		if got := engine.Older(engine.Version(tc.now), engine.Version(tc.dumped), tc.parts); got != tc.want {
			t.Errorf("%q beside %q: %v", tc.now, tc.dumped, got)
		}
	}
}

func TestWarnRoom(t *testing.T) {
	const head = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n"
	for name, tc := range map[string]struct {
		df     enginetest.Answer
		folder string
		warns  bool
	}{
		"too little":     {enginetest.Answer{Stdout: head + "/dev/sda1 1000 900 100 90% /\n"}, "/data", true},
		"enough":         {enginetest.Answer{Stdout: head + "/dev/sda1 100000 900 99100 1% /\n"}, "/data", false},
		"odd names":      {enginetest.Answer{Stdout: head + "a file system 1000 900 100 90% /x 5%\n"}, "/data", true},
		"no answer":      {enginetest.Answer{Status: 1}, "/data", false},
		"nonsense":       {enginetest.Answer{Stdout: "what?"}, "/data", false},
		"not a number":   {enginetest.Answer{Stdout: head + "x 1 2 - 90% /\n"}, "/data", false},
		"no such folder": {enginetest.Answer{Stdout: head + "/dev/sda1 1000 900 100 90% /\n"}, "", false},
	} {
		inst := enginetest.NewScript(engine.Facts{}).On("df", func(enginetest.Call) enginetest.Answer { return tc.df })
		var s engine.Survey
		s.WarnRoom(t.Context(), inst, tc.folder, []engine.Dumped{{Size: 1 << 20}, {Size: 5}})
		if len(s.Warnings) > 0 != tc.warns || tc.warns && !strings.Contains(s.Warnings[0], "100 KiB free") {
			t.Errorf("%s: %q", name, s.Warnings)
		}
	}
	var s engine.Survey
	s.WarnRoom(t.Context(), enginetest.NewScript(engine.Facts{}), "/data", []engine.Dumped{{Size: 1 << 40}})
	if len(s.Warnings) > 0 {
		t.Errorf("without df: %q", s.Warnings)
	}
}
