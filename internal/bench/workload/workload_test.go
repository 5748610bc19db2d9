package workload

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var set = Set{Seed: 1, Scale: 0.01}

// TestStable: figures of two runs can be compared because the data is the
// same. Whoever changes it on purpose changes the sums here.
func TestStable(t *testing.T) {
	h := sha256.New()
	for _, table := range Tables() {
		for id := 1; id <= 1000; id++ {
			h.Write(set.FirstDay(table, nil, id))
			h.Write(set.Row(table, nil, Uniform, 3, id))
		}
	}
	if got, want := hex.EncodeToString(h.Sum(nil))[:16], "b2afc813d626fc51"; got != want {
		t.Errorf("rows have the sum %s, want %s", got, want)
	}
	h.Reset()
	if err := Stream(h, 7, 3<<20+5); err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(h.Sum(nil))[:16], "c1fabcdc0e7a212e"; got != want {
		t.Errorf("the stream has the sum %s, want %s", got, want)
	}
}

// TestRows: as many columns as the table has, and JSON that is JSON.
func TestRows(t *testing.T) {
	for _, table := range Tables() {
		columns := strings.Count(strings.ReplaceAll(table.DDL, "(10,2)", ""), ",") + 1
		for id := 1; id <= 500; id++ {
			row := string(table.row(nil, 1, id, []int{1, 3}))
			fields := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
			if len(fields) != columns || !strings.HasSuffix(row, "\n") || strings.ContainsAny(row, "\\") {
				t.Fatalf("%s row %d has %d columns, want %d: %q", table.Name, id, len(fields), columns, row)
			}
			if table.Name == "documents" && !json.Valid([]byte(fields[4])) {
				t.Fatalf("row %d: not JSON: %s", id, fields[4])
			}
		}
	}
}

// TestChanges: as many rows as promised, where they are promised, and each
// changed row differs from the day before.
func TestChanges(t *testing.T) {
	big := Set{Seed: 1, Scale: 0.2}
	for _, table := range Tables() {
		for _, history := range Histories() {
			for day := 1; day <= 3; day++ {
				n, fresh := 0, 0
				err := big.Changes(table, history, day, func(id int) error {
					n++
					if big.newest(table, day, id) {
						fresh++
					}
					if history == Local && !big.newest(table, day, id) && !big.hot(table, id) {
						return errors.New("a row is neither new nor hot")
					}
					if bytes.Equal(big.Row(table, nil, history, day-1, id), big.Row(table, nil, history, day, id)) {
						return errors.New("a change that changes nothing")
					}
					return nil
				})
				if err != nil {
					t.Fatalf("%s, %s, day %d: %v", table.Name, history, day, err)
				}
				want := table.Changed(big.Scale)
				if n < want*3/4 || n > want*5/4 {
					t.Errorf("%s, %s, day %d: %d rows changed, want about %d", table.Name, history, day, n, want)
				}
				if history == Local && (fresh < want/3 || fresh > want*2/3) {
					t.Errorf("%s, day %d: %d of %d changed rows are new ones, want half", table.Name, day, fresh, n)
				}
				first, last := big.Appends(table, history, day)
				if appended := last - first + 1; history == Uniform && appended != 0 || history == Local && appended != table.Appended(big.Scale) {
					t.Errorf("%s, %s, day %d: %d rows appended", table.Name, history, day, appended)
				}
			}
		}
	}
}

// TestStreamLength: exactly as long as asked for, and an error of the reader's
// end is passed on.
func TestStreamLength(t *testing.T) {
	for _, size := range []int64{0, 1, 1 << 20, 5<<20 + 123} {
		var b bytes.Buffer
		if err := Stream(&b, 1, size); err != nil || int64(b.Len()) != size {
			t.Errorf("asked for %d bytes, got %d (%v)", size, b.Len(), err)
		}
	}
	if err := Stream(broken{}, 1, 10); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the error of the writer", err)
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }
