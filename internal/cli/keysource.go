package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
)

// KeySource says where the key is that opens a repository: the first of its
// fields that is set.
type KeySource struct {
	Passphrase                            source.Secret
	PassphraseFile, IdentityFile, KeyFile string
}

// KeySourceOf is what the settings say.
func KeySourceOf(c config.Config) KeySource {
	return KeySource{Passphrase: c.Passphrase, PassphraseFile: c.PassphraseFile, IdentityFile: c.IdentityFile, KeyFile: c.KeyFile}
}

// Read reads the key. When its file is not there the error wraps fs.ErrNotExist.
func (s KeySource) Read() (repo.Key, error) {
	switch {
	case s.Passphrase != "":
		return repo.NewPassphrase(s.Passphrase.Reveal())
	case s.PassphraseFile != "":
		return fromFile(s.PassphraseFile, "passphrase-file", readPassphrase)
	case s.IdentityFile != "":
		return fromFile(s.IdentityFile, "identity-file", repo.ParseAgeIdentity)
	}
	return fromFile(s.KeyFile, "key-file", repo.ParseKeyFile)
}

// String says where the key is, for people.
func (s KeySource) String() string {
	if s.Passphrase != "" {
		return config.PassphraseVariable
	}
	return cmp.Or(s.PassphraseFile, s.IdentityFile, s.KeyFile)
}

// IsKeyFile says whether the key is a key file, which is made when there is none.
func (s KeySource) IsKeyFile() bool {
	return s.Passphrase == "" && s.PassphraseFile == "" && s.IdentityFile == ""
}

// fromFile reads a key from the file that the flag or setting named.
func fromFile[K repo.Key](path, flag string, parse func([]byte) (K, error)) (repo.Key, error) {
	what := strings.ReplaceAll(flag, "-", " ")
	f, err := os.Open(path)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the %s", what).
			WithHint("Name the copy that you kept with --%s. Without a key nothing can be read.", flag)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "read the %s", what)
	}
	key, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// readPassphrase reads a file that holds one. Line ends after it do not count.
func readPassphrase(text []byte) (repo.Passphrase, error) {
	return repo.NewPassphrase(strings.TrimRight(string(text), "\r\n"))
}

// WriteKeyFile writes a key file so that a crash leaves either all of it or
// nothing. Only the user may read it, and one that exists is never replaced:
// then the error wraps fs.ErrExist.
func WriteKeyFile(path string, key repo.KeyFile) (err error) {
	defer func() {
		switch {
		case errors.Is(err, fs.ErrExist):
			err = problem.Wrap(problem.Conflict, err, "write the key file %s", path).WithHint("A file that exists is never overwritten: name another.")
		case err != nil:
			err = problem.Wrap(problem.Failed, err, "write the key file %s", path)
		}
	}()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the link, unless something failed
	_, err = f.Write(key.Encode())
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // never replaces a key
		return err
	}
	return durable.SyncFolder(dir)
}

// lifeline is how a repository is reached without a controller: the store and a key.
type lifeline struct {
	store string
	KeySource
	ask bool
}

func (l *lifeline) add(flags *pflag.FlagSet) {
	flags.StringVar(&l.store, "store", "", "folder of the store")
	flags.StringVar(&l.KeyFile, "key-file", "", "key file that opens the store")
	flags.StringVar(&l.PassphraseFile, "passphrase-file", "", "file with the passphrase that opens the store")
	flags.StringVar(&l.IdentityFile, "identity-file", "", "file with the age identity that opens the store")
	flags.BoolVar(&l.ask, "ask-passphrase", false, "ask for the passphrase that opens the store; it may also be in the variable "+config.PassphraseVariable)
}

// key says whether flags name a key, and refuses several.
func (l *lifeline) key() (given bool, err error) {
	var flags []string
	for name, set := range map[string]bool{"--key-file": l.KeyFile != "", "--passphrase-file": l.PassphraseFile != "", "--identity-file": l.IdentityFile != "", "--ask-passphrase": l.ask} {
		if set {
			flags = append(flags, name)
		}
	}
	if len(flags) > 1 {
		return false, problem.New(problem.InvalidInput, "--key-file, --passphrase-file, --identity-file, --ask-passphrase: want one of them")
	}
	return len(flags) == 1, nil
}

// open opens the store; what flags leave out the settings say.
func (a *app) openStore(cmd *cobra.Command, l *lifeline) (store.Store, error) {
	given, err := l.key()
	if err != nil {
		return nil, err
	}
	if l.store == "" || !given {
		c, _, err := a.settings(cmd)
		if err != nil {
			return nil, err
		}
		if l.store = cmp.Or(l.store, c.Store); !given {
			l.KeySource = KeySourceOf(c)
		}
	}
	if _, err := os.Stat(l.store); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "open the store").WithHint("Name its folder with --store.")
	}
	return a.roof.OpenStore(l.store)
}

// reach opens the store, and reads the key.
func (a *app) reach(cmd *cobra.Command, l *lifeline) (store.Store, repo.Key, error) {
	st, err := a.openStore(cmd, l)
	if err != nil {
		return nil, nil, err
	}
	if l.ask {
		key, err := a.askPassphrase("Passphrase: ", false)
		return st, key, err
	}
	key, err := l.Read()
	return st, key, err
}

// askPassphrase asks on the terminal, twice for a new one.
func (a *app) askPassphrase(prompt string, twice bool) (repo.Passphrase, error) {
	text, err := a.askSecret(prompt, "a passphrase")
	if err != nil {
		return repo.Passphrase{}, err
	}
	if twice {
		again, err := a.askSecret("Once more: ", "a passphrase")
		if err != nil {
			return repo.Passphrase{}, err
		}
		if again != text {
			return repo.Passphrase{}, problem.New(problem.InvalidInput, "the two passphrases differ")
		}
	}
	return repo.NewPassphrase(text)
}

// askSecret has something typed that the terminal does not show.
func (a *app) askSecret(prompt, what string) (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !terminal(a.in) {
		return "", problem.New(problem.InvalidInput, "there is no terminal to ask for %s on", what).
			WithHint("Put it in a file that only you can read, and name that.")
	}
	tty := int(f.Fd())
	before, err := term.GetState(tty)
	if err != nil {
		return "", problem.Wrap(problem.Failed, err, "read %s", what)
	}
	fmt.Fprint(a.err, prompt)
	text, err := a.awaited(func() (string, error) {
		text, err := term.ReadPassword(tty)
		return string(text), err
	})
	fmt.Fprintln(a.err)
	if err != nil {
		_ = term.Restore(tty, before) // who was interrupted sees again what they type
		return "", problem.Wrap(problem.Failed, err, "read %s", what)
	}
	return text, nil
}
