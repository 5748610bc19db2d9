package measure

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for n := range 100 {
		hundred = append(hundred, time.Duration(100-n)*time.Second)
	}
	for _, tt := range []struct {
		all  []time.Duration
		want Spread
	}{
		{nil, Spread{}},
		{[]time.Duration{3 * time.Second}, Spread{1, 3, 3, 3}},
		{[]time.Duration{2 * time.Second, time.Second}, Spread{2, 1, 2, 2}},
		{hundred, Spread{100, 50, 99, 100}},
		{hundred[:50], Spread{50, 75, 100, 100}},
	} {
		if got := SpreadOf(tt.all); got != tt.want {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
	if hundred[0] != 100*time.Second {
		t.Error("the durations were put into another order")
	}
}
