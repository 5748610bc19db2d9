package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// singleTable is a table, or collection, of a seeded database that is lost alone.
type singleTable struct {
	database
	table  string // as a user would call it
	whole  string // as `snapshot show` names it
	stream string
	// other changes something else; lose drops the table, spoil changes it.
	other, lose, spoil func(testing.TB, *container)
	// holds is in a dump of the table, lacks only in the whole.
	holds, lacks string
}

func singleTables() map[string]singleTable {
	pg := func(sql string) func(testing.TB, *container) {
		return func(t testing.TB, c *container) { query(t, c, "shop", sql) }
	}
	my := func(client, sql string) func(testing.TB, *container) {
		return func(t testing.TB, c *container) { mysqlQuery(t, c, client, "shop", sql) }
	}
	docs := func(db, collection, docs string) func(testing.TB, *container) {
		return func(t testing.TB, c *container) { mongoImportDocs(t, c, db, collection, docs) }
	}
	const nobody = `{"_id": 1, "name": "nobody"}` + "\n"
	return map[string]singleTable{
		"postgres": {
			postgres, "customers", "public.customers", "shop.sql",
			pg("DELETE FROM attachments WHERE id > 10; DROP VIEW big_spenders;"),
			pg("DROP TABLE customers CASCADE;"),
			pg("UPDATE customers SET name = 'nobody' WHERE id % 3 = 0;"),
			"CREATE TABLE public.customers", "CREATE TABLE public.attachments",
		},
		"mariadb": {
			mariadb, "customers", "customers", "shop.sql",
			my("mariadb", "UPDATE orders SET amount = amount + 1 WHERE id % 2 = 0; DROP PROCEDURE totals;"),
			my("mariadb", "SET FOREIGN_KEY_CHECKS = 0; DROP TABLE customers;"),
			my("mariadb", "UPDATE customers SET name = 'nobody' WHERE id % 3 = 0;"),
			"CREATE TABLE `customers`", "CREATE TABLE `orders`",
		},
		"mongo": {
			mongoAuth, "größe.東京", "shop.größe.東京", "all.archive",
			docs("second", "items", nobody),
			docs("shop", "größe.東京", ""),
			docs("shop", "größe.東京", nobody),
			"größe.東京", "second",
		},
	}
}

// TestSingleTables loses one table, gets it back out of a backup of everything,
// and finds all else as it was left.
func TestSingleTables(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	for name, d := range singleTables() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := d.start(t)
			d.seed(t, c, 0)
			s := u.backup(t, c)
			d.other(t, c)
			want := d.fingerprint(t, c)

			shown := u.ok(t, "snapshot", "show", s.ID)
			if !strings.Contains(shown, d.whole) || !strings.Contains(shown, "SIZE") {
				t.Errorf("snapshot show does not name %s and its size:\n%s", d.whole, shown)
			}
			d.toFile(t, u, s)

			d.lose(t, c)
			if d.fingerprint(t, c) == want {
				t.Fatal("the fingerprint does not see that the table is gone")
			}
			t.Logf("lost:\n%s", u.ok(t, "restore", s.ID, "--table", d.table))
			d.same(t, c, want, name == "postgres") // DROP … CASCADE took a foreign key of another table with it

			if name == "postgres" {
				query(t, c, "shop", "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers;")
			}
			d.spoil(t, c)
			refused := u.cli(t, "restore", s.ID, "--table", d.table)
			t.Logf("over data:\n%s", refused.text())
			if refused.status != failedStatus || !strings.Contains(refused.text(), "--overwrite") {
				t.Errorf("over data it ends with %d, want %d and a word of --overwrite", refused.status, failedStatus)
			}
			t.Logf("dry run:\n%s", u.ok(t, "restore", s.ID, "--table", d.table, "--overwrite", "--dry-run"))
			if d.fingerprint(t, c) == want {
				t.Error("a restore that was refused, or a dry run, has restored")
			}
			t.Logf("overwritten:\n%s", u.ok(t, "restore", s.ID, "--table", d.whole, "--overwrite", "--yes"))
			d.same(t, c, want, false)

			wrong := u.cli(t, "restore", s.ID, "--table", d.table+"x", "--overwrite", "--yes")
			t.Logf("no such table:\n%s", wrong.text())
			if wrong.status != failedStatus || !strings.Contains(wrong.text(), d.whole) {
				t.Errorf("a table that is not there: it ends with %d, want %d and the names of those that are", wrong.status, failedStatus)
			}
			d.same(t, c, want, false)
			d.rescued(t, u, s)
			if name == "postgres" {
				u.besides(t, c, s, want)
			}
			if name == "mariadb" {
				u.besidesMariaDB(t, c, want)
			}
		})
	}
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		c := redis.start(t)
		redis.seed(t, c, 0)
		s := u.backup(t, c)
		r := u.cli(t, "restore", s.ID, "--table", "key", "--overwrite", "--yes")
		t.Logf("of what cannot be taken apart:\n%s", r.text())
		if r.status != badInput {
			t.Errorf("it ends with %d, want %d", r.status, badInput)
		}
	})
}

// same compares, but for foreign keys that an accident took of other tables.
func (d singleTable) same(t *testing.T, c *container, want string, butForeignKeys bool) {
	t.Helper()
	got := d.fingerprint(t, c)
	if butForeignKeys {
		got, want = withoutForeignKeys(got), withoutForeignKeys(want)
	}
	if got != want {
		t.Errorf("it is\n%s\nand was\n%s", got, want)
	}
}

func withoutForeignKeys(fingerprint string) string {
	var b strings.Builder
	for line := range strings.Lines(fingerprint) {
		if !strings.Contains(line, "FOREIGN KEY") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// toFile takes the table out into a file, and to stdout.
func (d singleTable) toFile(t *testing.T, u *up, s snapshot) {
	t.Helper()
	file := filepath.Join(tempDir(t), "table.dump")
	u.ok(t, "restore", s.ID, "--table", d.table, "--to", "file:"+file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), d.holds) || strings.Contains(string(text), d.lacks) {
		t.Errorf("the dump of the table has %d bytes, and is to have %q and not %q", len(text), d.holds, d.lacks)
	}
	if got := u.ok(t, "dump", s.ID, d.stream, "--table", d.whole); got != string(text) {
		t.Errorf("dump gives %d bytes, restore wrote %d others", len(got), len(text))
	}
	if r := u.cli(t, "restore", s.ID, "--table", d.table, "--to", "file:"+file); r.status == fine {
		t.Errorf("a file that is there is written over:\n%s", r.text())
	}
}

// rescued takes the table out of the store, without the controller's help.
func (d singleTable) rescued(t *testing.T, u *up, s snapshot) {
	t.Helper()
	r := command(t, nil, plainEnvironment(), u.binary, "rescue", "restore", s.ID, "--to", "-", "--table", d.table, "--store", u.store(), "--key-file", u.key())
	if got, want := must(t, r, "rescue"), u.ok(t, "dump", s.ID, d.stream, "--table", d.table); got != want {
		t.Errorf("rescue gives %d bytes, the controller %d others", len(got), len(want))
	}
}

// besides restores a whole database, and a table of it, beside the one that is there.
func (u *up) besides(t *testing.T, c *container, s snapshot, want string) {
	t.Helper()
	t.Logf("under another name:\n%s", u.ok(t, "restore", s.ID, "--as", "shop_before"))
	t.Logf("one table of it:\n%s", u.ok(t, "restore", s.ID, "--as", "shop_some", "--table", "attachments"))
	lacking := u.cli(t, "restore", s.ID, "--as", "shop_none", "--table", "customers") // whose type is not there
	t.Logf("one that needs more:\n%s", lacking.text())
	if lacking.status != failedStatus || !strings.Contains(lacking.text(), "--as") {
		t.Errorf("a table without what it needs: it ends with %d, want %d and a way out", lacking.status, failedStatus)
	}
	if got := postgresFingerprint(t, c, "shop"); got != want {
		t.Errorf("a restore beside it changed the database:\n%s\nit was\n%s", got, want)
	}
	if n := strings.TrimSpace(query(t, c, "shop_before", "SELECT count(*) FROM attachments;")); n != "23" {
		t.Errorf("beside it are %s attachments, and 23 were backed up", n)
	}
	if n := strings.TrimSpace(query(t, c, "shop_some", "SELECT count(*) FROM attachments;")); n != "23" {
		t.Errorf("the table alone has %s rows, and 23 were backed up", n)
	}
	if n := strings.TrimSpace(query(t, c, "shop", "SELECT count(*) FROM pg_database WHERE datname = 'shop_none';")); n != "0" {
		t.Error("what could not be filled is left behind")
	}
	for what, argv := range map[string][]string{
		"over it":     {"--as", "shop_before"},
		"a bad name":  {"--as", "shop; --"},
		"into a file": {"--as", "x", "--to", "file:x.sql"},
	} {
		if r := u.cli(t, append([]string{"restore", s.ID}, argv...)...); r.status == fine {
			t.Errorf("%s:\n%s", what, r.text())
		}
	}
}

// besidesMariaDB does so where the dump itself has to be changed on the way.
func (u *up) besidesMariaDB(t *testing.T, c *container, want string) {
	t.Helper()
	s := u.backup(t, c)
	t.Logf("under another name:\n%s", u.ok(t, "restore", s.ID, "--select", "shop", "--as", "shop_before"))
	t.Logf("one table of it:\n%s", u.ok(t, "restore", s.ID, "--as", "shop_some", "--table", "customers"))
	if got := strings.ReplaceAll(mysqlFingerprint(t, c, "mariadb", "shop_before"), "`shop_before`", "`shop`"); got != want {
		t.Errorf("beside it is\n%s\nand what was backed up is\n%s", got, want)
	}
	if got := mysqlFingerprint(t, c, "mariadb", "shop"); got != want {
		t.Errorf("a restore beside it changed the database:\n%s\nit was\n%s", got, want)
	}
	if n := strings.TrimSpace(mysqlQuery(t, c, "mariadb", "shop_some", "SELECT COUNT(*) FROM customers")); n == "0" {
		t.Error("the table alone is empty")
	}
	mysqlQuery(t, c, "mariadb", "shop", "CREATE PROCEDURE whole() SELECT COUNT(*) FROM shop.customers")
	itself := u.backup(t, c)
	r := u.cli(t, "restore", itself.ID, "--as", "shop_itself")
	t.Logf("what names itself:\n%s", r.text())
	if r.status != failedStatus || !strings.Contains(r.text(), "shop.customers") {
		t.Errorf("it ends with %d, want %d and what names it", r.status, failedStatus)
	}
	if n := strings.TrimSpace(mysqlQuery(t, c, "mariadb", "shop", "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'shop_itself'")); n != "0" {
		t.Error("something of it is there")
	}
}
