package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

var keysTime = time.Unix(1e9, 0)

const words = "correct horse battery"

// copyOf is the store as it is now.
func copyOf(t *testing.T, st *mem.Store) *mem.Store {
	t.Helper()
	twin := mem.New()
	err := st.List(t.Context(), "", func(i store.Info) error {
		rc, err := st.Get(t.Context(), i.Name, 0, -1)
		if err == nil {
			_, err = twin.Put(t.Context(), i.Name, rc)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

// home is a data folder, and settings that put nothing elsewhere.
func home(t *testing.T) config.Config {
	t.Helper()
	dir := t.TempDir()
	return config.Config{DataDir: dir, KeyFile: filepath.Join(dir, "repository.key")}
}

func openAt(t *testing.T, st *mem.Store, c config.Config) (*repo.Repository, error) {
	t.Helper()
	return openRepository(t.Context(), st, c, keysTime, slog.New(slog.DiscardHandler))
}

func must(t *testing.T, st *mem.Store, c config.Config) *repo.Repository {
	t.Helper()
	r, err := openAt(t, st, c)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return r
}

// write puts text in a file, and gives its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func slotTypes(t *testing.T, st *mem.Store) string {
	t.Helper()
	_, slots, err := repo.ListSlots(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, s := range slots {
		types = append(types, s.Type)
	}
	return strings.Join(types, " ")
}

// The first start makes what there is not, with a slot for the key that is set;
// the next one opens it.
func TestFirstStart(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for want, set := range map[string]func(*config.Config){
		"keyfile":     func(*config.Config) {},
		"passphrase":  func(c *config.Config) { c.Passphrase = source.Secret(words) },
		"passphrase ": func(c *config.Config) { c.PassphraseFile = write(t, words+"\r\n") },
		"age":         func(c *config.Config) { c.IdentityFile = write(t, "# mine\n"+identity.String()+"\n") },
	} {
		c, st := home(t), mem.New()
		set(&c)
		first := must(t, st, c)
		if got := slotTypes(t, st); got != strings.TrimSpace(want) {
			t.Errorf("slots: %s, want %s", got, want)
		}
		_, err := os.Stat(c.KeyFile)
		if (err == nil) != (want == "keyfile") {
			t.Errorf("%s: key file: %v", want, err)
		}
		if again := must(t, st, c); again.ID != first.ID {
			t.Errorf("%s: another repository at the second start", want)
		}
		// Its disk is not mounted.
		empty := mem.New()
		if _, err := openAt(t, empty, c); problem.ReasonOf(err) != repo.ReasonNoRepository || !strings.Contains(problem.Text(err), "repository.pin") {
			t.Errorf("%s: the store has nothing any more: %v", want, err)
		}
		if _, err := empty.Stat(t.Context(), repo.FormatName); err == nil {
			t.Errorf("%s: a new repository was begun", want)
		}
	}
}

// A store that was there at the last start and is empty now is on a disk that is not
// mounted: nothing is made in its place, neither a repository nor a key.
func TestAStoreThatIsGone(t *testing.T) {
	c := home(t)
	before := must(t, mem.New(), c)
	st := mem.New()
	refused := func(when string) {
		t.Helper()
		_, err := openAt(t, st, c)
		var made []string
		if err := st.List(t.Context(), "", func(i store.Info) error { made = append(made, i.Name); return nil }); err != nil {
			t.Fatal(err)
		}
		if problem.ReasonOf(err) != repo.ReasonNoRepository || !strings.Contains(problem.Text(err), "repository.pin") || made != nil {
			t.Errorf("%s: %v, and in the store %v", when, err, made)
		}
	}
	refused("with the key")
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	refused("without the key")
	if _, err := os.Stat(c.KeyFile); err == nil {
		t.Error("a key was made")
	}
	if err := os.Remove(pinPath(c.DataDir)); err != nil {
		t.Fatal(err)
	}
	if r := must(t, st, c); r.ID == before.ID {
		t.Error("it is the same repository")
	}
}

// A key that is missing or wrong makes nothing, and says so.
func TestAKeyIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(*config.Config)
		code problem.Code
		want string
	}{
		"key file":           {func(c *config.Config) { c.KeyFile += "2" }, problem.Denied, "--key-file"},
		"passphrase file":    {func(c *config.Config) { c.PassphraseFile = "/nonexistent" }, problem.InvalidInput, "--passphrase-file"},
		"identity file":      {func(c *config.Config) { c.IdentityFile = "/nonexistent" }, problem.InvalidInput, "--identity-file"},
		"no slot":            {func(c *config.Config) { c.Passphrase = words }, problem.Denied, "It opens with: key file"},
		"empty passphrase":   {func(c *config.Config) { c.PassphraseFile = write(t, "\n") }, problem.InvalidInput, "is empty"},
		"key file is not":    {func(c *config.Config) { c.KeyFile = write(t, "?") }, problem.InvalidInput, "does not begin"},
		"identity is no age": {func(c *config.Config) { c.IdentityFile = write(t, "?") }, problem.InvalidInput, "age-keygen"},
	} {
		c, st := home(t), mem.New()
		must(t, st, c)
		tc.set(&c)
		if _, err := openAt(t, st, c); problem.CodeOf(err) != tc.code || !strings.Contains(problem.Text(err), tc.want) {
			t.Errorf("%s: %s", name, problem.Text(err))
		}
		if got := slotTypes(t, st); got != "keyfile" {
			t.Errorf("%s: slots: %s", name, got)
		}
	}
	// Nor when the store has lost its format.json, and the copy of it is there.
	c, st := home(t), mem.New()
	must(t, st, c)
	st.Change(repo.FormatName, func([]byte) []byte { return nil })
	c.KeyFile += "2"
	if _, err := openAt(t, st, c); problem.CodeOf(err) != problem.Denied || !strings.Contains(problem.Text(err), "--key-file") {
		t.Errorf("without format.json: %s", problem.Text(err))
	}
	if _, err := os.Stat(c.KeyFile); err == nil {
		t.Error("a key was made for a repository that is there")
	}
	// Nor is another store taken for the one of the last start.
	c = home(t)
	must(t, mem.New(), c)
	other := mem.New()
	key, err := repo.ParseKeyFile(read(t, c.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Create(t.Context(), other, key, keysTime); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(t, other, c); problem.CodeOf(err) != problem.Denied || !strings.Contains(problem.Text(err), "repository.pin") {
		t.Errorf("another store: %s", problem.Text(err))
	}
	// Nor on a first start, when the key that is set is not there.
	c, st = home(t), mem.New()
	c.PassphraseFile = "/nonexistent"
	if _, err := openAt(t, st, c); err == nil {
		t.Error("a repository without a key")
	}
	none := st.List(t.Context(), "", func(i store.Info) error { return errors.New(i.Name) })
	if _, err := os.Stat(c.KeyFile); err == nil || none != nil {
		t.Errorf("something was made: %v", none)
	}
}

// A controller that was here before notices when the store's keys are not those
// that it knew, and takes those that came after them.
func TestThePin(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c, st := home(t), mem.New()
	c.IdentityFile = write(t, identity.String())
	key, err := repo.ParseAgeIdentity([]byte(identity.String()))
	if err != nil {
		t.Fatal(err)
	}
	must(t, st, c)
	older := copyOf(t, st)
	keys, err := repo.OpenKeys(t.Context(), st, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.NewGeneration(t.Context(), false, keysTime); err != nil {
		t.Fatal(err)
	}
	if r := must(t, st, c); r.Generation != 2 {
		t.Errorf("generation %d", r.Generation)
	}
	if _, err := openAt(t, older, c); problem.CodeOf(err) != problem.Denied || !strings.Contains(problem.Text(err), "older") {
		t.Errorf("the store of before: %v", err)
	}
	// The same repository and generation, with another key.
	path := filepath.Join(c.DataDir, "repository.pin")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := readPin(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]string{"another key": strings.Replace(string(text), p.Fingerprint, strings.Repeat("0", 32), 1), "damaged": "{"} {
		if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openAt(t, st, c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, st, c)
	// Anybody can make a repository for a public key.
	forged := mem.New()
	if _, err := repo.Create(t.Context(), forged, key, keysTime); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(t, forged, c); problem.CodeOf(err) != problem.Denied || !strings.Contains(problem.Text(err), "repository.pin") {
		t.Errorf("a store made by somebody else: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	must(t, forged, c)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info, err)
	}
}
