package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

var variables = engine.Variables{
	User: []string{"NEW_USER", "OLD_USER"}, Password: []string{"NEW_PASSWORD", "OLD_PASSWORD"}, Database: []string{"NEW_DB"},
}

func TestResolveCredentials(t *testing.T) {
	files := map[string]string{"/run/secrets/pw": "from the file\r\n\n", "/run/secrets/user": "filed user\n", "/zero": "a\x00b", "/large": strings.Repeat("x", engine.SecretFileLimit+1)}
	for name, tc := range map[string]struct {
		env    map[string]string
		spec   source.Spec
		want   string // user, database, password, found, from
		reason problem.Reason
	}{
		"nothing":              {want: `"" "" "" false ""`},
		"label first":          {env: map[string]string{"NEW_PASSWORD": "env"}, spec: source.Spec{Password: "label", PasswordFile: "/run/secrets/pw"}, want: `"" "" "label" true "label baktainer.db.password"`},
		"label file":           {env: map[string]string{"NEW_PASSWORD": "env"}, spec: source.Spec{PasswordFile: "/run/secrets/pw"}, want: `"" "" "from the file" true "file /run/secrets/pw"`},
		"label env":            {env: map[string]string{"MINE": "mine", "NEW_PASSWORD": "env"}, spec: source.Spec{PasswordEnv: "MINE"}, want: `"" "" "mine" true "variable MINE"`},
		"label env, empty":     {env: map[string]string{"MINE": ""}, spec: source.Spec{PasswordEnv: "MINE"}, want: `"" "" "" true "variable MINE"`},
		"variables in order":   {env: map[string]string{"OLD_PASSWORD": "old", "NEW_PASSWORD": "new", "OLD_USER": "u", "NEW_DB": "d"}, want: `"u" "d" "new" true "variable NEW_PASSWORD"`},
		"variable's file":      {env: map[string]string{"OLD_PASSWORD_FILE": "/run/secrets/pw", "NEW_USER_FILE": "/run/secrets/user"}, want: `"filed user" "" "from the file" true "file /run/secrets/pw (OLD_PASSWORD_FILE)"`},
		"variable's file gone": {env: map[string]string{"NEW_PASSWORD_FILE": "/nowhere", "OLD_PASSWORD": "old"}, want: `"" "" "old" true "variable OLD_PASSWORD"`},
		"label's user":         {env: map[string]string{"NEW_USER": "u"}, spec: source.Spec{User: "me", Database: "mine"}, want: `"me" "mine" "" false ""`},
		"label file gone":      {spec: source.Spec{PasswordFile: "/nowhere"}, reason: engine.ReasonNoCredentials},
		"label file large":     {spec: source.Spec{PasswordFile: "/large"}, reason: engine.ReasonNoCredentials},
		"label env gone":       {spec: source.Spec{PasswordEnv: "NOWHERE"}, reason: engine.ReasonNoCredentials},
		"zero byte":            {spec: source.Spec{PasswordFile: "/zero"}, reason: engine.ReasonNoCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			inst := enginetest.NewScript(engine.Facts{Env: tc.env})
			for path, content := range files {
				inst.File(path, content)
			}
			c, err := engine.ResolveCredentials(t.Context(), inst, tc.spec, variables)
			if tc.reason != "" {
				if problem.ReasonOf(err) != tc.reason {
					t.Fatalf("%v, want reason %s", err, tc.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%q %q %q %v %q", c.User, c.Database, c.Password.Reveal(), c.Found, c.From); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestNoCredentialsTellsWhatWasTried(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{Env: map[string]string{"OLD_PASSWORD_FILE": "/nowhere"}})
	c, err := engine.ResolveCredentials(context.Background(), inst, source.Spec{}, variables)
	if err != nil || c.Found {
		t.Fatal(c, err)
	}
	text := problem.Text(engine.NoCredentials(c, variables))
	for _, want := range []string{"NEW_PASSWORD", "OLD_PASSWORD_FILE: /nowhere", "baktainer.db.password_file"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}
