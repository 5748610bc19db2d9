package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) dumpCommand() *cobra.Command {
	var force bool
	var tables []string
	cmd := &cobra.Command{
		Use: "dump SNAPSHOT|SOURCE [STREAM]", Short: "Write a dump to stdout, as the dump tool wrote it",
		Long: `Write one stream of a snapshot to stdout, byte for byte as the dump tool wrote it.

STREAM is the name of a stream or of a database; it may be left out when there is only one. With --table it is the dump of one
table: whatever restores the whole restores that.
When the exit status is not 0, what was written is not whole: do not use it.`,
		Example: examples("baktainer dump shop/db > shop.sql", "baktainer dump shop/db@latest shop | psql -h other postgres", "baktainer dump shop/db --table orders > orders.sql"),
		Args:    arguments(1, 2), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.refuseTerminal(force); err != nil {
				return err
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				snap, err := a.findSnapshot(ctx, client, args[0])
				if err != nil {
					return err
				}
				a.noteMarks(snap)
				return a.export(ctx, "-", restoreFlags{selected: args[1:], tables: tables}, a.fromController(client, snap))
			})
		},
	}
	cmd.Flags().StringArrayVar(&tables, "table", nil, tableUsage)
	cmd.Flags().BoolVar(&force, "force", false, "write to a terminal")
	return cmd
}

// refuseTerminal keeps a dump, which may hold anything, off a terminal.
func (a *app) refuseTerminal(force bool) error {
	if terminal(a.out) && !force {
		return problem.New(problem.InvalidInput, "stdout is a terminal").
			WithHint("Send the dump to a file or a program (> FILE, | PROGRAM), or insist with --force.")
	}
	return nil
}
