package cli

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"

	storefs "github.com/baktainer/baktainer/internal/store/fs"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// bench is a store with a snapshot and its first key, and a folder for more keys.
type bench struct {
	t               *testing.T
	store, key, dir string
}

func newBench(t *testing.T) bench {
	t.Helper()
	store, key := wreck(t)
	return bench{t, store, key, t.TempDir()}
}

// run runs `baktainer ARGS --store …`.
func (b bench) run(args ...string) result {
	b.t.Helper()
	roof := Roof{OpenStore: func(dir string) (store.Store, error) { return storefs.Open(dir) }}
	return cli(b.t, roof, "", append(args, "--store", b.store)...)
}

// good is run of what has to work.
func (b bench) good(args ...string) result {
	b.t.Helper()
	r := b.run(args...)
	if r.status != 0 {
		b.t.Fatalf("%s: %+v", args, r)
	}
	return r
}

// bad is run of what has to fail with a status and a text, and to change nothing.
func (b bench) bad(status int, want string, args ...string) {
	b.t.Helper()
	before := b.slots()
	r := b.run(args...)
	if r.status != status || !strings.Contains(r.err, want) {
		b.t.Errorf("%s: %+v", args, r)
	}
	if after := b.slots(); len(after) != len(before) {
		b.t.Errorf("%s: %d slots, before %d", args, len(after), len(before))
	}
}

func (b bench) file(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if text != "" {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	return path
}

func (b bench) slots() (slots []slotView) {
	b.t.Helper()
	if err := json.Unmarshal([]byte(b.good("key", "ls", "-o", "json").out), &slots); err != nil {
		b.t.Fatal(err)
	}
	return slots
}

func (b bench) slot(kind string) slotView {
	b.t.Helper()
	for _, s := range b.slots() {
		if s.Type == kind {
			return s
		}
	}
	b.t.Fatalf("no slot of type %s", kind)
	return slotView{}
}

func TestKeysComeAndGo(t *testing.T) {
	b := newBench(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	words, id := b.file("words", "correct horse battery\n"), b.file("id", identity.String()+"\n")
	opens := func(args ...string) {
		t.Helper()
		if r := b.run(append([]string{"rescue", "dump", "shop/db", "shop.sql"}, args...)...); r.status != 0 || r.out != shopSQL {
			t.Errorf("rescue with %s: %+v", args, r)
		}
	}
	b.good("key", "add", "--key-file", b.key, "--new-passphrase-file", words, "--label", "in the safe")
	b.good("key", "add", "--passphrase-file", words, "--recipient", identity.Recipient().String())
	second := b.file("second.key", "")
	b.good("key", "add", "--identity-file", id, "--new-key-file", second)
	if info, err := os.Stat(second); err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info, err)
	}
	for _, key := range [][]string{{"--key-file", b.key}, {"--passphrase-file", words}, {"--identity-file", id}, {"--key-file", second}} {
		opens(key...)
	}
	t.Setenv(config.PassphraseVariable, "correct horse battery")
	opens()
	t.Setenv(config.PassphraseVariable, "")
	if s := b.slot("passphrase"); s.Label != "in the safe" || s.Fingerprint != "" || s.Generation != 1 || s.Note != "" {
		t.Errorf("%+v", s)
	}

	// Rotated: the old one opens nothing any more, and the label stays.
	other := b.file("other", "another horse battery")
	b.good("key", "rotate", b.slot("passphrase").ID[:8], "--identity-file", id, "--new-passphrase-file", other)
	opens("--passphrase-file", other)
	b.bad(1, "does not fit", "key", "remove", b.slot("age").ID, "--passphrase-file", words)
	if s := b.slot("passphrase"); s.Label != "in the safe" {
		t.Errorf("%+v", s)
	}
	b.bad(1, "last that the key at hand opens", "key", "remove", b.slot("passphrase").ID, "--passphrase-file", other)
	b.good("key", "remove", b.slot("passphrase").ID, "--identity-file", id)
	b.bad(1, "no slot for a passphrase", "rescue", "ls", "--passphrase-file", other)

	// A new generation, for those who are there.
	b.bad(1, "--drop-others", "key", "rotate", "--generation", "--key-file", b.key)
	r := b.good("key", "rotate", "--generation", "--key-file", b.key, "--drop-others", "--yes")
	if !strings.Contains(r.err, "loses access") || !strings.Contains(r.err, "Restart the controller") {
		t.Error(r.err)
	}
	for _, s := range b.slots() {
		if s.Generation != 2 {
			t.Errorf("%+v", s)
		}
	}
	b.bad(1, "does not fit", "rescue", "ls", "--key-file", second)
	opens("--key-file", b.key)
	opens("--identity-file", id)
}

func TestKeyIsRefused(t *testing.T) {
	b := newBench(t)
	words, weak := b.file("words", "correct horse battery\n"), b.file("weak", "password")
	with := func(args ...string) []string { return append([]string{"key"}, append(args, "--key-file", b.key)...) }
	b.bad(2, "say what the new key is", with("add")...)
	b.bad(2, "say what the new key is", with("add", "--new-passphrase-file", words, "--new-key-file", b.file("x", ""))...)
	b.bad(2, "8 characters", with("add", "--new-passphrase-file", weak)...)
	b.bad(2, "no terminal", with("add", "--new-passphrase")...)
	b.bad(2, "no terminal", "key", "kit", "--ask-passphrase")
	b.bad(2, "age1", with("add", "--recipient", "age1nobody")...)
	b.bad(2, "want one of them", with("add", "--passphrase-file", words)...)
	b.bad(1, "never overwritten", with("add", "--new-key-file", words)...)
	b.bad(1, "never overwritten", with("export", b.key)...)
	b.bad(1, "last that opens", with("remove", b.slot("keyfile").ID, "--force")...)
	b.bad(1, "0 key slots begin", with("remove", "zz")...)
	b.bad(1, "0 key slots begin", with("remove", "")...)
	b.bad(2, "key slot or --generation", with("rotate")...)
	b.bad(2, "key slot or --generation", with("rotate", "3f9a", "--generation")...)
	b.bad(2, "keeps the keys", with("rotate", "--generation", "--new-key-file", "x")...)
	b.bad(2, "no JSON", with("kit", "-o", "json")...)
	unused := b.file("unused.key", "")
	b.bad(2, "label", with("add", "--new-key-file", unused, "--label", strings.Repeat("a", 300))...)
	if _, err := os.Stat(unused); err == nil {
		t.Error("a key file was left that opens nothing")
	}
}

// What is typed from the kit opens the store.
func TestTheKit(t *testing.T) {
	b := newBench(t)
	text, err := os.ReadFile(b.key)
	if err != nil {
		t.Fatal(err)
	}
	key, err := repo.ParseKeyFile(text)
	if err != nil {
		t.Fatal(err)
	}
	sheet := b.good("key", "kit", "--key-file", b.key).out
	for line := range strings.Lines(sheet) {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	groups := regexp.MustCompile(`(?s)THE KEY\n(.*)\nWHAT TO DO`).FindStringSubmatch(sheet)
	if groups == nil {
		t.Fatal(sheet)
	}
	typed := strings.ToLower(groups[1])
	if got, err := repo.ParseKeyFile([]byte(typed)); err != nil || got != key {
		t.Errorf("%q: %v", typed, err)
	}
	b.good("rescue", "ls", "--key-file", b.file("typed", typed))
	b.bad(2, "checksum", "rescue", "ls", "--key-file", b.file("mistyped", swap(typed)))

	// Without a key file, the kit has no secret.
	words := b.file("words", "correct horse battery\n")
	b.good("key", "add", "--key-file", b.key, "--new-passphrase-file", words)
	sheet = b.good("key", "kit", "--passphrase-file", words).out
	if strings.Contains(sheet, "horse") || !strings.Contains(sheet, "--ask-passphrase") || !strings.Contains(sheet, b.slot("keyfile").ID) {
		t.Error(sheet)
	}
	// An export makes a key, or writes the one that is there.
	made, again := b.file("made.key", ""), b.file("again.key", "")
	b.good("key", "export", made, "--passphrase-file", words, "--label", "made")
	b.good("rescue", "ls", "--key-file", made)
	b.good("key", "export", again, "--key-file", b.key)
	if got, err := os.ReadFile(again); err != nil || string(got) != string(text) {
		t.Errorf("%s, %v", got, err)
	}
	if n := len(b.slots()); n != 3 {
		t.Errorf("%d slots", n)
	}
}

// swap exchanges the first two groups that differ of a typed key.
func swap(typed string) string {
	words := strings.Fields(typed)
	words[1], words[2] = words[2], words[1]
	return strings.Join(words, " ")
}
