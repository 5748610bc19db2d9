package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// pin is what a controller remembers of the repository that it writes to. The
// store alone does not show that it is the same one still: whoever can write to
// it could put an older key back, or one of his own for an age identity, whose
// public half is no secret.
type pin struct {
	Repository  string `json:"repository"`
	Generation  uint32 `json:"generation"`
	Fingerprint string `json:"fingerprint"`
}

func pinPath(dir string) string { return filepath.Join(dir, "repository.pin") }

// firstStart refuses a store without a repository when there was one before: mostly
// its disk is not mounted. A new one in its place would look as if all were well,
// with snapshots in the ledger that are nowhere.
func firstStart(dir string, st store.Store) error {
	_, err := readPin(pinPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return problem.New(problem.NotFound, "the store %s has no repository, and at the last start it had one", st.Describe()).WithReason(repo.ReasonNoRepository).
		WithHint("Is its disk mounted, and --store right? If it is lost for good, start anew with another --data-dir, or remove %s: then `baktainer store check` tells what is gone.", pinPath(dir))
}

// checkPin compares the repository with the one of the last start, and remembers it.
func checkPin(dir string, r *repo.Repository, key repo.Key, log *slog.Logger) error {
	path := pinPath(dir)
	refuse := func(what string) error {
		return problem.New(problem.Denied, "open the repository: %s", what).WithReason(repo.ReasonWrongKey).
			WithHint("When you did this on purpose, remove %s. If not, somebody has changed the keys in the store: find out who, and write nothing.", path)
	}
	fresh := pin{Repository: r.ID, Generation: r.Generation}
	var err error
	if fresh.Fingerprint, err = r.Fingerprint(r.Generation); err != nil {
		return err
	}
	old, err := readPin(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return problem.Wrap(problem.Failed, err, "read %s", path).WithHint("Remove the file if it is damaged: it is made anew.")
	case old == fresh:
		return nil
	case old.Repository != r.ID:
		if _, ok := key.(repo.AgeIdentity); ok {
			return refuse("it is another one than at the last start")
		}
		log.Warn("the store has another repository than at the last start", "repository", r.ID, "before", old.Repository)
	case old.Generation > r.Generation:
		return refuse("its newest key is older than at the last start")
	default:
		if f, err := r.Fingerprint(old.Generation); err != nil || f != old.Fingerprint {
			return refuse("its key is another one than at the last start")
		}
	}
	return writePin(path, fresh)
}

func readPin(path string) (p pin, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

// writePin replaces the file as a whole.
func writePin(path string, p pin) error {
	text, err := json.Marshal(p)
	if err == nil {
		err = durable.Replace(path, append(text, '\n'))
	}
	if err != nil {
		return problem.Wrap(problem.Failed, err, "write %s", path)
	}
	return nil
}
