package label

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/source"
)

var testSchema = Schema{Engines: map[string]string{
	"postgres": "postgres", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql",
	"mongodb": "mongodb", "mongo": "mongodb", "sqlite": "sqlite", "redis": "redis", "etcd": "etcd", "custom": "custom",
	"influxdb": "influxdb", "victoriametrics": "victoriametrics",
}}

func labels(pairs ...string) map[string]string {
	m := map[string]string{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		m[Prefix+k] = v
	}
	return m
}

func TestParse(t *testing.T) {
	tests := map[string]struct {
		labels  map[string]string
		spec    source.Spec
		enabled bool
	}{
		"no labels":             {labels: nil},
		"one label":             {labels: labels("backup=true"), enabled: true},
		"YAML's True":           {labels: labels("backup=True"), enabled: true},
		"switched off":          {labels: labels("backup=false", "db.engine=postgres"), spec: source.Spec{Engine: "postgres"}},
		"labels but no consent": {labels: labels("db.engine=postgres"), spec: source.Spec{Engine: "postgres"}},
		"others' labels":        {labels: map[string]string{"traefik.enable": "true"}},
		"all of the legacy ones": {
			labels: labels("backup=true", "db.engine=MySQL", "db.name=shop", "db.user=root", "db.password=--p'$(x)", "db.all=true", "name=web/shop", "compress=false"),
			spec: source.Spec{Name: "web/shop", Engine: "mysql", Database: "shop", User: "root", Password: "--p'$(x)",
				AllDatabases: true, Compress: source.CompressOff},
			enabled: true,
		},
		"alias":            {labels: labels("backup=true", "db.engine=postgresql"), spec: source.Spec{Engine: "postgres"}, enabled: true},
		"policy":           {labels: labels("backup=true", "retention=daily=7,weekly=4"), spec: source.Spec{Retention: "daily=7,weekly=4"}, enabled: true},
		"name of a policy": {labels: labels("backup=true", "retention=gold"), spec: source.Spec{Retention: "gold"}, enabled: true},
		"days":             {labels: labels("backup=true", "backup.retention.days=30"), spec: source.Spec{Retention: "within=30d"}, enabled: true},
		"days and count":   {labels: labels("backup=true", "backup.retention.days=7", "backup.retention.count=3"), spec: source.Spec{Retention: "within=7d last=3"}, enabled: true},
		"neither":          {labels: labels("backup=true", "backup.retention.days=0", "backup.retention.count=0"), enabled: true},
		"password file":    {labels: labels("backup=true", "db.password_file=/run/secrets/db"), spec: source.Spec{PasswordFile: "/run/secrets/db"}, enabled: true},
		"password env":     {labels: labels("backup=true", "db.password_env=DB_PW"), spec: source.Spec{PasswordEnv: "DB_PW"}, enabled: true},
		"compress":         {labels: labels("backup=true", "compress=better"), spec: source.Spec{Compress: source.CompressBetter}, enabled: true},
		"compress true":    {labels: labels("backup=true", "compress=true"), spec: source.Spec{Compress: source.CompressDefault}, enabled: true},
		"legal if odd":     {labels: labels("backup=true", "db.name=a=b c'd\"e;f$g"), spec: source.Spec{Database: "a=b c'd\"e;f$g"}, enabled: true},
		"custom": {
			labels:  labels("backup=true", "db.engine=custom", `command=sh -c 'a | b' "c d"`, "restore_command=restore -"),
			spec:    source.Spec{Engine: "custom", Command: []string{"sh", "-c", "a | b", "c d"}, RestoreCommand: []string{"restore", "-"}},
			enabled: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec, enabled, problems := testSchema.Parse(tt.labels)
			if !reflect.DeepEqual(spec, tt.spec) || enabled != tt.enabled || len(problems) != 0 {
				t.Errorf("got %+v, %t, %v; want %+v, %t", spec, enabled, problems, tt.spec, tt.enabled)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	tests := map[string]struct {
		labels map[string]string
		want   []string // "error|warning label=value", then words that must occur
	}{
		"misspelt engine":       {labels("backup=true", "db.engine=postgers"), []string{"error db.engine=postgers; did you mean postgres?"}},
		"published misspelling": {labels("backup=true", "db.engine=posgres"), []string{"warning db.engine=posgres; write postgres"}},
		"no such engine":        {labels("backup=true", "db.engine=oracle"), []string{"error db.engine=oracle; custom, etcd, influxdb, mongodb, mysql, postgres"}},
		"misspelt key":          {labels("backup=true", "db.nmae=shop"), []string{"error db.nmae=[hidden]; did you mean baktainer.db.name?"}},
		"misspelt secret":       {labels("backup=true", "db.pasword=hunter2"), []string{"error db.pasword=[hidden]; did you mean baktainer.db.password?"}},
		"wrong place":           {labels("backup=true", "password=hunter2"), []string{"error password=[hidden]; did you mean baktainer.db.password?"}},
		"cut short":             {labels("backup=true", "db.pass=x"), []string{"error db.pass=[hidden]; did you mean baktainer.db.password?"}},
		"drawn out":             {labels("backup=true", "db.username=x"), []string{"error db.username=[hidden]; did you mean baktainer.db.user?"}},
		"other separator":       {labels("backup=true", "db.password-file=/x"), []string{"error db.password-file=[hidden]; did you mean baktainer.db.password_file?"}},
		"unknown":               {labels("backup=true", "shadow.window=x"), []string{"warning shadow.window=[hidden]; there is no such label"}},
		"misspelt consent":      {labels("bakcup=true"), []string{"error bakcup=[hidden]; did you mean baktainer.backup?"}},
		"consent to what?":      {labels("backup=ture"), []string{"error backup=ture; write true or false"}},
		"empty":                 {labels("backup=true", "db.password="), []string{"error db.password=[hidden]; it is empty"}},
		"overlong secret":       {labels("backup=true", "db.password="+strings.Repeat("x", 5000)), []string{"error db.password=[hidden]; 5000 bytes"}},
		"option":                {labels("backup=true", "db.name=--host=evil"), []string{"error db.name=--host=evil; takes it for an option|take it for an option"}},
		"relative path":         {labels("backup=true", "db.password_file=secret"), []string{"error db.password_file=secret; begin with /"}},
		"path with dots":        {labels("backup=true", "db.password_file=/a/../b"), []string{"error db.password_file=/a/../b; write /b"}},
		"two passwords":         {labels("backup=true", "db.password=x", "db.password_env=Y"), []string{"error db.password_env=Y; already given by baktainer.db.password"}},
		"pipe":                  {labels("backup=true", "db.engine=custom", "command=a | b"), []string{"error command=a | b; sh -c 'a | b'"}},
		"variable":              {labels("backup=true", "db.engine=custom", `command=a "$B"`), []string{`error command=a "$B"; only a shell`}},
		"assignment":            {labels("backup=true", "db.engine=custom", "command=A=b c"), []string{"error command=A=b c; write env A=b"}},
		"open quote":            {labels("backup=true", "db.engine=custom", "command=a 'b"), []string{"error command=a 'b; not closed"}},
		"command, no engine":    {labels("backup=true", "command=a"), []string{"error command=a; add baktainer.db.engine=custom"}},
		"command, other engine": {labels("backup=true", "db.engine=mysql", "command=a"), []string{"warning command=a; the engine is mysql"}},
		"no effect": {labels("backup=true", "backup.encrypt=x"), []string{
			"warning backup.encrypt=x; neither true nor false",
			"warning backup.encrypt=x; encryption is always on",
		}},
		"no policy": {labels("backup=true", "backup.retention.days=x", "backup.retention.count=10001", "retention=daily=7 dayly=1"), []string{
			"warning backup.retention.days=x; whole number",
			"warning backup.retention.count=10001; every snapshot is kept",
			"warning retention=daily=7 dayly=1; there is no rule \"dayly\"",
			"warning backup.retention.days=x; no effect beside baktainer.retention",
			"warning backup.retention.count=10001; no effect beside baktainer.retention",
		}},
		"all at once": {labels("backup=true", "name=a b", "db.engine=x", "compress=bettr", "db.user=-u"), []string{
			"error name=a b; letters", "error db.engine=x; no such", "error db.user=-u; begins with", "error compress=bettr; did you mean better?",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, enabled, problems := testSchema.Parse(tt.labels)
			if !enabled {
				t.Error("not enabled")
			}
			if len(problems) != len(tt.want) {
				t.Fatalf("got %d problems, want %d: %v", len(problems), len(tt.want), problems)
			}
			for i, p := range problems {
				grade := "error"
				if p.Warning {
					grade = "warning"
				}
				head, words, _ := strings.Cut(tt.want[i], "; ")
				got := fmt.Sprintf("%s %s=%s", grade, short(p.Label), p.Value)
				if got != head || !containsAny(p.Reason+"; "+p.Suggestion, strings.Split(words, "|")) {
					t.Errorf("got %s; %s; %s, want %s", got, p.Reason, p.Suggestion, tt.want[i])
				}
			}
		})
	}
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

func TestSplit(t *testing.T) {
	tests := map[string][]string{
		`a b  c`:              {"a", "b", "c"},
		"a\tb":                {"a", "b"},
		`a 'b c' d`:           {"a", "b c", "d"},
		`a "b c" d`:           {"a", "b c", "d"},
		`a b\ c`:              {"a", "b c"},
		`a ''`:                {"a", ""},
		`a "" b`:              {"a", "", "b"},
		`a'b'"c"d`:            {"abcd"},
		`a '$x' "\$x" \$x`:    {"a", "$x", "$x", "$x"},
		`a "\"\\\n"`:          {"a", `"\\n`},
		`a '\'`:               {"a", `\`},
		`a x~y x#y`:           {"a", "x~y", "x#y"},
		`sh -c 'a | b > "c"'`: {"sh", "-c", `a | b > "c"`},
		`a --x={1,2} ü`:       {"a", "--x={1,2}", "ü"},
	}
	for command, want := range tests {
		got, f := split(command)
		if f != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("split(%s) = %q, %v; want %q", command, got, f, want)
		}
	}
	for _, command := range []string{``, ` `, `''`, `a |b`, `a;b`, `a&`, `a>b`, `a<b`, `(a)`, `a $x`, "a `b`", `a *`, `a ?`, `a [b]`, `~/a`, `a #b`,
		`a "b`, `a 'b`, `a \`, `-a`, `'-a'`, `A=b c`, `a "$b"`, "a \"`b`\"", strings.Repeat("a ", maxWords+1)} {
		if got, f := split(command); f == nil {
			t.Errorf("split(%s) = %q, want a problem", command, got)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	m := labels("backup=true")
	for i := range 1000 {
		m[fmt.Sprintf("%sunheard.of.%d", Prefix, i)] = "x"
	}
	_, _, problems := testSchema.Parse(m)
	if len(problems) != MaxProblems {
		t.Errorf("got %d problems", len(problems))
	}
	if last := problems[len(problems)-1]; last.Reason != "there are 937 more problems" || !last.Warning {
		t.Errorf("the last problem is %v", last)
	}
}

func TestConcerns(t *testing.T) {
	for key, want := range map[string]bool{
		"baktainer.backup": true, "Baktainer.Backup": true, "baktainer_backup": true, "baktianer.backup": true,
		"traefik.enable": false, "backup": false, "": false,
	} {
		if got := Concerns(map[string]string{key: "true"}); got != want {
			t.Errorf("Concerns(%q) = %t", key, got)
		}
	}
}

func TestAsks(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "TRUE": true, "1": true, "yes": true, "false": false, "": false, "maybe": false} {
		if got := Asks(map[string]string{keyBackup: value}); got != want {
			t.Errorf("Asks with %q = %t, want %t", value, got, want)
		}
	}
	if Asks(nil) {
		t.Error("a container without labels asks")
	}
}
