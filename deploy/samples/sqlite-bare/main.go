// Command sqlite-bare is a sample application that keeps writing to a SQLite
// database in WAL mode and is the only file in its container.
//
// Without arguments it inserts a row into SQLITE_PATH every SQLITE_WRITE_EVERY
// seconds (0: never, it only holds the database open) until it is told to
// stop. With arguments "sql STATEMENT" it runs one statement against the same
// file and prints the rows, columns separated by "|", so that a container
// without any tool can be filled and looked at.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "sqlite-bare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	db, err := open(os.Getenv("SQLITE_PATH"))
	if err != nil {
		return err
	}
	defer db.Close()
	switch {
	case len(args) == 0:
		return write(ctx, db, os.Getenv("SQLITE_WRITE_EVERY"))
	case len(args) == 2 && args[0] == "sql":
		return show(ctx, db, args[1])
	default:
		return fmt.Errorf("want no arguments or: sql STATEMENT")
	}
}

// open keeps one connection for good: its WAL is not folded into the main file
// while it lives, so a plain copy of the file lacks the newest rows.
func open(path string) (*sql.DB, error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)"}}
	db, err := sql.Open("sqlite", "file:"+path+"?"+pragmas.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func write(ctx context.Context, db *sql.DB, every string) error {
	seconds, err := strconv.ParseFloat(every, 64)
	if err != nil || seconds < 0 {
		return fmt.Errorf("SQLITE_WRITE_EVERY is %q: want seconds, or 0", every)
	}
	const table = `CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, at TEXT NOT NULL, body BLOB NOT NULL)`
	if _, err := db.ExecContext(ctx, table); err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	if seconds == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(time.Duration(seconds * float64(time.Second)))
	defer tick.Stop()
	for {
		const row = `INSERT INTO events(at, body) VALUES(datetime('now'), randomblob(1000))`
		if _, err := db.ExecContext(ctx, row); err != nil {
			return fmt.Errorf("insert row: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// show prints what statement returns.
func show(ctx context.Context, db *sql.DB, statement string) error {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = v.String
		}
		fmt.Println(strings.Join(line, "|"))
	}
	return rows.Err()
}
