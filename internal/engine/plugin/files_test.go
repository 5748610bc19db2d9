package plugin

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// files is the sample plugin, as a user would put it into a folder. change is what
// becomes of its text before.
func files(t testing.TB, change ...string) engine.Engine {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/plugins/baktainer-engine-files")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, nil)
	write(t, filepath.Join(dir, prefix+"files"), strings.NewReplacer(change...).Replace(string(text)), 0o755)
	found, faults, err := Find(t.Context(), dir, nil)
	if err != nil || len(faults) > 0 || len(found) != 1 {
		t.Fatalf("%v %v %v", found, faults, err)
	}
	return found[0]
}

func TestFilesPlans(t *testing.T) {
	inst := func(mounts ...string) *enginetest.Script {
		return enginetest.NewScript(engine.Facts{Mounts: mounts}).On("test", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Status: 1} })
	}
	e := files(t)
	for _, tt := range []struct {
		database string
		mounts   []string
		folder   string // empty: it is refused
	}{
		{"", []string{"/data"}, "/data"},
		{"/srv/a\"b\\c'd $(id) ä", []string{"/data"}, "/srv/a\"b\\c'd $(id) ä"},
		{"", nil, ""},
		{"", []string{"/a", "/b"}, ""},
		{"/", nil, ""},
		{"///", nil, ""},
		{"relative", nil, ""},
	} {
		s := open(t, e, inst(tt.mounts...), source.Spec{Database: tt.database})
		streams, err := s.Streams(t.Context())
		if tt.folder == "" {
			if problem.ReasonOf(err) != engine.ReasonUnsupported {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if err != nil || len(streams) != 1 || streams[0].Database != tt.folder {
			t.Errorf("%+v: %+v %v", tt, streams, err)
			continue
		}
		if plan, err := s.Prepare(t.Context(), streams, engine.RestoreOptions{DryRun: true, NoOwner: true}); err != nil || len(plan.Replaces) > 0 {
			t.Errorf("%+v: %+v %v", tt, plan, err)
		}
		want := []string{"tar", "-C", tt.folder, "-xf", "-", "--no-same-owner"}
		if got := s.(*session).restores["files.tar"].Run.Argv; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}
}

// What is in the target is looked at, and what cannot be looked at is not taken for empty.
func TestFilesLooks(t *testing.T) {
	e := files(t)
	stream := []engine.Stream{{Name: "files.tar", Kind: "folder", Database: "/data", Format: "tar"}}
	for name, tt := range map[string]struct {
		there, found enginetest.Answer // of test and find
		reason       problem.Reason
	}{
		"no folder":    {enginetest.Answer{Status: 1}, enginetest.Answer{Status: 1}, ""},
		"empty":        {enginetest.Answer{}, enginetest.Answer{}, ""},
		"something":    {enginetest.Answer{}, enginetest.Answer{Stdout: "/data/x\n"}, engine.ReasonTargetNotEmpty},
		"not readable": {enginetest.Answer{}, enginetest.Answer{Status: 1, Stderr: "find: unrecognized: -quit"}, engine.ReasonToolFailed},
	} {
		inst := enginetest.NewScript(engine.Facts{Mounts: []string{"/data"}}).
			On("test", func(enginetest.Call) enginetest.Answer { return tt.there }).
			On("find", func(enginetest.Call) enginetest.Answer { return tt.found })
		_, err := open(t, e, inst, source.Spec{}).Prepare(t.Context(), stream, engine.RestoreOptions{DryRun: true})
		if problem.ReasonOf(err) != tt.reason {
			t.Errorf("%s: %v, want %q", name, err, tt.reason)
		}
	}
}

// An archive that is cut anywhere before its end mark is not whole, also where one
// file ends and the next one begins, and after a file that looks like the mark.
func TestFilesInspects(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	noise := make([]byte, 3000)
	_, _ = rand.Read(noise)
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"./", nil}, {"./photos/", nil}, {"./photos/1", noise}, {"./photos/deep/", nil}, {"./photos/deep/2", []byte("x")}, {"./zeros", make([]byte, 4096)},
		{"./block 7: ** Block of NULs **", nil}, {"./ended well\nended well", nil}, {"./größe\\ \"quoted\"/", nil}, {"./größe\\ \"quoted\"/x", make([]byte, 2048)},
	} {
		h := &tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o755, Format: tar.FormatGNU}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	members := archive.Len()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, files(t), enginetest.NewScript(engine.Facts{}), source.Spec{})
	st := engine.Stream{Name: "files.tar", Kind: "folder", Format: "tar", Database: "/x"}
	verdict := func(data []byte) (engine.Contents, error) {
		i := s.Inspect(st)
		_, _ = i.Write(data)
		return i.Finish()
	}
	whole := archive.Bytes()
	contents, err := verdict(whole)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	got := fmt.Sprint(contents.In(""))
	for _, want := range []string{"{ folder photos 4 0}", "{ folder . 3 0}", `{ folder gr\303\266\303\237e\\ "quoted" 2 0}`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	var cuts []int
	for n := 512; n <= members; n += 512 {
		cuts = append(cuts, n-1, n)
	}
	for n := members; n < members+512; n += 37 {
		cuts = append(cuts, n)
	}
	for _, n := range cuts {
		if _, err := verdict(whole[:n]); problem.ReasonOf(err) != engine.ReasonTruncated {
			t.Errorf("cut at %d of %d bytes: %v", n, members, err)
		}
	}
	for name, data := range map[string][]byte{
		"a line before it": append([]byte("warning\n"), whole...),
		"a block before":   append(bytes.Repeat([]byte("x"), 512), whole...),
		"garbage":          bytes.Repeat([]byte("\x00\xff"), 4096),
		"a broken header":  append(append([]byte{}, append(whole[:512:512], bytes.Repeat([]byte{7}, 512)...)...), whole[1024:]...),
	} {
		if _, err := verdict(data); err == nil {
			t.Errorf("%s: it passes", name)
		}
	}
}

// The shared suite, with the sample in a container.
func TestContainer(t *testing.T) {
	dockercli.Need(t)
	inst := dockercli.Start(t, "plugin", "base", nil, "sleep", "infinity")
	const dir = `/srv/it's "here" \o/`
	script := func(t testing.TB, text string) string {
		t.Helper()
		return inst.Run(t, text, []string{"DIR=" + dir}, "sh", "-e")
	}
	enginetest.Run(t, enginetest.Fixture{
		// It is to be asked for; here it also has to recognise.
		Engine:   files(t, `"images": []`, `"images": ["base"]`),
		Instance: inst,
		Spec:     source.Spec{Database: dir},
		Seed: func(t testing.TB) {
			script(t, `mkdir -p "$DIR/größe"; cd "$DIR"; seq 1 20000 >numbers; head -c 300000 /dev/urandom >'größe/it'"'"'s raw'
				printf x >"$(printf 'two\nlines')"; head -c 100000 /dev/zero >zeros; ln -s numbers link; chmod 640 numbers; chown 12:34 zeros; mkdir empty`)
		},
		Bulk: func(t testing.TB) { script(t, `head -c 80000000 /dev/urandom >"$DIR/bulk"`) },
		Fingerprint: func(t testing.TB) string {
			return script(t, `cd "$DIR" 2>/dev/null || exit 0; find . -printf '%p %m %U:%G %l\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum`)
		},
		Wreck:     func(t testing.TB) { script(t, `rm -rf "$DIR"`) },
		KeepsHalf: true,
		// tar fills up its last record of 20 blocks, and the second of the two blocks that
		// are the mark is not waited for.
		Slack: 20*512 - 512,
	})
}

// Of very many folders it does not matter which come first.
func TestFilesOfManyFolders(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for i := range 1500 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("./%d/", i), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	i := open(t, files(t), enginetest.NewScript(engine.Facts{}), source.Spec{}).Inspect(two)
	_, _ = i.Write(archive.Bytes())
	contents, err := i.Finish()
	if err != nil || fmt.Sprint(contents.In("")) != "[{ folder . 1500 0}]" {
		t.Errorf("%+v %v", contents, err)
	}
}
