package verify

import (
	"testing"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// No more snapshots are opened at once than there is room for, and always one.
func TestTogether(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		manifests []int64
		want      int
	}{
		"one":           {[]int64{1}, 1},
		"small ones":    {[]int64{1, 1, 1}, 3},
		"as many as go": {make([]int64, maxTogether), maxTogether},
		"more":          {make([]int64, maxTogether+1), maxTogether},
		"large ones":    {[]int64{2 * mib, mib, 1}, 2},
		"too large":     {[]int64{1, 5 * mib, 1}, 1},
		"one too large": {[]int64{5 * mib, 1}, 1},
	} {
		var list []*pb.Snapshot
		for _, n := range tc.manifests {
			list = append(list, &pb.Snapshot{ManifestSize: n})
		}
		if got := together(list); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
