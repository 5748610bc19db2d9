package backup

import (
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/repo"
)

// TestWhatLabelsLeaveOutIsNoAccident: what is gone since a label says so is not
// strange; what is gone besides is.
func TestWhatLabelsLeaveOutIsNoAccident(t *testing.T) {
	table := func(kind, name string, rows int64) engine.Object {
		return engine.Object{Kind: kind, Name: name, Rows: rows}
	}
	before := []repo.StreamInfo{
		{StreamMeta: engine.Stream{Name: "shop.sql", Database: "shop"}, Contents: engine.Contents{Objects: []engine.Object{
			table("table", "orders", 100), table("table", "sessions", 100), table("table", "log", 100), table(engine.KindLeftOut, "cache", -1),
		}}},
		{StreamMeta: engine.Stream{Name: "crm.sql", Database: "crm"}},
		{StreamMeta: engine.Stream{Name: "old.sql", Database: "old"}},
	}
	objects := []engine.Object{table("table", "log", 0)}
	leftOut := []engine.Object{
		table(engine.KindDatabaseLeftOut, "crm", -1), table(engine.KindLeftOut, "sessions", -1), table(engine.KindRowsLeftOut, "log", -1), table("table", "log", 0),
	}
	for name, tc := range map[string]struct {
		now  []engine.Object
		want []string
	}{
		"by labels": {leftOut, []string{"all of old.sql is gone", "shop.sql: table orders is gone, and had 100 rows"}},
		"by itself": {objects, []string{
			"all of crm.sql is gone", "all of old.sql is gone", "shop.sql: table orders is gone, and had 100 rows",
			"shop.sql: table sessions is gone, and had 100 rows", "shop.sql: table log has 0 rows, and had 100",
		}},
	} {
		if got := strange(before, map[string]engine.Contents{"shop.sql": {Objects: tc.now}}); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
