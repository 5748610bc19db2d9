package main_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/baktainer/baktainer"

// The house. A package imports its own storey or a lower one; adapters are
// strangers to each other. In a pattern "x/..." is x and all below it, and
// "x/*/..." each folder in x and all below it. The lowest match counts, and a
// folder that matches nothing fails the test until someone gives it a place.
const (
	ground = iota
	words
	contracts
	adapters
	platform
	services
	roof
)

var storeys = []struct {
	name    string
	folders []string
}{
	ground:    {"ground", []string{"proto/...", "internal/clock", "internal/durable", "internal/problem", "internal/version", "internal/transport/certs"}},
	words:     {"words", []string{"internal/source", "internal/label", "internal/schedule", "internal/schedule/oracle", "internal/retention", "internal/ledger", "internal/run", "internal/contents"}},
	contracts: {"contracts and format", []string{"internal/engine", "internal/engine/enginetest/...", "internal/store", "internal/store/storetest", "internal/repo/...", "agent/provider"}},
	adapters:  {"adapters", []string{"internal/engine/*/...", "internal/store/*/...", "agent/provider/*/..."}},
	platform:  {"platform services", []string{"internal/config", "internal/condition", "internal/telemetry", "internal/transport", "internal/pki", "internal/dockerproxy"}},
	services:  {"services", []string{"agent/...", "controller/...", "internal/rescue", "internal/cli/..."}},
	roof:      {"roof", []string{".", "internal/e2e/...", "internal/bench/...", "internal/chaos/...", "internal/scale/...", "deploy/...", "docs/..."}},
}

// Suites are for tests alone: a test may import them from any storey, and
// below the roof nothing but a test (or another suite) may.
var suites = []string{"agent/uplink/uplinktest", "controller/notify/notifytest", "internal/schedule/oracle", "internal/engine/enginetest", "internal/engine/enginetest/dockercli", "internal/store/storetest", "internal/store/mem", "internal/store/faulty"}

// A vague name says nothing of what lives in a folder.
var vague = []string{"util", "utils", "common", "helpers", "misc", "shared", "base"}

// A fence keeps a thing in the folders named. The first fence that matches an
// import decides.
type fence struct {
	thing   string
	imports []string
	within  []string
}

var fences = []fence{
	{"the Docker client", []string{"github.com/docker/...", "github.com/moby/..."}, []string{"agent/provider/docker/...", "agent/provider/swarm/..."}},
	{"Raft", []string{"github.com/hashicorp/raft/...", "github.com/hashicorp/raft-boltdb/...", "github.com/hashicorp/raft-autopilot/..."}, []string{"controller/consensus/..."}},
	{"the S3 SDK", []string{"github.com/aws/...", "github.com/minio/..."}, []string{"internal/store/s3/..."}},
	{"the Google Cloud SDK", []string{"cloud.google.com/...", "google.golang.org/api/..."}, []string{"internal/store/gcs/..."}},
	{"the Azure SDK", []string{"github.com/Azure/..."}, []string{"internal/store/azure/..."}},
	{"shoutrrr", []string{"github.com/nicholas-fedor/..."}, []string{"controller/notify/..."}},
	{"embedded SQLite", []string{"modernc.org/sqlite/..."}, []string{"internal/engine/sqlite/...", "internal/e2e/...", "deploy/..."}},
	{
		"OpenTelemetry's API",
		[]string{"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace/...", "go.opentelemetry.io/otel/metric/...", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/propagation"},
		slices.Concat(storeys[platform].folders, storeys[services].folders, storeys[roof].folders),
	},
	{"OpenTelemetry's gRPC handlers", []string{"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/..."}, []string{"internal/transport", "internal/telemetry"}},
	{"OpenTelemetry's SDK and exporters", []string{"go.opentelemetry.io/..."}, []string{"internal/telemetry"}},
	{"the generated proto", []string{"proto/..."}, []string{"proto/...", "agent/uplink/...", "controller/...", "internal/cli/...", "internal/condition", "internal/transport", "internal/e2e/...", "internal/chaos/...", "internal/scale/..."}},
}

// A wall stands between two parts even when a third package is between them.
type wall struct {
	part  []string
	never []string
	why   string
	tests bool // the part's tests keep to it too
}

var walls = []wall{
	{[]string{"agent/..."}, []string{"controller/..."}, "only the roof knows both agent and controller", true},
	{[]string{"controller/..."}, []string{"agent/..."}, "only the roof knows both agent and controller", true},
	{[]string{"internal/rescue"}, []string{"agent/...", "controller/...", "proto/..."}, "rescue works when nothing else is left", true},
	{storeys[words].folders, []string{"os/...", "net", "net/http/...", "syscall", "internal/clock"}, "words know no disk, network or clock", false},
	{[]string{"controller/state/..."}, []string{"os/...", "net", "net/http/...", "syscall", "math/rand/...", "crypto/rand", "internal/clock"}, "the state machine is deterministic", false},
}

// pkg is one folder of Go files. Imports of this module are folders, relative
// to its root; other imports are whole paths.
type pkg struct {
	folder      string
	imports     []string // of the files that are not tests
	testImports []string
}

// violation is one import, or one folder, that breaks a rule.
type violation struct{ folder, imports, rule string }

func (v violation) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s", v.folder, v.imports)) + ": " + v.rule
}

// check holds the packages against the rules above.
func check(pkgs []pkg) []violation {
	var found []violation
	reach := reaches(pkgs)
	for _, p := range pkgs {
		mine := storeyOf(p.folder)
		if mine < 0 {
			found = append(found, violation{p.folder, "", "the folder has no storey: give it a place in layering_test.go"})
			continue
		}
		for part := range strings.SplitSeq(p.folder, "/") {
			if slices.Contains(vague, part) {
				found = append(found, violation{p.folder, "", "a vague name: name the folder after what lives in it"})
			}
		}
		for _, imp := range p.imports {
			if rule := breaks(p.folder, mine, imp, false); rule != "" {
				found = append(found, violation{p.folder, imp, rule})
			}
		}
		for _, imp := range p.testImports {
			if rule := breaks(p.folder, mine, imp, true); rule != "" {
				found = append(found, violation{p.folder, imp, rule + " (a test)"})
			}
		}
		found = append(found, walled(p, mine, reach)...)
	}
	return found
}

// breaks returns the rule that one direct import breaks, or "".
func breaks(folder string, mine int, imp string, test bool) string {
	for _, f := range fences {
		if in(imp, f.imports...) {
			if !in(folder, f.within...) {
				return f.thing + " stays in " + strings.Join(f.within, ", ")
			}
			break
		}
	}
	if in(imp, suites...) {
		if test || mine == roof || in(folder, suites...) {
			return ""
		}
		return "a suite for tests is imported by tests only"
	}
	theirs := storeyOf(imp)
	switch {
	case theirs > mine:
		return fmt.Sprintf("%s imports upwards from %s", storeys[mine].name, storeys[theirs].name)
	case mine == adapters && theirs == adapters && adapterOf(folder) != adapterOf(imp):
		return "adapters are strangers to each other"
	}
	return ""
}

// walled returns what p reaches, itself or through others, beyond a wall.
func walled(p pkg, mine int, reach map[string][]string) []violation {
	var found []violation
	far := func(imports []string) []string {
		all := slices.Clone(imports)
		for _, imp := range imports {
			all = append(all, reach[imp]...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	for _, w := range walls {
		if !in(p.folder, w.part...) {
			continue
		}
		imports := p.imports
		if w.tests {
			imports = slices.Concat(p.imports, p.testImports)
		}
		for _, imp := range far(imports) {
			if in(imp, w.never...) && !in(imp, w.part...) {
				found = append(found, violation{p.folder, imp, w.why})
			}
		}
	}
	if all := far(slices.Concat(p.imports, p.testImports)); mine < roof && !in(p.folder, "agent/...", "controller/...") &&
		slices.ContainsFunc(all, func(s string) bool { return in(s, "agent/...") }) &&
		slices.ContainsFunc(all, func(s string) bool { return in(s, "controller/...") }) {
		found = append(found, violation{p.folder, "agent and controller", "only the roof knows both agent and controller"})
	}
	return found
}

// reaches maps each folder to all that its non-test files import, directly or
// through other packages of the module.
func reaches(pkgs []pkg) map[string][]string {
	direct := map[string][]string{}
	for _, p := range pkgs {
		direct[p.folder] = p.imports
	}
	all := map[string][]string{}
	for _, p := range pkgs {
		seen := map[string]bool{}
		for next := slices.Clone(p.imports); len(next) > 0; {
			imp := next[0]
			next = next[1:]
			if !seen[imp] {
				seen[imp] = true
				all[p.folder] = append(all[p.folder], imp)
				next = append(next, direct[imp]...)
			}
		}
	}
	return all
}

// storeyOf returns the lowest storey that lists the folder, or -1.
func storeyOf(folder string) int {
	for i, s := range storeys {
		if in(folder, s.folders...) {
			return i
		}
	}
	return -1
}

// adapterOf returns the folder of the adapter that a package is part of.
func adapterOf(folder string) string {
	parts := strings.SplitN(folder, "/", 4)
	return strings.Join(parts[:min(3, len(parts))], "/")
}

// in reports whether the path matches any of the patterns.
func in(path string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if parent, ok := strings.CutSuffix(pattern, "/*/..."); ok {
			return strings.HasPrefix(path, parent+"/")
		}
		if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
			return path == tree || strings.HasPrefix(path, tree+"/")
		}
		return path == pattern
	})
}

// readTree reads the imports of every Go file below root, whatever its build
// constraints. Nested modules, testdata and hidden folders are not part of it.
func readTree(root string) ([]pkg, error) {
	byFolder := map[string]*pkg{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, noModule := os.Stat(filepath.Join(file, "go.mod"))
			hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata"
			if file != root && (hidden || noModule == nil) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(file) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return fmt.Errorf("read imports of %s: %w", file, err)
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return fmt.Errorf("place %s: %w", file, err)
		}
		folder = filepath.ToSlash(folder)
		if byFolder[folder] == nil {
			byFolder[folder] = &pkg{folder: folder}
		}
		imports := &byFolder[folder].imports
		if strings.HasSuffix(file, "_test.go") {
			imports = &byFolder[folder].testImports
		}
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("read imports of %s: %w", file, err)
			}
			if imp == module {
				imp = "."
			}
			imp = strings.TrimPrefix(imp, module+"/")
			if imp != folder && !slices.Contains(*imports, imp) {
				*imports = append(*imports, imp)
			}
		}
		return nil
	})
	pkgs := make([]pkg, 0, len(byFolder))
	for _, p := range byFolder {
		pkgs = append(pkgs, *p)
	}
	slices.SortFunc(pkgs, func(a, b pkg) int { return strings.Compare(a.folder, b.folder) })
	return pkgs, err
}

// TestLayering holds the real tree against the rules; -v prints the house.
func TestLayering(t *testing.T) {
	pkgs, err := readTree(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 2 {
		t.Fatalf("found %d packages below the root of the module: the reading is broken", len(pkgs))
	}
	for _, v := range check(pkgs) {
		t.Error(v)
	}
	edges := 0
	house := make([][]string, len(storeys))
	for _, p := range pkgs {
		edges += len(p.imports) + len(p.testImports)
		if s := storeyOf(p.folder); s >= 0 {
			house[s] = append(house[s], p.folder)
		}
	}
	for s := roof; s >= ground; s-- {
		t.Logf("%-20s %2d  %s", storeys[s].name, len(house[s]), strings.Join(house[s], " "))
	}
	t.Logf("%d packages, %d imports, %d fences, %d walls", len(pkgs), edges, len(fences), len(walls))
}

// TestLayeringCatches plants one violation of each kind, and neighbours of
// each that are allowed.
func TestLayeringCatches(t *testing.T) {
	const otel = "go.opentelemetry.io/otel"
	tests := []struct {
		name string
		pkgs []pkg
		want string // part of the one violation; "" for none
	}{
		{"a storey up", []pkg{{folder: "internal/ledger", imports: []string{"internal/repo/pack"}}}, "words imports upwards from contracts"},
		{"a storey up, by a test", []pkg{{folder: "internal/problem", testImports: []string{"internal/source"}}}, "(a test)"},
		{"an adapter imports a service", []pkg{{folder: "internal/store/fs", imports: []string{"internal/config"}}}, "imports upwards from platform"},
		{"the roof is below nothing", []pkg{{folder: "internal/cli", imports: []string{"."}}}, "imports upwards from roof"},
		{"down is fine", []pkg{{folder: "agent/backup", imports: []string{"internal/engine", "internal/repo/pack", "internal/clock", "fmt"}}}, ""},
		{"beside is fine", []pkg{{folder: "agent/backup", imports: []string{"agent/uplink"}}}, ""},
		{"an unlisted folder", []pkg{{folder: "internal/strings"}}, "has no storey"},
		{"a vague name", []pkg{{folder: "controller/util"}}, "vague name"},
		{"sibling engines", []pkg{{folder: "internal/engine/mysql", imports: []string{"internal/engine/postgres"}}}, "strangers"},
		{"an engine and a store", []pkg{{folder: "internal/engine/mysql", imports: []string{"internal/store/fs"}}}, "strangers"},
		{"sibling providers", []pkg{{folder: "agent/provider/swarm", imports: []string{"agent/provider/docker"}}}, "strangers"},
		{"within one adapter", []pkg{{folder: "internal/engine/sqlite", imports: []string{"internal/engine/sqlite/online", "internal/engine"}}}, ""},
		{"a suite outside of tests", []pkg{{folder: "agent/backup", imports: []string{"internal/store/mem"}}}, "tests only"},
		{"a suite in a test, from below", []pkg{{folder: "internal/repo/pack", testImports: []string{"internal/store/mem"}}}, ""},
		{"the Docker client elsewhere", []pkg{{folder: "agent/backup", imports: []string{"github.com/docker/docker/client"}}}, "the Docker client stays in"},
		{"the Docker client at home", []pkg{{folder: "agent/provider/docker", imports: []string{"github.com/docker/docker/client"}}}, ""},
		{"Raft in the state", []pkg{{folder: "controller/state", imports: []string{"github.com/hashicorp/raft"}}}, "Raft stays in"},
		{"Raft's store in the roof", []pkg{{folder: ".", imports: []string{"github.com/hashicorp/raft-boltdb/v2"}}}, "Raft stays in"},
		{"shoutrrr elsewhere", []pkg{{folder: "controller", imports: []string{"github.com/nicholas-fedor/shoutrrr/pkg/router"}}}, "shoutrrr stays in"},
		{"shoutrrr at home", []pkg{{folder: "controller/notify", imports: []string{"github.com/nicholas-fedor/shoutrrr/pkg/router"}}}, ""},
		{"an S3 SDK elsewhere", []pkg{{folder: "internal/store/gcs", imports: []string{"github.com/aws/aws-sdk-go-v2/aws"}}}, "S3 SDK stays in"},
		{"a GCS SDK elsewhere", []pkg{{folder: "internal/store/s3", imports: []string{"cloud.google.com/go/storage"}}}, "Google Cloud SDK stays in"},
		{"an Azure SDK elsewhere", []pkg{{folder: "internal/store/s3", imports: []string{"github.com/Azure/azure-sdk-for-go/sdk/azcore"}}}, "Azure SDK stays in"},
		{"SQLite elsewhere", []pkg{{folder: "controller/state", imports: []string{"modernc.org/sqlite"}}}, "embedded SQLite stays in"},
		{"the otel SDK elsewhere", []pkg{{folder: "agent", imports: []string{otel + "/sdk/trace"}}}, "SDK and exporters stays in"},
		{"the otel API in a service", []pkg{{folder: "agent", imports: []string{otel, otel + "/trace", otel + "/attribute"}}}, ""},
		{"the otel API in a word", []pkg{{folder: "internal/run", imports: []string{otel + "/trace"}}}, "OpenTelemetry's API stays in"},
		{"otelgrpc elsewhere", []pkg{{folder: "agent", imports: []string{"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"}}}, "gRPC handlers stays in"},
		{"proto elsewhere", []pkg{{folder: "agent/backup", imports: []string{"proto/baktainer/v1"}}}, "the generated proto stays in"},
		{"proto at the wire's ends", []pkg{{folder: "agent/uplink", imports: []string{"proto/baktainer/v1"}}, {folder: "controller/api", imports: []string{"proto/baktainer/v1"}}}, ""},
		{"the agent imports the controller", []pkg{{folder: "agent/uplink", imports: []string{"controller/api"}}}, "only the roof"},
		{"a test of the controller imports the agent", []pkg{{folder: "controller/ingest", testImports: []string{"agent/backup"}}}, "only the roof"},
		{"both below the roof", []pkg{{folder: "internal/cli", imports: []string{"agent", "controller"}}}, "only the roof"},
		{"both in the roof", []pkg{{folder: ".", imports: []string{"agent", "controller", "internal/cli"}}}, ""},
		{"rescue reaches proto through another", []pkg{{folder: "internal/rescue", imports: []string{"internal/transport"}}, {folder: "internal/transport", imports: []string{"proto/baktainer/v1"}}}, "nothing else is left"},
		{"rescue imports the agent", []pkg{{folder: "internal/rescue", imports: []string{"agent/restore"}}}, "nothing else is left"},
		{"a word reads a file", []pkg{{folder: "internal/label", imports: []string{"os"}}}, "no disk"},
		{"a word's test reads a file", []pkg{{folder: "internal/label", testImports: []string{"os"}}}, ""},
		{"chance in the state machine", []pkg{{folder: "controller/state", imports: []string{"math/rand/v2"}}}, "deterministic"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := check(tt.pkgs)
			switch {
			case tt.want == "" && len(found) > 0:
				t.Errorf("found %v, want nothing", found)
			case tt.want != "" && (len(found) != 1 || !strings.Contains(found[0].String(), tt.want)):
				t.Errorf("found %v, want one violation with %q", found, tt.want)
			}
		})
	}
}
