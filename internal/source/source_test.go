package source_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/source"
)

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"db": true, "shop/db": true, "Shop_1.x-y": true, "0": true, strings.Repeat("a", source.MaxNameLength): true,
		"": false, "/db": false, "shop/": false, "a/b/c": false, ".hidden": false, "a/.b": false, "a b": false,
		"a~b": false, "..": false, "a/../b": false, "ä": false, "a\nb": false, strings.Repeat("a", source.MaxNameLength+1): false,
	} {
		if err := source.CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v, want ok = %t", name, err, ok)
		}
	}
}

func TestName(t *testing.T) {
	swarm := map[string]string{"com.docker.swarm.service.name": "stack_db"}
	compose := map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}
	for _, tc := range []struct {
		label     string
		labels    map[string]string
		container string
		want      string
	}{
		{"mine", compose, "/shop-db-1", "mine"},
		{"", swarm, "/stack_db.1.xyz", "stack_db"},
		{"", compose, "/shop-db-1", "shop/db"},
		{"", map[string]string{"com.docker.compose.project": "shop"}, "/x", "x"},
		{"", nil, "/postgres", "postgres"},
	} {
		if got := source.Name(tc.label, tc.labels, tc.container); got != tc.want {
			t.Errorf("Name(%q, %v, %q) = %q, want %q", tc.label, tc.labels, tc.container, got, tc.want)
		}
	}
}

// FuzzPathKey: names that may be used never meet as path components, and come
// back from them.
func FuzzPathKey(f *testing.F) {
	f.Add("shop/db", "shop.db")
	f.Add("a", "A")
	f.Fuzz(func(t *testing.T, a, b string) {
		if source.CheckName(a) != nil || source.CheckName(b) != nil {
			return
		}
		ka, kb := source.PathKey(a), source.PathKey(b)
		if (a == b) != (ka == kb) {
			t.Errorf("%q and %q become %q and %q", a, b, ka, kb)
		}
		if source.NameFromPathKey(ka) != a || strings.ContainsAny(ka, "/\\") {
			t.Errorf("%q becomes %q", a, ka)
		}
	})
}

func TestASecretDoesNotShowItself(t *testing.T) {
	const word = "hunter2"
	s := struct{ Password source.Secret }{word}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "password", s.Password, "all", s)
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for how, text := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%+v": fmt.Sprintf("%+v", s), "%#v": fmt.Sprintf("%#v", s), "%s": fmt.Sprintf("password %s", s.Password),
		"%q": fmt.Sprintf("%q", s.Password), "json": string(encoded), "slog": log.String(), "%x": fmt.Sprintf("%x", s.Password),
	} {
		if strings.Contains(text, word) || strings.Contains(text, fmt.Sprintf("%x", word)) {
			t.Errorf("%s shows it: %s", how, text)
		}
	}
	if s.Password.Reveal() != word {
		t.Error("it is lost")
	}
	if got := source.Secret("").String(); got != "" {
		t.Errorf("an empty secret shows as %q", got)
	}
}
