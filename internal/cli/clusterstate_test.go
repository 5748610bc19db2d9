package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestSaveState(t *testing.T) {
	state := strings.Repeat("some of what the controllers know\n", 100)
	file := filepath.Join(t.TempDir(), "state")
	r := cli(t, Roof{}, serve(t, &clustered{state: []byte(state)}), "cluster", "snapshot", file, "-o", "json")
	var v savedView
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.status != 0 || v.Path != file || v.Size != int64(len(state)) {
		t.Fatalf("%+v, %v", r, err)
	}
	is := func(want string) {
		t.Helper()
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(want))
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if all, err := os.ReadDir(filepath.Dir(file)); len(all) != 1 || err != nil {
			t.Errorf("beside it: %v, %v", all, err)
		}
	}
	is(state)
	// What is there is not replaced by accident, nor by half a raft snapshot.
	for _, tc := range []struct {
		fake *clustered
		args string
		want string
		code int
	}{
		{&clustered{state: []byte("x")}, file, "is there already\n    " + file, 1},
		{&clustered{state: []byte("x\ny"), cut: true}, file + " --overwrite", "the controller stops", 1},
		{&clustered{}, file + " --overwrite", "empty raft snapshot", 1},
		{&clustered{state: []byte("x")}, filepath.Dir(file) + " --overwrite", "is no file", 2},
		{&clustered{state: []byte("x")}, filepath.Join(file, "below"), "look at", 1},
		{&clustered{state: []byte("x")}, filepath.Join(filepath.Dir(file), "none", "x"), "create the file", 1},
	} {
		r := cli(t, Roof{}, serve(t, tc.fake), append([]string{"cluster", "snapshot"}, strings.Fields(tc.args)...)...)
		if r.status != tc.code || !strings.Contains(r.err, tc.want) {
			t.Errorf("%s: %+v", tc.args, r)
		}
		is(state)
	}
	if r := cli(t, Roof{}, serve(t, &clustered{state: []byte("new")}), "cluster", "snapshot", file, "--overwrite", "-q"); r.status != 0 || r.out != file+"\n" {
		t.Errorf("%+v", r)
	}
	is("new")
	if r := cli(t, Roof{}, serve(t, &clustered{state: []byte(state)}), "cluster", "snapshot", "-", "-q"); r.status != 0 || r.out != state {
		t.Errorf("to stdout: %d bytes, %+v", len(r.out), r.err)
	}
	if r := cli(t, Roof{}, serve(t, &clustered{state: []byte("half"), cut: true}), "cluster", "snapshot", "-"); r.status != 1 {
		t.Errorf("half to stdout: %+v", r)
	}
}

func TestRestoreState(t *testing.T) {
	state := bytes.Repeat([]byte("0123456789abcdef"), 5*transport.DataMessage/32) // two and a half messages
	file := filepath.Join(t.TempDir(), "state")
	write(t, file, string(state))
	for _, other := range []bool{false, true} {
		f := &clustered{}
		args := []string{"cluster", "restore", file, "--confirm", "cl"}
		if other {
			args = append(args, "--other-cluster")
		}
		r := cli(t, Roof{}, serve(t, f), args...)
		first, ok := f.last().(*pb.RestoreStateRequest)
		if r.status != 0 || !ok || first.GetOtherCluster() != other || !bytes.Equal(f.restored.Bytes(), state) || !strings.Contains(r.err, "entry 4712") {
			t.Errorf("other %v: %+v, %d bytes came", other, r, f.restored.Len())
		}
	}

	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "")
	damaged := map[string]error{"RestoreState": problem.New(problem.Corrupt, "the raft snapshot is damaged")}
	for _, tc := range []struct {
		name string
		fake *clustered
		args []string
		want string
		code int
	}{
		{"unasked", &clustered{}, []string{file}, "give the id of the cluster: --confirm cl", 2},
		{"the id of another", &clustered{}, []string{file, "--confirm", "lc"}, "not the id of the cluster", 1},
		{"no file", &clustered{}, []string{file + "x", "--confirm", "cl"}, "open the raft snapshot", 2},
		{"a folder", &clustered{}, []string{filepath.Dir(file), "--confirm", "cl"}, "read the raft snapshot", 1},
		{"an empty file", &clustered{}, []string{empty, "--confirm", "cl"}, "the file is empty", 2},
		{"refused", &clustered{fails: damaged}, []string{file, "--confirm", "cl"}, "the raft snapshot is damaged", 1},
	} {
		r := cli(t, Roof{}, serve(t, tc.fake), append([]string{"cluster", "restore"}, tc.args...)...)
		if r.status != tc.code || !strings.Contains(r.err, tc.want) {
			t.Errorf("%s: %+v", tc.name, r)
		}
		if tc.fake.restored.Len() > 0 {
			t.Errorf("%s: %d bytes came", tc.name, tc.fake.restored.Len())
		}
	}
}

// A file that cannot be read to its end is not taken for a whole one.
func TestRestoreOfHalfAState(t *testing.T) {
	f := &clustered{}
	a := &app{err: io.Discard}
	conn, err := transport.DialUnix(serve(t, f))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	half := io.MultiReader(strings.NewReader(strings.Repeat("x", transport.DataMessage)), broken{})
	if _, err := a.restoreState(t.Context(), pb.NewClusterServiceClient(conn), half, false); problem.CodeOf(err) != problem.Failed || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("got %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, problem.New(problem.Failed, "the disk is gone") }
