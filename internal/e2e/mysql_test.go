package e2e

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

// MariaDB under the names of both families, and MySQL's names alone.
var (
	mariadb    = mysqlLike("mariadb", "mariadb", "MARIADB", "mariadb-dump", "mysqldump")
	mariadbNew = mysqlLike("mariadb-new", "mariadb", "MARIADB", "mariadb-dump")
	mysql      = mysqlLike("mysql", "mysql", "MYSQL", "mysqldump")
)

func mysqlLike(image, client, prefix string, dumpers ...string) database {
	return database{
		engine: "mysql",
		fresh: func() *container {
			return &container{
				image:  samplePrefix + image,
				labels: labelsOf(),
				args:   []string{"--innodb-flush-log-at-trx-commit=0"},
				env:    map[string]string{prefix + "_ROOT_PASSWORD": password(), prefix + "_DATABASE": "shop", prefix + "_USER": "clerk", prefix + "_PASSWORD": password()},
			}
		},
		ready: func(t testing.TB, c *container) result { return mysqlRun(t, c, client, "shop", "SELECT 1") },
		seed: func(t testing.TB, c *container, bulk int) {
			mysqlQuery(t, c, client, "shop", mysqlSeed)
			if bulk > 0 {
				mysqlQuery(t, c, client, "shop", fmt.Sprintf(mysqlBulk, bulk*1000))
			}
		},
		fingerprint: func(t testing.TB, c *container) string { return mysqlFingerprint(t, c, client, "shop") },
		wreck: func(t testing.TB, c *container) {
			mysqlQuery(t, c, client, "shop", `
				SET FOREIGN_KEY_CHECKS = 0;
				DROP TABLE orders;
				UPDATE customers SET name = 'nobody' WHERE id % 3 = 0;
				DELETE FROM customers WHERE id % 7 = 0;
				DROP PROCEDURE totals;
				DROP TRIGGER shout;
				DROP EVENT tidy;
				CREATE TABLE stray (x int);`)
		},
		dumpers: dumpers,
	}
}

func mysqlRun(t testing.TB, c *container, client, db, statements string) result {
	t.Helper()
	pw := cmp.Or(c.env["MARIADB_ROOT_PASSWORD"], c.env["MYSQL_ROOT_PASSWORD"])
	return c.execute(t, []byte(statements), []string{"MYSQL_PWD=" + pw},
		client, "--protocol=tcp", "-h127.0.0.1", "-uroot", "--default-character-set=utf8mb4", "-N", "-B", "--raw", db)
}

func mysqlQuery(t testing.TB, c *container, client, db, statements string) string {
	t.Helper()
	return must(t, mysqlRun(t, c, client, db, statements), client)
}

const mysqlSeed = `
CREATE TABLE customers (id int AUTO_INCREMENT PRIMARY KEY, name varchar(200) CHARACTER SET utf8mb4 NOT NULL, note text, seen datetime(6), flag bit(3), face blob);
INSERT INTO customers (name, note, seen, flag, face)
	SELECT CONCAT('Zoë Müller 東京 🚲 ', seq), CASE WHEN seq % 5 = 0 THEN NULL WHEN seq % 5 = 1 THEN '' ELSE CONCAT('tab\t\\backslash ''quote'' ', seq) END,
	       '2024-03-31 01:30:00.123456' + INTERVAL seq MINUTE, seq % 8, UNHEX(CONCAT(SHA2(seq, 512), '00FF0A0D5C27'))
	FROM seq_1_to_20000;
CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, amount decimal(12, 4) NOT NULL, doc json,
	doubled decimal(13, 4) AS (amount * 2) STORED, KEY customer (customer), CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO orders (customer, amount, doc) SELECT 1 + seq % 20000, seq * 1.0001, JSON_OBJECT('n', seq, 'ü', NULL) FROM seq_1_to_40000;
CREATE TABLE ` + "`weird \"table\"; --`" + ` (` + "`select`" + ` int, ` + "`Ümlaut`" + ` text);
INSERT INTO ` + "`weird \"table\"; --`" + ` VALUES (1, 'line\nbreak'), (2, NULL);
CREATE VIEW big_spenders AS SELECT customer, SUM(amount) AS spent FROM orders GROUP BY customer HAVING SUM(amount) > 100;
CREATE TRIGGER shout BEFORE INSERT ON customers FOR EACH ROW SET NEW.name = UPPER(NEW.name);
CREATE EVENT tidy ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM customers WHERE id < 0;
DELIMITER //
CREATE PROCEDURE totals(IN who int) BEGIN SELECT SUM(amount) FROM orders WHERE customer = who; END//
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2//
DELIMITER ;
`

const mysqlBulk = `
CREATE TABLE bulk (id int PRIMARY KEY, body text);
INSERT INTO bulk SELECT seq, CONCAT(SHA2(RAND(), 512), SHA2(RAND(), 512), SHA2(RAND(), 512), SHA2(RAND(), 512), SHA2(RAND(), 512), SHA2(RAND(), 512), SHA2(RAND(), 512), SHA2(RAND(), 512))
	FROM seq_1_to_%d;
`

func mysqlFingerprint(t testing.TB, c *container, client, db string) string {
	t.Helper()
	objects := mysqlQuery(t, c, client, db, `
		SELECT table_name, table_type, table_collation FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1;
		SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = DATABASE() ORDER BY 1;
		SELECT routine_name, routine_type, routine_definition FROM information_schema.routines WHERE routine_schema = DATABASE() ORDER BY 1;
		SELECT trigger_name, event_object_table, action_statement FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1;
		SELECT event_name, event_definition, starts, status FROM information_schema.events WHERE event_schema = DATABASE() ORDER BY 1;`)
	var b strings.Builder
	b.WriteString(objects)
	const tables = `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY 1`
	for name := range strings.Lines(mysqlQuery(t, c, client, db, tables)) {
		quoted := "`" + strings.TrimSpace(name) + "`"
		create := mysqlQuery(t, c, client, db, "SHOW CREATE TABLE "+quoted)
		count := mysqlQuery(t, c, client, db, "SELECT COUNT(*) FROM "+quoted)
		rows := mysqlQuery(t, c, client, db, "SELECT * FROM "+quoted+" ORDER BY 1")
		fmt.Fprintf(&b, "%s %s rows %s definition %s\n", quoted, strings.TrimSpace(count), hash(rows), hash(create))
	}
	return b.String()
}
