package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// savedView is what `cluster snapshot -o json` prints.
type savedView struct {
	Path string `json:"path" doc:"the file"`
	Size int64  `json:"size" doc:"its size"`
}

func (a *app) clusterSnapshot() *cobra.Command {
	var overwrite, force bool
	cmd := &cobra.Command{
		Use: "snapshot FILE", Short: "Save all that the controllers know into a file (a raft snapshot)",
		Long: `Save all that the controllers know: sources, runs, the ledger, agents, tokens, limits. Not the snapshots of databases
themselves, which are in the store, nor the key that opens it. The file is written beside its name, and gets it when it is
whole and on the disk. - is stdout.

` + "`baktainer cluster restore`" + ` reads it. With several controllers, and with the copies of the ledger in the store, it is
needed seldom; take one before you change much.`,
		Example: examples("baktainer cluster snapshot baktainer.raft", "baktainer cluster snapshot - | gpg --encrypt -r ops > baktainer.raft.gpg"),
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := args[0]
			if path == "-" {
				if err := a.refuseTerminal(force); err != nil {
					return err
				}
			} else if err := free(overwrite, filepath.Clean(path)); err != nil {
				return err
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				if path == "-" {
					_, err := a.saveState(ctx, client, a.out)
					return err
				}
				v := savedView{Path: path}
				err := writeWhole(path, func(w io.Writer) (err error) {
					v.Size, err = a.saveState(ctx, client, w)
					return err
				})
				if err != nil {
					return fmt.Errorf("write %s: %w", path, err)
				}
				return a.print(v, []string{v.Path}, func() { a.table([]string{"FILE", "SIZE"}, [][]string{{v.Path, size(v.Size)}}) })
			})
		},
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace a file that is there")
	cmd.Flags().BoolVar(&force, "force", false, "write to a terminal")
	return cmd
}

// saveState writes a raft snapshot, and returns how long it is.
func (a *app) saveState(ctx context.Context, client pb.ClusterServiceClient, w io.Writer) (n int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // when w fails, the rest is not wanted
	stream, err := client.SaveState(ctx, &pb.SaveStateRequest{})
	if err != nil {
		return 0, err
	}
	show := a.board("raft snapshot")
	defer show.clear()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, err
		}
		if _, err := w.Write(resp.GetData()); err != nil {
			return n, problem.Wrap(problem.Failed, err, "write the raft snapshot")
		}
		n += int64(len(resp.GetData()))
		show.update(0, boardRow{done: n})
	}
	if n == 0 {
		return 0, problem.New(problem.Internal, "the controller sent an empty raft snapshot")
	}
	return n, nil
}

// restoredView is what `cluster restore -o json` prints.
type restoredView struct {
	Index uint64 `json:"index" doc:"where in the log the raft snapshot was taken in"`
}

func (a *app) clusterRestore() *cobra.Command {
	var other bool
	var confirm string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Replace all that the controllers know by what a file holds",
		Long: `Replace all that the controllers know by what a file from ` + "`baktainer cluster snapshot`" + ` holds. What came after it is
forgotten: runs, tokens, revocations, and snapshots of databases, which stay in the store. All controllers take it in. It
asks for the id of the cluster first.

The file has to be of this cluster. To go on with what another knew, for example after all its controllers were lost,
say --other-cluster; its store and key are needed as well.`,
		Example: examples("baktainer cluster restore baktainer.raft"),
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return problem.Wrap(problem.InvalidInput, err, "open the raft snapshot")
			}
			defer f.Close()
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				c, err := cluster(ctx, client)
				if err != nil {
					return err
				}
				what := fmt.Sprintf("This replaces all that the controllers of cluster %s know by what is in %s.", c.Cluster, args[0])
				if err := a.typed(confirm, confirmation{"the id of the cluster", c.Cluster}, what); err != nil {
					return err
				}
				index, err := a.restoreState(ctx, client, f, other)
				if err != nil {
					return err
				}
				v := restoredView{index}
				return a.print(v, nil, func() { a.say("Restored. It is entry %d of the log.", v.Index) })
			})
		},
	}
	cmd.Flags().BoolVar(&other, "other-cluster", false, "restore although the file is of another cluster")
	cmd.Flags().StringVar(&confirm, "confirm", "", "what it would ask you to type: the id of the cluster")
	return cmd
}

func (a *app) restoreState(ctx context.Context, client pb.ClusterServiceClient, r io.Reader, other bool) (index uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // half a raft snapshot is not to be taken for a whole one
	stream, err := client.RestoreState(ctx)
	if err != nil {
		return 0, err
	}
	show := a.board("raft snapshot")
	defer show.clear()
	part := make([]byte, transport.DataMessage)
	for done := int64(0); ; {
		n, readErr := io.ReadFull(r, part)
		if n == 0 && done == 0 && errors.Is(readErr, io.EOF) {
			return 0, problem.New(problem.InvalidInput, "the file is empty")
		}
		if n > 0 {
			err := stream.Send(&pb.RestoreStateRequest{Data: part[:n], OtherCluster: other && done == 0})
			if errors.Is(err, io.EOF) {
				break // the answer says why
			}
			if err != nil {
				return 0, err
			}
			done += int64(n)
			show.update(0, boardRow{done: done})
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			return 0, problem.Wrap(problem.Failed, readErr, "read the raft snapshot")
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return 0, err
	}
	return resp.GetIndex(), nil
}
