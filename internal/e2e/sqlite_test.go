package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// With the sqlite3 tool in the image, and with nothing but the application.
var (
	sqlite     = sqliteLike("sqlite")
	sqliteBare = sqliteLike("sqlite-bare")
)

func sqliteLike(image string) database {
	return database{
		engine: "sqlite",
		fresh: func() *container {
			return &container{
				image:  samplePrefix + image,
				labels: map[string]string{"baktainer.db.name": "/data/app.db"},
				// The application only holds the database open: rows stay in the WAL.
				env: map[string]string{"SQLITE_PATH": "/data/app.db", "SQLITE_WRITE_EVERY": "0"},
			}
		},
		ready: func(t testing.TB, c *container) result {
			// Whoever opens the file while the application changes it to WAL makes that fail.
			if !writesWAL(c) {
				return result{status: 1, stderr: "the application has not begun to write"}
			}
			return sqlRun(t, c, "SELECT count(*) FROM events")
		},
		seed: func(t testing.TB, c *container, bulk int) {
			sqlQuery(t, c, `CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, note TEXT, face BLOB)`)
			sqlQuery(t, c, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
				INSERT INTO customers (name, note, face) SELECT 'Zoë Müller 東京 ' || i, CASE WHEN i % 5 = 0 THEN NULL ELSE 'it''s ' || i END, randomblob(40) FROM n`)
			sqlQuery(t, c, `CREATE INDEX by_name ON customers (name)`)
			sqlQuery(t, c, `CREATE VIEW silent AS SELECT * FROM customers WHERE note IS NULL`)
			sqlQuery(t, c, `CREATE TABLE "weird ""table""; --" ("select" INT, "Ümlaut" TEXT)`)
			sqlQuery(t, c, `INSERT INTO "weird ""table""; --" VALUES (1, 'line'||char(10)||'break'), (2, NULL)`)
			if bulk > 0 {
				sqlQuery(t, c, `CREATE TABLE bulk (id INTEGER PRIMARY KEY, body BLOB)`)
				sqlQuery(t, c, fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO bulk (body) SELECT randomblob(100000) FROM n`, bulk*10))
			}
		},
		fingerprint: func(t testing.TB, c *container) string {
			var b strings.Builder
			b.WriteString(sqlQuery(t, c, `SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2`))
			b.WriteString(sqlQuery(t, c, `SELECT * FROM sqlite_sequence`))
			for name := range strings.Lines(sqlQuery(t, c, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1`)) {
				quoted := `"` + strings.ReplaceAll(strings.TrimSpace(name), `"`, `""`) + `"`
				columns := sqlQuery(t, c, `SELECT group_concat('quote("' || replace(name, '"', '""') || '")', ' || '','' || ') FROM pragma_table_info(`+quoted+`)`)
				rows := sqlQuery(t, c, `SELECT `+strings.TrimSpace(columns)+` FROM `+quoted+` ORDER BY 1`)
				fmt.Fprintf(&b, "%s: %s rows, %s\n", quoted, strings.TrimSpace(sqlQuery(t, c, `SELECT count(*) FROM `+quoted)), hash(rows))
			}
			return b.String()
		},
		wreck: func(t testing.TB, c *container) {
			sqlQuery(t, c, `DELETE FROM customers WHERE id % 3 = 0`)
			sqlQuery(t, c, `UPDATE customers SET name = 'nobody' WHERE id % 7 = 0`)
			sqlQuery(t, c, `DROP VIEW silent`)
			sqlQuery(t, c, `CREATE TABLE stray (x INT)`)
		},
	}
}

// writesWAL says whether the application has written to the database's log, seen from outside.
func writesWAL(c *container) bool {
	for _, p := range c.processes("app", "sqlite3") {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/root/data/app.db-wal", p.pid))
		if err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

func sqlRun(t testing.TB, c *container, statement string) result {
	t.Helper()
	if strings.HasSuffix(c.image, "bare") {
		return c.execute(t, nil, nil, "/app", "sql", statement)
	}
	return c.execute(t, nil, nil, "sqlite3", "-cmd", ".timeout 5000", "/data/app.db", statement)
}

func sqlQuery(t testing.TB, c *container, statement string) string {
	t.Helper()
	return must(t, sqlRun(t, c, statement), "sqlite: "+statement)
}
