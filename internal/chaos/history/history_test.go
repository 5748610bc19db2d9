package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// Operations for tests: from and to are when it was under way.
func grant(epoch uint64, agent string, heard int64) Op {
	return Op{Kind: Grant, Run: "r", Epoch: epoch, Agent: agent, Outcome: Done, Call: heard, Return: heard}
}

func commit(epoch uint64, agent, snapshot string, from, to int64, out Outcome) Op {
	return Op{Kind: Commit, Run: "r", Epoch: epoch, Agent: agent, Snapshot: snapshot, Outcome: out, Call: from, Return: to}
}

func finish(epoch uint64, agent string, from, to int64, out Outcome) Op {
	return Op{Kind: Finish, Run: "r", Epoch: epoch, Agent: agent, Outcome: out, Call: from, Return: to}
}

func renew(epoch uint64, agent string, at int64, out Outcome) Op {
	return Op{Kind: Renew, Run: "r", Epoch: epoch, Agent: agent, Outcome: out, Call: at, Return: at}
}

func read(snapshot string, at int64) Op {
	return Op{Kind: Read, Run: "r", Snapshot: snapshot, Outcome: Done, Call: at, Return: at}
}

func TestHistories(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		right bool
		ops   []Op
	}{
		{"nothing", true, nil},
		{"a backup", true, []Op{grant(1, "a", 1), renew(1, "a", 2, Done), commit(1, "a", "s", 3, 4, Done), read("s", 9)}},
		{"asked twice", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), commit(1, "a", "s", 4, 5, Done), read("s", 9)}},
		{"a failure", true, []Op{grant(1, "a", 1), finish(1, "a", 2, 3, Done), finish(1, "a", 4, 5, Done), commit(1, "a", "s", 6, 7, Refused), read("", 9)}},
		{"given away", true, []Op{grant(1, "a", 1), grant(2, "b", 3), commit(1, "a", "s", 4, 5, Refused), commit(2, "b", "t", 6, 7, Done), read("t", 9)}},
		{"a grant that nobody heard of", true, []Op{grant(1, "a", 1), grant(3, "b", 3), commit(3, "b", "t", 6, 7, Done), read("t", 9)}},
		{"a refusal for no reason", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Refused), read("", 9)}},
		{"no answer, and it was heard", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Unknown), read("s", 9)}},
		{"no answer, and it was not heard", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Unknown), read("", 9)}},
		{"no answer, heard late", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Unknown), commit(1, "a", "s", 4, 5, Refused), commit(1, "a", "s", 6, 7, Done), read("s", 9)}},
		{"no answer, then another has it", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Unknown), grant(2, "b", 4), commit(2, "b", "t", 5, 6, Done), read("t", 9)}},
		{"at the same time as it is given away", true, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 8, Refused), grant(2, "b", 4), commit(2, "b", "t", 5, 6, Done), read("t", 9)}},
		{"a lease is lost", true, []Op{grant(1, "a", 1), renew(1, "a", 2, Refused), read("", 9)}},
		{"an old leader renews", true, []Op{grant(1, "a", 1), grant(2, "b", 2), renew(1, "a", 3, Done), read("", 9)}},

		{"two commits", false, []Op{grant(1, "a", 1), grant(2, "b", 2), commit(2, "b", "t", 3, 4, Done), commit(1, "a", "s", 5, 6, Done)}},
		{"two commits at once", false, []Op{grant(1, "a", 1), grant(2, "b", 2), commit(2, "b", "t", 3, 9, Done), commit(1, "a", "s", 3, 9, Done)}},
		{"two snapshots of one lease", false, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), commit(1, "a", "t", 4, 5, Done)}},
		{"a stale commit", false, []Op{grant(1, "a", 1), grant(2, "b", 2), commit(1, "a", "s", 3, 4, Done), read("s", 9)}},
		{"a stale failure", false, []Op{grant(1, "a", 1), grant(2, "b", 2), finish(1, "a", 3, 4, Done)}},
		{"a commit without a lease", false, []Op{commit(1, "a", "s", 3, 4, Done)}},
		{"a commit with the lease of another", false, []Op{grant(1, "a", 1), commit(1, "b", "s", 3, 4, Done)}},
		{"a commit with a lease to come", false, []Op{grant(1, "a", 1), commit(2, "a", "s", 3, 4, Done)}},
		{"acknowledged and lost", false, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), read("", 9)}},
		{"acknowledged, and another is there", false, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), read("t", 9)}},
		{"there without a commit", false, []Op{grant(1, "a", 1), read("s", 9)}},
		{"refused when asked again", false, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), commit(1, "a", "s", 4, 5, Refused)}},
		{"granted twice", false, []Op{grant(1, "a", 1), grant(1, "b", 2)}},
		{"granted backwards", false, []Op{grant(2, "b", 2), commit(2, "b", "t", 3, 4, Done), grant(1, "a", 5), commit(1, "a", "s", 6, 7, Done)}},
		{"granted after its end", false, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), grant(2, "b", 4), commit(2, "b", "t", 5, 6, Done)}},
		{"failed after its commit", false, []Op{grant(1, "a", 1), commit(1, "a", "s", 2, 3, Done), finish(1, "a", 4, 5, Done)}},
		{"committed after its failure", false, []Op{grant(1, "a", 1), finish(1, "a", 2, 3, Done), commit(1, "a", "s", 4, 5, Done)}},
		{"renewed without a lease", false, []Op{renew(1, "a", 2, Done)}},
		{"renewed for another", false, []Op{grant(1, "a", 1), renew(1, "b", 2, Done)}},
		{"of an unknown kind", false, []Op{{Kind: "delete", Run: "r", Outcome: Done}}},
	}
	for _, tt := range tests {
		v, err := Check(tt.ops, "")
		if err != nil || (len(v.Wrong) == 0) != tt.right || len(v.Undecided) > 0 {
			t.Errorf("%s: %+v, %v", tt.name, v, err)
		}
	}
}

// Runs are checked apart from each other, and the wrong one is named and drawn.
func TestOneRunIsWrong(t *testing.T) {
	t.Parallel()
	var ops []Op
	for _, run := range []string{"r1", "r2", "r3"} {
		for _, o := range []Op{grant(1, "a", 1), commit(1, "a", "s"+run, 2, 3, Done), read("s"+run, 9)} {
			o.Run = run
			if run == "r2" && o.Kind == Read {
				o.Snapshot = ""
			}
			ops = append(ops, o)
		}
	}
	picture := filepath.Join(t.TempDir(), "wrong.html")
	v, err := Check(ops, picture)
	if err != nil || v.Runs != 3 || v.Operations != 9 || len(v.Wrong) != 1 || !strings.HasPrefix(v.Wrong[0], "run r2\n") {
		t.Errorf("%+v, %v", v, err)
	}
	if drawn, err := os.ReadFile(picture); err != nil || !bytes.Contains(drawn, []byte("r2")) {
		t.Errorf("it is not drawn: %v", err)
	}
}

func TestStaleIsCounted(t *testing.T) {
	t.Parallel()
	forged := commit(7, "a", "f", 5, 6, Refused)
	forged.Forged = true
	v, err := Check([]Op{
		grant(1, "a", 1), commit(1, "a", "s", 2, 3, Refused), grant(2, "b", 3),
		commit(1, "a", "s", 4, 5, Refused), finish(1, "a", 6, 7, Done), commit(2, "b", "t", 8, 9, Unknown), forged,
	}, "")
	if err != nil || v.Stale != 3 || v.StaleDone != 1 || v.Unknown != 1 || len(v.Wrong) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

// A long history is decided soon, even when many calls had no answer.
func TestLongHistory(t *testing.T) {
	t.Parallel()
	var ops []Op
	for run := range 200 {
		for epoch := range uint64(3) {
			at := int64(epoch) * 100
			for _, o := range []Op{
				grant(epoch+1, fmt.Sprint("a", epoch), at+1), renew(epoch+1, fmt.Sprint("a", epoch), at+5, Done),
				commit(epoch+1, fmt.Sprint("a", epoch), fmt.Sprint("s", epoch), at+10, at+20, Unknown),
				commit(epoch+1, fmt.Sprint("a", epoch), fmt.Sprint("s", epoch), at+30, at+40, Unknown),
			} {
				o.Run = fmt.Sprint("r", run)
				ops = append(ops, o)
			}
		}
	}
	v, err := Check(ops, "")
	if err != nil || v.Runs != 200 || len(v.Wrong)+len(v.Undecided) > 0 {
		t.Errorf("%d wrong, %d undecided: %v", len(v.Wrong), len(v.Undecided), err)
	}
}

func TestRecordAndLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	at := clock.NewManual(time.Unix(1, 0))
	r := NewRecorder(f, at)
	want := []Op{grant(1, "a", 0), commit(1, "a", "s", 0, 0, Unknown)}
	for i := range want {
		want[i].Call = r.Now()
		at.Advance(time.Second)
		r.Record(want[i])
		want[i].Return = r.Now()
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"kind":"comm`) // as a kill leaves it
	f.Close()
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, want) || got[0].Return-got[0].Call != int64(time.Second) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	r.Record(Op{})
	if r.Err() == nil {
		t.Error("a history that cannot be written is not missed")
	}
	if err := os.WriteFile(path, []byte("{}\nx\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a damaged history is read")
	}
	if _, err := Load(path + "x"); err == nil {
		t.Error("a history that is not there is read")
	}
}
