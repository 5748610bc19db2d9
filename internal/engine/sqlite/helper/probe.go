package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	sqlite3 "modernc.org/sqlite/lib"
)

// State is what sqlite-probe finds at a path, as one line of JSON.
type State struct {
	// Exists: there is a file.
	Exists bool `json:"exists"`
	// Database: the file can be read as a database, or is empty.
	Database bool `json:"database"`
	// Tables counts the tables that are not SQLite's own.
	Tables int `json:"tables"`
	// Names are the first few of them.
	Names []string `json:"names,omitempty"`
	// Directory: the directory that the file is or would be in exists.
	Directory bool `json:"directory"`
	// Writable: the directory's file system is not read-only.
	Writable bool `json:"writable"`
}

const namedTables = 10

func probe(ctx context.Context, path string, w io.Writer) error {
	state, err := look(ctx, path)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(state); err != nil {
		return fmt.Errorf("write the state of %s: %w", path, err)
	}
	return nil
}

func look(ctx context.Context, path string) (State, error) {
	var s State
	real, err := target(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.Directory, s.Writable = true, !readOnlyFileSystem(real.dir)
	info, err := os.Stat(real.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", path, err)
	}
	s.Exists = true
	if !info.Mode().IsRegular() {
		return s, nil
	}
	conn, _, done, err := openForReading(ctx, real.path)
	if codeOf(err) == sqlite3.SQLITE_NOTADB {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer done()
	s.Database = true
	const userTables = `FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`
	if err := conn.QueryRowContext(ctx, "SELECT count(*) "+userTables).Scan(&s.Tables); err != nil {
		return s, explain(err, path)
	}
	rows, err := conn.QueryContext(ctx, "SELECT name "+userTables+" ORDER BY name LIMIT ?", namedTables)
	if err != nil {
		return s, explain(err, path)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return s, explain(err, path)
		}
		s.Names = append(s.Names, name)
	}
	if err := rows.Err(); err != nil {
		return s, explain(err, path)
	}
	return s, nil
}
