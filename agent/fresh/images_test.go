package fresh_test

import (
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/fresh"
	"github.com/baktainer/baktainer/internal/engine"
)

func TestImages(t *testing.T) {
	const d1, d2 = "sha256:1", "sha256:2"
	for name, tc := range map[string]struct {
		asked, image, digest string
		now                  engine.Facts
		want                 string
		other                int
	}{
		"asked for":          {asked: "mine:1", image: "db:1", digest: d1, want: "mine:1", other: 1},
		"the same as now":    {image: "db:1", digest: d1, now: engine.Facts{Image: "db:1", ImageDigest: d1}, want: "db@sha256:1 sha256:1 db:1", other: 2},
		"another one now":    {image: "db:1", digest: d1, now: engine.Facts{Image: "db:2", ImageDigest: d2}, want: "db@sha256:1 sha256:1 db@sha256:2 sha256:2 db:1 db:2", other: 2},
		"an older snapshot":  {image: "db:1", now: engine.Facts{Image: "db:1", ImageDigest: d1}, want: "db@sha256:1 sha256:1 db:1", other: 2},
		"the source is gone": {image: "host:5000/a/db:1", digest: d1, want: "host:5000/a/db@sha256:1 sha256:1 host:5000/a/db:1", other: 2},
		"by its digest":      {image: "db@sha256:9", digest: d1, want: "db@sha256:1 sha256:1 db@sha256:9", other: 2},
		"by its id":          {image: "sha256:9", digest: d1, want: "sha256:1 sha256:9", other: 1},
	} {
		list, other := fresh.Images(tc.asked, tc.image, tc.digest, tc.now)
		if got := strings.Join(list, " "); got != tc.want || other != tc.other {
			t.Errorf("%s: %s, %d", name, got, other)
		}
	}
}
