package main

import (
	"math"

	"github.com/prometheus/prometheus/model/histogram"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// newHist picks the integer or the float form of a kind.
func newHist(seed string, floats bool, kind shape.Kind, schema int32, center, width int64, signed bool) *shape.Hist {
	if floats {
		kind = map[shape.Kind]shape.Kind{
			shape.Int: shape.Float, shape.IntGauge: shape.FloatGauge, shape.Custom: shape.CustomFloat,
		}[kind]
	}
	return &shape.Hist{Rand: shape.NewRand(seed), Kind: kind, Schema: schema, Center: center, Width: width, Busy: 800, Signed: signed}
}

// histogramCases are the cases of integer histograms, or the same shapes with
// float counts.
func histogramCases(floats bool) []sampleCase {
	prefix := "hist-"
	if floats {
		prefix = "floathist-"
	}
	reset := newHist("h reset", floats, shape.Int, 1, 2, 3, true)
	resets := run(reset, 20, 15_000)
	reset.Reset()
	resets = append(resets, runFrom(quickstartBase+20*15_000, reset, 20, 15_000)...)
	cases := []sampleCase{
		{"plain", run(newHist("h plain", floats, shape.Int, 2, -6, 2, false), 125, 15_000)},
		{"growth", run(newHist("h growth", floats, shape.Int, 3, 10, 20, true), 40, 15_000)},
		{"resets", resets},
		{"gauge", run(newHist("h gauge", floats, shape.IntGauge, 0, 0, 4, true), 40, 15_000)},
		{"custom", run(newHist("h custom", floats, shape.Custom, 0, 3, 2, false), 30, 15_000)},
		{"schemas", schemas(floats)},
	}
	for _, c := range handmade() {
		if floats {
			for i, s := range c.samples {
				c.samples[i] = canon.Sample{Time: s.Time, FloatHist: s.Hist.ToFloat(nil)}
			}
		}
		cases = append(cases, c)
	}
	if floats {
		cases = append(cases, fractions())
	}
	for i := range cases {
		cases[i].name = prefix + cases[i].name
	}
	return cases
}

// schemas runs through the whole range of schemas, which forces new chunks.
func schemas(floats bool) canon.List {
	var out canon.List
	for schema := int32(-4); schema <= 8; schema += 3 {
		h := newHist("h schemas", floats, shape.Int, schema, 0, 2, false)
		out = append(out, runFrom(quickstartBase+int64(len(out))*15_000, h, 3, 15_000)...)
	}
	return out
}

// hand makes a histogram with one run of positive buckets from offset on;
// counts are absolute.
func hand(offset int32, counts ...int64) *histogram.Histogram {
	h := &histogram.Histogram{Schema: 0, ZeroThreshold: 0.001, ZeroCount: 1, Count: 1, Sum: 10}
	if len(counts) > 0 {
		h.PositiveSpans = []histogram.Span{{Offset: offset, Length: uint32(len(counts))}}
	}
	var last int64
	for _, c := range counts {
		h.PositiveBuckets = append(h.PositiveBuckets, c-last)
		h.Count += uint64(c)
		last = c
	}
	return h
}

func hinted(hint histogram.CounterResetHint, h *histogram.Histogram) *histogram.Histogram {
	h.CounterResetHint = hint
	return h
}

func spanned(h *histogram.Histogram, spans ...histogram.Span) *histogram.Histogram {
	h.PositiveSpans = spans
	return h
}

func staleHist() *histogram.Histogram { return &histogram.Histogram{Sum: shape.Stale().Value} }

func custom(bounds []float64, counts ...int64) *histogram.Histogram {
	h := hand(0, counts...)
	h.Schema, h.ZeroThreshold, h.ZeroCount, h.CustomValues = histogram.CustomBucketsSchema, 0, 0, bounds
	h.Count--
	return h
}

func zeroed(threshold float64, count uint64) *histogram.Histogram {
	return &histogram.Histogram{Schema: 1, ZeroThreshold: threshold, ZeroCount: count, Count: count, Sum: float64(count) / 3}
}

func spaced(list ...*histogram.Histogram) canon.List {
	out := make(canon.List, 0, len(list))
	for i, h := range list {
		out = append(out, canon.Sample{Time: quickstartBase + int64(i)*15_000, Hist: h})
	}
	return out
}

// handmade are short series that each turn on one rule of the appender. They
// are integer histograms; the caller converts them for the float encoding.
func handmade() []sampleCase {
	unknown, yes, no, gauge := histogram.UnknownCounterReset, histogram.CounterReset, histogram.NotCounterReset, histogram.GaugeType
	span := func(o int32, l uint32) histogram.Span { return histogram.Span{Offset: o, Length: l} }
	return []sampleCase{
		{"one", spaced(hand(0, 1, 2, 3))},
		{"empty", spaced(hand(0), hand(0), hand(0))},
		{"bucket-before", spaced(hand(2, 1, 2), hand(0, 5, 0, 1, 2), hand(0, 6, 1, 1, 3))},
		{"bucket-after", spaced(hand(2, 1, 2), hand(2, 1, 2, 9), hand(2, 1, 3, 9, 1))},
		{"bucket-between", spaced(spanned(hand(0, 4, 5), span(0, 1), span(3, 1)), hand(0, 4, 1, 0, 1, 6), hand(0, 5, 1, 2, 1, 6))},
		{"missing-empty-bucket", spaced(hand(0, 1, 0, 2), spanned(hand(0, 1, 3), span(0, 1), span(1, 1)), hand(0, 2, 0, 3))},
		{"both-layouts-widen", spaced(hand(0, 1, 0, 2, 0), spanned(hand(0, 1, 2, 1), span(0, 1), span(1, 1), span(3, 1)), hand(0, 1, 0, 3, 0))},
		{"missing-full-bucket", spaced(hand(0, 1, 4, 2), spanned(hand(0, 1, 3), span(0, 1), span(1, 1)), hand(0, 2, 0, 3))},
		{"bucket-shrinks", spaced(hand(0, 5, 5), hand(0, 4, 6), hand(0, 4, 7))},
		{"zero-bucket-shrinks", spaced(zeroed(0.5, 9), zeroed(0.5, 8), zeroed(0.5, 9))},
		{"count-shrinks", spaced(hand(0, 5, 5), hand(0, 5), hand(0, 5, 1))},
		{"split-spans", spaced(spanned(hand(0, 1, 2, 3), span(0, 1), span(0, 2)), spanned(hand(0, 1, 2, 4), span(0, 3), span(2, 0)), hand(0, 1, 3, 4))},
		{"zero-thresholds", spaced(zeroed(0, 1), zeroed(0, 2), zeroed(0.25, 3), zeroed(math.Ldexp(1, -128), 4), zeroed(math.Ldexp(1, -243), 4),
			zeroed(math.Ldexp(1, -244), 4), zeroed(math.Ldexp(1, 10), 4), zeroed(math.Ldexp(1, 11), 4), zeroed(0.3, 5), zeroed(0.3, 6))},
		{"hints-explicit", spaced(hinted(unknown, hand(0, 1)), hinted(no, hand(0, 2)), hinted(yes, hand(0, 3)), hinted(no, hand(0, 4)), hinted(unknown, hand(0, 5)))},
		{"hint-not-reset-first", spaced(hinted(no, hand(0, 4)), hinted(no, hand(0, 5)))},
		{"hint-reset-first", spaced(hinted(yes, hand(0, 4)), hinted(unknown, hand(0, 5)), hinted(unknown, hand(0, 2)), hinted(unknown, hand(0, 3)))},
		{"hint-not-reset-lies", spaced(hinted(unknown, hand(0, 9)), hinted(no, hand(0, 1)), hinted(no, hand(0, 2)))},
		{"gauge-to-counter", spaced(hinted(gauge, hand(0, 9)), hinted(gauge, hand(0, 3)), hinted(unknown, hand(0, 3)), hinted(unknown, hand(0, 5)), hinted(gauge, hand(0, 1)))},
		{"gauge-layouts", spaced(hinted(gauge, hand(0, 9, 1)), hinted(gauge, hand(3, 2, 2)), hinted(gauge, hand(-2, 1)), hinted(gauge, hand(-2, 1, 0, 4, 4)))},
		{"stale-after", spaced(hand(0, 1, 2), hand(0, 2, 2), staleHist(), staleHist())},
		{"stale-between", spaced(hand(0, 1, 2), staleHist(), hand(0, 1, 3), hand(0, 0, 3))},
		{"stale-first", spaced(staleHist(), hand(0, 1, 3), hand(0, 2, 3))},
		{"stale-gauge", spaced(hinted(gauge, hand(0, 4)), hinted(gauge, staleHist()), hinted(gauge, hand(0, 3)))},
		{"custom-bounds-change", spaced(custom([]float64{1, 2.5, 10}, 1, 2, 3), custom([]float64{1, 2.5, 10}, 1, 2, 4), custom([]float64{1, 5, 10}, 1, 2, 5), custom(nil, 7))},
		{"custom-bounds-kinds", spaced(custom([]float64{-1.5, 0, 0.001, 0.1, 33554.430, 33554.431, math.Pi}, 1, 2, 3), custom([]float64{0.1 + 0.2, 1e15}, 1, 1, 1))},
		{"custom-after-schema", spaced(hand(0, 1), custom([]float64{1}, 1, 2), hand(0, 4))},
		{"large-numbers", spaced(hand(0, 1<<40), hand(0, 1<<52), hand(0, 1<<52+1), hand(1000000, 1<<53))},
		{"far-offsets", spaced(spanned(hand(0, 1, 2), span(-2000000000, 1), span(2000000000, 1)), spanned(hand(0, 1, 3), span(-2000000000, 1), span(2000000000, 1)))},
	}
}

// fractions has what only a float histogram can hold.
func fractions() sampleCase {
	var out canon.List
	for i, f := range []float64{0.1, 0.30000000000000004, 1e-9, 5.5, math.Inf(1), 7} {
		fh := hand(0, 1, 2).ToFloat(nil)
		fh.PositiveBuckets[0], fh.Count, fh.ZeroCount = f, f*3, f/7
		out = append(out, canon.Sample{Time: quickstartBase + int64(i)*15_000, FloatHist: fh})
	}
	return sampleCase{"fractions", out}
}

// mixedCases switch the kind of sample within one series.
func mixedCases() []sampleCase {
	h := spaced(hand(0, 1), hand(0, 2), hand(0, 3), hand(0, 4), hand(0, 5), hand(0, 6))
	f := bits(0x3ff0000000000000, 0x4000000000000000, 0x4008000000000000, 0x4010000000000000, 0x4014000000000000, 0x4018000000000000)
	fh := make(canon.List, len(h))
	for i, s := range h {
		fh[i] = canon.Sample{Time: s.Time, FloatHist: s.Hist.ToFloat(nil)}
	}
	return []sampleCase{
		{"mixed-float-hist-float", canon.List{f[0], f[1], h[2], h[3], f[4], h[5]}},
		{"mixed-hist-floathist", canon.List{h[0], h[1], fh[2], fh[3], h[4], fh[5]}},
		{"mixed-all", canon.List{f[0], h[1], fh[2], f[3], fh[4], h[5]}},
		{"mixed-stale-float-in-hist", canon.List{h[0], {Time: h[1].Time, Value: shape.Stale().Value}, h[2]}},
	}
}
