package main

import (
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/histogram"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

func histCase(name string, samples canon.List) downCase { return rawCase("histogram", name, samples) }

// downHistograms has every shape with integer and with float counts.
func downHistograms() []downCase {
	var out []downCase
	for _, floats := range []bool{false, true} {
		out = append(out, shapedHistograms(floats)...)
		out = append(out, madeHistograms(floats)...)
	}
	long := newHist("down h long", false, shape.Int, 1, 0, 2, false)
	long.Busy = 4
	return append(out,
		histCase("long-14d-5m", runFrom(downBase, long, 4_032, window)),
		histCase("schema-up-at-batch", finerBatch()),
	)
}

// finerBatch has 960 samples, of which the first 485 are a batch of their own
// (see counterResets): schemas differ between the chunks of five only.
func finerBatch() canon.List {
	coarse := newHist("down h coarse", false, shape.Int, 1, 0, 2, false)
	fine := newHist("down h fine", false, shape.Int, 2, 0, 2, false)
	coarse.Busy, fine.Busy = 20, 20
	return append(runFrom(downBase, coarse, 485, minute), runFrom(downBase+485*minute, fine, 475, minute)...)
}

// kindName tells apart the two forms of one shape.
func kindName(name string, floats bool) string {
	if floats {
		return "float-" + name
	}
	return "int-" + name
}

func shapedHistograms(floats bool) []downCase {
	h := func(name string, kind shape.Kind, schema int32, center, width int64, signed bool) *shape.Hist {
		return newHist("down h "+name, floats, kind, schema, center, width, signed)
	}
	c := func(name string, samples canon.List) downCase { return histCase(kindName(name, floats), samples) }
	resetting := h("resets", shape.Int, 1, 2, 3, true)
	var resets canon.List
	for i := range 8 {
		resets = append(resets, runFrom(downBase+int64(i)*17*minute, resetting, 17, minute)...)
		resetting.Reset()
	}
	stale := runFrom(downBase, h("stale", shape.Int, 2, -6, 2, false), 60, minute)
	for _, i := range []int{0, 9, 10, 31, 59} {
		stale[i] = canon.Sample{Time: stale[i].Time, Hist: staleHist()}
		if floats {
			stale[i] = canon.Sample{Time: stale[i].Time, FloatHist: staleHist().ToFloat(nil)}
		}
	}
	return []downCase{
		c("plain-15s", runFrom(downBase+1_234, h("plain 15s", shape.Int, 2, -6, 2, false), 200, 15*second)),
		c("plain-60s", runFrom(downBase, h("plain 60s", shape.Int, 2, -6, 2, false), 130, minute)),
		c("plain-5m", runFrom(downBase+99, h("plain 5m", shape.Int, 0, 0, 2, true), 100, window)),
		c("plain-1h", runFrom(downBase, h("plain 1h", shape.Int, 3, 0, 2, false), 60, hour)),
		c("two-batches", runFrom(downBase, h("two batches", shape.Int, 1, 0, 1, false), 760, minute)),
		c("growth", runFrom(downBase, h("growth", shape.Int, 3, 10, 20, true), 80, minute)),
		c("resets", resets),
		c("gauge", runFrom(downBase, h("gauge", shape.IntGauge, 0, 0, 3, true), 90, minute)),
		c("gauge-two-batches", runFrom(downBase, h("gauge long", shape.IntGauge, 0, 0, 1, false), 740, minute)),
		c("custom", runFrom(downBase, h("custom", shape.Custom, 0, 3, 2, false), 130, minute)),
		c("stale", stale),
		c("one-sample", runFrom(downBase+5, h("one", shape.Int, 1, 0, 2, true), 1, minute)),
		c("two-samples-hours-apart", runFrom(downBase+5, h("two", shape.Int, 1, 0, 2, true), 2, 7*hour)),
		c("empty", runFrom(downBase, &shape.Hist{Rand: shape.NewRand("down h empty"), Kind: shape.Int, Schema: 4}, 20, minute)),
		c("schemas-up", schemaRuns(floats, 1, -2, 1, 4)),
		c("schemas-down", schemaRuns(floats, 1, 4, 1, -2)),
		c("schema-down-at-chunk", schemaRuns(floats, 30, 3, 2)),
		c("schema-up-at-chunk", schemaRuns(floats, 30, 2, 3)),
		c("schema-there-and-back", schemaRuns(floats, 12, 3, 1, 3)),
		c("far-apart-chunks", apartChunks(h("apart", shape.Int, 1, 0, 2, false))),
	}
}

// schemaRuns has n samples of each schema, of one process each.
func schemaRuns(floats bool, n int, schemas ...int32) canon.List {
	var out canon.List
	for i, schema := range schemas {
		h := newHist(fmt.Sprintf("down schema %d", i), floats, shape.Int, schema, 0, 2, false)
		out = append(out, runFrom(downBase+int64(len(out))*minute, h, n, minute)...)
	}
	return out
}

func apartChunks(h *shape.Hist) canon.List {
	out := runFrom(downBase, h, 40, minute)
	h.Reset()
	out = append(out, runFrom(downBase+9*hour, h, 40, minute)...)
	return append(out, runFrom(downBase+5*day, h, 40, minute)...)
}

// madeHistograms are the short series made for the appender's rules, 100 s
// apart so that a window has three of them, and some more.
func madeHistograms(floats bool) []downCase {
	var out []downCase
	for _, c := range append(handmade(), downHandmade()...) {
		samples := c.samples
		for i, s := range samples {
			samples[i].Time = downBase + int64(i)*100*second
			if floats {
				samples[i] = canon.Sample{Time: samples[i].Time, FloatHist: s.Hist.ToFloat(nil)}
			}
		}
		out = append(out, histCase(kindName("made-"+c.name, floats), samples))
	}
	if floats {
		f := fractions()
		for i := range f.samples {
			f.samples[i].Time = downBase + int64(i)*100*second
		}
		out = append(out, histCase("float-made-fractions", f.samples))
	}
	return out
}

// downHandmade turn on rules of downsampling.
func downHandmade() []sampleCase {
	gauge := histogram.GaugeType
	sum := func(h *histogram.Histogram, sum float64) *histogram.Histogram {
		h.Sum = sum
		return h
	}
	fine := func(schema int32, h *histogram.Histogram) *histogram.Histogram {
		h.Schema = schema
		return h
	}
	nan, inf := math.NaN(), math.Inf(1)
	bounds, other := []float64{1, 2.5, 10}, []float64{1, 5, 10}
	return []sampleCase{
		{"nan-sum-inside", spaced(hand(0, 1), sum(hand(0, 2), nan), hand(0, 3), sum(hand(0, 4), nan), hand(0, 5))},
		{"nan-sum-first", spaced(sum(hand(0, 1), nan), sum(hand(0, 2), nan), hand(0, 3), hand(0, 4))},
		{"nan-sum-window", spaced(hand(0, 1), hand(0, 2), hand(0, 3), sum(hand(0, 4), nan), sum(hand(0, 5), nan), sum(hand(0, 6), nan), hand(0, 7))},
		{"nan-sum-only", spaced(sum(hand(0, 1), nan), sum(hand(0, 2), nan))},
		{"inf-sum", spaced(hand(0, 1), sum(hand(0, 2), inf), sum(hand(0, 3), inf), hand(0, 4), hand(0, 5))},
		{"counter-to-gauge", spaced(hand(0, 9), hand(0, 11), hinted(gauge, hand(0, 3)), hinted(gauge, hand(0, 5)), hinted(gauge, hand(0, 1)))},
		{"counter-gauge-counter", spaced(hand(0, 2), hinted(gauge, hand(0, 9)), hinted(gauge, hand(0, 9)), hinted(gauge, hand(0, 9)), hand(0, 3), hand(0, 4))},
		{"schema-of-five-samples", spaced(fine(0, hand(0, 4)), fine(0, hand(0, 8)), fine(1, hand(0, 16)), fine(1, hand(0, 32)), fine(0, hand(0, 48)))},
		{"schema-finer-once", spaced(fine(0, hand(0, 4)), fine(2, hand(0, 8)), fine(0, hand(0, 9)))},
		{"schema-coarser-once", spaced(fine(2, hand(0, 4)), fine(0, hand(0, 8)), fine(2, hand(0, 9)))},
		{"zero-threshold-grows", spaced(zeroed(0.25, 1), zeroed(0.25, 2), zeroed(0.5, 3), zeroed(0.5, 4), zeroed(1, 5), zeroed(1, 6))},
		{"zero-threshold-shrinks", spaced(zeroed(1, 1), zeroed(1, 2), zeroed(0.5, 3), zeroed(0.5, 4), zeroed(0.25, 5), zeroed(0.25, 6))},
		{"custom-same-bounds", spaced(custom(bounds, 1, 2), custom(bounds, 1, 3), custom(bounds, 2, 4), custom(bounds, 1, 0), custom(bounds, 2, 1), custom(bounds, 2, 1, 1, 1))},
		{"custom-two-bounds", spaced(custom(bounds, 1, 2, 3), custom(bounds, 2, 2, 3), custom(other, 1, 1, 4), custom(other, 1, 3, 5), custom(bounds, 1, 4, 6))},
		{"custom-two-bounds-windows", spaced(custom(bounds, 1, 2, 3), custom(bounds, 2, 2, 3), custom(bounds, 3, 2, 3), custom(other, 4, 2, 4), custom(other, 5, 3, 5), custom(other, 6, 4, 6))},
		{"custom-no-common-bound", spaced(custom([]float64{1, 3}, 1, 2), custom([]float64{2, 4}, 2, 2), custom([]float64{2, 4}, 3, 2))},
		{"custom-then-exponential", spaced(custom(bounds, 1, 2), custom(bounds, 1, 3), hand(0, 4), hand(0, 5))},
		{"resets-in-a-window", spaced(hand(0, 9, 1), hand(0, 1, 1), hand(0, 5, 1), hand(0, 2, 1), hand(0, 2, 2), hand(0, 1, 1))},
		{"layout-shifts-after-reset", spaced(hand(0, 9, 1), hand(0, 9, 2), hand(5, 1, 1), hand(5, 2, 1), hand(-3, 1), hand(-3, 2))},
	}
}
