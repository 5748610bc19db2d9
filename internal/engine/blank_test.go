package engine_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
)

func TestLike(t *testing.T) {
	vars := engine.Variables{User: []string{"DB_USER"}, Password: []string{"DB_PASSWORD", "DB_PASS"}, Database: []string{"DB_NAME"}}
	for name, tc := range map[string]struct {
		facts engine.Facts
		env   map[string]string
		args  []string
		notes int
	}{
		"nothing known": {env: map[string]string{}},
		"as it is": {
			facts: engine.Facts{Env: map[string]string{"PATH": "/bin", "DB_USER": "app", "DB_NAME": "shop", "LANG": "C"}, Args: []string{"entry", "server"}},
			env:   map[string]string{"PATH": "/bin", "DB_USER": "app", "DB_NAME": "shop", "LANG": "C"}, args: []string{"entry", "server"},
		},
		"password": {
			facts: engine.Facts{Env: map[string]string{"DB_PASS": "of the source", "OTHER_PASSWORD": "kept"}},
			env:   map[string]string{"DB_PASS": "new", "OTHER_PASSWORD": "kept"},
		},
		"files": {
			facts: engine.Facts{Env: map[string]string{"DB_PASSWORD_FILE": "/run/secrets/p", "DB_USER_FILE": "/run/secrets/u", "DB_NAME_FILE": "/run/secrets/n", "TLS_FILE": "/x"}},
			env:   map[string]string{"DB_PASSWORD": "new", "DB_USER": "drill", "TLS_FILE": "/x"},
		},
		"a command that needs a volume": {
			facts: engine.Facts{Args: []string{"entry", "--config=/etc/db/my.conf"}, Mounts: []string{"/data", "/etc/db/"}},
			env:   map[string]string{}, notes: 1,
		},
		"a command that only looks so": {
			facts: engine.Facts{Args: []string{"entry", "--config=/database/my.conf"}, Mounts: []string{"/data", "/"}},
			env:   map[string]string{}, args: []string{"entry", "--config=/database/my.conf"},
		},
	} {
		before := maps.Clone(tc.facts.Env)
		b := engine.Like(tc.facts, source.Spec{Name: "x", Database: "shop", User: "u", Password: "p", PasswordFile: "f", PasswordEnv: "e"}, vars, "new")
		if !maps.Equal(b.Env, tc.env) || !slices.Equal(b.Args, tc.args) || len(b.Notes) != tc.notes {
			t.Errorf("%s: %v %q %q", name, b.Env, b.Args, b.Notes)
		}
		if s := b.Spec; s.User != "" || s.Password != "" || s.PasswordFile != "" || s.PasswordEnv != "" || s.Database != "shop" {
			t.Errorf("%s: it is opened with %+v", name, s)
		}
		if !maps.Equal(before, tc.facts.Env) {
			t.Errorf("%s: the facts were changed", name)
		}
	}
}
