// Package helper is the part of the sqlite engine that runs beside the database
// file: in a throw-away container that shares the source's volumes. It reads and
// writes the file through an embedded SQLite, so that the source's image needs
// no tool, and takes the locks that SQLite's own clients take.
//
// It is called as a hidden subcommand: sqlite-dump PATH writes a consistent image
// of the database to stdout, sqlite-restore PATH reads one from stdin,
// sqlite-probe PATH describes what is there, and sqlite-query PATH answers the
// query on stdin. A failure is told by engine.TellFailure.
package helper

import (
	"context"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/engine"
)

// The subcommands.
const (
	DumpCommand    = "sqlite-dump"
	RestoreCommand = "sqlite-restore"
	ProbeCommand   = "sqlite-probe"
	QueryCommand   = "sqlite-query"
)

// Main carries out one subcommand and returns the exit status: 0 fine, 1 failed,
// 2 called wrongly.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintf(stderr, "want one of %s, %s, %s, %s and a path\n", DumpCommand, RestoreCommand, ProbeCommand, QueryCommand)
		return 2
	}
	var err error
	switch command, path := args[0], args[1]; command {
	case DumpCommand:
		err = dump(ctx, path, stdout)
	case RestoreCommand:
		err = restore(ctx, path, stdin)
	case ProbeCommand:
		err = probe(ctx, path, stdout)
	case QueryCommand:
		err = query(ctx, path, stdin, stdout)
	default:
		fmt.Fprintf(stderr, "unknown command %q\n", command)
		return 2
	}
	if err == nil {
		return 0
	}
	engine.TellFailure(stderr, err)
	return 1
}
