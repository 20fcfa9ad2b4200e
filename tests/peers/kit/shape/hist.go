package shape

import (
	"slices"

	"github.com/prometheus/prometheus/model/histogram"

	"lithify.test/peers/kit/canon"
)

// Kind selects how a Hist is written.
type Kind int

const (
	Int         Kind = iota // counter with integer counts
	IntGauge                // gauge with integer counts: may shrink
	Float                   // counter with float counts
	FloatGauge              // gauge with float counts
	Custom                  // integer counts in buckets with explicit bounds
	CustomFloat             // float counts in buckets with explicit bounds
)

// Bounds are the upper bounds of the custom buckets (bytes, say).
var Bounds = []float64{128, 512, 1024, 4096, 16384, 65536, 1 << 20}

// Hist is a native histogram. Observations fall around Center; one in a
// thousand falls far away and widens the bucket layout.
type Hist struct {
	Rand   *Rand
	Kind   Kind
	Schema int32
	Center int64 // bucket index around which values fall
	Width  int64 // distance of ordinary values from Center
	Busy   int64 // steps per mille with observations
	Signed bool  // negative buckets too
	zero   int64
	sum    int64
	pos    map[int32]int64
	neg    map[int32]int64
}

func (h *Hist) Reset() { h.pos, h.neg, h.zero, h.sum = nil, nil, 0, 0 }

func (h *Hist) custom() bool { return h.Kind == Custom || h.Kind == CustomFloat }

func (h *Hist) Step() {
	if h.pos == nil {
		h.pos, h.neg = map[int32]int64{}, map[int32]int64{}
	}
	if h.Kind == IntGauge || h.Kind == FloatGauge {
		h.shrink(h.pos)
		h.shrink(h.neg)
	}
	if !h.Rand.Chance(h.Busy) {
		return
	}
	for range h.Rand.Between(1, 3) {
		h.observe()
	}
}

func (h *Hist) observe() {
	n := h.Rand.Between(1, 4)
	at := h.Center + h.Rand.Between(-h.Width, h.Width)
	if h.Rand.Chance(8) {
		at += h.Rand.Between(-4*h.Width, 4*h.Width)
	}
	h.sum += n * (at + 50)
	switch {
	case h.custom():
		h.pos[int32(min(max(at, 0), int64(len(Bounds))))] += n
	case h.Rand.Chance(50):
		h.zero += n
	case h.Signed && h.Rand.Chance(300):
		h.neg[int32(at)] += n
	default:
		h.pos[int32(at)] += n
	}
}

// shrink takes observations back, as a gauge histogram may; empty buckets go.
func (h *Hist) shrink(side map[int32]int64) {
	for _, i := range sortedKeys(side) {
		if h.Rand.Chance(200) {
			side[i] -= h.Rand.Between(0, side[i])
		}
		if side[i] == 0 {
			delete(side, i)
		}
	}
}

func (h *Hist) Measure() canon.Sample {
	ih := &histogram.Histogram{Schema: h.Schema, ZeroThreshold: 1.0 / (1 << 20), ZeroCount: uint64(h.zero)}
	if h.custom() {
		ih.Schema, ih.ZeroThreshold, ih.CustomValues = histogram.CustomBucketsSchema, 0, Bounds
	}
	var p, n int64
	ih.PositiveSpans, ih.PositiveBuckets, p = layout(h.pos)
	ih.NegativeSpans, ih.NegativeBuckets, n = layout(h.neg)
	ih.Count = uint64(h.zero + p + n)
	ih.Sum = float64(h.sum) / 64
	if h.Kind == IntGauge || h.Kind == FloatGauge {
		ih.CounterResetHint = histogram.GaugeType
	}
	if h.Kind != Float && h.Kind != FloatGauge && h.Kind != CustomFloat {
		return canon.Sample{Hist: ih}
	}
	fh := ih.ToFloat(nil)
	// A recording rule averages over something: quarters keep the counts exact.
	fh.ZeroCount /= 4
	fh.Count /= 4
	for i := range fh.PositiveBuckets {
		fh.PositiveBuckets[i] /= 4
	}
	for i := range fh.NegativeBuckets {
		fh.NegativeBuckets[i] /= 4
	}
	return canon.Sample{FloatHist: fh}
}

// layout turns bucket counts into spans and deltas. Gaps of one or two empty
// buckets are bridged, as client libraries do.
func layout(side map[int32]int64) ([]histogram.Span, []int64, int64) {
	var spans []histogram.Span
	var deltas []int64
	var next int32
	var last, total int64
	put := func(count int64) {
		deltas = append(deltas, count-last)
		last = count
		total += count
		spans[len(spans)-1].Length++
		next++
	}
	for _, i := range sortedKeys(side) {
		switch {
		case len(spans) == 0:
			spans, next = append(spans, histogram.Span{Offset: i}), i
		case i-next > 2:
			spans = append(spans, histogram.Span{Offset: i - next})
			next = i
		}
		for next < i {
			put(0)
		}
		put(side[i])
	}
	return spans, deltas, total
}

func sortedKeys(side map[int32]int64) []int32 {
	keys := make([]int32, 0, len(side))
	for i := range side {
		keys = append(keys, i)
	}
	slices.Sort(keys)
	return keys
}
