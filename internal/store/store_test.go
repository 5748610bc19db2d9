package store

import (
	"path"
	"strings"
	"testing"
)

func FuzzCheckName(f *testing.F) {
	for _, n := range []string{"a", "a/b.c~d_e-f", "sources/x~y/packs/ab/cd", "", ".", "..", "a//b", "/a", "a/", "a/../b", ".tmp-1", "a\x00", strings.Repeat("x", 513)} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if path.Clean(name) != name || path.IsAbs(name) || strings.Contains(name, "..") && path.Clean("x/"+name) != "x/"+name || strings.ContainsAny(name, "\\:\x00 \n") {
			t.Errorf("%q passes", name)
		}
	})
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "a/b.c~d_e-f/G9": true, "a..b": true, "format.json": true, strings.Repeat("x", 512): true,
		"": false, strings.Repeat("x", 513): false, "/a": false, "a/": false, "a//b": false, ".": false, "a/..": false, "a/.b": false, "a b": false, "ä": false, "a\\b": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
