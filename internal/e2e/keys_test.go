package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

type keySlot struct {
	ID, Type   string
	Generation int
}

// One store goes through the life of its keys: made for a key file, opened by a
// passphrase, without the key file, by a new passphrase, by a kit typed back, and
// under a new key of its own.
func TestTheKeysOfAStore(t *testing.T) {
	needContainers(t)
	t.Parallel()
	dir := tempDir(t)
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if text == "" {
			return path
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	u := startUp(t, upOptions{})
	bare := func(argv ...string) result {
		t.Helper()
		return command(t, nil, plainEnvironment(), append(append([]string{u.binary}, argv...), "--store", u.store())...)
	}
	good := func(argv ...string) string {
		t.Helper()
		return must(t, bare(argv...), strings.Join(argv, " "))
	}
	refused := func(want string, argv ...string) {
		t.Helper()
		r := bare(argv...)
		t.Logf("%s:\n%s", strings.Join(argv, " "), r.text())
		if r.status != failedStatus || !strings.Contains(r.stderr, want) {
			t.Errorf("%s ends with %d, want %d and a word of %q", strings.Join(argv, " "), r.status, failedStatus, want)
		}
	}
	slot := func(kind string) keySlot {
		t.Helper()
		for _, s := range decode[[]keySlot](t, good("key", "ls", "-o", "json")) {
			if s.Type == kind {
				return s
			}
		}
		t.Fatalf("no slot of type %s", kind)
		return keySlot{}
	}

	c := custom.start(t)
	custom.seed(t, c, 0)
	before := custom.fingerprint(t, c)
	first := u.backup(t, c)
	dump := func(s snapshot, key ...string) string {
		t.Helper()
		return good(append([]string{"rescue", "dump", s.ID}, key...)...)
	}
	want := dump(first, "--key-file", u.key())

	// A passphrase instead of the key file, and another instead of that.
	words, others := file("words", "correct horse battery\n"), file("others", "another horse battery\n")
	good("key", "add", "--key-file", u.key(), "--new-passphrase-file", words)
	good("key", "remove", slot("keyfile").ID, "--passphrase-file", words)
	refused("no slot for a key file", "rescue", "ls", "--key-file", u.key())
	if dump(first, "--passphrase-file", words) != want {
		t.Error("the passphrase alone gives another dump")
	}
	good("key", "rotate", slot("passphrase").ID, "--passphrase-file", words, "--new-passphrase-file", others)
	refused("does not fit", "rescue", "ls", "--passphrase-file", words)
	if dump(first, "--passphrase-file", others) != want {
		t.Error("the new passphrase gives another dump")
	}

	// A new key file, from the sheet of paper.
	good("key", "export", file("key", ""), "--passphrase-file", others)
	sheet := good("key", "kit", "--key-file", file("key", ""))
	groups := regexp.MustCompile(`(?s)THE KEY\n(.*)\nWHAT TO DO`).FindStringSubmatch(sheet)
	if groups == nil {
		t.Fatal(sheet)
	}
	typed := file("typed", strings.ToLower(groups[1]))
	if dump(first, "--key-file", typed) != want {
		t.Error("the key typed from the kit gives another dump")
	}

	// The controller opens the store by passphrase, and goes on where it was.
	u.stop(t)
	u.flags = append(u.flags, "--passphrase-file", others)
	u.start(t)
	u.ready(t)
	same := u.backup(t, c)
	if same.NewBytes*10 > same.RawBytes {
		t.Errorf("a backup of the same data under the same key added %d of %d bytes", same.NewBytes, same.RawBytes)
	}

	// Under a new key of the store everything is stored anew, once; who was left
	// out reads what was there before, and nothing since.
	old := tempDir(t)
	must(t, command(t, nil, nil, "cp", "-a", u.store(), old), "copy the store")
	u.stop(t)
	refused("--drop-others", "key", "rotate", "--generation", "--passphrase-file", others)
	good("key", "rotate", "--generation", "--passphrase-file", others, "--drop-others")
	if s := slot("passphrase"); s.Generation != 2 {
		t.Errorf("%+v", s)
	}
	refused("no slot for a key file", "rescue", "ls", "--key-file", typed)
	u.start(t)
	u.ready(t)
	anew := u.backup(t, c)
	if anew.NewBytes*10 < first.NewBytes*9 {
		t.Errorf("under the new key a backup added %d bytes, the first one %d", anew.NewBytes, first.NewBytes)
	}
	again := u.backup(t, c)
	if again.NewBytes*10 > again.RawBytes {
		t.Errorf("the next backup added %d of %d bytes", again.NewBytes, again.RawBytes)
	}
	for _, s := range []snapshot{first, same, anew, again} {
		u.verify(t, s)
		if dump(s, "--passphrase-file", others) != want {
			t.Errorf("snapshot %s gives another dump", s.ID)
		}
	}
	custom.wreck(t, c)
	u.ok(t, "restore", first.ID, "--overwrite") // of the earlier generation
	if after := custom.fingerprint(t, c); after != before {
		t.Errorf("restored:\n%s\nit was:\n%s", after, before)
	}

	// The keys of before, put back by whoever runs the store.
	u.stop(t)
	for _, s := range decode[[]keySlot](t, good("key", "ls", "-o", "json")) {
		for _, end := range []string{"", ".copy"} {
			if err := os.Remove(filepath.Join(u.store(), "keys", s.ID+end)); err != nil {
				t.Fatal(err)
			}
		}
	}
	must(t, command(t, nil, nil, "cp", "-a", filepath.Join(old, "store", "keys"), u.store()), "put the old slots back")
	r := command(t, nil, plainEnvironment(), append([]string{u.binary, "up"}, u.flags...)...)
	t.Logf("start with the keys of before:\n%s", tail(r.text()))
	if r.status != failedStatus || !strings.Contains(r.text(), "older than at the last start") {
		t.Errorf("it ends with %d", r.status)
	}
}
