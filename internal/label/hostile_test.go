package label

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/baktainer/baktainer/internal/source"
)

// hostileValues reads the corpus and adds values too long to be written down.
func hostileValues(t testing.TB) []string {
	t.Helper()
	f, err := os.Open("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var vs []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		vs = append(vs, v)
	}
	for _, n := range []int{129, 257, 4097, 16<<10 + 1} {
		vs = append(vs, strings.Repeat("a", n), "/"+strings.Repeat("a", n), strings.Repeat("a ", n), strings.Repeat("'", n))
	}
	return vs
}

// field is what a label put into the spec, as text.
func field(key string, s source.Spec) string {
	switch short(key) {
	case "name":
		return s.Name
	case "db.engine":
		return s.Engine
	case "db.name":
		return s.Database
	case "db.user":
		return s.User
	case "db.password":
		return s.Password.Reveal()
	case "db.password_file":
		return s.PasswordFile
	case "db.password_env":
		return s.PasswordEnv
	case "compress":
		return string(s.Compress)
	}
	return ""
}

func TestHostileValues(t *testing.T) {
	values := hostileValues(t)
	if len(values) < 200 {
		t.Fatalf("the corpus has %d values", len(values))
	}
	for _, l := range schema {
		refused := 0
		for _, v := range values {
			if checkHostile(t, l, v) {
				refused++
			}
		}
		t.Logf("%-35s refused %d of %d", l.Key, refused, len(values))
	}
}

// checkHostile holds one label with one value against the rule: what comes out
// is refused, or is exactly what went in.
func checkHostile(t *testing.T, l Label, v string) (refused bool) {
	t.Helper()
	labels := map[string]string{keyBackup: "true", l.Key: v}
	if l.Kind == Command {
		labels[keyEngine] = "custom"
	}
	spec, enabled, problems := testSchema.Parse(labels)
	for _, p := range problems {
		if p.Label == l.Key && !p.Warning {
			refused = true
		}
		if !isPrintable(p.String()) {
			t.Errorf("%s=%q: the problem is not fit to be shown: %q", l.Key, v, p.String())
		}
		if l.Secret && p.Value != hidden {
			t.Errorf("%s=%q: the problem shows a secret: %q", l.Key, v, p.String())
		}
	}
	if l.Key != keyBackup && !enabled {
		t.Errorf("%s=%q: not enabled", l.Key, v)
	}

	want := source.Spec{}
	if l.Kind == Command {
		want.Engine = "custom"
	}
	got := spec
	text := field(l.Key, spec)
	switch l.Kind {
	case Name, Database, User, Password, Path, Variable:
		if refused && text != "" || !refused && text != v {
			t.Errorf("%s=%q: refused %t, and the spec says %q", l.Key, v, refused, text)
		}
	case Engine:
		if text != "" && testSchema.Engines[strings.ToLower(v)] != text && misspelt[strings.ToLower(v)] != text {
			t.Errorf("%s=%q: the spec says %q", l.Key, v, text)
		}
	case Choice:
		if text != "" && !slices.Contains(l.Allowed, text) {
			t.Errorf("%s=%q: the spec says %q", l.Key, v, text)
		}
	case Command:
		argv := slices.Concat(spec.Command, spec.RestoreCommand, spec.Hooks.Before, spec.Hooks.After)
		if refused && argv != nil {
			t.Errorf("%s=%q: refused, and the spec says %q", l.Key, v, argv)
		}
		if !refused {
			checkArgv(t, v, argv)
		}
		got.Command, got.RestoreCommand = nil, nil
	}
	// Nothing else is touched.
	switch short(l.Key) {
	case "name":
		got.Name = ""
	case "db.engine":
		got.Engine = ""
	case "db.name":
		got.Database = ""
	case "db.user":
		got.User = ""
	case "db.password":
		got.Password = ""
	case "db.password_file":
		got.PasswordFile = ""
	case "db.password_env":
		got.PasswordEnv = ""
	case "db.all":
		got.AllDatabases = false
	case "compress":
		got.Compress = ""
	}
	if !same(got, want) {
		t.Errorf("%s=%q: the spec has more than that: %#v", l.Key, v, got)
	}
	return refused
}

func same(a, b source.Spec) bool {
	return a.Name == b.Name && a.Engine == b.Engine && a.Database == b.Database && a.AllDatabases == b.AllDatabases &&
		a.User == b.User && a.Password == b.Password && a.PasswordFile == b.PasswordFile && a.PasswordEnv == b.PasswordEnv &&
		a.Compress == b.Compress && slices.Equal(a.Command, b.Command) && slices.Equal(a.RestoreCommand, b.RestoreCommand)
}

// checkArgv holds words against the command they came from by means other than
// the splitter's: without quotes they are its fields and nothing that a shell
// would act on; with quotes, the same words quoted anew give the same words.
func checkArgv(t testing.TB, command string, argv []string) {
	t.Helper()
	if len(argv) == 0 || argv[0] == "" || strings.HasPrefix(argv[0], "-") {
		t.Errorf("%q names no program: %q", command, argv)
	}
	if !strings.ContainsAny(command, `'"\`) {
		if strings.ContainsAny(command, "|&;<>()$`*?[") {
			t.Errorf("%q is for a shell, and was split into %q", command, argv)
		}
		fields := strings.FieldsFunc(command, func(r rune) bool { return r == ' ' || r == '\t' })
		if !slices.Equal(argv, fields) {
			t.Errorf("%q was split into %q", command, argv)
		}
	}
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	again, f := split(strings.Join(quoted, " "))
	if f != nil || !slices.Equal(again, argv) {
		t.Errorf("%q was split into %q, and that into %q (%v)", command, argv, again, f)
	}
}

// isPrintable says whether s may be written to a terminal or a log as it is.
func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

func TestHostileKeys(t *testing.T) {
	for _, v := range hostileValues(t) {
		labels := map[string]string{keyBackup: "true", Prefix + v: "hunter2", v: "hunter2"}
		_, _, problems := testSchema.Parse(labels)
		if _, known := lookUp(Prefix + v); !known && len(problems) == 0 {
			t.Errorf("the label %q is ignored silently", Prefix+v)
		}
		for _, p := range problems {
			if !isPrintable(p.Label) || len(p.Label) > 10*maxShown {
				t.Errorf("the label %q is shown as %q", v, p.Label)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range hostileValues(f) {
		if len(v) < 5000 {
			f.Add("db.name", v)
			f.Add(v, "true")
		}
	}
	for _, l := range schema {
		f.Add(short(l.Key), l.Example)
	}
	f.Fuzz(func(t *testing.T, key, v string) {
		spec, _, problems := testSchema.Parse(map[string]string{keyBackup: "true", Prefix + key: v})
		l, known := lookUp(Prefix + key)
		switch {
		case known && l.Key != keyBackup && l.Kind != Command:
			checkHostile(t, l, v)
		case !known && len(problems) == 0:
			t.Errorf("the label %q is ignored silently", key)
		case !known && !same(spec, source.Spec{}):
			t.Errorf("the label %q is unknown and gave %#v", key, spec)
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, v := range hostileValues(f) {
		if len(v) < 5000 {
			f.Add(v)
		}
	}
	f.Fuzz(func(t *testing.T, command string) {
		if wellFormed(command, false) != nil {
			return
		}
		if argv, fault := split(command); fault == nil {
			checkArgv(t, command, argv)
		}
	})
}
