package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheHistoryIsProven remembers the ledger's head, and finds with the store and
// the key alone whatever was done to the ledger since.
func TestTheHistoryIsProven(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{flags: []string{"--schedule", "off"}})
	if r := u.cli(t, "ledger", "head"); r.status != failedStatus {
		t.Errorf("the head of no ledger:\n%s", r.text())
	}
	c := custom.start(t)
	custom.seed(t, c, 0)
	for range 3 {
		u.backup(t, c)
	}
	head := strings.TrimSpace(u.ok(t, "ledger", "head"))
	if !strings.HasPrefix(head, "3:") || len(head) != len("3:")+64 {
		t.Fatalf("the head is %q", head)
	}
	if !strings.Contains(u.ok(t, "status"), head) {
		t.Error("status does not tell the head")
	}
	u.stop(t)
	verify := func(argv ...string) result {
		argv = append([]string{u.binary, "ledger", "verify", "--store", u.store(), "--key-file", u.key()}, argv...)
		return command(t, nil, plainEnvironment(), argv...)
	}
	says := func(what string, r result, status int, text string) {
		t.Helper()
		t.Logf("%s:\n%s", what, r.text())
		if r.status != status || !strings.Contains(r.text(), text) {
			t.Errorf("%s: it ends with %d, want %d and %q", what, r.status, status, text)
		}
	}
	entry := func(name string) string { return filepath.Join(u.store(), "ledger", "0000000000000000000"+name) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(entry(from), entry(to)); err != nil {
			t.Fatal(err)
		}
	}
	says("as it was", verify("--head", head), fine, "3 entries are intact")
	says("nothing is remembered", verify(), fine, "not known without --head")
	says("no head", verify("--head", "3:xyz"), badInput, "INDEX:HASH")
	says("another head", verify("--head", "2:"+head[2:]), failedStatus, "first entry that does not is 2")
	move("3", "3.away")
	says("the newest is gone", verify("--head", head), failedStatus, "first entry that does not is 3")
	says("the newest is gone, and nobody remembers it", verify(), fine, "2 entries are intact")
	move("3.away", "3")
	move("2", "2.away")
	says("one in the middle is gone", verify(), failedStatus, "first entry that does not is 2")
	move("1", "2")
	says("another lies in its place", verify(), failedStatus, "first entry that does not is 1")
}
