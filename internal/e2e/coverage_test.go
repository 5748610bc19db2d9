package e2e

import (
	"slices"
	"strings"
	"testing"
)

// TestCoverage looks at a host with twelve containers, four of which are wrong in
// different ways, and at what makes them right.
func TestCoverage(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{flags: []string{"--schedule", "0 0 1 1 *"}})
	idle := func(image string, labels map[string]string) *container {
		return (&container{image: samplePrefix + image, args: []string{"sleep", "infinity"}, labels: labels}).start(t)
	}
	custom := func(command string, more ...string) *container {
		return idle("base", labelled(append([]string{"baktainer.db.engine=custom", "baktainer.command=" + command}, more...)...))
	}
	var good []*container
	for range 6 {
		good = append(good, custom("echo data"))
	}
	idle("base", nil) // no database, and nobody's business
	refused := idle("redis", map[string]string{"baktainer.backup": "false"})
	bare := idle("redis", nil)
	wrong := custom("echo data", "baktainer.compress=zipp")
	never := custom("echo data")
	failing := custom("false")

	for _, c := range good {
		u.verify(t, u.backup(t, c))
	}
	u.sees(t, wrong, "invalid")
	u.sees(t, never, "ready")
	u.sees(t, failing, "ready")
	if r := u.cli(t, "backup", failing.source()); r.status != failedStatus {
		t.Fatalf("the backup of what cannot be dumped:\n%s", r.text())
	}

	type row struct {
		Name, Restorable string
		Gaps             []struct{ Kind string }
	}
	type answer struct {
		Sources    []row
		Unlabelled []struct {
			Engine    string
			Container struct{ Name string }
		}
		Covered bool
	}
	// Of other tests' containers, on the same engine, nothing is asked.
	look := func() (a answer, r result) {
		r = u.cli(t, "coverage", "-o", "json")
		return decode[answer](t, r.stdout), r
	}
	gaps := func(a answer, c *container) string {
		i := slices.IndexFunc(a.Sources, func(r row) bool { return r.Name == c.source() })
		if i < 0 {
			return "not listed"
		}
		kinds := []string{}
		for _, g := range a.Sources[i].Gaps {
			kinds = append(kinds, g.Kind)
		}
		return strings.TrimSpace(strings.Join(kinds, " ") + map[bool]string{true: " never"}[a.Sources[i].Restorable == ""])
	}
	unlabelled := func(a answer, c *container) bool {
		for _, one := range a.Unlabelled {
			if one.Container.Name == c.name {
				return one.Engine == "redis"
			}
		}
		return false
	}
	eventually(t, "every gap is seen", func() (bool, string) {
		a, r := look()
		right := r.status == failedStatus && !a.Covered && unlabelled(a, bare) && !unlabelled(a, refused) &&
			gaps(a, wrong) == "invalid never-backed-up never" && gaps(a, never) == "never-backed-up never" && gaps(a, failing) == "never-backed-up failure never"
		for _, c := range good {
			right = right && gaps(a, c) == ""
		}
		return right, r.text()
	})
	t.Logf("\n%s", u.cli(t, "coverage", "-v").text())

	// What is put right is covered.
	u.verify(t, u.backup(t, never))
	if err := bare.remove(); err != nil {
		t.Fatal(err)
	}
	bare.id = ""
	eventually(t, "fewer gaps", func() (bool, string) {
		a, r := look()
		return gaps(a, never) == "" && !unlabelled(a, bare), r.text()
	})
}
