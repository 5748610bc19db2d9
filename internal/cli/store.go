package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// storeReportView is what `store check -o json` and `store repair -o json` print.
type storeReportView struct {
	Store               string             `json:"store" doc:"where the store is"`
	Fine                bool               `json:"fine" doc:"nothing is missing or damaged"`
	Objects             int64              `json:"objects" doc:"objects in the store"`
	Bytes               int64              `json:"bytes" doc:"their size"`
	Packs               int64              `json:"packs" doc:"packs that snapshots need"`
	Snapshots           int64              `json:"snapshots" doc:"snapshots that can be restored, forgotten ones included"`
	UnreferencedObjects int64              `json:"unreferenced_objects" doc:"objects that no snapshot needs: left over, or of backups at work"`
	UnreferencedBytes   int64              `json:"unreferenced_bytes" doc:"their size"`
	Unknown             []string           `json:"unknown" doc:"objects that are none of a repository's, at most 100"`
	UnknownObjects      int64              `json:"unknown_objects" doc:"how many of those there are"`
	Findings            []storeFindingView `json:"findings" doc:"what is wrong: object, problem, repairable, repair (what a repair did, or would do), damage (what is lost: source, snapshot, streams; streams_read tells that these were tried)"`
}

type storeFindingView struct {
	Object     string       `json:"object"`
	Problem    string       `json:"problem"`
	Repairable bool         `json:"repairable"`
	Repair     string       `json:"repair"`
	Damage     []damageView `json:"damage"`
}

type damageView struct {
	Source      string   `json:"source"`
	Snapshot    string   `json:"snapshot"`
	Streams     []string `json:"streams"`
	StreamsRead bool     `json:"streams_read"`
}

func (a *app) storeCommand() *cobra.Command {
	return group("store", "What the store holds, and whether it is whole", "", a.storeCheck(), a.storeRepair())
}

const readDataHelp = "read every pack and compare its hash, rather than its size alone"

func (a *app) storeCheck() *cobra.Command {
	var read bool
	cmd := &cobra.Command{
		Use: "check", Short: "Look for what is missing from the store, or damaged",
		Long: `Compare the store with the ledger: the format file and the keys with their copies, the copies of ledger entries, and
for each snapshot its manifest and packs. Nothing is changed.

Exit status: 0 all is there, 1 the check could not be made, 2 bad input, 3 something is missing or damaged.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				stream, err := client.CheckStore(ctx, &pb.CheckStoreRequest{ReadData: read})
				if err != nil {
					return err
				}
				return a.storeReport(func() (storeStep, error) { return stream.Recv() }, false)
			})
		},
	}
	cmd.Flags().BoolVar(&read, "read-data", false, readDataHelp)
	return cmd
}

func (a *app) storeRepair() *cobra.Command {
	var read, dry bool
	cmd := &cobra.Command{
		Use: "repair", Short: "Rebuild what can be derived, and mark what is lost",
		Long: `Check the store, and rebuild what can be derived: the format file, key slots and their copies from each other, the copies
of ledger entries from the ledger. A pack that is damaged cannot be derived: it is marked, so that no backup builds on
it and the next one stores anew what is still used of it, and the snapshots that have lost something are named. No data
is ever deleted.

Exit status: 0 nothing is wrong any more, 1 the repair failed, 2 bad input, 3 something is lost.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				stream, err := client.RepairStore(ctx, &pb.RepairStoreRequest{ReadData: read, DryRun: dry})
				if err != nil {
					return err
				}
				return a.storeReport(func() (storeStep, error) { return stream.Recv() }, !dry)
			})
		},
	}
	cmd.Flags().BoolVar(&read, "read-data", false, readDataHelp)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and change nothing")
	return cmd
}

// storeStep is a message about a check or a repair.
type storeStep interface {
	GetPhase() string
	GetBytesDone() int64
	GetReport() *pb.StoreReport
}

// storeReport follows a check to its end and shows what it found. With repaired,
// what was repaired is wrong no more.
func (a *app) storeReport(next func() (storeStep, error), repaired bool) error {
	show := a.board("store")
	defer show.clear()
	var report *pb.StoreReport
	for {
		m, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		report = m.GetReport()
		show.update(0, boardRow{phase: m.GetPhase(), done: m.GetBytesDone()})
	}
	show.clear()
	if report == nil {
		return problem.New(problem.Internal, "the controller ended without a report")
	}
	v := viewStoreReport(report)
	var objects []string
	for _, f := range v.Findings {
		objects = append(objects, f.Object)
	}
	return cmp.Or(a.print(v, objects, func() { a.showStore(v) }), storeVerdict(v, repaired))
}

func viewStoreReport(r *pb.StoreReport) *storeReportView {
	v := &storeReportView{
		Store: r.GetStore(), Fine: len(r.GetFindings()) == 0, Objects: r.GetObjects(), Bytes: r.GetBytes(), Packs: r.GetPacks(), Snapshots: r.GetSnapshots(),
		UnreferencedObjects: r.GetUnreferencedObjects(), UnreferencedBytes: r.GetUnreferencedBytes(),
		Unknown: list(r.GetUnknown()), UnknownObjects: r.GetUnknownObjects(), Findings: []storeFindingView{},
	}
	for _, f := range r.GetFindings() {
		found := storeFindingView{Object: f.GetObject(), Problem: f.GetProblem(), Repairable: f.GetRepairable(), Repair: f.GetRepair(), Damage: []damageView{}}
		for _, d := range f.GetDamage() {
			found.Damage = append(found.Damage, damageView{d.GetSource(), d.GetSnapshot(), list(d.GetStreams()), d.GetStreamsRead()})
		}
		v.Findings = append(v.Findings, found)
	}
	return v
}

func (a *app) showStore(v *storeReportView) {
	a.facts(
		"store", v.Store, "objects", fmt.Sprintf("%d, %s", v.Objects, size(v.Bytes)), "snapshots", fmt.Sprint(v.Snapshots), "packs", fmt.Sprint(v.Packs),
		"not needed", fmt.Sprintf("%s, %s", several(v.UnreferencedObjects, "object"), size(v.UnreferencedBytes)),
	)
	if v.UnknownObjects > 0 {
		a.warn([]string{fmt.Sprintf("no part of a repository: %s: %s", several(v.UnknownObjects, "object"), strings.Join(v.Unknown[:min(len(v.Unknown), 5)], ", "))})
	}
	if v.Fine {
		a.say("Nothing is missing or damaged.")
		return
	}
	var rows, lost [][]string
	seen := map[string]bool{}
	for _, f := range v.Findings {
		rows = append(rows, []string{f.Object, f.Problem, cmp.Or(f.Repair, map[bool]string{true: "can be repaired"}[f.Repairable])})
		for _, d := range f.Damage {
			if !seen[d.Snapshot] {
				seen[d.Snapshot] = true
				lost = append(lost, []string{d.Snapshot, d.Source, lostStreams(d)})
			}
		}
	}
	a.table([]string{"OBJECT", "PROBLEM", "REPAIR"}, rows)
	if len(lost) > 0 {
		a.table([]string{"SNAPSHOT HIT", "SOURCE", "STREAMS THAT CANNOT BE READ"}, lost)
	}
}

func lostStreams(d damageView) string {
	switch {
	case !d.StreamsRead:
		return "not tried: --read-data"
	case len(d.Streams) == 0:
		return "none"
	}
	return strings.Join(d.Streams, ", ")
}

func storeVerdict(v *storeReportView, repaired bool) error {
	left, rebuilt := int64(0), int64(0)
	for _, f := range v.Findings {
		if f.Repairable && repaired {
			rebuilt++
			continue
		}
		left++
	}
	switch {
	case left == 0:
		return nil
	case repaired:
		return problem.New(problem.PartlyFailed, "%s lost, %d rebuilt", several(left, "object"), rebuilt).
			WithHint("Back the sources up anew: what is still there is stored again. Look at the disk of the store before you trust it.")
	}
	return problem.New(problem.PartlyFailed, "%s missing or damaged", several(left, "object")).
		WithHint("`baktainer store repair` rebuilds what can be derived, and keeps backups from building on what cannot.")
}
