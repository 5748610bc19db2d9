package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

const (
	formatKind    = "baktainer-repository"
	formatVersion = 1
	maxFormatFile = 1 << 20
)

// formatFile is format.json. Fields that this version does not know are ignored.
type formatFile struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	ID      string    `json:"id"` // 32 hexadecimal digits
	Created time.Time `json:"created"`
}

func newFormat(id string, now time.Time) formatFile {
	return formatFile{Format: formatKind, Version: formatVersion, ID: id, Created: now.UTC().Truncate(time.Second)}
}

func (f formatFile) encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// parseFormat reads format.json. Its problems are Corrupt and, for a version to
// come, InvalidInput.
func parseFormat(b []byte) (formatFile, error) {
	var f formatFile
	if len(b) > maxFormatFile {
		return f, damagedFormat(errors.New("it is too large"))
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, damagedFormat(err)
	}
	switch {
	case f.Format != formatKind:
		return f, damagedFormat(fmt.Errorf("its format is %.40q", f.Format))
	case f.Version > formatVersion:
		return f, newerFormat(FormatName, f.Version, formatVersion)
	case f.Version < 1 || !isPackID(f.ID):
		return f, damagedFormat(fmt.Errorf("version %d, id %.40q", f.Version, f.ID))
	}
	return f, nil
}

func damagedFormat(err error) error {
	return problem.Wrap(problem.Corrupt, err, "open repository: read %s", FormatName).WithReason(ReasonCorrupt).
		WithHint("Put back %s from a copy of the store: without it the repository's id is not known, and no key opens.", FormatName)
}

func newerFormat(object string, is, known int) *problem.Problem {
	return problem.New(problem.InvalidInput, "open repository: %s is of version %d, and this program knows up to %d", object, is, known).
		WithReason(ReasonNewerFormat).WithHint("Use a newer version of Baktainer.")
}
