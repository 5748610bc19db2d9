package engine

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/source"
)

// Blank is how an empty instance of a database is run in a container of ours, for a
// drill or to stay. It has none of the source's volumes, and in a drill no network.
type Blank struct {
	// Env are the container's variables.
	Env map[string]string
	// Args are its whole command, entrypoint included; empty: the image's own.
	Args []string
	// Idle: nothing has to run in it. It is made from this program's own image
	// rather than the source's, and only has the Volumes.
	Idle bool
	// Fleeting: it is good for a drill alone, since nobody outside could use its server.
	Fleeting bool
	// Volumes are paths inside that are empty volumes.
	Volumes []string
	// Spec is what to open a session on it with.
	Spec source.Spec
	// Notes say what is not as in the source, in sentences.
	Notes []string
}

// KindExpiring is the kind of objects that count those rows of another object,
// of the same name and stream, that end by themselves: after a restore some of
// them may have ended.
const KindExpiring = "expiring"

// Asker is a Session that can be asked something: what drills need to look at
// what they have restored.
type Asker interface {
	// Ask runs one query, written in the database's own language, and returns the
	// answer as text: rows parted by line ends, columns by tabs. An empty database
	// means the one that the session is about.
	Ask(ctx context.Context, database, query string) (string, error)
}

// fileSuffix makes the name of a variable that of its twin, which names a file.
const fileSuffix = "_FILE"

// AnswerLimit bounds the answer to Asker.Ask, in bytes.
const AnswerLimit = 64 << 10

// Like gives a blank instance that is run as the one with these facts is: with
// its variables and its command. Passwords in vars are replaced by secret, and
// those that come from files likewise, since the files are not there; of
// the others a user gets a name of its own, and a database is not made beforehand.
// A command that names a path on one of the source's volumes gives way to the
// image's own.
func Like(f Facts, spec source.Spec, vars Variables, secret source.Secret) Blank {
	b := Blank{Spec: spec, Env: map[string]string{}}
	b.Spec.User, b.Spec.Password, b.Spec.PasswordFile, b.Spec.PasswordEnv = "", "", "", ""
	maps.Copy(b.Env, f.Env)
	for _, name := range vars.Password {
		if b.Env[name] != "" || b.Env[name+fileSuffix] != "" {
			b.Env[name] = secret.Reveal()
		}
	}
	for _, name := range vars.User {
		if b.Env[name] == "" && b.Env[name+fileSuffix] != "" {
			b.Env[name] = "drill"
		}
	}
	for _, name := range slices.Concat(vars.User, vars.Password, vars.Database) {
		delete(b.Env, name+fileSuffix)
	}
	if onMount := slices.IndexFunc(f.Args, func(arg string) bool { return namesMount(arg, f.Mounts) }); onMount < 0 {
		b.Args = f.Args
	} else {
		b.Notes = append(b.Notes, "The container was run with its image's own command: that of the source names a path on a volume.")
	}
	return b
}

// Given says whether one of the variables is set.
func (b Blank) Given(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return b.Env[name] != "" })
}

// namesMount says whether an argument holds a path at or below a mount.
func namesMount(arg string, mounts []string) bool {
	return slices.ContainsFunc(mounts, func(m string) bool {
		m = path.Clean(m)
		i := strings.Index(arg, m)
		return m != "/" && i >= 0 && (len(arg) == i+len(m) || arg[i+len(m)] == '/')
	})
}
