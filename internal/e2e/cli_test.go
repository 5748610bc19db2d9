package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"
)

// What -o json prints, as far as these tests read it.

type status struct {
	Leader   bool     `json:"leader"`
	Agents   []agent  `json:"agents"`
	Problems []string `json:"problems"`
	Schedule string   `json:"default_schedule"`
	NextFire string   `json:"next_fire_at"`
}

type agent struct {
	Connected bool       `json:"connected"`
	Providers []provider `json:"providers"`
}

type provider struct {
	Healthy bool   `json:"healthy"`
	Detail  string `json:"detail"`
}

type source struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Engine    string    `json:"engine"`
	Problems  []problem `json:"problems"`
	Snapshots int       `json:"snapshots"`
	NextFire  string    `json:"next_fire_at"`
}

type problem struct {
	Label      string `json:"label"`
	Value      string `json:"value"`
	Reason     string `json:"reason"`
	Suggestion string `json:"suggestion"`
	Warning    bool   `json:"warning"`
}

type run struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	State    string   `json:"state"`
	Source   string   `json:"source"`
	Snapshot string   `json:"snapshot"`
	Failure  *failure `json:"failure"`
	Report   []string `json:"report"`
}

type failure struct {
	Code    string   `json:"code"`
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
	Details []string `json:"details"`
}

type snapshot struct {
	ID         string     `json:"id"`
	Source     string     `json:"source"`
	Run        string     `json:"run"`
	Engine     string     `json:"engine"`
	Streams    []stream   `json:"streams"`
	RawBytes   int64      `json:"raw_bytes"`
	NewBytes   int64      `json:"new_bytes"`
	VerifiedAt *time.Time `json:"verified_at"`
}

type stream struct {
	Name     string `json:"name"`
	Database string `json:"database"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
}

// The exit statuses that the documentation promises.
const (
	fine, failedStatus, badInput, partlyFailed = 0, 1, 2, 3
)

func (u *up) sources(t testing.TB) []source {
	t.Helper()
	return decode[[]source](t, u.ok(t, "source", "ls", "-o", "json"))
}

// source returns the source of that name, if it is listed.
func (u *up) source(t testing.TB, name string) (source, bool) {
	t.Helper()
	all := u.sources(t)
	i := slices.IndexFunc(all, func(s source) bool { return s.Name == name })
	if i < 0 {
		return source{}, false
	}
	return all[i], true
}

// sees waits until the source of the container is in the state.
func (u *up) sees(t testing.TB, c *container, state string) source {
	t.Helper()
	var s source
	eventually(t, c.source()+" is "+state, func() (bool, string) {
		var there bool
		s, there = u.source(t, c.source())
		return there && s.State == state, sprintJSON(s)
	})
	return s
}

// snapshots lists those of a source, newest first.
func (u *up) snapshots(t testing.TB, name string) []snapshot {
	t.Helper()
	return decode[[]snapshot](t, u.ok(t, "snapshot", "ls", name, "-o", "json"))
}

// runs lists those of a source, newest first.
func (u *up) runs(t testing.TB, name string) []run {
	t.Helper()
	return decode[[]run](t, u.ok(t, "run", "ls", name, "--limit", "1000", "-o", "json"))
}

// backup backs one source up and returns its new snapshot.
func (u *up) backup(t testing.TB, c *container) snapshot {
	t.Helper()
	u.sees(t, c, "ready")
	before := len(u.snapshots(t, c.source()))
	r := u.cli(t, "backup", c.source())
	if r.status != fine {
		t.Fatalf("baktainer backup %s:\n%s", c.source(), r.text())
	}
	after := u.snapshots(t, c.source())
	if len(after) != before+1 {
		t.Fatalf("%d snapshots before the backup, %d after it", before, len(after))
	}
	return after[0]
}

// failure returns how the newest run of a source failed.
func (u *up) failure(t testing.TB, name string) failure {
	t.Helper()
	runs := u.runs(t, name)
	if len(runs) == 0 {
		t.Fatalf("%s has no run", name)
	}
	r := decode[run](t, u.ok(t, "run", "show", runs[0].ID, "-o", "json"))
	if r.State != "failed" || r.Failure == nil {
		t.Fatalf("the run is %s, want failed with a failure:\n%s", r.State, sprintJSON(r))
	}
	return *r.Failure
}

// verify has a snapshot re-read.
func (u *up) verify(t testing.TB, s snapshot) {
	t.Helper()
	if r := u.cli(t, "snapshot", "verify", s.ID); r.status != fine {
		t.Errorf("snapshot verify %s:\n%s", s.ID, r.text())
	}
}

// dumpsWhatTheLedgerSays dumps every stream and compares it with its hash.
func (u *up) dumpsWhatTheLedgerSays(t testing.TB, s snapshot) {
	t.Helper()
	if len(s.Streams) == 0 {
		t.Error("the snapshot has no streams")
	}
	for _, st := range s.Streams {
		dump := u.ok(t, "dump", s.ID, st.Name)
		if got := sha256Of(dump); got != st.SHA256 || int64(len(dump)) != st.Size {
			t.Errorf("dump of %s: %d bytes with SHA-256 %s; the ledger says %d with %s", st.Name, len(dump), got, st.Size, st.SHA256)
		}
	}
}

func sha256Of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
