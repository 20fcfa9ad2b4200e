package shape

import (
	"math"

	"github.com/prometheus/prometheus/model/value"

	"lithify.test/peers/kit/canon"
)

// Proc is something that can be measured. Step moves it on by one tick,
// Measure reads it without changing it; the sample belongs to the caller and
// has no time yet.
type Proc interface {
	Step()
	Measure() canon.Sample
}

// Resetter is a Proc that starts from zero when its process restarts.
type Resetter interface{ Reset() }

// Stale is the sample a scraper writes when a series has gone.
func Stale() canon.Sample { return canon.Sample{Value: math.Float64frombits(value.StaleNaN)} }

// Counter grows by a random integer in a share of its steps.
type Counter struct {
	Rand    *Rand
	Busy    int64 // steps per mille in which it grows
	Most    int64 // largest growth of a step
	Divisor float64
	Start   int64 // value before the first step
	grown   int64
}

func (c *Counter) Step() {
	if c.Rand.Chance(c.Busy) {
		c.grown += c.Rand.Between(1, c.Most)
	}
}

func (c *Counter) Measure() canon.Sample {
	if c.Divisor == 0 {
		return canon.Sample{Value: float64(c.Start + c.grown)}
	}
	return canon.Sample{Value: float64(c.Start+c.grown) / c.Divisor}
}

func (c *Counter) Reset() { c.Start, c.grown = 0, 0 }

// Gauge walks between two bounds in multiples of Unit.
type Gauge struct {
	Rand   *Rand
	Lo, Hi int64
	Stride int64 // largest change of a step, in units
	Busy   int64 // steps per mille in which it moves
	Unit   float64
	now    int64
	begun  bool
}

func (g *Gauge) Step() {
	if !g.begun {
		g.now, g.begun = g.Rand.Between(g.Lo, g.Hi), true
	}
	if g.Rand.Chance(g.Busy) {
		g.now = min(max(g.now+g.Rand.Between(-g.Stride, g.Stride), g.Lo), g.Hi)
	}
}

func (g *Gauge) Measure() canon.Sample { return canon.Sample{Value: float64(g.now) * g.Unit} }

// Const never changes.
type Const float64

func (Const) Step()                   {}
func (c Const) Measure() canon.Sample { return canon.Sample{Value: float64(c)} }

// Noise has a new mantissa at every step, like a measured duration.
type Noise struct {
	Rand  *Rand
	Scale float64
	now   float64
}

func (n *Noise) Step()                 { n.now = n.Rand.Float() * n.Scale }
func (n *Noise) Measure() canon.Sample { return canon.Sample{Value: n.now} }

// Ratio is a quotient whose denominator is zero now and then: both usual bit
// patterns of NaN and both infinities come up, between plain fractions.
type Ratio struct {
	Rand *Rand
	now  float64
}

func (r *Ratio) Step() {
	if !r.Rand.Chance(60) {
		return
	}
	switch r.Rand.N(8) {
	case 0:
		r.now = math.Float64frombits(value.NormalNaN)
	case 1:
		r.now = math.Float64frombits(0xfff8000000000000) // what amd64 computes for 0/0
	case 2:
		r.now = math.Inf(1)
	case 3:
		r.now = math.Inf(-1)
	default:
		r.now = float64(r.Rand.N(1000)) / 1000
	}
}

func (r *Ratio) Measure() canon.Sample { return canon.Sample{Value: r.now} }
