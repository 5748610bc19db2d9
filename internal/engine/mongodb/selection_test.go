package mongodb

import (
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/source"
)

func TestValue(t *testing.T) {
	for name, want := range map[string]string{"items": "items", "-x=y": "-x=y", `"a" b`: `"\"a\" b"`, `a"b`: `a"b`} {
		if got := value(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestCheckOfSelections(t *testing.T) {
	list := enginetest.Patterns(t, "fs.files.*,a")
	tables := source.Selection{Exclude: list}
	for name, tc := range map[string]struct {
		spec source.Spec
		want string
	}{
		"of one database": {source.Spec{Database: "shop", Dump: source.Dump{Tables: tables, Args: []string{"--forceTableScan"}}}, ""},
		"of all":          {source.Spec{AllDatabases: true, Dump: source.Dump{Tables: tables, Databases: source.Selection{Exclude: enginetest.Patterns(t, "crm")}}}, ""},
		"rows, schemas":   {source.Spec{Database: "shop", Dump: source.Dump{NoData: list, Schemas: tables}}, "baktainer.dump.exclude_schemas baktainer.dump.exclude_data"},
		"arguments":       {source.Spec{Database: "shop", Dump: source.Dump{Args: []string{"--out=/tmp", "--oplog", "--gzip", "--uri=x", "--query={}", "--dumpDbUsersAndRoles", "--forceTableScan=1"}}}, "baktainer.dump.args"},
	} {
		var labels []string
		for _, c := range engine.Check(New(), tc.spec, engine.Facts{}) {
			labels = append(labels, c.Label)
		}
		if got := strings.Join(labels, " "); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
