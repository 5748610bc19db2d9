package measure

import (
	"slices"
	"time"
)

// Spread sums up durations, in seconds.
type Spread struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_s"`
	P99 float64 `json:"p99_s"`
	Max float64 `json:"max_s"`
}

// SpreadOf sums up the durations. The percentile of so many is the smallest of
// them that as many per cent do not exceed.
func SpreadOf(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(percent int) float64 {
		return sorted[(len(sorted)*percent+99)/100-1].Seconds()
	}
	return Spread{N: len(sorted), P50: at(50), P99: at(99), Max: sorted[len(sorted)-1].Seconds()}
}
