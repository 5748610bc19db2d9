package workload

// random is splitmix64: small, fast, and the same on every machine and with
// every version of Go.
type random uint64

// at starts a sequence of its own for a thing that the words name.
func at(words ...uint64) *random {
	r := random(0x9e3779b97f4a7c15)
	for _, w := range words {
		r ^= random(w)
		r = random(r.next())
	}
	return &r
}

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() >> 33 * uint64(n) >> 31) }

// skewed returns a number from 0 to n-1, small ones much more often, as words
// of a language are used.
func (r *random) skewed(n int) int {
	u := float64(r.next()>>11) / (1 << 53)
	return int(float64(n) * u * u * u)
}
