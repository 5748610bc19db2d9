package e2e

import "testing"

// A folder that tar dumps and restores, named by two labels.
var custom = database{
	engine: "custom",
	fresh: func() *container {
		return &container{
			image: samplePrefix + "base",
			args:  []string{"sleep", "infinity"},
			labels: map[string]string{
				"baktainer.db.engine":       "custom",
				"baktainer.command":         "tar -C /srv --sort=name -cf - .",
				"baktainer.restore_command": "tar -C /srv --recursive-unlink -xf -",
			},
		}
	},
	ready: func(t testing.TB, c *container) result { return c.execute(t, nil, nil, "true") },
	seed: func(t testing.TB, c *container, bulk int) {
		c.script(t, `mkdir -p '/srv/größe'; seq 1 200000 >/srv/numbers; head -c 300000 /dev/urandom >'/srv/größe/it'"'"'s raw'; ln -s numbers /srv/link`)
		if bulk > 0 {
			c.script(t, `head -c `+mega(bulk)+` /dev/urandom >/srv/bulk`)
		}
	},
	fingerprint: func(t testing.TB, c *container) string {
		return c.script(t, `cd /srv; find . | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`)
	},
	wreck: func(t testing.TB, c *container) {
		c.script(t, `rm -r '/srv/größe' /srv/link; echo gone >/srv/numbers`)
	},
	dumpers: []string{"tar"},
}
