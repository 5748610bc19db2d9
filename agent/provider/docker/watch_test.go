package docker

import "testing"

func TestCarries(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"project": "shop", "empty": "", "sum": "a=b"}
	for _, tc := range []struct {
		wanted []string
		want   bool
	}{
		{nil, true},
		{[]string{"project"}, true},
		{[]string{"project=shop"}, true},
		{[]string{"project=sho"}, false},
		{[]string{"project="}, false},
		{[]string{"empty="}, true},
		{[]string{"empty"}, true},
		{[]string{"sum=a=b"}, true},
		{[]string{"none"}, false},
		{[]string{"none="}, false},
		{[]string{"project=shop", "none"}, false},
		{[]string{"project=shop", "empty"}, true},
	} {
		if got := carries(labels, tc.wanted); got != tc.want {
			t.Errorf("%q: %v", tc.wanted, got)
		}
	}
}
