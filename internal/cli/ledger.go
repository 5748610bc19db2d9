package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/rescue"
)

// ledgerView is what `ledger verify -o json` prints.
type ledgerView struct {
	Repository string       `json:"repository" doc:"id of the repository"`
	Entries    int          `json:"entries" doc:"entries that are intact"`
	Head       string       `json:"head" doc:"the newest of them, INDEX:HASH; empty when there is none"`
	Misfits    []misfitView `json:"misfits" doc:"what does not fit, in the order of the ledger: index, missing (how many copies from there on are not there, 0: the one there is wrong), reason"`
	Remembered bool         `json:"remembered" doc:"the ledger was held against a head that is remembered, so that nothing is missing at its end unseen"`
}

type misfitView struct {
	Index   uint64 `json:"index"`
	Missing uint64 `json:"missing"`
	Reason  string `json:"reason"`
}

// ledgerHead is an entry as people note it down.
func ledgerHead(index uint64, hash ledger.Hash) string { return fmt.Sprintf("%d:%s", index, hash) }

// parseHead reads INDEX:HASH.
func parseHead(text string) (index uint64, hash ledger.Hash, err error) {
	number, digits, _ := strings.Cut(text, ":")
	index, err = strconv.ParseUint(number, 10, 64)
	if err == nil {
		err = hash.UnmarshalText([]byte(digits))
	}
	if err != nil || index == 0 {
		return 0, hash, problem.New(problem.InvalidInput, "--head %.80q is not INDEX:HASH", text).
			WithHint("Give what `baktainer ledger head` printed: a number, a colon, and 64 hexadecimal digits.")
	}
	return index, hash, nil
}

func (a *app) ledgerCommand() *cobra.Command {
	return group("ledger", "The chained record of all snapshots: remember its head, prove its history",
		`The ledger has an entry for each snapshot that was ever made. Each carries the hash of the one before it, and a copy of each lies,
sealed with the key, in the store.`, append(asking(a.ledgerHead()), a.ledgerVerify())...)
}

func (a *app) ledgerHead() *cobra.Command {
	return &cobra.Command{
		Use: "head", Short: "Print the newest entry, to be remembered elsewhere", Args: arguments(0, 0),
		Long: `Print index and hash of the newest entry of the ledger, INDEX:HASH. Who remembers it, outside of the store and of the controllers,
can prove later that nothing before it was changed, and that nothing is missing.`,
		Example: examples("baktainer ledger head >> /mnt/elsewhere/heads"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.connected(cmd, func(ctx context.Context, conn grpc.ClientConnInterface) error {
				v, err := status(ctx, conn)
				if err != nil {
					return err
				}
				if v.Ledger == "" {
					return problem.New(problem.NotFound, "the ledger has no entry yet").WithHint("It has one with the first backup.")
				}
				return a.print(map[string]string{"head": v.Ledger}, []string{v.Ledger}, func() { fmt.Fprintln(a.out, v.Ledger) })
			})
		},
	}
}

func (a *app) ledgerVerify() *cobra.Command {
	var l lifeline
	var head string
	cmd := &cobra.Command{
		Use: "verify", Short: "Prove the history from a store and its key alone", Args: arguments(0, 0),
		Long: `Read the copies of the ledger in a store, and check that each is sealed with the key, intact, and follows the one before it. No
controller is asked. The first entry that does not fit is named first.

That entries are missing at the end, as when an older state of the store was put back, shows only with --head: an entry that
ledger head printed before. It is not looked at whether snapshots can still be read: rescue check does that.

Exit status: 0 all fits, 1 something does not.`,
		Example: examples("baktainer ledger verify --head $(tail -1 /mnt/elsewhere/heads)", "baktainer ledger verify --store /mnt/store --key-file repository.key"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var index uint64
			var hash ledger.Hash
			if head != "" {
				var err error
				if index, hash, err = parseHead(head); err != nil {
					return err
				}
			}
			r, err := a.openRescue(cmd, &l)
			if err != nil {
				return err
			}
			h, err := r.History(cmd.Context(), index, hash)
			if err != nil {
				return err
			}
			v := viewHistory(r.Repository(), h)
			v.Remembered = head != ""
			if err := a.print(v, []string{v.Head}, func() { a.showHistory(v) }); err != nil {
				return err
			}
			if len(v.Misfits) > 0 {
				return problem.New(problem.Corrupt, "the history does not fit: the first entry that does not is %d", v.Misfits[0].Index).
					WithHint("What of the store can be trusted and restored is said by: baktainer rescue check")
			}
			return nil
		},
	}
	l.add(cmd.Flags())
	cmd.Flags().StringVar(&head, "head", "", "an entry that is remembered, INDEX:HASH, as from ledger head")
	return cmd
}

func viewHistory(repository string, h rescue.History) ledgerView {
	v := ledgerView{Repository: repository, Entries: h.Entries, Misfits: []misfitView{}}
	if h.Head != nil {
		v.Head = ledgerHead(h.Head.Index, h.Head.Hash)
	}
	for _, m := range h.Misfits {
		v.Misfits = append(v.Misfits, misfitView{m.Index, m.Missing, m.Err.Error()})
	}
	return v
}

func (a *app) showHistory(v ledgerView) {
	for _, m := range v.Misfits {
		entries := strconv.FormatUint(m.Index, 10)
		if m.Missing > 1 {
			entries += " to " + strconv.FormatUint(m.Index+m.Missing-1, 10)
		}
		fmt.Fprintf(a.out, "entry %s: %s\n", entries, printable(m.Reason))
	}
	fmt.Fprintf(a.out, "%d entries are intact; the newest is %s\n", v.Entries, cmp.Or(v.Head, "none"))
	if !v.Remembered {
		a.say("Whether entries are missing at the end is not known without --head.")
	}
}
