package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, tc := range []struct {
		goVariable string
		set, want  int64
	}{
		{"", 0, 96 << 20},
		{"", 64 << 20, 64 << 20},
		{"", math.MaxInt64, math.MaxInt64},
		{"1GiB", 64 << 20, 7},
		{"off", 0, 7},
	} {
		t.Setenv("GOMEMLIMIT", tc.goVariable)
		debug.SetMemoryLimit(7)
		limitMemory(tc.set, 96<<20)
		if got := debug.SetMemoryLimit(-1); got != tc.want {
			t.Errorf("GOMEMLIMIT=%s, memory %d: %d, want %d", tc.goVariable, tc.set, got, tc.want)
		}
	}
}
