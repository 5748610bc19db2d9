package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
)

// fakeEngine recognises images that contain its name.
type fakeEngine struct {
	name       string
	aliases    []string
	complaints []engine.Complaint
}

func (e fakeEngine) Name() string                                       { return e.name }
func (e fakeEngine) Aliases() []string                                  { return e.aliases }
func (e fakeEngine) Detect(f engine.Facts) bool                         { return strings.Contains(f.Image, e.name) }
func (e fakeEngine) Check(source.Spec, engine.Facts) []engine.Complaint { return e.complaints }
func (e fakeEngine) Blank(engine.Facts, source.Spec, source.Secret) engine.Blank {
	return engine.Blank{}
}
func (e fakeEngine) Open(context.Context, engine.Instance, source.Spec) (engine.Session, error) {
	return nil, nil
}

var engines = []engine.Engine{
	fakeEngine{name: "postgres", aliases: []string{"postgresql"}},
	fakeEngine{name: "mysql"},
	fakeEngine{name: "strict", complaints: []engine.Complaint{
		{Label: "baktainer.db.name", Reason: "it is not a path", Suggestion: "give a path"},
		{Label: "baktainer.db.password", Reason: "it is too weak"},
	}},
}

func container(name, image string, labels ...string) provider.Container {
	c := provider.Container{ID: "id-" + name, Name: name, Labels: map[string]string{}, Facts: engine.Facts{Image: image, Running: true}}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		if !strings.HasPrefix(k, "com.") {
			k = "baktainer." + k
		}
		c.Labels[k] = v
	}
	return c
}

func stopped(c provider.Container) provider.Container {
	c.Facts.Running = false
	return c
}

func TestResolve(t *testing.T) {
	tests := map[string]struct {
		containers []provider.Container
		want       []string // "name state engine", and for each problem " | label=value: words"
	}{
		"one label":      {[]provider.Container{container("db", "postgres:16", "backup=true")}, []string{"db ready postgres"}},
		"not asked":      {[]provider.Container{container("db", "postgres:16", "backup=false"), container("x", "postgres")}, nil},
		"stopped":        {[]provider.Container{stopped(container("db", "postgres:16", "backup=true"))}, []string{"db stopped postgres"}},
		"by alias":       {[]provider.Container{container("db", "own", "backup=true", "db.engine=postgresql")}, []string{"db ready postgres"}},
		"label wins":     {[]provider.Container{container("db", "mysql", "backup=true", "db.engine=postgres")}, []string{"db ready postgres"}},
		"none":           {[]provider.Container{container("db", "nginx", "backup=true")}, []string{"db invalid - | db.engine=: postgres, mysql, strict"}},
		"ambiguous":      {[]provider.Container{container("db", "postgres-to-mysql", "backup=true")}, []string{"db invalid - | db.engine=: one of postgres, mysql"}},
		"unknown engine": {[]provider.Container{container("db", "x", "backup=true", "db.engine=mysqll")}, []string{"db invalid - | db.engine=mysqll: did you mean mysql?"}},
		"warning":        {[]provider.Container{container("db", "x", "backup=true", "db.engine=posgres")}, []string{"db ready postgres | db.engine=posgres: write postgres"}},
		"complaints": {[]provider.Container{container("db", "strict", "backup=true", "db.name=x", "db.password=hunter2")},
			[]string{"db invalid strict | db.name=x: not a path | db.password=[hidden]: too weak"}},
		"one cause, one problem": {[]provider.Container{container("db", "strict", "backup=true", "db.name=-x")},
			[]string{"db invalid strict | db.name=-x: begins with | db.password=: too weak"}},
		"not known to the engine": {[]provider.Container{container("db", "mysql", "backup=true", "dump.exclude_tables=log", "dump.args=--host=x --user=y")},
			[]string{"db invalid mysql | dump.exclude_tables=log: backed up whole | dump.args=--host=x --user=y: given no further arguments"}},
		"named": {[]provider.Container{container("db", "mysql", "backup=true", "name=web/shop", "com.docker.compose.project=p", "com.docker.compose.service=s")},
			[]string{"web/shop ready mysql"}},
		"compose": {[]provider.Container{container("p-s-1", "mysql", "backup=true", "com.docker.compose.project=p", "com.docker.compose.service=s")},
			[]string{"p/s ready mysql"}},
		"compose run": {[]provider.Container{
			container("p-s-1", "mysql", "backup=true", "com.docker.compose.project=p", "com.docker.compose.service=s", "com.docker.compose.oneoff=False"),
			container("p-s-run-1", "mysql", "backup=true", "com.docker.compose.project=p", "com.docker.compose.service=s", "com.docker.compose.oneoff=True"),
		}, []string{"p/s ready mysql"}},
		"swarm":       {[]provider.Container{container("s.1.x", "mysql", "backup=true", "com.docker.swarm.service.name=stack_db")}, []string{"stack_db ready mysql"}},
		"our helpers": {[]provider.Container{container("h", "mysql", "backup=true", "helper=1")}, nil},
		"unusable name": {[]provider.Container{container("db", "mysql", "backup=true", "com.docker.compose.project=p", "com.docker.compose.service=-s")},
			[]string{"db invalid mysql | name=p/-s: set baktainer.name"}},
		"bad name label": {[]provider.Container{container("db", "mysql", "backup=true", "name=a b")}, []string{"db invalid mysql | name=a b: letters"}},
		"clash": {[]provider.Container{container("b", "mysql", "backup=true", "name=x"), container("a", "mysql", "backup=true", "name=x"), container("c", "mysql", "backup=true")},
			[]string{"c ready mysql", "x invalid mysql | name=x: claimed by container b;", "x invalid mysql | name=x: claimed by container a;"}},
		"a stopped one gives way": {[]provider.Container{stopped(container("a", "mysql", "backup=true", "name=x")), container("b", "mysql", "backup=true", "name=x")},
			[]string{"x ready mysql"}},
		"of stopped ones the first is shown": {[]provider.Container{stopped(container("b", "mysql", "backup=true", "name=x")), stopped(container("a", "mysql", "backup=true", "name=x"))},
			[]string{"x stopped mysql"}},
		"sorted": {[]provider.Container{container("b", "mysql", "backup=true"), container("a", "mysql", "backup=true")}, []string{"a ready mysql", "b ready mysql"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Resolve(tt.containers, engines)
			if len(got) != len(tt.want) {
				t.Fatalf("got %d sources, want %d: %+v", len(got), len(tt.want), got)
			}
			for i, s := range got {
				check(t, s, tt.want[i])
			}
		})
	}
}

func check(t *testing.T, s Source, want string) {
	t.Helper()
	wants := strings.Split(want, " | ")
	name := "-"
	if s.Engine != nil {
		name = s.Engine.Name()
		if s.Spec.Engine != name || s.Spec.Name != s.Name {
			t.Errorf("the spec %+v does not name source and engine", s.Spec)
		}
	}
	if got := fmt.Sprintf("%s %s %s", s.Name, s.State, name); got != wants[0] {
		t.Errorf("got %q, want %q", got, wants[0])
	}
	if len(s.Problems) != len(wants)-1 {
		t.Fatalf("got problems %v, want %q", s.Problems, wants[1:])
	}
	for i, p := range s.Problems {
		head, words, _ := strings.Cut(wants[i+1], ": ")
		if got := strings.TrimPrefix(p.Label, "baktainer.") + "=" + p.Value; got != head || !strings.Contains(p.Reason+"; "+p.Suggestion, words) {
			t.Errorf("got problem %v, want %q", p, wants[i+1])
		}
	}
}

func TestFindUnlabelled(t *testing.T) {
	oneOff := container("one-off", "postgres:16")
	oneOff.Labels = map[string]string{"com.docker.compose.oneoff": "True"}
	got := FindUnlabelled([]provider.Container{
		container("shop", "postgres:16"),
		container("labelled", "postgres:16", "backup=true"),
		container("left-out", "postgres:16", "backup=false"),
		container("mistyped", "postgres:16", "backp=true"),
		stopped(container("stopped", "postgres:16")),
		container("web", "nginx"),
		oneOff,
		container("orders", "registry.example.com/mysql:8"),
	}, engines)
	var words []string
	for _, u := range got {
		words = append(words, u.Container.Name+" "+u.Engine)
	}
	if want := []string{"shop postgres", "orders mysql"}; !slices.Equal(words, want) {
		t.Errorf("got %q, want %q", words, want)
	}
}

func TestClashNamesFewOthers(t *testing.T) {
	var cs []provider.Container
	for i := range 6 {
		cs = append(cs, container(fmt.Sprintf("c%d", i), "mysql", "backup=true", "name=x"))
	}
	got := Resolve(cs, engines)
	if !slices.ContainsFunc(got, func(s Source) bool { return strings.Contains(s.Problems[0].Reason, "c1, c2, c3 and 2 more") }) {
		t.Errorf("got %v", got[0].Problems)
	}
}
