package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/rescue"
)

// rescueCheckView is what `rescue check -o json` prints.
type rescueCheckView struct {
	Repository    string               `json:"repository" doc:"id of the repository"`
	LedgerEntries int                  `json:"ledger_entries" doc:"copies of ledger entries that are intact"`
	LedgerDamage  []string             `json:"ledger_damage" doc:"what is wrong with the copies of the ledger, in words"`
	Gone          int                  `json:"gone" doc:"snapshots of the ledger whose manifests are not there: forgotten, or lost"`
	Snapshots     []checkedView        `json:"snapshots" doc:"snapshots whose manifests are there: id, source, confirmed, condition (fine, partly, lost), why, needs (damaged packs), streams (those that were read, as from rescue dump --salvage)"`
	Damaged       []damagedObjectsView `json:"damaged" doc:"damaged objects: object, reason, snapshots that need it"`
	Packs         int                  `json:"packs" doc:"packs that are there"`
	PackBytes     int64                `json:"pack_bytes" doc:"their size"`
	LeftOver      int                  `json:"left_over" doc:"packs that no manifest needs"`
	LeftOverBytes int64                `json:"left_over_bytes" doc:"their size"`
	Unknown       int                  `json:"unknown" doc:"objects that are not of a repository"`
}

type checkedView struct {
	ID        string        `json:"id"`
	Source    string        `json:"source"`
	Confirmed bool          `json:"confirmed"`
	Condition string        `json:"condition"`
	Why       string        `json:"why"`
	Needs     []string      `json:"needs"`
	Streams   []salvageView `json:"streams"`
}

type damagedObjectsView struct {
	Object    string   `json:"object"`
	Reason    string   `json:"reason"`
	Snapshots []string `json:"snapshots"`
}

// salvageView is what `rescue dump --salvage -o json` writes to stderr.
type salvageView struct {
	Stream  string         `json:"stream" doc:"the stream"`
	Size    int64          `json:"size" doc:"its size"`
	Written int64          `json:"written" doc:"how many bytes of it could be had"`
	Whole   bool           `json:"whole" doc:"what could be had is all of it, by its hash"`
	Lost    []lostView     `json:"lost" doc:"what could not: offset and length in the stream (-1: not known), chunks, and at, the place in what was written"`
	Damage  []culpritsView `json:"damage" doc:"the objects to blame: object, reason, chunks and bytes that are lost for it, unknown (there are more bytes than that)"`
}

type lostView struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
	Chunks int64 `json:"chunks"`
	At     int64 `json:"at"`
}

type culpritsView struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Chunks  int64  `json:"chunks"`
	Bytes   int64  `json:"bytes"`
	Unknown bool   `json:"unknown"`
}

func viewSalvage(r repo.SalvageReport) salvageView {
	v := salvageView{Stream: r.Stream, Size: r.Size, Written: r.Written, Whole: r.Whole, Lost: []lostView{}, Damage: []culpritsView{}}
	for _, l := range r.Lost {
		v.Lost = append(v.Lost, lostView(l))
	}
	for _, d := range r.Damage {
		v.Damage = append(v.Damage, culpritsView(d))
	}
	return v
}

func viewRescueCheck(c *rescue.Check) rescueCheckView {
	v := rescueCheckView{
		Repository: c.Repository, LedgerEntries: c.Entries, LedgerDamage: list(c.Ledger), Gone: c.Gone, Snapshots: []checkedView{}, Damaged: []damagedObjectsView{},
		Packs: c.Packs.Objects, PackBytes: c.Packs.Bytes, LeftOver: c.LeftOver.Objects, LeftOverBytes: c.LeftOver.Bytes, Unknown: c.Unknown.Objects,
	}
	for _, s := range c.Snapshots {
		w := checkedView{s.Snapshot, s.Source, s.Confirmed, string(s.Condition), s.Why, list(s.Needs), []salvageView{}}
		for _, r := range s.Streams {
			w.Streams = append(w.Streams, viewSalvage(r))
		}
		v.Snapshots = append(v.Snapshots, w)
	}
	for _, d := range c.Damaged {
		v.Damaged = append(v.Damaged, damagedObjectsView{d.Object, d.Reason, list(d.Snapshots)})
	}
	return v
}

func (a *app) rescueCheck(l *lifeline) *cobra.Command {
	var quick, full bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check all that a store holds", Args: arguments(0, 0),
		Long: `Check all that a store holds: the copies of the ledger and their chain, every manifest, and the hash of every pack.

What is damaged is listed, with the snapshots that it hurts and, for those, how much of each dump is left. Exit status 0: all is
well; 3: something is damaged; 1: nothing can be restored, or the store could not be checked.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick && full {
				return problem.New(problem.InvalidInput, "--quick and --full exclude each other")
			}
			r, err := a.openRescue(cmd, l)
			if err != nil {
				return err
			}
			depth := rescue.Hashes
			switch {
			case quick:
				depth = rescue.Quick
			case full:
				depth = rescue.Full
			}
			show := a.board("check")
			progress := func(object string) { show.update(0, boardRow{phase: object}) }
			if !show.live {
				progress = nil // a line for every object would be too much
			}
			c, err := r.Check(cmd.Context(), depth, progress)
			show.clear()
			if err != nil {
				return err
			}
			v := viewRescueCheck(c)
			ids := []string{}
			for _, s := range v.Snapshots {
				if s.Condition != string(rescue.Fine) {
					ids = append(ids, s.ID)
				}
			}
			if err := a.print(v, ids, func() { a.showCheck(v) }); err != nil {
				return err
			}
			return c.Err()
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "compare the sizes of packs only, read none")
	cmd.Flags().BoolVar(&full, "full", false, "read every dump to its end too")
	return cmd
}

func (a *app) showCheck(v rescueCheckView) {
	rows := make([][]string, len(v.Snapshots))
	for i, s := range v.Snapshots {
		note := s.Why
		if !s.Confirmed {
			note = strings.TrimPrefix(note+"; no ledger entry confirms it", "; ")
		}
		rows[i] = []string{s.ID, s.Source, s.Condition, note}
	}
	a.table([]string{"SNAPSHOT", "SOURCE", "CONDITION", "NOTE"}, rows)
	line := func(format string, args ...any) {
		fmt.Fprintln(a.out, printable(fmt.Sprintf(format, args...)))
	}
	for _, d := range v.LedgerDamage {
		line("damaged: %s", d)
	}
	for _, d := range v.Damaged {
		hurts := ""
		if len(d.Snapshots) > 0 {
			hurts = "; it hurts " + strings.Join(d.Snapshots, ", ")
		}
		line("damaged: %s: %s%s", d.Object, d.Reason, hurts)
	}
	for _, s := range v.Snapshots {
		for _, r := range s.Streams {
			if !r.Whole {
				for _, text := range r.lines() {
					line("%s %s: %s", s.Source, s.ID, text)
				}
			}
		}
	}
	line("%d snapshots, %d ledger entries, %d forgotten or lost; %d packs (%s), of which no snapshot needs %d (%s); %d unknown objects",
		len(v.Snapshots), v.LedgerEntries, v.Gone, v.Packs, size(v.PackBytes), v.LeftOver, size(v.LeftOverBytes), v.Unknown)
}

// lines tells a person what was lost of a stream.
func (v salvageView) lines() []string {
	if v.Whole {
		return []string{fmt.Sprintf("%s: all %d bytes are intact", v.Stream, v.Size)}
	}
	lines := []string{fmt.Sprintf("%s: %d of %d bytes are intact", v.Stream, v.Written, v.Size)}
	if len(v.Lost) == 0 {
		lines = append(lines, v.Stream+": its chunks are intact, and they are not those of the dump: its hash does not match")
	}
	for _, l := range v.Lost {
		where := "somewhere in it"
		if l.Offset >= 0 {
			where = fmt.Sprintf("from byte %d on", l.Offset)
		}
		what := fmt.Sprintf("%d bytes", l.Length)
		if l.Length < 0 {
			what = "an unknown number of bytes"
		}
		lines = append(lines, fmt.Sprintf("%s: lost %s, %s (%d chunks); they belong at byte %d of what is left", v.Stream, where, what, l.Chunks, l.At))
	}
	for _, d := range v.Damage {
		lines = append(lines, fmt.Sprintf("%s: %d chunks for %s: %s", v.Stream, d.Chunks, d.Object, d.Reason))
	}
	return lines
}

// salvage writes what is left of one stream to stdout and tells on stderr what is not.
func (a *app) salvage(ctx context.Context, snap *repo.Snapshot, d dumps, selected []string) error {
	streams, err := d.pick(selected)
	if err != nil {
		return err
	}
	if len(streams) != 1 {
		return a.export(ctx, "-", restoreFlags{selected: selected}, d) // which says so
	}
	report, err := snap.Salvage(ctx, streams[0].Name, a.out)
	if err != nil {
		return err
	}
	v := viewSalvage(report)
	switch {
	case a.output == "json":
		if err := writeJSON(a.err, v); err != nil {
			return err
		}
	case !v.Whole:
		for _, line := range v.lines() {
			a.say("%s", line)
		}
	}
	if !v.Whole {
		return problem.New(problem.PartlyFailed, "%d of %d bytes of %s were written", v.Written, v.Size, v.Stream).WithSource(d.source).
			WithHint("Where the rest belongs is said above. Another snapshot may have it.")
	}
	return nil
}
