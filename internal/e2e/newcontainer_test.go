package e2e

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// madeOf is the container that a restore has made, with the variables that it has.
func madeOf(t testing.TB, like *container, name string) *container {
	t.Helper()
	made := *like
	made.id, made.name, made.env = name, name, maps.Clone(like.env)
	var env []string
	if err := json.Unmarshal([]byte(must(t, command(t, nil, nil, "docker", "inspect", "-f", "{{json .Config.Env}}", name), "docker inspect")), &env); err != nil {
		t.Fatal(err)
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		made.env[name] = value
	}
	return &made
}

// removeLater removes containers of that name when the test ends.
func removeLater(t testing.TB, name string) {
	t.Helper()
	t.Cleanup(func() {
		for _, n := range []string{name, name + ".baktainer-restore"} {
			_ = dockerQuietly("rm", "-f", "-v", n) // the test has said that it is there
		}
	})
}

// named lists containers whose names begin so.
func named(t testing.TB, name string) []string {
	t.Helper()
	return strings.Fields(must(t, command(t, nil, nil, "docker", "ps", "-a", "--format", "{{.Names}}", "--filter", "name=^"+name), "docker ps"))
}

// TestNewContainers restores into containers that are not there yet.
func TestNewContainers(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	for name, d := range map[string]database{"postgres": postgres, "mariadb": mariadb, "mongo": mongoAuth} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := d.start(t)
			d.seed(t, c, 0)
			want := d.fingerprint(t, c)
			s := u.backup(t, c)
			made := uniqueName("made")
			removeLater(t, made)
			dry := u.ok(t, "restore", s.ID, "--to", "new:"+made, "--dry-run")
			t.Logf("dry run:\n%s", dry)
			if left := named(t, made); len(left) > 0 || !strings.Contains(dry, "make container "+made) {
				t.Errorf("a dry run has made %q", left)
			}
			out := u.ok(t, "restore", s.ID, "--to", "new:"+made)
			t.Logf("restored:\n%s", out)
			there := madeOf(t, c, made)
			for key, value := range there.env {
				if strings.Contains(key, "PASSWORD") && (value == c.env[key] || strings.Contains(out, value)) {
					t.Errorf("%s is the source's, or told", key)
				}
			}
			if got := d.fingerprint(t, there); got != want {
				t.Errorf("it is\n%s\nand was\n%s", got, want)
			}
			if r := u.cli(t, "restore", s.ID, "--to", "new:"+made); r.status != failedStatus || !strings.Contains(r.text(), "already") {
				t.Errorf("a name that is taken: %s", r.text())
			}
			if got := d.fingerprint(t, there); got != want {
				t.Error("a restore that was refused has touched it")
			}
			if name == "postgres" {
				u.failsMidway(t, c)
			}
		})
	}
	for what, argv := range map[string][]string{
		"a bad name":   {"--to", "new:-x"},
		"overwrite":    {"--to", "new:xy", "--overwrite"},
		"backup first": {"--to", "new:xy", "--backup-first"},
		"an image":     {"--image", "x", "--to", "container:x"},
	} {
		if r := u.cli(t, append([]string{"restore", "nothing"}, argv...)...); r.status != badInput {
			t.Errorf("%s: it ends with %d, want %d\n%s", what, r.status, badInput, r.text())
		}
	}
}

// failsMidway has a restore fail whose container runs already.
func (u *up) failsMidway(t *testing.T, c *container) {
	t.Helper()
	query(t, c, "shop", "CREATE ROLE app; ALTER TABLE customers OWNER TO app;")
	s := u.backup(t, c)
	made := uniqueName("made")
	removeLater(t, made)
	r := u.cli(t, "restore", s.ID, "--to", "new:"+made)
	t.Logf("it fails:\n%s", r.text())
	if left := named(t, made); r.status != failedStatus || len(left) > 0 || !strings.Contains(r.text(), `"app"`) {
		t.Errorf("it ends with %d, and leaves %q", r.status, left)
	}
	r = u.cli(t, "restore", s.ID, "--to", "new:"+made+"-x", "--image", "nobody/has:this")
	if r.status != failedStatus || !strings.Contains(r.text(), "nobody/has:this") {
		t.Errorf("without the image: %s", r.text())
	}
}

// TestKill9OfARestoreIntoANewContainer kills it while the container is being made:
// nothing is left once it is there again. Then the source is lost altogether, and
// comes back out of its image's name and its snapshot.
func TestKill9OfARestoreIntoANewContainer(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	c := postgres.start(t)
	postgres.seed(t, c, 0)
	s := u.backup(t, c)
	made := uniqueName("made")
	removeLater(t, made)
	u.ok(t, "restore", s.ID, "--to", "new:"+made, "--detach")
	eventually(t, "the container is being made", func() (bool, string) {
		left := named(t, made)
		return len(left) > 0, strings.Join(left, " ")
	})
	u.kill9()
	if left := named(t, made); len(left) != 1 || left[0] == made {
		t.Fatalf("it was not killed midway: %q", left)
	}
	u.start(t)
	u.ready(t)
	eventually(t, "nothing of it is left", func() (bool, string) {
		left := named(t, made)
		return len(left) == 0, strings.Join(left, " ")
	})
	want := postgres.fingerprint(t, c)
	if err := c.remove(); err != nil {
		t.Fatal(err)
	}
	u.sees(t, c, "gone")
	t.Logf("the source is gone:\n%s", u.ok(t, "restore", s.ID, "--to", "new:"+made))
	if got := postgres.fingerprint(t, madeOf(t, c, made)); got != want {
		t.Errorf("it is\n%s\nand was\n%s", got, want)
	}
}
