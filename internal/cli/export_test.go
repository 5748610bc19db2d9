package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder lists the names in a folder, hidden ones too.
func folder(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func content(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExportOneStreamToAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "out.sql")
	socket := serve(t, &fake{})
	r := cli(t, Roof{}, socket, "restore", "shop/db", "--select", "shop", "--to", "file:"+file)
	if r.status != 0 || content(t, file) != shopSQL || folder(t, dir) != "out.sql" {
		t.Fatalf("%+v, folder %s", r, folder(t, dir))
	}
	if r.err != "warning: Not in this backup (shop.sql), since its labels left it out: public.sessions, the rows of public.log\ufffd[31m\n" {
		t.Errorf("what the backup is without: %q", r.err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the dump: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := cli(t, Roof{}, socket, "restore", "shop/db", "--select", "shop", "--to", "file:"+file); r.status != 1 || content(t, file) != "precious" {
		t.Errorf("a file that is there: %+v", r)
	}
	if r := cli(t, Roof{}, socket, "restore", "shop/db", "--select", "shop", "--to", "file:"+file, "--overwrite"); r.status != 0 || content(t, file) != shopSQL {
		t.Errorf("--overwrite: %+v", r)
	}
	// A device is not replaced by a file.
	if r := cli(t, Roof{}, socket, "restore", "shop/db", "--select", "shop", "--to", "file:/dev/null", "--overwrite", "--dry-run"); r.status != 2 || !strings.Contains(r.err, "/dev/null is no file") {
		t.Errorf("a device: %+v", r)
	}
	// A folder that is there takes the stream under its own name.
	if r := cli(t, Roof{}, socket, "restore", "shop/db", "--select", "shop", "--to", "file:"+dir); r.status != 0 || content(t, filepath.Join(dir, "shop.sql")) != shopSQL {
		t.Errorf("into a folder: %+v", r)
	}
}

func TestExportSeveralStreamsToAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	socket := serve(t, &fake{})
	if r := cli(t, Roof{}, socket, "restore", "shop/db", "--to", "file:"+dir, "--dry-run"); r.status != 0 || !strings.Contains(r.out, "globals.sql") {
		t.Errorf("--dry-run: %+v", r)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("--dry-run wrote something")
	}
	r := cli(t, Roof{}, socket, "restore", "shop/db", "--to", "file:"+dir)
	if r.status != 0 || folder(t, dir) != "globals.sql shop.sql" || content(t, filepath.Join(dir, "globals.sql")) != globalsSQL {
		t.Errorf("%+v, folder %s", r, folder(t, dir))
	}
	if r := cli(t, Roof{}, socket, "restore", "shop/db", "--to", "file:"+filepath.Join(dir, "shop.sql")); r.status != 1 || !strings.Contains(r.err, "is a file, and there are 2 streams") {
		t.Errorf("several streams into a file: %+v", r)
	}
}

func TestAnExportThatFailsLeavesNothing(t *testing.T) {
	for what, broken := range map[string]map[string]string{
		"the stream breaks": {"shop.sql": ""},
		"it is cut short":   {"shop.sql": shopSQL[:9]},
		"a byte differs":    {"shop.sql": strings.Replace(shopSQL, "1", "2", 1)},
	} {
		dir := t.TempDir()
		r := cli(t, Roof{}, serve(t, &fake{broken: broken}), "restore", "shop/db", "--select", "shop", "--to", "file:"+filepath.Join(dir, "x.sql"))
		if r.status != 1 || folder(t, dir) != "" {
			t.Errorf("%s: %+v, left %q", what, r, folder(t, dir))
		}
		if r := cli(t, Roof{}, serve(t, &fake{broken: broken}), "dump", "shop/db", "shop"); r.status != 1 {
			t.Errorf("%s: dump: %+v", what, r)
		}
	}
}

func TestPlanRefusesNamesThatLeaveTheFolder(t *testing.T) {
	for _, name := range []string{"../x", "a/b", "..", ".", "", "/etc/passwd"} {
		if files, err := plan(t.TempDir(), []streamView{{Name: name}}, true); err == nil {
			t.Errorf("%q would be written to %v", name, files)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]target{
		"": {}, "-": {file: "-"}, "shop/db": {source: "shop/db"}, "container:x": {container: "x"}, "file:a//b": {file: "a/b"}, "file:-": {file: "-"},
	} {
		if got, err := parseTarget(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"container:", "file:", "a b", "http://x", "ship:x"} {
		if got, err := parseTarget(text); err == nil {
			t.Errorf("%q means %+v", text, got)
		}
	}
}
