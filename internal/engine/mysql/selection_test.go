package mysql

import (
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// inHex is an answer in words, all but the last hexadecimal.
func inHex(rows ...[]string) string {
	var b strings.Builder
	for _, row := range rows {
		for _, word := range row[:len(row)-1] {
			b.WriteString(hex.EncodeToString([]byte(word)) + " ")
		}
		b.WriteString(row[len(row)-1] + "\n")
	}
	return b.String()
}

// holding is a server with tables; version is what its dump tool says of itself.
func holding(dump, version string) *enginetest.Script {
	databases := []string{"a.b", "crm", "shop"}
	return enginetest.NewScript(engine.Facts{Image: "mysql", Env: map[string]string{"MYSQL_ROOT_PASSWORD": "s3cret"}}).
		On("mysqldump", func(c enginetest.Call) enginetest.Answer {
			if c.Argv[1] == "--version" {
				return enginetest.Answer{Stdout: version + "\n"}
			}
			return enginetest.Answer{Stdout: dump}
		}).
		On("mysql", func(c enginetest.Call) enginetest.Answer {
			switch {
			case c.Argv[1] == "--version":
				return enginetest.Answer{Stdout: version}
			case strings.Contains(c.Input, "VERSION()"):
				return enginetest.Answer{Stdout: "8.0.36\nMySQL Community Server - GPL\n"}
			case strings.Contains(c.Input, "SCHEMATA"):
				return enginetest.Answer{Stdout: strings.ToUpper(hex.EncodeToString([]byte(databases[0])) + "\n" + hex.EncodeToString([]byte(databases[1])) + "\n" + hex.EncodeToString([]byte(databases[2])) + "\n")}
			case strings.Contains(c.Input, "REFERENTIAL_CONSTRAINTS"):
				return enginetest.Answer{Stdout: inHex([]string{"shop", "orders", "shop", "customers", "."}, []string{"crm", "notes", "shop", "customers", "."})}
			case strings.Contains(c.Input, "information_schema.VIEWS"):
				return enginetest.Answer{Stdout: inHex([]string{"shop", "v", "select `shop`.`log`.`a` from `shop`.`log` join `a.b`.`t``1`", "."})}
			case strings.Contains(c.Input, "information_schema.TABLES"):
				return enginetest.Answer{Stdout: inHex([]string{"a.b", "t`1", "0"}, []string{"crm", "notes", "0"}, []string{"mysql", "user", "0"},
					[]string{"shop", "customers", "0"}, []string{"shop", "log", "0"}, []string{"shop", "orders", "0"}, []string{"shop", "v", "1"})}
			}
			return enginetest.Answer{}
		})
}

func TestSelections(t *testing.T) {
	const mariadb, mysql8 = "mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB", "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"
	for name, tc := range map[string]struct {
		version string
		spec    source.Spec
		want    string // what the tool is told of shop
		streams int
		fails   string
	}{
		"a table":         {mysql8, source.Spec{Database: "shop", Dump: source.Dump{Tables: source.Selection{Exclude: enginetest.Patterns(t, "orders,shop.v")}}}, "--ignore-table=shop.orders --ignore-table=shop.v", 1, ""},
		"rows":            {mariadb, source.Spec{Database: "shop", Dump: source.Dump{NoData: enginetest.Patterns(t, "log,v,orders")}}, "--ignore-table-data=shop.log --ignore-table-data=shop.orders", 1, ""},
		"rows of MySQL":   {mysql8, source.Spec{Database: "shop", Dump: source.Dump{NoData: enginetest.Patterns(t, "log")}}, "", 1, ""},
		"arguments":       {mysql8, source.Spec{Database: "shop", Dump: source.Dump{Args: []string{"--column-statistics=0"}}}, "--column-statistics=0", 1, ""},
		"only some":       {mysql8, source.Spec{AllDatabases: true, Dump: source.Dump{Tables: source.Selection{Include: enginetest.Patterns(t, "shop.*")}, Databases: source.Selection{Include: enginetest.Patterns(t, "*")}}}, "", 0, "needs database `a.b`"},
		"some of several": {mysql8, source.Spec{AllDatabases: true, Dump: source.Dump{Tables: source.Selection{Include: enginetest.Patterns(t, "shop.customers,shop.log")}}}, "--ignore-table=shop.orders --ignore-table=shop.v", 2, ""},
		"a key elsewhere": {mysql8, source.Spec{AllDatabases: true, Dump: source.Dump{Databases: source.Selection{Exclude: enginetest.Patterns(t, "shop")}}}, "", 0, "a foreign key of table `crm`.`notes` needs table `shop`.`customers`"},
		"a view elsewhere": {mysql8, source.Spec{AllDatabases: true, Dump: source.Dump{Databases: source.Selection{Exclude: enginetest.Patterns(t, `"a.b"`)}}}, "", 0,
			"view `shop`.`v` needs database `a.b`"},
		"a key":            {mysql8, source.Spec{Database: "shop", Dump: source.Dump{Tables: source.Selection{Exclude: enginetest.Patterns(t, "customers")}}}, "", 0, "a foreign key of table `shop`.`orders` needs table `shop`.`customers`"},
		"nothing of one":   {mysql8, source.Spec{AllDatabases: true, Dump: source.Dump{Tables: source.Selection{Exclude: enginetest.Patterns(t, "crm.*")}}}, "", 0, `every table of database "crm"`},
		"no database":      {mysql8, source.Spec{AllDatabases: true, Dump: source.Dump{Databases: source.Selection{Exclude: enginetest.Patterns(t, "*")}}}, "", 0, "every database"},
		"nothing so named": {mysql8, source.Spec{Database: "shop", Dump: source.Dump{Tables: source.Selection{Include: enginetest.Patterns(t, "*,order")}}}, "", 0, "nothing matches order of"},
	} {
		t.Run(name, func(t *testing.T) {
			inst := holding(mysqlDump(""), tc.version)
			session, err := New().Open(t.Context(), inst, tc.spec)
			if err != nil {
				t.Fatal(err)
			}
			streams, err := session.Streams(t.Context())
			if tc.fails != "" {
				if problem.ReasonOf(err) != engine.ReasonSelection || !strings.Contains(problem.Text(err), tc.fails) {
					t.Fatalf("%v, want %s", err, tc.fails)
				}
				return
			}
			if err != nil || len(streams) != tc.streams {
				t.Fatalf("%+v, %v", streams, err)
			}
			if _, err := session.Dump(t.Context(), databaseStream("shop")); err != nil {
				t.Fatal(err)
			}
			calls := inst.Calls()
			argv := calls[len(calls)-1].Argv
			from, to := slices.Index(argv, "--set-gtid-purged=OFF"), slices.Index(argv, "--databases")
			if strings.Contains(tc.version, "MariaDB") {
				from = slices.Index(argv, "--skip-dump-date")
			}
			if got := strings.Join(argv[from+1:to], " "); got != tc.want {
				t.Errorf("the tool is told %q, want %q", got, tc.want)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, arg := range []string{"--result-file=/tmp/x", "-r/tmp/x", "--host=x", "--user=x", "--password=x", "--no-data", "--where=0", "--tab=/tmp", "--xml", "--compact",
		"--skip-comments", "--skip-single-transaction", "--lock-all-tables", "--flush-logs", "--force", "--all-databases", "--databases", "--defaults-file=x", "--init-command=x",
		"--column-statistics=1", "--max-allowed-packet=x", "--max-allowed-packet=1 --host=x", "--skip-extended-insert", "--ignore-table=a.b", "--default-character-set=latin1"} {
		if c := engine.Check(New(), source.Spec{Dump: source.Dump{Args: []string{arg}}}, engine.Facts{}); len(c) != 1 || !strings.Contains(c[0].Reason+c[0].Suggestion, "--") {
			t.Errorf("%s: %+v", arg, c)
		}
	}
}

func TestMayGrant(t *testing.T) {
	o := sorted{out: map[table]bool{{"shop", "a`b"}: true}, outside: map[string]bool{"c.rm": true}}
	for grant, want := range map[string]bool{
		"GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*A ON `shop`.`a``b`'": true,
		"GRANT SELECT ON `shop`.* TO `u`@`%`":                                        true,
		"GRANT SELECT ON `c.rm`.* TO `u`@`%`":                                        true, // needs no database
		"GRANT SELECT ON `shop`.`a``b` TO `u`@`%`":                                   false,
		"GRANT SELECT (`x`) ON `shop`.`a``b` TO `u`@`%`":                             false,
		"GRANT SELECT ON `shop`.`a` TO `u`@`%`":                                      true,
		"GRANT SELECT ON `c.rm`.`a` TO `u`@`%`":                                      false,
		"GRANT EXECUTE ON PROCEDURE `c.rm`.`p` TO `u`@`%`":                           false,
		"GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `u`@`%`":                           true,
		"GRANT `role` TO `u`@`%`":                                                    true,
		"SET DEFAULT ROLE `r` FOR `u`@`%`":                                           true,
	} {
		if got := o.mayGrant(grant); got != want {
			t.Errorf("%s: %v", grant, got)
		}
	}
}

// read takes a dump through withoutRows, cut into pieces.
func read(text string, size func() int, tables ...string) (string, error) {
	drop := map[string]bool{}
	for _, t := range tables {
		drop[t] = true
	}
	w := newWithoutRows(&made{iotest.OneByteReader(strings.NewReader(text))}, drop)
	w.buffer = w.buffer[:max(1, size()%len(w.buffer))]
	out, err := io.ReadAll(w)
	return string(out), err
}

func TestWithoutRows(t *testing.T) {
	const body = "CREATE TABLE `a``b` (x text);\nLOCK TABLES `a``b` WRITE;\nINSERT INTO `a``b` VALUES ('INSERT INTO `c` VALUES (1);'),(2);\nINSERT INTO `a``b` (`x`,\n`y;`) VALUES\n(1),\n(2);\nUNLOCK TABLES;\n" +
		"CREATE TABLE `c` (x text);\nINSERT INTO `c` VALUES (1);\n" +
		"DELIMITER ;;\nCREATE PROCEDURE p() BEGIN\nINSERT INTO `a``b` VALUES (3);\nEND ;;\nDELIMITER ;\n"
	want := strings.Replace(strings.Replace(body, "INSERT INTO `a``b` VALUES ('INSERT INTO `c` VALUES (1);'),(2);\n", "", 1), "INSERT INTO `a``b` (`x`,\n`y;`) VALUES\n(1),\n(2);\n", "", 1)
	got, err := read(mysqlDump(body), func() int { return 3 }, "a`b")
	if strings.ReplaceAll(got, "\n\n", "\n") != strings.ReplaceAll(mysqlDump(want), "\n\n", "\n") || err != nil {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := verdict(got, func() int { return 7 }); err != nil {
		t.Errorf("what is left is no dump: %v", err)
	}
	wide := "INSERT INTO `w` (`" + strings.Repeat("x`, `", headLimit) + "x`) VALUES ('a secret');\n"
	if got, err := read(mysqlDump(wide), func() int { return 9000 }, "w"); err != nil || strings.Contains(got, "INSERT") || strings.Contains(got, "secret") {
		t.Errorf("rows of many columns pass: %v", err)
	}
	broken := errors.New("the stream is lost")
	w := newWithoutRows(&made{io.MultiReader(strings.NewReader("INSERT INTO `a"), iotest.ErrReader(broken))}, map[string]bool{"a": true})
	if _, err := io.ReadAll(w); !errors.Is(err, broken) {
		t.Errorf("a stream that breaks: %v", err)
	}
}

// FuzzWithoutRows: without a table to leave out, all passes as it is, however it is
// cut; with one, what is left is a dump whenever the whole was.
func FuzzWithoutRows(f *testing.F) {
	for _, body := range tricky {
		f.Add(body, uint64(1))
	}
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := func() int { return 1 + r.IntN(200) }
		for _, text := range []string{body, dump(body)} {
			if got, err := read(text, size); got != text || err != nil {
				t.Fatalf("%v: %q became %q", err, text, got)
			}
		}
		whole, err := verdict(dump(body), size)
		if err != nil || !strings.HasSuffix(body, ";\n") { // else rows may go on into the end of the dump
			return
		}
		got, err := read(dump(body), size, "t")
		if err != nil {
			t.Fatal(err)
		}
		left, err := verdict(got, size)
		if err != nil || len(left.Objects) != len(whole.Objects) {
			t.Fatalf("%v: %q became %q", err, dump(body), got)
		}
	})
}
