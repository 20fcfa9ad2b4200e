package main

import (
	"math"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// sampleCase is one series of the chunk goldens.
type sampleCase struct {
	name    string
	samples canon.List
}

// run measures proc n times, every step ms from the quick-start's base on.
func run(proc shape.Proc, n int, step int64) canon.List {
	return runFrom(quickstartBase, proc, n, step)
}

func runFrom(t int64, proc shape.Proc, n int, step int64) canon.List {
	out := make(canon.List, 0, n)
	for range n {
		proc.Step()
		s := proc.Measure()
		s.Time = t
		out = append(out, s)
		t += step
	}
	return out
}

// bits makes a float series from bit patterns, 15 s apart.
func bits(patterns ...uint64) canon.List {
	out := make(canon.List, 0, len(patterns))
	for i, p := range patterns {
		out = append(out, canon.Sample{Time: quickstartBase + int64(i)*15_000, Value: math.Float64frombits(p)})
	}
	return out
}

// times makes a series of one value at the given timestamps.
func times(list ...int64) canon.List {
	out := make(canon.List, 0, len(list))
	for _, t := range list {
		out = append(out, canon.Sample{Time: t, Value: 7})
	}
	return out
}

func newCounter(seed string, busy, most int64) *shape.Counter {
	return &shape.Counter{Rand: shape.NewRand(seed), Busy: busy, Most: most}
}

func newNoise(seed string) *shape.Noise {
	return &shape.Noise{Rand: shape.NewRand(seed), Scale: 1000}
}

func floatCases() []sampleCase {
	resets := run(newCounter("resets-1", 900, 500), 60, 15_000)
	resets = append(resets, runFrom(quickstartBase+60*15_000, newCounter("resets-2", 900, 500), 40, 15_000)...)
	return []sampleCase{
		{"constant", run(shape.Const(3), 250, 15_000)},
		{"zeros", run(shape.Const(0), 20, 30_000)},
		{"one-sample", run(shape.Const(-2.5), 1, 15_000)},
		{"two-samples", run(newNoise("two"), 2, 15_000)},
		{"exactly-120", run(newCounter("120", 700, 9), 120, 15_000)},
		{"exactly-121", run(newCounter("121", 700, 9), 121, 15_000)},
		{"exactly-240", run(newCounter("240", 700, 90000), 240, 30_000)},
		{"exactly-241", run(newCounter("241", 100, 5), 241, 30_000)},
		{"counter-with-resets", resets},
		{"random-floats", run(newNoise("floats"), 130, 15_000)},
		{"gauge-quarters", run(&shape.Gauge{Rand: shape.NewRand("quarters"), Lo: -900, Hi: 900, Stride: 40, Busy: 800, Unit: 0.25}, 125, 15_000)},
		{"ratio", run(&shape.Ratio{Rand: shape.NewRand("golden ratio")}, 125, 15_000)},
		{"random-bits", bits(randomBits("any", 64)...)},
		{"nan-payloads", bits(0x7ff8000000000000, 0x7ff8000000000001, 0x7ff0000000000002, 0x7ff0000000000001,
			0xfff8000000000000, 0xffffffffffffffff, 0x7ff8000000000001, 0x7ff4deadbeef0001, 0)},
		{"infinities", bits(0x7ff0000000000000, 0xfff0000000000000, 0x7ff0000000000000, 0x3ff0000000000000, 0xfff0000000000000)},
		{"signed-zeros-and-subnormals", bits(0, 1<<63, 0, 1, 2, 1<<63|1, 0x000fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff)},
		{"stale-inside", staleInside()},
		{"windows", bits(windows()...)},
		{"negative-times", runFrom(-5_000_000, newCounter("neg", 800, 5), 40, 123_457)},
		{"across-zero-time", runFrom(-60_000, newCounter("cross", 800, 5), 10, 15_000)},
		{"irregular", irregular("irregular", 130, 30_000, 2_500)},
		{"jitter", irregular("jitter", 120, 15_000, 12)},
		{"dod-boundaries", times(dodBoundaries(1 << 22)...)},
		{"dod-huge", times(0, 1<<40, 1<<40+1, 1<<41, 1<<42, 1<<42+5, 1<<50)},
		{"wide-times", times(-1<<62, -1<<61, 0, 1, 1<<40, 1<<61, 1<<62)},
		{"first-delta-sizes", times(0, 127, 128, 16_384, 2_097_152)},
		{"first-delta-one", times(1, 2, 3, 4, 6, 7)},
		{"same-time-twice", times(1000, 1000, 2000)},
	}
}

func randomBits(seed string, n int) []uint64 {
	r := shape.NewRand(seed)
	out := make([]uint64, n)
	for i := range out {
		out[i] = r.Uint64()
	}
	return out
}

func staleInside() canon.List {
	out := run(newCounter("stale", 900, 30), 30, 15_000)
	for _, i := range []int{0, 7, 8, 29} {
		out[i].Value = shape.Stale().Value
	}
	return out
}

// windows walks the bit window of the XOR coding: it widens, is reused while a
// narrower difference fits, and is replaced; leading zeros beyond what five
// bits can say and differences in all 64 bits come up too.
func windows() []uint64 {
	var out []uint64
	v := uint64(0x4000000000000000)
	for _, flip := range []uint64{
		0, 1, 1, 1 << 63, 1<<63 | 1, 0xff << 20, 1 << 24, 1 << 20, 1 << 19, 1 << 28, 0, 0xff << 20,
		1 << 32, 1 << 31, 1 << 33, 3 << 40, ^uint64(0), 1 << 5, ^uint64(0) >> 1, ^uint64(1), 1 << 62, 7, 0,
	} {
		v ^= flip
		out = append(out, v)
	}
	for i := range 64 {
		v ^= 1 << i
		out = append(out, v)
	}
	return out
}

// irregular spaces samples by step plus or minus spread.
func irregular(seed string, n int, step, spread int64) canon.List {
	r := shape.NewRand("golden/" + seed)
	out := run(newCounter(seed, 500, 12), n, step)
	for i := range out {
		out[i].Time += r.Between(-spread, spread)
	}
	return out
}

// dodBoundaries has every change of the distance at and around the limits of
// the size classes, in both directions. base keeps the distances positive.
func dodBoundaries(base int64) []int64 {
	out := []int64{0, base}
	t, delta := base, base
	for _, exp := range []int64{1 << 13, 1 << 16, 1 << 19} {
		for _, dod := range []int64{exp - 1, exp, exp + 1, -exp + 1, -exp, -exp - 1, 1, -1, 0} {
			for _, d := range []int64{dod, -dod} { // and back
				delta += d
				t += delta
				out = append(out, t)
			}
		}
	}
	return out
}
