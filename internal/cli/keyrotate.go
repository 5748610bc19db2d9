package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
)

// rotation is what `key rotate` was asked for.
type rotation struct {
	newKey
	force                         bool
	generation, drop, assent      bool
	withKeyFiles, withPassphrases []string
	withRecipients                []string
}

func (a *app) keyRotate(l *lifeline) *cobra.Command {
	var r rotation
	cmd := &cobra.Command{
		Use: "rotate [SLOT]", Short: "Replace one key, or with --generation the store's own", Args: arguments(0, 1),
		Long: `Replace one key, or with --generation the store's own.

With SLOT, its key is replaced by a new one. Nothing is written anew, and it takes a moment. It helps against a key
that might get lost, and against one that was seen by somebody who never had the store: who kept a copy of the
old slot can still use the old key.

With --generation, the store gets a new key of its own. The next backup of each source stores everything anew under it,
and only keys that get a slot now can read that. Give the keys that shall go on: age identities are told by their public
keys in the store; of key files and passphrases, only the one that opens the store now and those named by
--with-… get a slot. Remove the slots of those who are to be shut out first. Snapshots made before stay readable to whoever
could read them, until they are forgotten. Restart the controller afterwards.`,
		Example: examples(
			"baktainer key rotate 3f9a --new-passphrase",
			"baktainer key rotate --generation --with-passphrase-file safe.txt",
		),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.generation != (len(args) == 0) {
				return problem.New(problem.InvalidInput, "want either a key slot or --generation").WithHint("Usage: %s", cmd.UseLine())
			}
			if r.generation {
				return a.newGeneration(cmd, l, r)
			}
			return a.rotateSlot(cmd, l, args[0], r)
		},
	}
	r.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&r.force, "force", false, "remove the old slot although nobody has shown that another opens")
	f.BoolVar(&r.generation, "generation", false, "make a new key for the store itself")
	f.StringArrayVar(&r.withKeyFiles, "with-key-file", nil, "with --generation: another key file that shall go on opening the store")
	f.StringArrayVar(&r.withPassphrases, "with-passphrase-file", nil, "with --generation: file with a passphrase that shall")
	f.StringArrayVar(&r.withRecipients, "with-recipient", nil, "with --generation: public key of an age identity that shall, beside those that have slots")
	f.BoolVar(&r.drop, "drop-others", false, "with --generation: all others lose access to what is written from now on")
	f.BoolVarP(&r.assent, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) rotateSlot(cmd *cobra.Command, l *lifeline, id string, r rotation) error {
	old, err := a.findSlot(cmd, l, id)
	if err != nil {
		return err
	}
	k, err := a.openKeys(cmd, l)
	if err != nil {
		return err
	}
	h, undo, err := r.make(a)
	if err != nil {
		return err
	}
	if r.label == "" {
		r.label = old.Label
	}
	s, err := k.Rotate(cmd.Context(), old.ID, h, r.label, r.force, a.clock.Now())
	if err != nil && s.ID == "" {
		return undone(err, undo)
	}
	if err != nil {
		return err
	}
	return a.madeSlot(s, r.file)
}

// given are the keys that shall go on, beside the one that opens the store.
func (r rotation) given() ([]repo.Holder, error) {
	var given []repo.Holder
	for _, path := range r.withKeyFiles {
		key, err := fromFile(path, "with-key-file", repo.ParseKeyFile)
		if err != nil {
			return nil, err
		}
		given = append(given, key)
	}
	for _, path := range r.withPassphrases {
		key, err := fromFile(path, "with-passphrase-file", readPassphrase)
		if err != nil {
			return nil, err
		}
		given = append(given, key)
	}
	for _, text := range r.withRecipients {
		recipient, err := repo.ParseAgeRecipient(text)
		if err != nil {
			return nil, err
		}
		given = append(given, recipient)
	}
	return given, nil
}

func (a *app) newGeneration(cmd *cobra.Command, l *lifeline, r rotation) error {
	if r.file != "" || r.ask || r.passphraseFile != "" || r.recipient != "" {
		return problem.New(problem.InvalidInput, "--generation keeps the keys that there are").WithHint("Add the new key first: baktainer key add")
	}
	given, err := r.given()
	if err != nil {
		return err
	}
	k, err := a.openKeys(cmd, l)
	if err != nil {
		return err
	}
	next, err := k.Succession(cmd.Context(), given...)
	if err != nil {
		return err
	}
	for _, s := range next.Kept {
		a.say("goes on:      %s", slotLine(s))
	}
	for _, s := range next.Dropped {
		a.say("loses access: %s", slotLine(s))
	}
	if len(next.Dropped) == 0 || r.drop {
		if err := a.yes(r.assent, fmt.Sprintf("The next backup of each source will store everything anew, under generation %d.", k.Generation()+1)); err != nil {
			return err
		}
	}
	next, err = k.NewGeneration(cmd.Context(), r.drop, a.clock.Now(), given...)
	if err != nil {
		return err
	}
	a.say("The store's key is of generation %d now. Restart the controller, so that it uses it.", k.Generation())
	return a.printSlots(next.Kept)
}

func slotLine(s repo.Slot) string {
	line := s.ID
	for _, part := range []string{s.Type, s.Label, s.Fingerprint, s.Damaged} {
		if part != "" {
			line += "  " + part
		}
	}
	return line
}
