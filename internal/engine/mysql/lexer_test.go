package mysql

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	sandbox = "/*M!999999\\- enable the sandbox mode */ \n"
	header  = "-- MariaDB dump 10.19  Distrib 10.11.6-MariaDB\n--\n-- Host: localhost    Database: shop\n-- ---\n-- Server version\t10.11.6\n\n" +
		"/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;\n\n"
	footer = "/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed"
	fake   = "\n-- Dump completed\n"
)

func dump(body string) string { return sandbox + header + body + footer + "\n" }

// newerDump is as MariaDB's tools write it from version 11 on.
func newerDump(body string) string {
	return strings.NewReplacer(
		"/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;", "/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;",
		"/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;", "/*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;",
	).Replace(dump(body))
}

func mysqlDump(body string) string {
	return strings.Replace(header, "MariaDB dump", "MySQL dump", 1) + body + footer + " on 2024-02-29  7:08:09\n"
}

// tricky are bodies that hold, in a legal way, what could be taken for an end.
var tricky = map[string]string{
	"empty":         "",
	"string":        "CREATE TABLE `t` (a int) COMMENT 'it''s \\' \\\\" + fake + "';\n",
	"double quotes": "CREATE VIEW v AS SELECT \"a\"\"b \\\" ' ;" + fake + "\";\n",
	"name":          "CREATE TABLE `a``b;" + fake + "'` (a int);\n",
	"comment line":  "-- Table structure for table `x\n-- Dump completed\n-- y`\n--\nCREATE TABLE `x` (a int);\n",
	"routine":       "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN" + fake + "SELECT 1; # it's\nSELECT 2; -- it's\nEND ;;\nDELIMITER ;\n",
	"executed":      "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER t BEGIN" + fake + "SET @x = '*/;;'; /* it's */ END */;;\nDELIMITER ;\n",
	"comment":       "/* it's " + fake + " /*/ ; */ SELECT 1;\n",
	"no backslash":  "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\nCREATE PROCEDURE q() SELECT '\\', '" + fake + "';;\nDELIMITER ;\n/*!50003 SET sql_mode = @saved_sql_mode */ ;\nSELECT 'a\\'b';\n",
	"rows":          "CREATE TABLE `t` (a text);\nINSERT INTO `t` VALUES\n('-- Dump completed'),\n(';'),\n('\\n-- Dump completed\\n');\n",
	"one line":      "CREATE TABLE `t` (a text);\nINSERT INTO `t` VALUES ('-- Dump completed'),(');'),('\\'');\n",
	"columns":       "CREATE TABLE `t` (a int);\nINSERT INTO `t` (`a;\n-- Dump completed\n`, `b`) VALUES\n(1,2);\n",
	"arithmetic":    "SELECT 1 --2, a-b, a*b, a/b;\nDROP TABLE IF EXISTS x;\nDO SETVAL(`sq`, 1, 0);\n",
}

func verdict(data string, sizes func() int) (engine.Contents, error) {
	i := newInspector()
	for b := []byte(data); len(b) > 0; {
		n := min(max(1, sizes()), len(b))
		if wrote, err := i.Write(b[:n]); wrote != n || err != nil {
			return engine.Contents{}, fmt.Errorf("Write: %d, %w", wrote, err)
		}
		b = b[n:]
	}
	return i.Finish()
}

func atOnce() int { return 1 << 30 }

func TestInspectorTricky(t *testing.T) {
	for name, body := range tricky {
		for kind, data := range map[string]string{"mariadb": dump(body), "mariadb 11": newerDump(body), "mysql": mysqlDump(body)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				if _, err := verdict(data, atOnce); err != nil {
					t.Fatalf("a good dump: %v", err)
				}
				for n := range len(data) {
					_, err := verdict(data[:n], atOnce)
					if r := problem.ReasonOf(err); r != engine.ReasonTruncated && (n > 0 || r != engine.ReasonEmpty) {
						t.Fatalf("cut at %d, …%q: %v, want %s", n, data[max(0, n-60):n], err, engine.ReasonTruncated)
					}
				}
			})
		}
	}
}

func TestInspectorMalformed(t *testing.T) {
	for name, data := range map[string]string{
		"garbage":      "garbage",
		"foreign line": "mysqldump: [Warning] x\n" + mysqlDump(""),
		"two dumps":    mysqlDump("") + mysqlDump(""),
		"text after":   dump("") + "SELECT 1;\n",
	} {
		if _, err := verdict(data, atOnce); problem.ReasonOf(err) != engine.ReasonMalformed {
			t.Errorf("%s: %v, want %s", name, err, engine.ReasonMalformed)
		}
	}
}

// listed are the objects of a dump with their bytes.
func listed(c engine.Contents, data string) string {
	var b strings.Builder
	for _, o := range c.Objects {
		fmt.Fprintf(&b, "%s %s %d: ", o.Kind, o.Name, o.Rows)
		for _, s := range o.Sections {
			b.WriteString(data[s.Offset : s.Offset+s.Length])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// What belongs to no table is in no part: views, routines, events.
func TestPartsAreApart(t *testing.T) {
	body := "DROP SEQUENCE IF EXISTS `sq`;\nCREATE SEQUENCE `sq`;\nDROP TABLE IF EXISTS `a`;\nCREATE TABLE `a` (x int);\nINSERT INTO `a` VALUES\n(1);\n" +
		"/*!50003 SET sql_mode = '' */ ;\nDELIMITER ;;\n/*!50003 CREATE TRIGGER `tr` BEFORE INSERT ON `a` FOR EACH ROW SET @x = '-- Dumping events for database' */;;\nDELIMITER ;\n" +
		"--\n-- Temporary table structure for view `v`\n--\n\nSET @saved_cs_client = @@character_set_client;\n/*!50001 CREATE VIEW `v` AS SELECT 1 AS `a` */;\n" +
		"--\n-- Table structure for table `b`\n--\n\nDROP TABLE IF EXISTS `b`;\nCREATE TABLE `b` (x int);\nINSERT INTO `b` VALUES\n(1),\n(2);\n" +
		"--\n-- Dumping routines for database 'd'\n--\nDELIMITER ;;\nCREATE PROCEDURE `p`() SELECT '/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */';;\nDELIMITER ;\n"
	for _, data := range []string{dump(body), newerDump(body)} {
		partsAreApart(t, data)
	}
}

func partsAreApart(t *testing.T, data string) {
	t.Helper()
	whole, err := verdict(data, atOnce)
	if err != nil {
		t.Fatal(err)
	}
	for name, rows := range map[string]int64{"a": 1, "b": 2} {
		p, err := whole.Part(name)
		if err != nil {
			t.Fatal(err)
		}
		var part strings.Builder
		for _, s := range p.Sections {
			part.WriteString(data[s.Offset : s.Offset+s.Length])
		}
		got, err := verdict(part.String(), atOnce)
		if err != nil || len(got.Objects) != 1 || got.Objects[0].Name != name || got.Objects[0].Rows != rows {
			t.Errorf("the part of %s: %+v, %v\n%s", name, got.Objects, err, part.String())
		}
		for _, stranger := range []string{"SEQUENCE", "VIEW", "PROCEDURE"} {
			if strings.Contains(part.String(), stranger) {
				t.Errorf("the part of %s has a %s:\n%s", name, stranger, part.String())
			}
		}
		if strings.Contains(part.String(), "TRIGGER") != (name == "a") {
			t.Errorf("the part of %s, and the trigger of a:\n%s", name, part.String())
		}
	}
}

func TestInspectorContents(t *testing.T) {
	body := "CREATE TABLE `a` (x int);\nINSERT INTO `a` VALUES\n(1),\n(2);\nINSERT INTO `a` VALUES\n(3);\n" +
		"CREATE TABLE `b``c` (x int);\nINSERT INTO `b``c` VALUES (1),(2);\nCREATE TABLE `none` (x int);\n"
	contents, err := verdict(dump(body), atOnce)
	if err != nil {
		t.Fatal(err)
	}
	const want = "table a 3: CREATE TABLE `a` (x int);\nINSERT INTO `a` VALUES\n(1),\n(2);\nINSERT INTO `a` VALUES\n(3);\n\n" +
		"table b`c -1: CREATE TABLE `b``c` (x int);\nINSERT INTO `b``c` VALUES (1),(2);\n\ntable none 0: CREATE TABLE `none` (x int);\n\n"
	if got := listed(contents, dump(body)); got != want {
		t.Errorf("objects %q, want %q", got, want)
	}
	if got := fmt.Sprint(contents.Notes); !strings.Contains(got, "MariaDB dump 10.19") || !strings.Contains(got, "server version 10.11.6") {
		t.Errorf("notes %s", got)
	}
}

func FuzzInspector(f *testing.F) {
	for _, body := range tricky {
		f.Add(dump(body), uint64(1))
		f.Add(mysqlDump(body), uint64(2))
	}
	f.Fuzz(func(t *testing.T, data string, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		wantContents, want := verdict(data, atOnce)
		for _, sizes := range []func() int{func() int { return 1 }, func() int { return 1 + random.IntN(7) }} {
			contents, err := verdict(data, sizes)
			if fmt.Sprint(err) != fmt.Sprint(want) || fmt.Sprint(contents) != fmt.Sprint(wantContents) {
				t.Fatalf("the verdict depends on the writes: %v %v, at once %v %v", err, contents, want, wantContents)
			}
		}
		out, err := io.ReadAll(newWhole(iotest.OneByteReader(strings.NewReader(data))))
		if (err == nil) != (want == nil) {
			t.Fatalf("the restore's reader says %v, the inspector %v", err, want)
		}
		if err == nil && !strings.HasSuffix(data, string(out)) {
			t.Fatalf("the restore's reader changes the dump: %q", out)
		}
	})
}

func TestWhole(t *testing.T) {
	for name, read := range map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
	} {
		out, err := io.ReadAll(newWhole(read(strings.NewReader(dump(tricky["rows"])))))
		if err != nil || string(out) != strings.TrimPrefix(dump(tricky["rows"]), sandbox) {
			t.Errorf("%s: %v, %q", name, err, out)
		}
		if _, err := io.ReadAll(newWhole(read(strings.NewReader(dump("")[:200])))); problem.ReasonOf(err) != engine.ReasonTruncated {
			t.Errorf("%s: half a dump: %v", name, err)
		}
	}
	boom := errors.New("boom")
	if _, err := io.ReadAll(newWhole(io.MultiReader(strings.NewReader(dump("")[:200]), iotest.ErrReader(boom)))); !errors.Is(err, boom) {
		t.Errorf("a failing reader: %v", err)
	}
}

const accountsStream = usersTitle + "\n-- MariaDB 10.11.6\n" +
	"-- Create user 726f6f74@25\nCREATE USER `root`@`%` IDENTIFIED BY PASSWORD '*A';\n" +
	"-- Create user 617070@25\nCREATE USER `app`@`%` IDENTIFIED BY PASSWORD '*B';\n" +
	"-- Create role 7272@\nCREATE ROLE 'rr';\n" +
	"-- Grant user 726f6f74@25\nGRANT ALL PRIVILEGES ON *.* TO `root`@`%`;\n" +
	"-- Grant user 617070@25\nGRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*B';\n" +
	"-- Grant role 7272@\nGRANT SELECT ON `shop`.* TO `rr`;\n" + usersEnd + "\n"

func TestRestoreUsers(t *testing.T) {
	root, app, rr := account{"root", "%", false}, account{"app", "%", false}, account{"rr", "", true}
	for name, tc := range map[string]struct {
		have      []account
		overwrite bool
		want      []string // the first words of each line
	}{
		"none there":       {nil, false, []string{"CREATE USER `root`", "CREATE USER `app`", "CREATE ROLE 'rr'", "GRANT ALL", "GRANT USAGE", "GRANT SELECT"}},
		"some there":       {[]account{root, app}, false, []string{"CREATE ROLE 'rr'", "GRANT SELECT"}},
		"all, overwrite":   {[]account{root, app, rr}, true, []string{"ALTER USER `app`", "GRANT USAGE", "GRANT SELECT"}},
		"all, not to lose": {[]account{root, app, rr}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sql, err := restoreUsers(strings.NewReader(accountsStream), tc.have, tc.overwrite, "root")
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Collect(strings.Lines(sql))
			if len(got) != len(tc.want) {
				t.Fatalf("%q, want %q", got, tc.want)
			}
			for i, want := range tc.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("line %d: %q, want %q", i, got[i], want)
				}
			}
		})
	}
	for n := range len(accountsStream) {
		if _, err := restoreUsers(strings.NewReader(accountsStream[:n]), nil, false, "root"); err == nil {
			t.Fatalf("accounts cut at %d pass", n)
		}
	}
}

// An account that the server does not show is noted where people look; one that it does
// not show because it is gone makes the backup fail.
func TestAccountsThatAreNotShown(t *testing.T) {
	for said, reason := range map[string]problem.Reason{
		"ERROR 1141 (42000) at line 5: There is no such grant defined for user 'app' on host 'x'": "",
		"ERROR 2013 (HY000) at line 5: Lost connection to server during query":                    engine.ReasonNoConnection,
	} {
		inst := enginetest.NewScript(engine.Facts{}).On("mariadb", func(c enginetest.Call) enginetest.Answer {
			if strings.Contains(c.Input, "mysql.user") {
				return enginetest.Answer{Stdout: "617070 78 N\n726F6F74 25 N\n"}
			}
			return enginetest.Answer{Stdout: "-- next account\n-- next account\nCREATE USER `root`@`%`\nGRANT ALL PRIVILEGES ON *.* TO `root`@`%`\n", Stderr: said}
		})
		s := &session{inst: inst, client: "mariadb", isMariaDB: true, version: "10.11.6"}
		p, err := s.dumpUsers(t.Context())
		if problem.ReasonOf(err) != reason || (err == nil) != (reason == "") {
			t.Errorf("%s: %v", said, err)
		}
		if err != nil {
			continue
		}
		u := &usersInspector{}
		_, _ = io.Copy(u, p)
		contents, err := u.Finish()
		if want := []string{unseenNote + `: "'app'@'x'"`}; err != nil || !slices.Equal(contents.Notes, want) || len(contents.Objects) != 1 {
			t.Errorf("%+v, %v, want notes %q", contents, err, want)
		}
	}
}

func TestStatements(t *testing.T) {
	a := account{Name: "o'd", Host: "%"}
	create, grants, complete := a.statements("CREATE USER `o'd`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x41 DEFAULT ROLE `r1`@`%`,`r2`@`%` REQUIRE NONE\nGRANT USAGE ON *.* TO `o'd`@`%`\n")
	if want := "CREATE USER `o'd`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x41 REQUIRE NONE"; !complete || create != want {
		t.Errorf("%v %q, want %q", complete, create, want)
	}
	if want := []string{"ALTER USER 'o''d'@'%' DEFAULT ROLE `r1`@`%`,`r2`@`%`", "GRANT USAGE ON *.* TO `o'd`@`%`"}; !slices.Equal(grants, want) {
		t.Errorf("%q, want %q", grants, want)
	}
	if _, _, complete := a.statements("GRANT USAGE ON *.* TO x\n"); complete {
		t.Error("an account without CREATE USER counts as complete")
	}
	if _, _, complete := a.statements("CREATE USER `a\\nb`@`%`\nGRANT USAGE ON *.* TO x\n"); complete {
		t.Error("an account whose name has a line end counts as complete")
	}
}

func benchmark(b *testing.B, body string) {
	data := []byte(dump(body))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		i := newInspector()
		for p := data; len(p) > 0; {
			n := min(len(p), 64<<10)
			_, _ = i.Write(p[:n])
			p = p[n:]
		}
		if _, err := i.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}

func rows(between string) string {
	var body bytes.Buffer
	body.WriteString("CREATE TABLE `t` (a int);\n")
	for range 40 {
		body.WriteString("INSERT INTO `t` VALUES" + strings.Replace(between, ",", "", 1))
		for i := range 10_000 {
			if i > 0 {
				body.WriteString(between)
			}
			fmt.Fprintf(&body, "(%d,'item number %d',NULL,'2024-01-01 00:00:00',0x%08X)", i, i, i*7919)
		}
		body.WriteString(";\n")
	}
	return body.String()
}

func BenchmarkInspectorRows(b *testing.B) { benchmark(b, rows(",\n")) }
func BenchmarkInspectorOneLine(b *testing.B) {
	benchmark(b, strings.ReplaceAll(rows(","), "VALUES(", "VALUES ("))
}
func BenchmarkInspectorSchema(b *testing.B) {
	benchmark(b, strings.Repeat("CREATE TABLE `t` (\n  `id` int(11) NOT NULL,\n  `name` text DEFAULT 'x',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB;\n", 100_000))
}
