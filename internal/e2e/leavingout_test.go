package e2e

import (
	"strings"
	"testing"
)

// partial is a database of whose backups labels leave something out.
type partial struct {
	database
	labels []string
	// says is what `snapshot show` begins with, and lost what a dry run of a restore
	// over all of it tells will be lost.
	says []string
	lost string
	// after is what has to be there when it was wrecked and restored.
	after func(testing.TB, *container) string
	want  string
}

func partials() map[string]partial {
	return map[string]partial{
		"postgres": {
			postgres,
			[]string{"baktainer.dump.exclude_tables=attach*,nothing*", "baktainer.dump.exclude_data=public.orders", `baktainer.dump.exclude_schemas=Größe`, "baktainer.dump.args=--no-comments"},
			[]string{"left out: public.attachments (shop.sql)", "left out: the rows of public.orders (shop.sql)", `left out: the schema "Größe" (shop.sql)`, "shop.sql: dumped with --no-comments"},
			"public.attachments",
			func(t testing.TB, c *container) string {
				return query(t, c, "shop", "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), to_regclass('attachments'), to_regnamespace('\"Größe\"'), to_regclass('big_spenders')")
			},
			"20000|0|||big_spenders",
		},
		"mariadb": {
			mariadb,
			[]string{`baktainer.dump.exclude_tables=shop."weird ""table""; --",nothing*`, "baktainer.dump.exclude_data=orders"},
			[]string{`left out: weird "table"; -- (shop.sql)`, "left out: the rows of orders (shop.sql)"},
			`weird "table"; --`,
			func(t testing.TB, c *container) string {
				return mysqlQuery(t, c, "mariadb", "shop", "SELECT COUNT(*) FROM customers; SELECT COUNT(*) FROM orders; SHOW TABLES")
			},
			"20000\n0\nbig_spenders\ncustomers\norders",
		},
		"mongo": {
			mongoAuth,
			[]string{"baktainer.db.name=shop", "baktainer.dump.exclude_tables=*.größe.*,nothing*"},
			[]string{"left out: shop.größe.東京 (shop.archive)"},
			"Replaces: shop.items\n", // collections that are not in the backup stay
			func(t testing.TB, c *container) string {
				count := func(collection string) string {
					docs := must(t, mongoTool(t, c, nil, "mongoexport", "--quiet", "-d", "shop", "-c", collection), "mongoexport")
					return strings.TrimSpace(strings.Repeat("x", strings.Count(docs, "\n")/500)) + "."
				}
				return count("items") + count("größe.東京")
			},
			"xxxxxxxxxx.x.",
		},
	}
}

// TestLeavingOut: what labels leave out is not in a snapshot, which says so at once;
// the rest comes back, drills find it whole, and a restore tells before what is lost.
func TestLeavingOut(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	for name, d := range partials() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := d.start(t, d.labels...)
			d.seed(t, c, 0)
			s := u.backup(t, c)
			shown := u.ok(t, "snapshot", "show", s.ID)
			t.Logf("snapshot show:\n%s", shown)
			for _, text := range append(d.says, "nothing matches nothing* of the label baktainer.dump.exclude_tables") {
				if !strings.Contains(shown, text) {
					t.Errorf("snapshot show does not say %q", text)
				}
			}
			if logs := u.ok(t, "run", "logs", s.Run); !strings.Contains(logs, "nothing matches nothing*") {
				t.Errorf("the log of the run does not say that a pattern means nothing:\n%s", logs)
			}
			if r := u.cli(t, "drill", "run", s.ID); r.status != fine {
				t.Errorf("a drill of it:\n%s", r.text())
			}
			plan := u.ok(t, "restore", s.ID, "--overwrite", "--dry-run")
			t.Logf("dry run:\n%s", plan)
			if !strings.Contains(plan, "Not in this backup") || name != "mongo" && !strings.Contains(plan, "is lost with database \"shop\": ") || strings.Contains(plan, "Replaces: shop.größe") || !strings.Contains(plan, d.lost) {
				t.Error("the plan does not tell what is not in the backup, and is lost")
			}
			if name == "mariadb" { // its definition alone
				if text := u.ok(t, "dump", s.ID, "shop.sql", "--table", "orders"); !strings.Contains(text, "CREATE TABLE `orders`") || strings.Contains(text, "INSERT INTO") {
					t.Errorf("the dump of a table without rows:\n%s", text)
				}
			}
			d.wreck(t, c)
			t.Logf("restored:\n%s", u.ok(t, "restore", s.ID, "--overwrite", "--yes"))
			if got := strings.TrimSpace(d.after(t, c)); got != d.want {
				t.Errorf("after the restore:\n%s\nwant:\n%s", got, d.want)
			}
			second := u.backup(t, c)
			if odd := u.ok(t, "snapshot", "show", second.ID); strings.Contains(odd, "strange:") {
				t.Errorf("the next backup looks like an accident:\n%s", odd)
			}
		})
	}
}
