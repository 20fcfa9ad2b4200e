// Package shape makes numbers that look like monitoring data: counters, gauges
// and native histograms that move in fixed steps.
//
// Everything here is a function of a seed: no clock, no map order, no
// generator of the standard library whose output could change with the
// toolchain, and no expression that a compiler may fuse into one rounding.
package shape

// Rand is the SplitMix64 generator: small, fast, and the same everywhere.
type Rand struct{ state uint64 }

// NewRand seeds a generator with a text, so that every series of every cluster
// has numbers of its own.
func NewRand(seed string) *Rand {
	h := uint64(14695981039346656037)
	for _, b := range []byte(seed) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return &Rand{state: h}
}

// Uint64 returns 64 random bits.
func (r *Rand) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// N returns a number in [0, n). The bias of the remainder does not matter here.
func (r *Rand) N(n int64) int64 { return int64(r.Uint64() % uint64(n)) }

// Between returns a number in [lo, hi].
func (r *Rand) Between(lo, hi int64) int64 { return lo + r.N(hi-lo+1) }

// Chance is true in perMille of 1000 calls.
func (r *Rand) Chance(perMille int64) bool { return r.N(1000) < perMille }

// Float returns a number in [0, 1) with all 53 bits of its mantissa in use.
func (r *Rand) Float() float64 { return float64(r.Uint64()>>11) / (1 << 53) }
