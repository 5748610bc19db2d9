package retention_test

import (
	"testing"

	"github.com/baktainer/baktainer/internal/retention"
)

func TestThreshold(t *testing.T) {
	for _, tt := range []struct {
		text string
		of   int64 // of a store of 1 TiB; -1: refused
	}{
		{"off", 0}, {"5%", (1 << 40) / 100 * 5}, {"99%", (1 << 40) / 100 * 99}, {"10GiB", 10 << 30}, {"512MiB", 512 << 20}, {"2TiB", 2 << 40},
		{"", -1}, {"0%", -1}, {"100%", -1}, {"1.5%", -1}, {"10GB", -1}, {"10", -1}, {"-1GiB", -1}, {"9999999999TiB", -1}, {"GiB", -1},
	} {
		got, err := retention.ParseThreshold(tt.text)
		switch {
		case (err != nil) != (tt.of < 0):
			t.Errorf("%q: %v", tt.text, err)
		case err == nil && (got.Of(1<<40) != tt.of || got.String() != tt.text):
			t.Errorf("%q is %d of a TiB, %s", tt.text, got.Of(1<<40), got)
		}
	}
}
