package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// restoreFlags are what `restore` and `rescue restore` have in common.
type restoreFlags struct {
	to, agent, as                   string
	selected, tables                []string
	overwrite, dry, noOwner, assent bool
}

const tableUsage = "only this table or collection, by its name in snapshot show; may be given several times"

func (f *restoreFlags) add(cmd *cobra.Command, where string) {
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", where)
	flags.StringSliceVar(&f.selected, "select", nil, "only these databases or streams; may be given several times")
	flags.StringArrayVar(&f.tables, "table", nil, tableUsage)
	flags.StringVar(&f.as, "as", "", "another name for the one database that is restored, beside the one that is there (PostgreSQL, MariaDB, MySQL, MongoDB)")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace data, or files, that are there")
	flags.BoolVar(&f.dry, "dry-run", false, "say what would happen, and change nothing")
	flags.BoolVar(&f.noOwner, "no-owner", false, "leave out owners and grants (PostgreSQL)")
	flags.BoolVarP(&f.assent, "yes", "y", false, "do not ask before data is replaced")
}

// intoFlags are the flags of a restore through the controller.
type intoFlags struct {
	restoreFlags
	detach, backupFirst bool
	image               string
}

func (a *app) restoreCommand() *cobra.Command {
	var f intoFlags
	cmd := &cobra.Command{
		Use: "restore SNAPSHOT|SOURCE", Short: "Bring a snapshot back, into a container or into files",
		Long: `Bring a snapshot back: into the container that it came from, into another one, into a new one, or into files.

SNAPSHOT is an id, a unique beginning of one, SOURCE@latest, SOURCE@latest-verified, SOURCE@latest-drilled, or
SOURCE@TIME for the newest whose dump had begun by then; SOURCE alone means its latest.
A database that holds data is left alone unless --overwrite is given. What is written was checked:
the last byte of a dump is only handed over when the hash of all of it is right.

With --table one table comes back, with its rows, indexes, triggers and rights, and everything else stays as it is. Only what
is needed for it is read from the store, and it is counted against what was seen in the backup before any of it is kept.

With --to new:NAME a container is made from the very image that the snapshot was taken from, run as the source is, on Docker's
default network; it has its name once all is restored, and nothing of it is left otherwise. The report says how to log in.

Before anything is touched it is told what the target lacks, such as roles or extensions; --dry-run does only that.`,
		Example: examples(
			"baktainer restore shop/db --dry-run",
			"baktainer restore shop/db --overwrite --backup-first",
			"baktainer restore shop/db@latest --to staging/db --select shop",
			"baktainer restore shop/db@2026-03-01T03:00 --table orders --overwrite",
			"baktainer restore shop/db@2026-03-01T03:00 --as shop_before",
			"baktainer restore shop/db@2026-03-01T03:00 --to container:scratch",
			"baktainer restore shop/db --to new:shop-again",
			"baktainer restore shop/db --to file:shop.sql",
		),
		Args: arguments(1, 1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseTarget(f.to)
			if err != nil {
				return err
			}
			if err := f.checkAs(to); err != nil {
				return err
			}
			if f.image != "" && to.made == "" {
				return problem.New(problem.InvalidInput, "--image is for a new container").WithHint("Give --to new:NAME, or leave it out.")
			}
			if to.made != "" && f.overwrite {
				return problem.New(problem.InvalidInput, "--overwrite: there is nothing to overwrite in a new container").WithHint("Leave it out.")
			}
			if f.backupFirst {
				if err := to.canBeBackedUp(); err != nil {
					return err
				}
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				snap, err := a.findSnapshot(ctx, client, args[0])
				if err != nil {
					return err
				}
				a.noteMarks(snap)
				if to.file != "" {
					return a.export(ctx, to.file, f.restoreFlags, a.fromController(client, snap))
				}
				return a.restoreInto(ctx, client, snap, to, f)
			})
		},
	}
	f.add(cmd, "where to: SOURCE, container:NAME, new:NAME (a container that is made), file:PATH, or - for stdout. Default: the container that it came from")
	cmd.Flags().StringVar(&f.agent, "agent", "", "the agent whose host has container:NAME, when there are several, or gets new:NAME (default: that of the source)")
	cmd.Flags().StringVar(&f.image, "image", "", "with new:NAME, another image than the one that the snapshot was taken from")
	cmd.Flags().BoolVar(&f.detach, "detach", false, "do not wait")
	cmd.Flags().BoolVar(&f.backupFirst, "backup-first", false, "back up the source that is restored into before anything in it is replaced; if that fails, nothing is")
	return cmd
}

// canBeBackedUp says why what is restored into cannot be backed up before.
func (t target) canBeBackedUp() error {
	switch {
	case t.file != "":
		return problem.New(problem.InvalidInput, "--backup-first is for restoring into a source, and --to names files").
			WithHint("Leave one of the two out.")
	case t.made != "":
		return problem.New(problem.InvalidInput, "--backup-first: there is nothing in a new container yet").WithHint("Leave the flag out.")
	case t.container != "":
		return problem.New(problem.InvalidInput, "--backup-first: container:%s is no source, and cannot be backed up", t.container).
			WithHint("Give the container the label baktainer.backup=true, or leave the flag out.")
	}
	return nil
}

// backupFirst makes a snapshot of what a restore is about to replace.
func (a *app) backupFirst(ctx context.Context, client pb.AdminServiceClient, source string) error {
	resp, err := client.StartBackup(ctx, &pb.StartBackupRequest{Sources: []string{source}, RequestId: rand.Text()})
	if err != nil {
		return fmt.Errorf("back up %s first: %w", source, err)
	}
	runs, err := a.watch(ctx, client, resp.GetRuns())
	if err != nil {
		return err
	}
	if len(runs) != 1 {
		return problem.New(problem.Internal, "nothing was restored: the controller began %d backups of %s, and one was asked for", len(runs), source)
	}
	if err := outcome(runs[0]); err != nil {
		return problem.Wrap(problem.CodeOf(err), err, "nothing was restored: the backup of %s before it failed", source).WithReason(problem.ReasonOf(err)).
			WithDetails("Without --backup-first it would be restored, and what is there now would be lost.")
	}
	a.say("What is in %s now is in snapshot %s.", source, runs[0].GetSnapshot())
	return nil
}

// restoreInto restores into a container, through the agent of its host.
func (a *app) restoreInto(ctx context.Context, client pb.AdminServiceClient, snap *pb.Snapshot, to target, f intoFlags) error {
	where := "source " + snap.GetSource()
	switch {
	case to.source != "":
		where = "source " + to.source
	case to.container != "":
		where = "container " + to.container
	case to.made != "":
		where = "the new container " + to.made
	}
	if err := a.confirm(f.restoreFlags, where); err != nil {
		return err
	}
	if f.backupFirst && !f.dry {
		if err := a.backupFirst(ctx, client, cmp.Or(to.source, snap.GetSource())); err != nil {
			return err
		}
	}
	resp, err := client.StartRestore(ctx, &pb.StartRestoreRequest{RequestId: rand.Text(), Restore: &pb.RestoreRequest{
		Snapshot: snap.GetId(), TargetSource: to.source, TargetContainer: to.container, TargetAgent: f.agent, NewContainer: to.made, Image: f.image,
		Select: f.selected, Tables: f.tables, As: f.as, Overwrite: f.overwrite, DryRun: f.dry, NoOwner: f.noOwner,
	}})
	if err != nil {
		return err
	}
	runs := []*pb.Run{resp.GetRun()}
	if f.detach {
		return a.showStarted(runs, false)
	}
	if runs, err = a.watch(ctx, client, runs); err != nil {
		return err
	}
	v := viewRun(runs[0])
	err = a.print(v, []string{v.ID}, func() {
		a.showReport(v.Report, v.Warnings, "")
		if v.State == "succeeded" && !f.dry {
			a.say("Restored snapshot %s into %s in %s.", v.Snapshot, where, lasted(v.StartedAt, v.EndedAt))
		}
	})
	if err != nil {
		return err
	}
	return outcome(runs[0])
}

// showReport writes what a restore did, and what it warns of.
func (a *app) showReport(report, warnings []string, indent string) {
	for _, line := range warnings {
		fmt.Fprintln(a.out, indent+"Warning: "+printable(line))
	}
	for _, line := range report {
		fmt.Fprintln(a.out, indent+printable(line))
	}
}

// checkAs refuses another name for what goes into files.
func (f *restoreFlags) checkAs(to target) error {
	switch {
	case f.as == "":
		return nil
	case to.file != "":
		return problem.New(problem.InvalidInput, "--as is for restoring into a server, and --to names files").WithHint("Leave one of the two out.")
	}
	return engine.CheckNewName(f.as)
}

// confirm asks before data is replaced when a person is there to answer.
func (a *app) confirm(f restoreFlags, where string) error {
	if !f.overwrite || f.dry {
		return nil
	}
	if len(f.tables) > 0 {
		return a.yes(f.assent, "This replaces "+strings.Join(f.tables, ", ")+" in "+where+".")
	}
	return a.yes(f.assent, "This replaces what is in "+where+".")
}
