package main

import (
	"fmt"
	"math"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// Milliseconds, as second, minute and hour are. downBase lies on an hour.
const (
	day      = 24 * hour
	window   = 5 * minute
	downBase = quickstartBase
)

// rawCase is a case whose block holds the samples as Prometheus cuts them.
func rawCase(group, name string, samples canon.List) downCase {
	return downCase{name: group + "-" + name, group: group, raw: mustCut(samples)}
}

func floatCase(name string, samples canon.List) downCase { return rawCase("float", name, samples) }

// mustCut cuts samples into chunks; the encoder fails on no input of ours.
func mustCut(samples canon.List) []chunks.Meta {
	out, err := storage.ExpandChunks(encode(samples))
	if err != nil {
		panic(err)
	}
	return out
}

// oneChunk puts samples into a single chunk in the order given, whatever their
// times; the chunk's range is that of its first and last sample.
func oneChunk(samples canon.List) chunks.Meta {
	c := chunkenc.NewXORChunk()
	app, err := c.Appender()
	if err != nil {
		panic(err)
	}
	for _, s := range samples {
		app.Append(s.Time, s.Value)
	}
	return chunks.Meta{Chunk: c, MinTime: samples[0].Time, MaxTime: samples[len(samples)-1].Time}
}

// points pairs times with values.
func points(pairs ...float64) canon.List {
	var out canon.List
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, canon.Sample{Time: int64(pairs[i]), Value: pairs[i+1]})
	}
	return out
}

// sampled is a series every step ms from downBase+off on, with a value of f.
func sampled(n int, off, step int64, f func(i int) float64) canon.List {
	out := make(canon.List, n)
	for i := range out {
		out[i] = canon.Sample{Time: downBase + off + int64(i)*step, Value: f(i)}
	}
	return out
}

func smallGauge(seed string) *shape.Gauge {
	return &shape.Gauge{Rand: shape.NewRand(seed), Lo: -90, Hi: 90, Stride: 9, Busy: 600, Unit: 0.5}
}

func downFloats() []downCase {
	var out []downCase
	out = append(out, intervals()...)
	out = append(out, counterResets()...)
	out = append(out, shapes()...)
	out = append(out, gaps()...)
	out = append(out, sparse()...)
	out = append(out, longSeries()...)
	out = append(out, staleAndNaN()...)
	return append(out, extremeFloats()...)
}

// intervals has each usual distance of scrapes, off the grid of windows.
func intervals() []downCase {
	var out []downCase
	for _, i := range []struct {
		name string
		step int64
		n    int
	}{
		{"1s", second, 1300}, {"10s", 10 * second, 500}, {"15s", 15 * second, 480}, {"30s", 30 * second, 700},
		{"60s", minute, 960}, {"5m", window, 420}, {"7m", 7 * minute, 300}, {"1h", hour, 240},
	} {
		counter := runFrom(downBase+1_234, newCounter("down "+i.name, 300, 9), i.n*2/3, i.step)
		again := newCounter("down again "+i.name, 300, 9)
		counter = append(counter, runFrom(counter[len(counter)-1].Time+i.step, again, i.n/3, i.step)...)
		out = append(out,
			floatCase("counter-"+i.name, counter),
			floatCase("gauge-"+i.name, runFrom(downBase+1_234, smallGauge("down "+i.name), i.n*2/3, i.step)),
			floatCase("counter-on-grid-"+i.name, runFrom(downBase, newCounter("grid "+i.name, 200, 3), i.n/3, i.step)),
		)
	}
	return out
}

// counterResets places a reset where windows, chunks of 120 samples and
// batches meet. 960 samples a minute apart make two batches of about 485.
func counterResets() []downCase {
	var out []downCase
	at := func(n int, off, step int64, places ...int) canon.List {
		v := 100.0
		return sampled(n, off, step, func(i int) float64 {
			for _, p := range places {
				if i == p {
					v = float64(p % 7)
				}
			}
			v++
			return v
		})
	}
	for _, p := range []int{1, 4, 5, 6, 119, 120, 121, 239} {
		out = append(out, floatCase(fmt.Sprintf("reset-at-%d", p), at(240, 0, minute, p)))
	}
	for _, p := range []int{479, 480, 481, 484, 485, 486, 489, 490, 959} {
		out = append(out, floatCase(fmt.Sprintf("reset-in-two-batches-at-%d", p), at(960, 0, minute, p)))
	}
	out = append(out,
		floatCase("reset-at-window-end", at(60, window-1, minute, 5, 10, 15, 50)),
		floatCase("reset-at-every-window", at(200, 0, minute, every(200, 5)...)),
		floatCase("reset-at-every-hour", at(600, 0, 2*minute, every(600, 30)...)),
		floatCase("reset-before-every-hour", at(600, 0, 2*minute, shift(every(600, 30), -1)...)),
		floatCase("reset-at-every-sample", sampled(100, 0, minute, func(i int) float64 { return float64(100 - i) })),
		floatCase("reset-to-equal", sampled(40, 0, minute, func(i int) float64 { return float64(i / 7 % 2 * 3) })),
		floatCase("reset-to-zero-stays", sampled(40, 0, minute, func(i int) float64 { return max(0, float64(20-i)) })),
		floatCase("counter-below-zero", sampled(40, 0, minute, func(i int) float64 { return float64(i%9) - 5 })),
	)
	return out
}

func every(n, step int) []int {
	var out []int
	for i := step; i < n; i += step {
		out = append(out, i)
	}
	return out
}

func shift(list []int, by int) []int {
	for i := range list {
		list[i] += by
	}
	return list
}

func shapes() []downCase {
	return []downCase{
		floatCase("constant", runFrom(downBase, shape.Const(3.25), 300, 30*second)),
		floatCase("zeros", runFrom(downBase, shape.Const(0), 300, 30*second)),
		floatCase("integers", runFrom(downBase, &shape.Gauge{Rand: shape.NewRand("down ints"), Lo: 0, Hi: 1000, Stride: 30, Busy: 900, Unit: 1}, 300, 30*second)),
		floatCase("noise", runFrom(downBase+77, newNoise("down noise"), 240, 30*second)),
		floatCase("noise-15s", runFrom(downBase-5_001, newNoise("down noise 15s"), 240, 15*second)),
		floatCase("ratio", runFrom(downBase, &shape.Ratio{Rand: shape.NewRand("down ratio")}, 240, 30*second)),
		floatCase("walk", walk("down walk", 240, minute)),
		floatCase("thirds", sampled(200, 3, minute, func(i int) float64 { return float64(i) / 3 })),
		floatCase("jitter-15s", jumpy("down jitter", 400, 15*second, 14)),
		floatCase("jitter-30s", jumpy("down jitter 30", 400, 30*second, 9_000)),
		floatCase("jitter-5m", jumpy("down jitter 5m", 200, window, 140_000)),
		floatCase("120-samples", runFrom(downBase, newCounter("down 120", 500, 9), 120, minute)),
		floatCase("121-samples", runFrom(downBase, newCounter("down 121", 500, 9), 121, minute)),
		floatCase("140-windows", runFrom(downBase, newCounter("down 140", 300, 3), 700, minute)),
		floatCase("141-windows", runFrom(downBase, newCounter("down 141", 300, 3), 706, minute)),
		floatCase("142-windows", runFrom(downBase, newCounter("down 142", 300, 3), 711, minute)),
		floatCase("280-windows-apart", runFrom(downBase, newCounter("down 280", 300, 3), 281, window)),
	}
}

// walk moves by fractions that are not exact.
func walk(seed string, n int, step int64) canon.List {
	r := shape.NewRand(seed)
	v := 0.0
	return sampled(n, 0, step, func(int) float64 {
		v += r.Float() - 0.5
		return v
	})
}

func jumpy(seed string, n int, step, spread int64) canon.List {
	r := shape.NewRand("times/" + seed)
	out := runFrom(downBase, newCounter(seed, 400, 12), n, step)
	for i := range out {
		out[i].Time += r.Between(-spread, spread)
	}
	return out
}

// join runs one counter through stretches of samples: start ms after downBase,
// number, distance.
func join(seed string, parts ...[3]int64) canon.List {
	c := newCounter(seed, 500, 9)
	var out canon.List
	for _, p := range parts {
		out = append(out, runFrom(downBase+p[0], c, int(p[1]), p[2])...)
	}
	return out
}

func gaps() []downCase {
	return []downCase{
		floatCase("gap-hours", join("gap hours", [3]int64{0, 90, minute}, [3]int64{7*hour + 123, 90, minute})),
		floatCase("gap-days", join("gap days", [3]int64{0, 200, 30 * second}, [3]int64{3 * day, 200, 30 * second}, [3]int64{9*day + 1, 50, minute})),
		floatCase("gap-month", join("gap month", [3]int64{5, 40, minute}, [3]int64{31 * day, 40, minute})),
		floatCase("gap-inside-window", join("gap window", [3]int64{0, 3, second}, [3]int64{window - 3*second, 3, second}, [3]int64{window, 9, minute})),
		floatCase("gap-then-dense", join("gap dense", [3]int64{0, 30, 10 * minute}, [3]int64{2 * day, 400, 5 * second})),
		floatCase("dense-then-gaps", join("dense gaps", [3]int64{0, 600, 5 * second}, [3]int64{hour, 60, 25 * minute})),
		floatCase("bursts", join("bursts", [3]int64{0, 20, second}, [3]int64{hour, 20, second}, [3]int64{2*hour - 7, 20, second}, [3]int64{4 * hour, 20, second})),
		floatCase("two-batches-with-gap", join("gap batches", [3]int64{0, 480, minute}, [3]int64{20 * hour, 480, minute})),
	}
}

func sparse() []downCase {
	b := float64(downBase)
	w := float64(window)
	return []downCase{
		floatCase("one-sample", points(b+1_000, 42)),
		floatCase("one-sample-at-window-start", points(b, -1)),
		floatCase("one-sample-at-window-end", points(b+w-1, 0.1)),
		floatCase("one-sample-at-hour-end", points(b+3_599_999, 5)),
		floatCase("two-samples-in-a-window", points(b+1, 5, b+2, 7)),
		floatCase("two-samples-reset", points(b+1, 5, b+60_000, 3)),
		floatCase("two-samples-at-window-ends", points(b+w-1, 5, b+2*w-1, 9)),
		floatCase("two-samples-at-window-starts", points(b, 5, b+w, 9)),
		floatCase("two-samples-around-a-border", points(b+w-1, 5, b+w, 2)),
		floatCase("two-samples-14-days-apart", points(b, 5, b+14*24*3_600_000-1, 9)),
		floatCase("two-samples-a-millisecond-around-an-hour", points(b+3_599_999, 1, b+3_600_000, 2)),
		floatCase("three-samples", points(b+7, 1, b+w+7, 4, b+2*w+7, 2)),
		floatCase("three-samples-hours-apart", points(b, 1, b+7_200_000, 4, b+50_400_000, 9)),
		floatCase("on-borders", sampled(60, 0, window, func(i int) float64 { return float64(i * i) })),
		floatCase("before-borders", sampled(60, window-1, window, func(i int) float64 { return float64(i * i) })),
		floatCase("after-borders", sampled(60, 1, window, func(i int) float64 { return float64(i * i) })),
		floatCase("around-borders", around(40)),
		floatCase("on-hours", sampled(30, 0, hour, func(i int) float64 { return float64(i % 11) })),
	}
}

// around has the last and the first millisecond of windows.
func around(n int) canon.List {
	out := canon.List{}
	for i := range n {
		border := downBase + int64(i+1)*window
		out = append(out, canon.Sample{Time: border - 1, Value: float64(3 * i)}, canon.Sample{Time: border, Value: float64(3*i + i%2)})
	}
	return out
}

// longSeries need several chunks of at most 140 windows, at 5 minutes and some
// at an hour too.
func longSeries() []downCase {
	slow := newCounter("down long", 8, 3)
	counter := runFrom(downBase, slow, 20_000, 30*second)
	slow.Reset()
	counter = append(counter, runFrom(downBase+20_000*30*second, slow, 20_320, 30*second)...)
	return []downCase{
		floatCase("long-constant-14d-30s", runFrom(downBase, shape.Const(1), 40_320, 30*second)),
		floatCase("long-counter-14d-30s", counter),
		floatCase("long-gauge-10d-60s", runFrom(downBase+17, &shape.Gauge{Rand: shape.NewRand("down long"), Lo: 0, Hi: 9, Stride: 2, Busy: 10, Unit: 1}, 14_400, minute)),
		floatCase("long-counter-14d-5m", runFrom(downBase+9, newCounter("down long 5m", 60, 3), 4_032, window)),
		floatCase("long-gauge-30d-1h", runFrom(downBase, smallGauge("down long 1h"), 720, hour)),
		floatCase("long-counter-60d-2h", runFrom(downBase, newCounter("down long 2h", 700, 3), 720, 2*hour)),
		floatCase("long-jitter-8d-7m", jumpy("down long 7m", 1_700, 7*minute, 60_000)),
	}
}

// numbers counts from one place up to another, without that.
func numbers(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func staleAndNaN() []downCase {
	stale, nan := shape.Stale().Value, math.NaN()
	series := func(name string, n int) canon.List {
		return runFrom(downBase, newCounter("down "+name, 500, 9), n, minute)
	}
	on := func(name string, n int, v float64, places ...int) downCase {
		return floatCase(name, valued(series(name, n), v, places...))
	}
	payloads := valued(series("nan payloads", 40), math.Float64frombits(0xfff8000000000000), 3, 4)
	payloads = valued(payloads, math.Float64frombits(0x7ff0000000000001), 10, 11, 12, 13, 14)
	payloads = valued(payloads, math.Float64frombits(0x7ff8000000000002), 20, 39)
	return []downCase{
		on("stale-inside", 60, stale, 7, 8, 30),
		on("stale-at-the-ends", 60, stale, 0, 59),
		on("stale-whole-windows", 60, stale, numbers(10, 25)...),
		on("stale-at-window-borders", 60, stale, 4, 5, 9, 10),
		on("stale-chunk", 300, stale, numbers(120, 240)...),
		on("stale-only", 60, stale, numbers(0, 60)...),
		floatCase("stale-then-reset", append(valued(series("stale reset", 30), stale, 29), runFrom(downBase+30*minute, newCounter("stale reset 2", 900, 2), 30, minute)...)),
		on("nan-inside", 60, nan, 7, 8, 30),
		on("nan-at-the-ends", 60, nan, 0, 59),
		on("nan-whole-windows", 60, nan, numbers(10, 25)...),
		on("nan-first-chunk", 360, nan, numbers(0, 120)...),
		on("nan-last-chunk", 360, nan, numbers(240, 360)...),
		on("nan-only", 60, nan, numbers(0, 60)...),
		on("nan-second-batch", 960, nan, numbers(485, 960)...),
		on("nan-first-batch", 960, nan, numbers(0, 485)...),
		on("nan-around-the-batch-border", 960, nan, numbers(478, 492)...),
		on("nan-at-the-batch-border", 960, nan, 484, 485),
		floatCase("nan-and-stale-in-turns", valued(valued(series("turns", 90), nan, every(90, 2)...), stale, every(90, 3)...)),
		floatCase("nan-payloads", payloads),
		floatCase("nan-hides-a-reset", valued(sampled(30, 0, minute, func(i int) float64 { return float64(50 + i - i/15*40) }), nan, 14, 15)),
	}
}

func extremeFloats() []downCase {
	inf, most, least := math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64
	cycle := func(name string, values ...float64) downCase {
		return floatCase(name, sampled(60, 0, minute, func(i int) float64 { return values[i%len(values)] }))
	}
	blocks := func(name string, values ...float64) downCase { // a window of each
		return floatCase(name, sampled(5*len(values), 0, minute, func(i int) float64 { return values[i/5] }))
	}
	huge := func(name string, start, step int64) downCase {
		return floatCase(name, runFrom(start, newCounter(name, 500, 9), 40, step))
	}
	return []downCase{
		blocks("inf-windows", 1, inf, 2, -inf, 3),
		cycle("inf-only", inf),
		cycle("minus-inf-only", -inf),
		cycle("inf-both", inf, -inf, 1),
		cycle("inf-rarely", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, inf, 12),
		blocks("signed-zeros", math.Copysign(0, -1), 0, math.Copysign(0, -1), math.Copysign(0, -1)),
		cycle("signed-zeros-mixed", 0, math.Copysign(0, -1)),
		cycle("denormals", least, 3*least, -least, 0x1p-1022, least),
		cycle("max-sums-overflow", most, most),
		cycle("max-both-signs", most, -most, most),
		cycle("max-counter-overflows", most, 1, most, 2),
		cycle("cancellation", 1e16, 1, -1e16, 0.1),
		cycle("random-bits", bitsAsFloats("down bits", 60)...),
		huge("far-future-year-9999", 253_402_300_799_000-40*minute, minute),
		huge("far-future-2-to-the-50", 1<<50+12_345, minute),
		huge("far-future-days", 1<<52, 5*day),
		huge("epoch", 0, minute),
		huge("just-after-the-epoch", 1, 30*second),
	}
}

// bitsAsFloats are any floats, without NaN.
func bitsAsFloats(seed string, n int) []float64 {
	var out []float64
	for _, b := range randomBits(seed, n) {
		if f := math.Float64frombits(b); !math.IsNaN(f) {
			out = append(out, f)
		}
	}
	return out
}
