package uplink

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestCallsThatLoseOneControllerGoOnTogether(t *testing.T) {
	t.Parallel()
	a, b, c := place{"a", "a:1"}, place{"b", "b:1"}, place{"c", "c:1"}
	for name, tc := range map[string]struct {
		now    place
		at     place   // where a call succeeded
		failed []place // where it failed before
		want   place
		says   string
	}{
		"the first":                         {place{}, a, nil, a, ""},
		"the first, after others":           {place{}, b, []place{a}, b, "the controller a does not answer: going on with b"},
		"the first, after two":              {place{}, c, []place{a, b}, c, "the controllers a, b do not answer: going on with c"},
		"the first, after itself":           {place{}, a, []place{a}, a, ""},
		"where it was":                      {a, a, nil, a, ""},
		"where it was, after a while":       {a, a, []place{a, b, c}, a, ""},
		"elsewhere":                         {a, b, []place{a}, b, "the controller a does not answer: going on with b"},
		"elsewhere, and others were tried":  {a, c, []place{a, b}, c, "the controller a does not answer: going on with c"},
		"where another call went before":    {b, b, []place{a}, b, ""},
		"elsewhere than another call":       {b, c, []place{a}, b, ""},
		"late, where the others have left":  {b, a, nil, b, ""},
		"late, where it failed in between":  {b, a, []place{a}, b, ""},
		"back, when that is the only one":   {b, a, []place{b}, a, "the controller b does not answer: going on with a"},
		"back, and it had failed there too": {b, a, []place{a, b, c}, a, "the controller b does not answer: going on with a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			r := &route{log: slog.New(slog.NewTextHandler(&log, nil)), now: tc.now}
			r.arrived(t.Context(), tc.at, tc.failed)
			if r.now != tc.want || r.handOvers() != strings.Count(log.String(), "\n") || !strings.Contains(log.String(), tc.says) || (tc.says == "") != (log.Len() == 0) {
				t.Errorf("going on with %v after %d hand-overs, want %v; log: %s", r.now, r.handOvers(), tc.want, log.String())
			}
		})
	}
}

func TestThePlaceThatWentWellIsFirstAndThoseThatFailedAreLast(t *testing.T) {
	t.Parallel()
	a, b, c := place{"a", "a:1"}, place{"b", "b:1"}, place{"c", "c:1"}
	for _, tc := range []struct {
		now    place
		failed []place
		want   string
	}{
		{place{}, nil, "abc"}, {b, nil, "bca"}, {c, nil, "cab"}, {b, []place{b}, "cab"}, {a, []place{c, a}, "bca"},
		{place{"gone", "d:1"}, []place{a, b, c}, "abc"}, {place{}, []place{c, a, b}, "cab"},
	} {
		r := &route{now: tc.now, places: func() []place { return []place{a, b, c} }}
		got := ""
		for _, p := range r.inTurn(tc.failed) {
			got += p.name
		}
		if got != tc.want {
			t.Errorf("now %v, failed %v: %s, want %s", tc.now, tc.failed, got, tc.want)
		}
	}
}
