package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/version"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// No login of whoever runs the tests gets into their way.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "baktainer-cli-")
	if err == nil {
		err = os.Setenv("XDG_CONFIG_HOME", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// result is what a command line did.
type result struct {
	status   int
	out, err string
}

// cli runs one command line against the controller at socket.
func cli(t *testing.T, roof Roof, socket string, args ...string) result {
	t.Helper()
	return cliContext(t.Context(), t, roof, socket, args...)
}

func cliContext(ctx context.Context, t *testing.T, roof Roof, socket string, args ...string) result {
	t.Helper()
	return cliTyping(ctx, t, roof, strings.NewReader(""), socket, args...)
}

// cliTyping is cliContext with somebody at in.
func cliTyping(ctx context.Context, t *testing.T, roof Roof, in io.Reader, socket string, args ...string) result {
	t.Helper()
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(config.FileVariable, empty)
	var out, errw bytes.Buffer
	roof.Clock = clock.NewManual(today)
	a := &app{roof: roof, in: in, out: &out, err: &errw, zone: time.UTC, retryAfter: time.Millisecond}
	if socket != "" {
		args = append([]string{"--socket", socket}, args...)
	}
	status := a.run(ctx, args)
	return result{status, out.String(), errw.String()}
}

// golden compares a result with a file in testdata.
func golden(t *testing.T, name string, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s (-update writes it): got\n%s\nwant\n%s", file, got, want)
	}
}

func TestGolden(t *testing.T) {
	version.Version = "v1.2.3"
	failed := map[string]*pb.Run{"wiki": {State: pb.RunState_RUN_STATE_FAILED, Failure: wrongPassword("wiki")}}
	allFailed := map[string]*pb.Run{"wiki": failed["wiki"], "shop/db": {State: pb.RunState_RUN_STATE_CANCELLED}}
	gaps := &pb.GetCoverageResponse{
		Sources: []*pb.SourceCoverage{
			{Source: "shop/db", State: pb.SourceState_SOURCE_STATE_READY, Restorable: "01JNG3ZZZZZZZZZZZZZZZZZZZ2", RestorableAt: ago(2 * time.Hour), Drilled: "01JNG3ZZZZZZZZZZZZZZZZZZZ2", DrilledFrom: ago(26 * time.Hour), Recovery: durationpb.New(3400 * time.Millisecond)},
			{Source: "wiki", State: pb.SourceState_SOURCE_STATE_INVALID, Gaps: []*pb.CoverageGap{
				{Kind: "invalid", Message: "baktainer.db.engine: there is no such engine\x1b[31m", Hint: "Did you mean postgres?"},
				{Kind: "never-backed-up", Message: "there is no snapshot of it", Hint: "Back it up."},
			}},
		},
		Unlabelled: []*pb.Unlabelled{{Agent: "a1", Container: &pb.Container{Id: "c0ffee", Name: "cache", Image: "redis:7"}, Engine: "redis"}},
		Conditions: []*pb.Condition{{Kind: pb.ConditionKind_CONDITION_KIND_AGENT_SILENT, Subject: "a2", OpenedAt: ago(time.Hour), Message: "it is away"}},
	}
	for _, tc := range []struct {
		name string
		fake *fake
		args string
	}{
		{"source-ls", &fake{}, "source ls"},
		{"source-ls-json", &fake{}, "source ls -o json"},
		{"source-ls-quiet", &fake{}, "source ls -q"},
		{"source-show", &fake{}, "source show shop/db"},
		{"source-show-invalid", &fake{}, "source show old"},
		{"source-show-missing", &fake{}, "source show nothing"},
		{"run-ls", &fake{}, "run ls"},
		{"run-ls-json", &fake{}, "run ls -o json"},
		{"run-ls-none", &fake{}, "run ls none"},
		{"run-show-failed", &fake{}, "run show r3"},
		{"run-logs", &fake{}, "run logs r3"},
		{"run-logs-json", &fake{}, "run logs r3 -o json"},
		{"run-logs-follow", &fake{}, "run logs run-wiki --follow"},
		{"run-logs-follow-json", &fake{}, "run logs run-wiki --follow -o json"},
		{"run-cancel", &fake{}, "run cancel r3"},
		{"snapshot-ls", &fake{}, "snapshot ls"},
		{"snapshot-ls-json", &fake{}, "snapshot ls -o json"},
		{"snapshot-show", &fake{}, "snapshot show shop/db"},
		{"snapshot-show-json", &fake{}, "snapshot show shop/db -o json"},
		{"snapshot-show-unreadable", &fake{noContents: problem.New(problem.NotFound, "the manifest is gone")}, "snapshot show shop/db"},
		{"snapshot-show-unsupported", &fake{old: true}, "snapshot show shop/db"},
		{"snapshot-diff", &fake{}, "snapshot diff 01JNG0 shop/db@latest"},
		{"snapshot-diff-json", &fake{}, "snapshot diff 01JNG0 shop/db@latest -o json"},
		{"snapshot-diff-same", &fake{}, "snapshot diff shop/db@latest shop/db"},
		{"snapshot-diff-unreadable", &fake{noContents: problem.New(problem.NotFound, "the manifest is gone")}, "snapshot diff 01JNG0 shop/db@latest"},
		{"snapshot-diff-one", &fake{}, "snapshot diff shop/db"},
		{"snapshot-show-missing", &fake{}, "snapshot show nothing"},
		{"snapshot-verify-all", &fake{}, "snapshot verify --all"},
		{"snapshot-verify-damaged", &fake{findings: map[string][]*pb.Failure{"01JNG1ZZZZZZZZZZZZZZZZZZZ1": {{Message: "pack 12 is missing", Code: "corrupt"}}}}, "snapshot verify --all"},
		{"snapshot-verify-json", &fake{}, "snapshot verify wiki@latest -o json"},
		{"coverage", &fake{coverage: gaps}, "coverage"},
		{"coverage-verbose", &fake{coverage: gaps}, "coverage -v"},
		{"coverage-quiet", &fake{coverage: gaps}, "coverage -q"},
		{"coverage-json", &fake{coverage: gaps}, "coverage -o json"},
		{"coverage-full", &fake{coverage: &pb.GetCoverageResponse{Sources: gaps.GetSources()[:1]}}, "coverage"},
		{"coverage-none", &fake{}, "coverage"},
		{"status", &fake{}, "status"},
		{"status-json", &fake{}, "status -o json"},
		{"status-not-ready", &fake{problems: []string{"the store is full"}}, "status -q"},
		{"version", &fake{}, "version"},
		{"version-json", &fake{}, "version -o json"},
		{"backup", &fake{}, "backup shop/db"},
		{"backup-quiet", &fake{}, "backup shop/db -q"},
		{"backup-verbose", &fake{}, "backup shop/db -v"},
		{"backup-json", &fake{}, "backup shop/db -o json -q"},
		{"backup-dry-run", &fake{}, "backup --all --dry-run"},
		{"backup-detach", &fake{}, "backup shop/db --detach"},
		{"backup-none", &fake{}, "backup none"},
		{"backup-one-failed", &fake{ends: failed}, "backup wiki"},
		{"backup-some-failed", &fake{ends: failed}, "backup --all -q"},
		{"backup-all-failed", &fake{ends: allFailed}, "backup --all -q"},
		{"backup-what", &fake{}, "backup"},
		{"drill", &fake{ends: map[string]*pb.Run{"shop/db": {DrillResult: passed()}}}, "drill run shop/db"},
		{"drill-json", &fake{ends: map[string]*pb.Run{"shop/db": {DrillResult: passed()}}}, "drill run shop/db -q -o json"},
		{"drill-detach", &fake{}, "drill run shop/db wiki --agent a2 --detach"},
		{"drill-failed", &fake{ends: map[string]*pb.Run{"wiki": {State: pb.RunState_RUN_STATE_FAILED, Failure: drills()[0].GetFailure()}}}, "drill run shop/db wiki -q"},
		{"drill-missing", &fake{}, "drill run nothing"},
		{"drill-ls", &fake{}, "drill ls"},
		{"drill-ls-json", &fake{}, "drill ls -o json"},
		{"drill-ls-none", &fake{}, "drill ls none"},
		{"restore", &fake{ends: map[string]*pb.Run{"shop/db": {Report: []string{"created database shop", "restored shop.sql"}, Warnings: []string{"the server is older"}}}}, "restore shop/db --overwrite"},
		{"restore-backup-first", &fake{}, "restore shop/db --overwrite --backup-first"},
		{"restore-backup-first-failed", &fake{ends: map[string]*pb.Run{"shop/db": {State: pb.RunState_RUN_STATE_FAILED, Failure: wrongPassword("")}}}, "restore shop/db --overwrite --backup-first"},
		{"restore-backup-first-what", &fake{}, "restore shop/db --to container:x --backup-first"},
		{"restore-backup-first-file", &fake{}, "restore shop/db --to file:x.sql --backup-first"},
		{"restore-failed", &fake{ends: map[string]*pb.Run{"shop/db": {State: pb.RunState_RUN_STATE_FAILED, Failure: wrongPassword("")}}}, "restore shop/db"},
		{"restore-wrong-target", &fake{}, "restore shop/db --to container:"},
		{"dump-which", &fake{}, "dump shop/db"},
		{"dump", &fake{}, "dump shop/db shop"},
		{"unknown-command", &fake{}, "snapshots ls"},
		{"unknown-below", &fake{}, "source lss"},
		{"unknown-flag", &fake{}, "source ls --al"},
		{"unknown-output", &fake{}, "source ls -o yaml"},
		{"too-many", &fake{}, "run show a b"},
		{"too-few", &fake{}, "run show"},
		{"config-docs-is-hidden", &fake{}, "config"},
		{"complete-sources", &fake{}, "__complete backup "},
		{"complete-snapshots", &fake{}, "__complete restore "},
		{"complete-runs", &fake{}, "__complete run show "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := strings.Fields(tc.args)
			if strings.HasSuffix(tc.args, " ") {
				args = append(args, "")
			}
			var r result
			if args[0] == "__complete" {
				t.Setenv("BAKTAINER_SOCKET", serve(t, tc.fake))
				r = cli(t, Roof{}, "", args...)
			} else {
				r = cli(t, Roof{}, serve(t, tc.fake), args...)
			}
			golden(t, tc.name, fmt.Sprintf("$ baktainer %s\nstatus %d\n-- stdout --\n%s-- stderr --\n%s", tc.args, r.status, r.out, r.err))
		})
	}
}

func TestNoController(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	r := cli(t, Roof{}, socket, "source", "ls")
	if r.status != 1 || !strings.Contains(r.err, "no controller answers at") || !strings.Contains(r.err, "baktainer up") {
		t.Errorf("%+v", r)
	}
}

// full is a disk that takes some bytes and no more.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	if f.left -= n; n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// Who reads a list that was cut is not told that all is fine.
func TestLostOutputIsAFailure(t *testing.T) {
	socket := serve(t, &fake{})
	for _, args := range []string{"source ls", "source ls -q", "source ls -o json", "run show r3", "run logs r3", "version", "--help"} {
		var errw bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &full{left: 5}, err: &errw, zone: time.UTC, retryAfter: time.Millisecond}
		if status := a.run(t.Context(), append(strings.Fields(args), "--socket", socket)); status != 1 || !strings.Contains(errw.String(), "write the output: no space left") {
			t.Errorf("%s: status %d, %s", args, status, &errw)
		}
	}
}

func TestWrongSettingsAreBadInput(t *testing.T) {
	t.Setenv("BAKTAINER_CONCURENCY", "3")
	r := cli(t, Roof{}, "", "config", "check")
	if r.status != 2 || !strings.Contains(r.err, "did you mean BAKTAINER_CONCURRENCY?") {
		t.Errorf("%+v", r)
	}
}

func TestConfigShow(t *testing.T) {
	t.Setenv("BT_THREADS", "7")
	t.Setenv("BT_KEY_ROTATION_ENABLED", "true")
	r := cli(t, Roof{}, "", "config", "show", "--schedule", "off", "--data-dir", "/d")
	if r.status != 0 || !strings.Contains(r.err, "warning: BT_KEY_ROTATION_ENABLED: keys are not rotated") {
		t.Errorf("%+v", r)
	}
	rows := regexp.MustCompile(" +").ReplaceAllString(r.out, " ")
	for _, want := range []string{"concurrency 7 BT_THREADS\n", "schedule off --schedule\n", "store /d/store default\n"} {
		if !strings.Contains(rows, want) {
			t.Errorf("%q is not in\n%s", want, r.out)
		}
	}
	r = cli(t, Roof{}, "", "config", "docs")
	if r.out != config.Markdown() {
		t.Errorf("config docs: %+v", r)
	}
}

func TestBackupAsksForWhatWasNamed(t *testing.T) {
	f := &fake{drops: 3}
	r := cli(t, Roof{}, serve(t, f), "backup", "shop/db", "wiki")
	if r.status != 0 || strings.Count(r.out, "succeeded") != 2 {
		t.Fatalf("a controller that breaks off: %+v", r)
	}
	if got := f.backup; strings.Join(got.GetSources(), " ") != "shop/db wiki" || got.GetAll() || len(got.GetRequestId()) < 20 {
		t.Errorf("asked for %v", got)
	}
}

func TestInterruptedWaiting(t *testing.T) {
	f := &fake{hang: true}
	socket := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		defer close(started)
		for {
			f.mu.Lock()
			asked := f.backup != nil
			f.mu.Unlock()
			if asked {
				cancel()
				return
			}
			_ = clock.Sleep(ctx, time.Millisecond)
		}
	}()
	r := cliContext(ctx, t, Roof{}, socket, "backup", "shop/db")
	<-started
	if r.status != 1 {
		t.Errorf("%+v", r)
	}
}

func TestRestoreSaysWhatItWants(t *testing.T) {
	f := &fake{}
	r := cli(t, Roof{}, serve(t, f), "restore", "01JNG3", "--to", "container:scratch", "--agent", "a1", "--select", "shop,globals.sql", "--no-owner", "--dry-run")
	if r.status != 0 {
		t.Fatalf("%+v", r)
	}
	got := f.restore.GetRestore()
	if got.GetSnapshot() != snapshots()[0].GetId() || got.GetTargetContainer() != "scratch" || got.GetTargetAgent() != "a1" ||
		strings.Join(got.GetSelect(), " ") != "shop globals.sql" || !got.GetNoOwner() || !got.GetDryRun() || got.GetOverwrite() || got.GetTargetSource() != "" {
		t.Errorf("asked for %v", got)
	}
	cli(t, Roof{}, serve(t, f), "restore", "shop/db", "--to", "staging/db", "--overwrite", "-y")
	if got := f.restore.GetRestore(); got.GetTargetSource() != "staging/db" || !got.GetOverwrite() {
		t.Errorf("asked for %v", got)
	}
}

func TestUp(t *testing.T) {
	var got config.Config
	var warned []string
	roof := Roof{Up: func(_ context.Context, c config.Config, warnings []string) error {
		got, warned = c, warnings
		return problem.New(problem.Conflict, "it runs already")
	}}
	t.Setenv("BT_KEY_ROTATION_ENABLED", "true")
	r := cli(t, roof, "", "up", "--concurrency", "9")
	if r.status != 1 || got.Concurrency != 9 || len(warned) != 1 || r.err != "error: it runs already\n" {
		t.Errorf("%+v, %+v, %q", r, got, warned)
	}
}

func TestControllerAndAgentApart(t *testing.T) {
	var got config.Config
	serve := func(_ context.Context, c config.Config, _ []string) error {
		got = c
		return nil
	}
	roof := Roof{Controller: serve, Agent: serve}
	tls := []string{"--tls-ca", "/ca", "--tls-cert", "/cert", "--tls-key", "/key"}
	r := cli(t, roof, "", append([]string{"controller", "--listen", ":1", "--memory", "64MiB"}, tls...)...)
	if r.status != 0 || got.Listen != ":1" || got.TLS.Key.Reveal() != "/key" || got.Memory != 64<<20 {
		t.Errorf("%+v, %+v", r, got)
	}
	r = cli(t, roof, "", append([]string{"agent", "--controller", "h:1"}, tls...)...)
	if r.status != 0 || strings.Join(got.Controllers, " ") != "h:1" {
		t.Errorf("%+v, %+v", r, got)
	}
	r = cli(t, roof, "", "agent", "--controller", "h1:1,h2:1", "--token-file", "/t")
	if r.status != 0 || strings.Join(got.Controllers, " ") != "h1:1 h2:1" || got.Token.File != "/t" || got.TLS.Given() {
		t.Errorf("%+v, %+v", r, got)
	}
	r = cli(t, roof, "", "controller", "--name", "c2", "--advertise", "c2:1", "--join", "c1:1", "--join-token-file", "/t", "--bootstrap-expect", "3")
	if r.status != 0 || got.Name != "c2" || got.Advertise != "c2:1" || strings.Join(got.Join, " ") != "c1:1" || got.JoinToken.File != "/t" || got.Expect != 3 {
		t.Errorf("%+v, %+v", r, got)
	}
	r = cli(t, roof, "", "agent", "--tls-ca", "/ca")
	if r.status != 2 || !strings.Contains(r.err, "2 settings are wrong") || !strings.Contains(r.err, "controller: is not set") {
		t.Errorf("an agent without a controller: %+v", r)
	}
	if r := cli(t, roof, "", "agent", "--store", "/s"); r.status != 2 || !strings.Contains(r.err, "--store") {
		t.Errorf("an agent with a store: %+v", r)
	}
}

func TestUpNow(t *testing.T) {
	f := &fake{}
	stopped := false
	roof := Roof{Up: func(ctx context.Context, c config.Config, _ []string) error {
		<-ctx.Done()
		stopped = true
		return nil
	}}
	r := cli(t, roof, serve(t, f), "up", "-N")
	if r.status != 0 || !stopped || !f.backup.GetAll() || strings.Count(r.out, "succeeded") != 2 {
		t.Errorf("%+v, stopped %v, asked for %v", r, stopped, f.backup)
	}

	f = &fake{ends: map[string]*pb.Run{"wiki": {State: pb.RunState_RUN_STATE_FAILED, Failure: wrongPassword("wiki")}}}
	if r := cli(t, roof, serve(t, f), "up", "--now"); r.status != 3 {
		t.Errorf("one of two failed: %+v", r)
	}
	roof.Up = func(context.Context, config.Config, []string) error {
		return problem.New(problem.Conflict, "it runs already")
	}
	r = cli(t, roof, filepath.Join(t.TempDir(), "none.sock"), "up", "--now")
	if r.status != 1 || !strings.Contains(r.err, "it runs already") {
		t.Errorf("a controller that does not start: %+v", r)
	}
}

func TestHelperCommandsPassUsBy(t *testing.T) {
	roof := Roof{HelperCommands: []string{"sqlite-dump"}, Helper: func(_ context.Context, args []string, _ io.Reader, out, _ io.Writer) int {
		fmt.Fprint(out, strings.Join(args, " "))
		return 7
	}}
	var out bytes.Buffer
	if status := Run(t.Context(), roof, []string{"sqlite-dump", "--x"}, nil, &out, io.Discard); status != 7 || out.String() != "sqlite-dump --x" {
		t.Errorf("%d, %q", status, &out)
	}
	if status := Run(t.Context(), Roof{}, []string{"version"}, nil, &out, io.Discard); status != 0 {
		t.Errorf("version: %d", status)
	}
}

func TestHelpSaysTheExitStatuses(t *testing.T) {
	r := cli(t, Roof{}, "", "--help")
	if r.status != 0 || !strings.Contains(r.out, "Exit status: 0 fine, 1 failed, 2 bad input, 3 some") || strings.Contains(r.out, "lease-duration") {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"bash", "zsh", "fish"} {
		if r := cli(t, Roof{}, "", "completion", name); r.status != 0 || len(r.out) < 1000 {
			t.Errorf("completion %s: %d, %d bytes", name, r.status, len(r.out))
		}
	}
	if New(Roof{}).Name() != "baktainer" {
		t.Error("the root has another name")
	}
}
