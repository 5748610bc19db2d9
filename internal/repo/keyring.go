package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

// earlierSalt begins the object that keeps an earlier master key.
const earlierSalt = 32

// keyring has the master keys that a key reaches, by generation.
type keyring struct {
	masters map[uint32]MasterKey
	newest  uint32
	// lost says why an earlier one is not to be had, nil when all are.
	lost error
}

func newKeyring(generation uint32, master MasterKey) keyring {
	return keyring{masters: map[uint32]MasterKey{generation: master}, newest: generation}
}

// master gives the master key of a generation.
func (k keyring) master(generation uint32) (MasterKey, error) {
	if m, ok := k.masters[generation]; ok {
		return m, nil
	}
	switch {
	case generation > k.newest:
		return MasterKey{}, problem.New(problem.Denied, "it lies under a key of generation %d, and the key at hand opens generations up to %d", generation, k.newest).
			WithReason(ReasonWrongKey).WithHint("Use a key that was added when, or since, generation %d was made.", generation)
	case k.lost != nil:
		return MasterKey{}, k.lost
	}
	return MasterKey{}, malformed("generation %d", generation)
}

// extend opens the earlier generations, from one whose master key it has down
// to the first or to one that it has already.
func (k *keyring) extend(ctx context.Context, objects ObjectReader, repository string, generation uint32) error {
	for g := generation; g > 1; g-- {
		if _, ok := k.masters[g-1]; ok {
			return nil
		}
		earlier, err := readEarlier(ctx, objects, repository, g, k.masters[g])
		if err != nil {
			return err
		}
		k.masters[g-1] = earlier
	}
	return nil
}

// complete says whether all generations up to the newest are there.
func (k keyring) complete() bool { return len(k.masters) == int(k.newest) }

func earlierAAD(repository string, generation uint32) []byte {
	return fmt.Appendf(nil, "baktainer/1 earlier %s %d", repository, generation)
}

func (k MasterKey) earlierKey(salt []byte) [keySize]byte {
	return derive(k[:], "baktainer/1 earlier key", salt)
}

// sealEarlier gives whoever has the master key of a generation that of the one before.
func sealEarlier(repository string, generation uint32, master, earlier MasterKey, random io.Reader) ([]byte, error) {
	salt := make([]byte, earlierSalt)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, fmt.Errorf("seal the earlier key: %w", err)
	}
	seal, err := newSeal(CipherAESGCM, master.earlierKey(salt))
	if err != nil {
		return nil, err
	}
	return seal.append(salt, 0, earlier[:], earlierAAD(repository, generation)), nil
}

func openEarlier(repository string, generation uint32, master MasterKey, object []byte) (earlier MasterKey, err error) {
	if len(object) != earlierSalt+keySize+sealOverhead {
		return earlier, malformed("%d bytes are not an earlier key", len(object))
	}
	seal, err := newSeal(CipherAESGCM, master.earlierKey(object[:earlierSalt]))
	if err != nil {
		return earlier, err
	}
	b, err := seal.open(nil, 0, object[earlierSalt:], earlierAAD(repository, generation))
	if err != nil {
		return earlier, malformed("it does not open with the key of generation %d", generation)
	}
	copy(earlier[:], b)
	return earlier, nil
}

// readEarlier reads the earlier key that a generation opens, or its copy.
func readEarlier(ctx context.Context, objects ObjectReader, repository string, generation uint32, master MasterKey) (earlier MasterKey, err error) {
	name := EarlierKeyName(generation)
	for _, n := range []string{name, CopyName(name)} {
		b, readErr := readObject(ctx, objects, "", n, 0, -1, earlierSalt+keySize+sealOverhead)
		if readErr == nil {
			if earlier, readErr = openEarlier(repository, generation, master, b); readErr == nil {
				return earlier, nil
			}
			readErr = corrupt("", n, readErr)
		} else if !Damaging(readErr) && !errors.Is(readErr, store.ErrNotExist) {
			return earlier, readErr // the store does not answer
		}
		if err == nil {
			err = readErr
		}
	}
	return earlier, problem.Wrap(problem.Corrupt, err, "open the keys of generations before %d", generation).WithReason(ReasonCorrupt).
		WithHint("Put back %s from a copy of the store.", name)
}

// SourceKey gives the key of a source in a generation; 0 means the newest, which
// is the one to write under. A generation that the repository was not opened far
// enough for is a problem Denied, one whose key is lost Corrupt.
func (r *Repository) SourceKey(source string, generation uint32) (SourceKey, error) {
	if generation == 0 {
		generation = r.Generation
	}
	master, err := r.keys.master(generation)
	if err != nil {
		return SourceKey{}, fmt.Errorf("derive the key of source %s: %w", source, err)
	}
	return master.source(source, generation), nil
}

// OpenSnapshot opens a snapshot with the key that its manifest says it lies under.
// It is otherwise the function of that name.
func (r *Repository) OpenSnapshot(ctx context.Context, objects ObjectReader, ref Ref) (*Snapshot, error) {
	name := ManifestName(ref.Source, ref.Snapshot)
	b, err := readObject(ctx, objects, ref.Source, name, 0, generationAt+4, 0)
	if err != nil {
		return nil, err
	}
	// What it says is sealed with the rest, so that a lie is noticed.
	generation := le.Uint32(b[generationAt:])
	key, err := r.SourceKey(ref.Source, generation)
	switch {
	case err != nil: // with a hint of its own
		return nil, problem.Wrap(problem.Corrupt, err, "read %s", name).WithReason(ReasonCorrupt).WithSource(ref.Source)
	case generation == 0:
		return nil, corrupt(ref.Source, name, malformed("generation 0"))
	}
	return OpenSnapshot(ctx, objects, key, ref)
}

// generationAt is where the header of a manifest has its generation.
const generationAt = 60

// String hides the keys from fmt.
func (r *Repository) String() string { return "repository " + r.ID }

// GoString hides the keys from %#v.
func (r *Repository) GoString() string { return r.String() }

// LogValue hides the keys from slog.
func (r *Repository) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Fingerprint tells the master keys of a generation apart without giving anything
// of them away.
func (r *Repository) Fingerprint(generation uint32) (string, error) {
	master, err := r.keys.master(generation)
	if err != nil {
		return "", fmt.Errorf("take the fingerprint of generation %d: %w", generation, err)
	}
	b := derive(master[:], "baktainer/1 fingerprint", nil)
	return hex.EncodeToString(b[:16]), nil
}
