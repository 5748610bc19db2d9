package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/baktainer/baktainer/internal/chaos/clocks"
)

// BuildClocked builds the program of the module in the present folder so that
// its clock can be stepped, into the folder of logs.
func BuildClocked(ctx context.Context, logs string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(logs, "clocked"))
	if err != nil {
		return "", fmt.Errorf("place the program: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	out := filepath.Join(dir, "baktainer")
	return out, clocks.Build(ctx, command, dir, "github.com/baktainer/baktainer", out)
}
