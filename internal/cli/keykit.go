package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
)

func (a *app) keyKit(l *lifeline) *cobra.Command {
	return &cobra.Command{
		Use: "kit", Short: "Print a recovery kit for paper: the key and what to do with it", Args: arguments(0, 0),
		Long: `Print a recovery kit: what somebody needs who has nothing left but the store and this sheet of paper.

When the store is opened with a key file, the kit holds that key: whoever finds it and the store reads everything. When it
is opened with a passphrase or an age identity, the kit only says that these are needed.`,
		Example: examples("baktainer key kit | lp"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.output == "json" {
				return problem.New(problem.InvalidInput, "a kit is text for paper, it has no JSON").WithHint("`baktainer key ls -o json` lists the key slots.")
			}
			st, key, err := a.reach(cmd, l)
			if err != nil {
				return err
			}
			k, err := repo.OpenKeys(cmd.Context(), st, key) // a kit that does not work is worse than none
			if err != nil {
				return err
			}
			_, slots, err := repo.ListSlots(cmd.Context(), st)
			if err != nil {
				return err
			}
			a.say("Print this, put it where the store is not, and leave no copy on the machine.")
			return writeKit(a.out, kit{repository: k.Repository(), store: location(l.store), generation: k.Generation(), date: a.clock.Now().Format("2006-01-02"), key: key, slots: slots})
		},
	}
}

// location is where the store is, whole, since the sheet is read elsewhere.
func location(folder string) string {
	if whole, err := filepath.Abs(folder); err == nil {
		return whole
	}
	return folder
}

type kit struct {
	repository, store, date string
	generation              uint32
	key                     repo.Key
	slots                   []repo.Slot
}

const kitText = `BAKTAINER RECOVERY KIT                                        %s

With this sheet and the store, all backups can be restored, on any machine,
with no server. Whoever else has both can do so too: keep them apart.

  repository    %s
  store         %s
  generation    %d

THE KEY
%s
WHAT TO DO

1. Get the program "baktainer": one file, for Linux. Its source and the
   description of the store (FORMAT.md, which lies in the store as well) are at
   github.com/baktainer/baktainer.
2. Bring the store to the machine: the folder that has format.json in it.
   Below it is called STORE.
3. %s
4. See what there is:

     baktainer rescue ls --store STORE %s

5. Get a dump as the dump tool wrote it; SOURCE is a name of that list:

     baktainer rescue dump SOURCE --store STORE %s > dump.sql

   or restore into a running container:

     baktainer rescue restore SOURCE --to container:NAME \
       --store STORE %s

KEYS THAT OPEN THIS STORE, WHEN THIS WAS PRINTED
%s`

// writeKit writes the sheet. Its lines are short enough for any paper.
func writeKit(w io.Writer, k kit) error {
	var text, bring, flag string
	switch key := k.key.(type) {
	case repo.KeyFile:
		text = keyLines(key)
		bring = "Type the key above, from BAKTAINER-KEY-1 to the last group, into a file\n   called key.txt. Capitals, spaces, dashes and line ends do not matter. The\n   last two groups are a check: a mistake is noticed, and harms nothing."
		flag = "--key-file key.txt"
	case repo.Passphrase:
		text = "\n  The passphrase. It is not printed here:\n\n  ______________________________________________________________________\n\n"
		bring = "Have the passphrase at hand."
		flag = "--ask-passphrase"
	default:
		text = "\n  An age identity (a file with a line AGE-SECRET-KEY-1…). It lies:\n\n  ______________________________________________________________________\n\n"
		bring = "Bring the file with the identity to the machine, as identity.txt."
		flag = "--identity-file identity.txt"
	}
	var slots strings.Builder
	for _, s := range k.slots {
		fmt.Fprintf(&slots, "  %s  %-10s  %s\n", s.ID, s.Type, s.Label)
		if s.Fingerprint != "" {
			fmt.Fprintf(&slots, "                    %s\n", s.Fingerprint)
		}
	}
	_, err := fmt.Fprintf(w, kitText, k.date, k.repository, printable(k.store), k.generation, text, bring, flag, flag, flag, printable(slots.String()))
	if err != nil {
		return problem.Wrap(problem.Failed, err, "write the kit")
	}
	return nil
}

// keyLines sets a key in lines of four groups.
func keyLines(key repo.KeyFile) string {
	prefix, groups := key.Groups()
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s", prefix)
	for i, g := range groups {
		if i%4 == 0 {
			b.WriteString("\n   ")
		}
		b.WriteString(" " + g)
	}
	b.WriteString("\n\n")
	return b.String()
}
