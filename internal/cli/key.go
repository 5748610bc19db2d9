package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
)

// slotView is what `key ls -o json` prints of each key slot.
type slotView struct {
	ID          string    `json:"id" doc:"the key slot"`
	Type        string    `json:"type" doc:"what opens it: keyfile, passphrase or age"`
	Label       string    `json:"label" doc:"what the user called it"`
	Fingerprint string    `json:"fingerprint" doc:"which key opens it: the id of a key file, the public key of an age identity; empty for a passphrase"`
	Generation  uint32    `json:"generation" doc:"up to which generation it opens snapshots"`
	Created     time.Time `json:"created" doc:"when it was made"`
	Note        string    `json:"note" doc:"what is wrong with it, empty when nothing is"`
}

func viewSlot(s repo.Slot) slotView {
	return slotView{s.ID, s.Type, s.Label, s.Fingerprint, s.Generation, s.Created, cmp.Or(s.Damaged, s.Note)}
}

func (a *app) keyCommand() *cobra.Command {
	var l lifeline
	cmd := group("key", "The keys that open a store: list, add, remove, rotate, export, print",
		`The keys that open a store. Each has a slot in the store, which holds the store's own key, wrapped for it.

These commands work on the store's folder and need no controller. Whatever changes slots needs a key that opens one of
them: a key file, a passphrase or an age identity. Without --store, or without a key, those that the settings name
are used. docs/keys.md says what each kind is good for.`,
		a.keyList(&l), a.keyAdd(&l), a.keyRemove(&l), a.keyRotate(&l), a.keyExport(&l), a.keyKit(&l))
	l.add(cmd.PersistentFlags())
	return cmd
}

func (a *app) keyList(l *lifeline) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the key slots of a store; needs no key", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.openStore(cmd, l)
			if err != nil {
				return err
			}
			_, slots, err := repo.ListSlots(cmd.Context(), st)
			if err != nil {
				return err
			}
			return a.printSlots(slots)
		},
	}
}

func (a *app) printSlots(slots []repo.Slot) error {
	all := make([]slotView, len(slots))
	ids := make([]string, len(slots))
	rows := make([][]string, len(slots))
	for i, s := range slots {
		v := viewSlot(s)
		all[i], ids[i] = v, v.ID
		rows[i] = []string{v.ID, v.Type, v.Label, v.Fingerprint, strconv.Itoa(int(v.Generation)), a.when(&v.Created), v.Note}
	}
	return a.print(all, ids, func() {
		a.table([]string{"SLOT", "TYPE", "LABEL", "KEY", "GENERATION", "MADE", "NOTE"}, rows)
	})
}

// openKeys opens a store for changes of its keys.
func (a *app) openKeys(cmd *cobra.Command, l *lifeline) (*repo.Keys, error) {
	st, key, err := a.reach(cmd, l)
	if err != nil {
		return nil, err
	}
	return repo.OpenKeys(cmd.Context(), st, key)
}

// newKey says whom a slot is to be made for.
type newKey struct {
	file, passphraseFile, recipient, label string
	ask                                    bool
}

func (n *newKey) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.file, "new-key-file", "", "make a new key file, and write it to this path")
	f.BoolVar(&n.ask, "new-passphrase", false, "ask for a new passphrase, twice")
	f.StringVar(&n.passphraseFile, "new-passphrase-file", "", "file with the new passphrase")
	f.StringVar(&n.recipient, "recipient", "", "public key of an age identity, age1…")
	f.StringVar(&n.label, "label", "", "what to call it, such as who has the key, or where it lies")
}

// make makes or reads the key. A key file is on the disk before its slot is in
// the store; undo removes it.
func (n *newKey) make(a *app) (h repo.Holder, undo func() error, err error) {
	undo = func() error { return nil }
	given := 0
	for _, set := range []bool{n.file != "", n.ask, n.passphraseFile != "", n.recipient != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		return nil, undo, problem.New(problem.InvalidInput, "say what the new key is").
			WithHint("Want one of --new-key-file PATH, --new-passphrase, --new-passphrase-file FILE, --recipient age1….")
	}
	switch {
	case n.ask:
		h, err = a.askPassphrase("New passphrase: ", true)
	case n.passphraseFile != "":
		h, err = fromFile(n.passphraseFile, "new-passphrase-file", readPassphrase)
	case n.recipient != "":
		h, err = repo.ParseAgeRecipient(n.recipient)
	default:
		var key repo.KeyFile
		if key, err = repo.GenerateKeyFile(); err != nil {
			return nil, undo, fmt.Errorf("make a key: %w", err)
		}
		h, err = key, WriteKeyFile(n.file, key)
		undo = func() error { return os.Remove(n.file) }
	}
	return h, undo, err
}

func (a *app) keyAdd(l *lifeline) *cobra.Command {
	var n newKey
	cmd := &cobra.Command{
		Use: "add", Short: "Let one more key open the store", Args: arguments(0, 0),
		Example: examples(
			"baktainer key add --new-passphrase --label 'in the safe'",
			"baktainer key add --recipient age1… --label anna",
			"baktainer key add --new-key-file second.key",
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := a.openKeys(cmd, l)
			if err != nil {
				return err
			}
			h, undo, err := n.make(a)
			if err != nil {
				return err
			}
			s, err := k.Add(cmd.Context(), h, n.label, a.clock.Now())
			if err != nil {
				return undone(err, undo)
			}
			return a.madeSlot(s, n.file)
		},
	}
	n.add(cmd)
	return cmd
}

// undone removes a key file that was made for nothing. One that a slot may be
// there for stays.
func undone(err error, undo func() error) error {
	if c := problem.CodeOf(err); c != problem.Conflict && c != problem.InvalidInput && c != problem.NotFound && c != problem.Denied {
		return err
	}
	return errors.Join(err, undo())
}

func (a *app) madeSlot(s repo.Slot, file string) error {
	if file != "" {
		a.say("The new key is in %s. Keep a copy of it somewhere else.", file)
	}
	return a.printSlots([]repo.Slot{s})
}

// findSlot finds the slot that a unique beginning of its id means.
func (a *app) findSlot(cmd *cobra.Command, l *lifeline, beginning string) (repo.Slot, error) {
	st, err := a.openStore(cmd, l)
	if err != nil {
		return repo.Slot{}, err
	}
	_, slots, err := repo.ListSlots(cmd.Context(), st)
	if err != nil {
		return repo.Slot{}, err
	}
	var found []repo.Slot
	for _, s := range slots {
		if beginning != "" && strings.HasPrefix(s.ID, strings.ToLower(beginning)) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return repo.Slot{}, problem.New(problem.NotFound, "%d key slots begin with %.40q", len(found), beginning).WithHint("List them with: baktainer key ls")
	}
	return found[0], nil
}

func (a *app) keyRemove(l *lifeline) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "remove SLOT", Aliases: []string{"rm"}, Short: "Remove a key's slot, so that it opens the store no more", Args: arguments(1, 1),
		Long: `Remove a key's slot, so that it opens the store no more.

Whoever kept a copy of the slot can still use the key. When a key may be in the wrong hands, remove its slot and make a
new generation: baktainer key rotate --generation.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.findSlot(cmd, l, args[0])
			if err != nil {
				return err
			}
			k, err := a.openKeys(cmd, l)
			if err != nil {
				return err
			}
			if err := k.Remove(cmd.Context(), s.ID, force); err != nil {
				return err
			}
			a.say("Removed key slot %s.", s.ID)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove it although no other key was shown to open the store")
	return cmd
}

func (a *app) keyExport(l *lifeline) *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use: "export FILE", Short: "Write a key file that opens the store", Args: arguments(1, 1),
		Long: `Write a key file that opens the store, for its owner alone to read. A file that exists is never overwritten.

When the store was opened with a key file, that key is written again. When it was opened with a passphrase or an age
identity, a new key is made and gets a slot.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			st, key, err := a.reach(cmd, l)
			if err != nil {
				return err
			}
			k, err := repo.OpenKeys(cmd.Context(), st, key)
			if err != nil {
				return err
			}
			if file, ok := key.(repo.KeyFile); ok {
				if err := WriteKeyFile(args[0], file); err != nil {
					return err
				}
				a.say("The key is in %s.", args[0])
				return nil
			}
			n := newKey{file: args[0]}
			h, undo, err := n.make(a)
			if err != nil {
				return err
			}
			s, err := k.Add(cmd.Context(), h, label, a.clock.Now())
			if err != nil {
				return undone(err, undo)
			}
			return a.madeSlot(s, n.file)
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "what to call a new key")
	return cmd
}
