// Package format_test runs the independent reader of the format: what it says of
// the test vectors, of a store that was just written, and of damaged ones.
package format_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const vectors = "../../internal/repo/testdata"

// python gives the python3 that deploy/setup/python.sh found.
func python(t *testing.T) string {
	t.Helper()
	if os.Getenv("BAKTAINER_E2E") != "1" {
		t.Skip("needs a python3 with modules: set BAKTAINER_E2E=1")
	}
	path, err := os.ReadFile("../../.test/python")
	if err != nil {
		t.Fatalf("run deploy/setup/python.sh first: %v", err)
	}
	return strings.TrimSpace(string(path))
}

// read runs the reader. Its exit status is 0 or 1, and when it is 1 it says why.
func read(t *testing.T, python string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, append([]string{"baktainer_reader.py"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	exit := &exec.ExitError{}
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) || strings.Contains(errs.String(), "Traceback") {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	if err == nil {
		return 0, out.String(), errs.String()
	}
	if errs.Len() == 0 && args[0] != "selftest" {
		t.Errorf("%s: fails and does not say why", strings.Join(args, " "))
	}
	return 1, out.String(), errs.String()
}

func TestVectors(t *testing.T) {
	status, out, errs := read(t, python(t), "selftest", vectors)
	if status != 0 || strings.Contains(out, "not tried") || !strings.HasSuffix(out, ": 0 differences\n") {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
}

// A value that is stated wrongly is found: the self test does compare.
func TestVectorsThatAreWrong(t *testing.T) {
	python := python(t)
	good, err := os.ReadFile(filepath.Join(vectors, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"a number of rows", `"rows": 300`, `"rows": 301`, ".rows is 300, the vectors say 301"},
		{"a depth", `"depth": 2`, `"depth": 1`, ".depth is 2, the vectors say 1"},
		{"the order of runs", `"codec": 3`, `"codec": 1`, ".codec is 3, the vectors say 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(vectors)); err != nil {
				t.Fatal(err)
			}
			wrong := bytes.Replace(good, []byte(c.old), []byte(c.new), 1)
			if err := os.WriteFile(filepath.Join(dir, "vectors.json"), wrong, 0o600); err != nil || bytes.Equal(wrong, good) {
				t.Fatalf("nothing to spoil: %v", err)
			}
			if status, out, _ := read(t, python, "selftest", dir); status != 1 || !strings.Contains(out, c.want) {
				t.Errorf("exit status %d\n%s", status, out)
			}
		})
	}
}

// Every object of the vectors' store is damaged in several places. Each time the
// reader names it, and never gives out a dump that is not the right one.
func TestDamage(t *testing.T) {
	python, stated := python(t), readVectors(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(stated.KeyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(store, os.DirFS(filepath.Join(vectors, "store"))); err != nil {
		t.Fatal(err)
	}
	var objects []string
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			objects = append(objects, path)
		}
		return err
	})
	if err != nil || len(objects) < 30 {
		t.Fatalf("%d objects: %v", len(objects), err)
	}
	found := map[string]int{}
	for i, path := range objects {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(store, path)
		for n, how := range spoilt(good, i) {
			if err := os.WriteFile(path, how.object, 0o600); err != nil {
				t.Fatal(err)
			}
			if status, out, errs := read(t, python, "check", store, "--key", key); status != 1 || !strings.Contains(errs, filepath.ToSlash(name)) {
				t.Errorf("%s, %s: exit status %d\n%s%s", name, how.what, status, out, errs)
			}
			if n == 0 {
				found[dumpAll(t, python, store, key, stated.hit(name))]++
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d objects; dumps that were right: %d, refused: %d", len(objects), found["right"], found["refused"])
	// What has a copy, or is not needed for a stream, does not matter to a dump.
	if found["right"] < 8 || found["refused"] < 20 {
		t.Error("too few dumps were right, or refused")
	}
	if status, out, errs := read(t, python, "check", store, "--key", key); status != 0 {
		t.Errorf("exit status %d when all is as it was\n%s%s", status, out, errs)
	}
}

type spoiltObject struct {
	what   string
	object []byte
}

// spoilt gives versions of an object that are not it: other places are hit of
// each object.
func spoilt(good []byte, seed int) (all []spoiltObject) {
	for _, at := range []int{(seed*7919 + 31) % len(good), len(good) - 1 - seed%8} {
		b := bytes.Clone(good)
		b[at] ^= 1 << (seed % 7)
		all = append(all, spoiltObject{fmt.Sprintf("byte %d of %d", at, len(good)), b})
	}
	if seed%4 == 0 {
		all = append(all, spoiltObject{"cut short", good[:len(good)-1]})
	}
	return all
}

// dumpAll dumps the streams of a snapshot from a store that is damaged: what
// comes is right, or the beginning of it and an exit status.
func dumpAll(t *testing.T, python, store, key string, s statedSnapshot) string {
	t.Helper()
	all := "right"
	for _, stream := range s.Streams {
		if stream.File == "" {
			continue
		}
		want, err := os.ReadFile(filepath.Join(vectors, stream.File))
		if err != nil {
			t.Fatal(err)
		}
		status, out, _ := read(t, python, "dump", store, s.Snapshot, stream.Name, "--key", key)
		switch {
		case status == 0 && out != string(want), status == 1 && (!strings.HasPrefix(string(want), out) || len(want) > 0 && len(out) == len(want)):
			t.Errorf("dump %s %s: exit status %d and %d wrong bytes", s.Snapshot, stream.Name, status, len(out))
		case status == 1:
			all = "refused"
		}
	}
	return all
}
