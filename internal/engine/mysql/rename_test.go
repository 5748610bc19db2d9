package mysql

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

const renamable = "-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB\n" +
	"/*!40101 SET NAMES utf8mb4 */;\n" +
	"\n--\n-- Current Database: `sh``op`\n--\n\n" +
	"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `sh``op` /*!40100 DEFAULT CHARACTER SET latin1 */;\n\nUSE `sh``op`;\n" +
	"CREATE TABLE `t` (\n  `a` text DEFAULT 'x; USE `sh``op`; sh`op.x',\n  `use` int\n) ENGINE=InnoDB;\n" +
	"INSERT INTO `t` VALUES\n(1,'USE `sh``op`;\\nCREATE DATABASE `sh``op`; `sh``op`.`t`');\n" +
	"ALTER DATABASE `sh``op` CHARACTER SET utf8mb4 ;\nDELIMITER ;;\n" +
	"CREATE DEFINER=`root`@`sh``op.example` PROCEDURE `p`()\nBEGIN SELECT a FROM t; END ;;\n" +
	"ALTER DATABASE `sh``op` CHARACTER SET latin1 ;;\nDELIMITER ;\n" +
	"USE `sh``op`;\n-- USE `sh``op`;\n/*!50001 VIEW `v` AS select `t`.`a` from `t` */;\n"

func TestRenaming(t *testing.T) {
	want := strings.NewReplacer(
		"*/ `sh``op` /*", "*/ `new` /*", "\nUSE `sh``op`;\n", "\nUSE `new`;\n", "\nALTER DATABASE `sh``op` ", "\nALTER DATABASE `new` ",
	).Replace(renamable)
	for name, src := range map[string]io.Reader{"whole": strings.NewReader(renamable), "byte by byte": iotest.OneByteReader(strings.NewReader(renamable))} {
		got, err := io.ReadAll(newRenaming(src, "sh`op", "new"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	broken := errors.New("the store is away")
	if _, err := io.ReadAll(newRenaming(io.MultiReader(strings.NewReader(renamable), iotest.ErrReader(broken)), "sh`op", "new")); !errors.Is(err, broken) {
		t.Errorf("a dump that breaks off: %v", err)
	}
}

func TestWhatIsNotRenamed(t *testing.T) {
	const begin = "CREATE DATABASE `shop`;\nUSE `shop`;\n"
	for name, tt := range map[string]struct {
		dump   string
		reason problem.Reason
	}{
		"another database":  {"CREATE DATABASE `other`;\n", engine.ReasonMalformed},
		"uses another":      {begin + "USE `other`;\n", engine.ReasonMalformed},
		"uses it otherwise": {begin + "use shop;\n", engine.ReasonMalformed},
		"before it":         {"DROP TABLE IF EXISTS `t`;\n", engine.ReasonMalformed},
		"names itself":      {begin + "CREATE TABLE `u` (\n  `a` int DEFAULT nextval(`shop`.`s`)\n) ENGINE=InnoDB;\n", engine.ReasonUnsupported},
		"in a routine":      {begin + "DELIMITER ;;\nCREATE PROCEDURE `p`()\nBEGIN DELETE FROM Shop . orders; END ;;\n", engine.ReasonUnsupported},
		"too long to tell":  {begin + "CREATE PROCEDURE p() SELECT " + strings.Repeat("1+", headLimit) + "1;\n", engine.ReasonUnsupported},
		"long rows":         {begin + "INSERT INTO `t` VALUES\n('" + strings.Repeat("`shop`.x", headLimit) + "');\n", ""},
	} {
		_, err := io.ReadAll(newRenaming(strings.NewReader(tt.dump), "shop", "new"))
		if problem.ReasonOf(err) != tt.reason || (err == nil) != (tt.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQualified(t *testing.T) {
	for stmt, want := range map[string]string{
		"/*!50001 VIEW `v` AS select `shop`.`f`(`t`.`a`) from `t` */":                      "`shop`.`f`",
		"/*!50001 VIEW `v` AS select `t`.`shop` from `t` */":                               "",
		"/*!50001 VIEW `v` AS select `o`.`shop`.`a` from `o`.`shop`":                       "",
		"/*!50003 TRIGGER x INSERT INTO shop.log VALUES (1) */":                            "shop.log",
		"CREATE TABLE `t` (\n `a` text COMMENT 'shop.example'\n)":                          "",
		"CREATE TABLE `t` (\n `a` text DEFAULT 'it\\'s shop.x'\n)":                         "shop.x'",
		"CREATE DEFINER=x@shop.example PROCEDURE p() SELECT 1":                             "",
		"CREATE PROCEDURE p() SELECT 'unclosed shop.x":                                     "shop.x",
		"CREATE PROCEDURE p() BEGIN\n-- don't\nDELETE FROM shop.log; SELECT 'x'; END":      "shop.log",
		"CREATE PROCEDURE p() BEGIN # don't\nDELETE FROM shop.log; SELECT 'x'; END":        "shop.log",
		"CREATE PROCEDURE p() BEGIN /* don't */ DELETE FROM shop.log; SELECT 'x'; END":     "shop.log",
		"CREATE PROCEDURE p() BEGIN SELECT \"it\\\"s\" FROM shop.log WHERE a = \"x\"; END": "shop.log",
		"CREATE PROCEDURE p() BEGIN SELECT 1--'\n+2--' FROM shop.log; END":                 "shop.log",
		"CREATE PROCEDURE p() BEGIN -- shop.log\n/* shop.log */ # shop.log\nSELECT 1; END": "",
		"CREATE PROCEDURE p() BEGIN DELETE FROM \"shop\".\"log\"; END":                     "\"shop\".\"log\"",
		"CREATE PROCEDURE p() BEGIN SELECT 'it\\'s'; DELETE FROM \"shop\".\"log\"; END":    "shop\".\"log\"",
		"CREATE PROCEDURE p() BEGIN DELETE FROM shop\n\t.log; END":                         "shop",
		"CREATE PROCEDURE p() BEGIN #\nDELETE FROM shop.log; -- x\nSELECT 1; END":          "shop.log",
		"SELECT #":            "",
		"SELECT /*/ shop.x":   "",
		"SELECT --":           "",
		"USE `shop`;":         "",
		"SELECT workshop.x":   "",
		"SELECT `shop":        "",
		"SELECT `shop`":       "",
		"SELECT `sh``op`.`x`": "",
	} {
		if got := qualified([]byte(stmt), "shop"); got != want {
			t.Errorf("%s: %q, want %q", stmt, got, want)
		}
	}
}

// Whatever a dump holds, either it fails or only those statements change.
func FuzzRenaming(f *testing.F) {
	f.Add([]byte(renamable))
	f.Add([]byte("CREATE DATABASE `sh``op`;\nUSE `sh``op`;\nINSERT INTO `t` VALUES (1);\n"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		got, err := io.ReadAll(newRenaming(strings.NewReader(string(dump)), "sh`op", "sh`op"))
		if err == nil && string(got) != string(dump) {
			t.Errorf("the same name makes %q of %q", got, dump)
		}
	})
}
