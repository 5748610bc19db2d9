package bench

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/workload"
	"github.com/baktainer/baktainer/internal/clock"
)

const (
	postgresImage     = "baktainer-sample/postgres" // of all containers: one image is enough
	postgresContainer = "baktainer-bench-postgres"  // and the volume of its data
	dumpContainer     = "baktainer-bench-dump"
	streamContainer   = "baktainer-bench-stream"
	limitedContainer  = "baktainer-bench-limited"
	database          = "bench"
)

// recipe is raised when what prepare makes becomes something else.
const recipe = 3

// prepared tells what was prepared, so that it is not done again.
type prepared struct {
	Recipe  int
	Set     workload.Set
	Tables  []figures.Table
	Dumps   []figures.Dump
	Version string // of PostgreSQL
}

// volume is where the database is kept, one for each folder of data.
func (b *Bench) volume() string {
	return fmt.Sprintf("baktainer-bench-%x", sha256.Sum256([]byte(b.Dir)))[:28]
}

// dumpFile is where the dump of a day is.
func (b *Bench) dumpFile(history string, day int) string {
	if day == 0 {
		return filepath.Join(b.Dir, "data", "day0.sql")
	}
	return filepath.Join(b.Dir, "data", fmt.Sprintf("%s-day%d.sql", history, day))
}

// prepare makes the data set, or finds it as an earlier run left it. The
// container of the database runs afterwards.
func (b *Bench) prepare(ctx context.Context) error {
	note := filepath.Join(b.Dir, "data", "prepared.json")
	want := prepared{Recipe: recipe, Set: b.set, Tables: b.tables()}
	for _, v := range b.fig.Versions {
		if v.Tool == "PostgreSQL" {
			want.Version = v.Version
		}
	}
	b.fig.Tables = want.Tables
	if dumps, ok := b.found(ctx, note, want); ok {
		b.say("the data set is there")
		b.fig.Dumps = dumps
		return b.startPostgres(ctx)
	}
	b.say("preparing the data set: some minutes, once")
	if err := os.RemoveAll(filepath.Join(b.Dir, "data")); err != nil {
		return fmt.Errorf("remove the old data set: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(b.Dir, "data"), 0o755); err != nil { //nolint:gosec // containers read it
		return fmt.Errorf("make the folder of the data set: %w", err)
	}
	if _, err := docker(ctx, "volume", "rm", "-f", b.volume()); err != nil {
		return err
	}
	if err := b.startPostgres(ctx); err != nil {
		return err
	}
	dumps, err := b.makeDumps(ctx)
	if err != nil {
		return err
	}
	want.Dumps, b.fig.Dumps = dumps, dumps
	content, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("note what was prepared: %w", err)
	}
	if err := os.WriteFile(note, content, 0o600); err != nil {
		return fmt.Errorf("note what was prepared: %w", err)
	}
	return nil
}

// tables describes the data set for people.
func (b *Bench) tables() []figures.Table {
	var all []figures.Table
	for _, t := range workload.Tables() {
		all = append(all, figures.Table{
			Name: t.Name, Holds: t.Holds, Rows: t.Rows(b.Scale), Changed: t.Changed(b.Scale), Appended: t.Appended(b.Scale),
		})
	}
	return all
}

// found says whether all that an earlier run prepared is still there.
func (b *Bench) found(ctx context.Context, note string, want prepared) ([]figures.Dump, bool) {
	content, err := os.ReadFile(note)
	if err != nil {
		return nil, false
	}
	var have prepared
	if json.Unmarshal(content, &have) != nil {
		return nil, false
	}
	dumps := have.Dumps
	have.Dumps = nil
	if !reflect.DeepEqual(have, want) {
		return nil, false
	}
	for _, d := range dumps {
		if info, err := os.Stat(b.dumpFile(d.History, d.Day)); err != nil || info.Size() != d.Bytes {
			return nil, false
		}
	}
	_, err = docker(ctx, "volume", "inspect", b.volume())
	return dumps, err == nil
}

// startPostgres starts the database's container on its volume. What would make
// preparing slower, or two runs differ, is off: syncs and the vacuum of its own time.
func (b *Bench) startPostgres(ctx context.Context) error {
	_, err := docker(
		ctx, "run", "-d", "--name", postgresContainer, "-v", b.volume()+":/var/lib/postgresql/data", "--shm-size", "512m",
		"-e", "POSTGRES_PASSWORD=bench", "-e", "POSTGRES_DB="+database,
		"--label", "baktainer.backup=true", "--label", "baktainer.name="+postgresSource,
		postgresImage, "-c", "autovacuum=off", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_wal_size=4GB", "-c", "shared_buffers=256MB",
	)
	if err != nil {
		return err
	}
	// Over TCP, since the server that makes the cluster listens on its socket alone.
	return until(ctx, "PostgreSQL answers", func() error {
		_, err := docker(ctx, "exec", postgresContainer, "pg_isready", "-q", "-h", "127.0.0.1")
		return err
	})
}

// until tries something until it succeeds.
func until(ctx context.Context, what string, try func() error) error {
	for range 600 {
		err := try()
		if err == nil {
			return nil
		}
		if clock.Sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
	}
	return fmt.Errorf("wait until %s: %w", what, try())
}

// makeDumps fills the database and dumps it day by day, in both histories.
func (b *Bench) makeDumps(ctx context.Context) ([]figures.Dump, error) {
	if err := b.sql(ctx, database, b.fill); err != nil {
		return nil, err
	}
	day0, err := b.dump(ctx, database, "", 0)
	if err != nil {
		return nil, err
	}
	dumps := []figures.Dump{day0}
	for _, history := range workload.Histories() {
		err := b.sql(ctx, "postgres", func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "CREATE DATABASE %s TEMPLATE %s;\n", history, database)
			return err
		})
		for day := 1; day <= lastDay && err == nil; day++ {
			err = b.sql(ctx, history, func(w io.Writer) error { return b.day(w, history, day) })
			if err == nil {
				var d figures.Dump
				d, err = b.dump(ctx, history, history, day)
				dumps = append(dumps, d)
			}
		}
		if err == nil {
			err = b.sql(ctx, "postgres", func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "DROP DATABASE %s;\n", history)
				return err
			})
		}
		if err != nil {
			return nil, err
		}
	}
	return dumps, nil
}

// sql runs a script that is written while it runs.
func (b *Bench) sql(ctx context.Context, db string, script func(io.Writer) error) error {
	cmd := exec.CommandContext(ctx, "docker", "exec", "-i", postgresContainer, "psql", "-U", "postgres", "-d", db, "-q", "-v", "ON_ERROR_STOP=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start psql: %w", err)
	}
	w := bufio.NewWriterSize(in, 1<<20)
	scriptErr := script(w)
	if scriptErr == nil {
		scriptErr = w.Flush()
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, said.String())
	}
	if scriptErr != nil {
		return fmt.Errorf("feed psql: %w", scriptErr)
	}
	return nil
}

// dump writes the dump of a database to the file of a day.
func (b *Bench) dump(ctx context.Context, db, history string, day int) (figures.Dump, error) {
	name := b.dumpFile(history, day)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644) //nolint:gosec // containers read it
	if err != nil {
		return figures.Dump{}, fmt.Errorf("make a dump: %w", err)
	}
	defer f.Close()
	var said strings.Builder
	cmd := exec.CommandContext(ctx, "docker", "exec", postgresContainer, "pg_dump", "-U", "postgres", db)
	cmd.Stdout, cmd.Stderr = f, &said
	if err := cmd.Run(); err != nil {
		return figures.Dump{}, fmt.Errorf("pg_dump: %w: %s", err, said.String())
	}
	info, err := f.Stat()
	if err != nil {
		return figures.Dump{}, fmt.Errorf("make a dump: %w", err)
	}
	b.say("%s: %.1f MB", filepath.Base(name), float64(info.Size())/1e6)
	return figures.Dump{History: history, Day: day, Bytes: info.Size()}, f.Close()
}

// fill writes the script that makes day 0.
func (b *Bench) fill(w io.Writer) error {
	var buf []byte
	for _, t := range workload.Tables() {
		buf = fmt.Appendf(buf[:0], "CREATE TABLE %s (%s);\nCOPY %s FROM stdin;\n", t.Name, t.DDL, t.Name)
		for id := 1; id <= t.Rows(b.Scale); id++ {
			buf = b.set.FirstDay(t, buf, id)
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		buf = fmt.Appendf(buf, "\\.\nALTER TABLE %s ADD PRIMARY KEY (%s);\n", t.Name, t.Key)
		if t.Index != "" {
			buf = fmt.Appendf(buf, "CREATE INDEX ON %s (%s);\n", t.Name, t.Index)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "VACUUM ANALYZE;\nCHECKPOINT;\n")
	return err
}

// day writes the script of one day: an UPDATE of each table in the order of
// its keys, new rows, and the vacuum that would come by itself.
func (b *Bench) day(w io.Writer, history string, day int) error {
	var buf []byte
	for _, t := range workload.Tables() {
		row := func(id int) error {
			buf = b.set.Row(t, buf[:0], history, day, id)
			_, err := w.Write(buf)
			return err
		}
		if _, err := fmt.Fprintf(w, "CREATE TEMP TABLE change (LIKE %s);\nCOPY change FROM stdin;\n", t.Name); err != nil {
			return err
		}
		if err := b.set.Changes(t, history, day, row); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "\\.\nSET enable_hashjoin = off;\nSET enable_mergejoin = off;\n"+
			"UPDATE %[1]s t SET %[2]s FROM change c WHERE t.%[3]s = c.%[3]s;\nDROP TABLE change;\nCOPY %[1]s FROM stdin;\n", t.Name, t.Set, t.Key)
		if err != nil {
			return err
		}
		first, last := b.set.Appends(t, history, day)
		for id := first; id <= last; id++ {
			if err := row(id); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "\\.\n"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "VACUUM ANALYZE;\n")
	return err
}

// removeContainers removes those of this run, and of one that was cut off.
func (b *Bench) removeContainers(ctx context.Context) {
	_, _ = docker(ctx, "rm", "-f", "-v", postgresContainer, dumpContainer, streamContainer, limitedContainer)
}

// Remove leaves nothing of the benchmark behind but its document.
func Remove(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("place the folder: %w", err)
	}
	b := &Bench{Options: Options{Dir: dir}}
	b.removeContainers(ctx)
	if _, err := docker(ctx, "volume", "rm", "-f", b.volume()); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the folder: %w", err)
	}
	return nil
}
