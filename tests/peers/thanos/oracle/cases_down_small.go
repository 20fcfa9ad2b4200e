package main

import (
	"fmt"
	"math"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// downSmall have windows of 100 ms, so that they can be followed by eye.
func downSmall() []downCase {
	list := map[string]canon.List{
		"golden":         points(20, 1, 40, 2, 260, 7),
		"counter":        points(20, 1, 40, 2, 60, 3, 80, 1, 100, 2, 120, 5, 180, 10, 250, 1),
		"one":            points(250, 3),
		"same-time":      points(20, 1, 20, 5, 20, 2, 120, 4),
		"same-time-last": points(20, 1, 120, 5, 120, 2),
		"borders":        points(0, 1, 99, 2, 100, 3, 199, 1, 200, 5),
		"nan-first":      points(20, math.NaN(), 30, math.NaN(), 140, 2, 150, 1),
		"nan-last":       points(20, 4, 130, 6, 160, math.NaN(), 270, math.NaN()),
		"empty-windows":  points(20, 1, 1020, 2, 1030, 1, 5000, 9, 5099, 9),
		"infinities":     points(20, math.Inf(1), 120, math.Inf(-1), 220, 1),
	}
	var out []downCase
	for _, name := range sorted(list) {
		out = append(out, downCase{name: "float-small-" + name, group: "float", direct: list[name], resolution: 100})
	}
	for seed := range 16 {
		r := shape.NewRand(fmt.Sprintf("down small %d", seed))
		var samples canon.List
		t, v := r.Between(0, 250), r.Between(0, 50)
		for range r.Between(1, 60) {
			samples = append(samples, canon.Sample{Time: t, Value: float64(v)})
			t += r.Between(1, 90)
			v += r.Between(0, 9)
			if r.Chance(90) {
				v = r.Between(0, 3)
			}
		}
		out = append(out, downCase{name: fmt.Sprintf("float-small-random-%02d", seed), group: "float", raw: mustCut(samples), resolution: 100})
	}
	return out
}

// downRandom have everything at once: distances, gaps, resets, NaN of both
// kinds, infinities and chunks of any size.
func downRandom() []downCase {
	var out []downCase
	for seed := range 24 {
		r := shape.NewRand(fmt.Sprintf("down random %d", seed))
		c := downCase{name: fmt.Sprintf("float-random-%02d", seed), group: "float"}
		t := downBase + r.Between(0, int64(2*hour))
		for range r.Between(1, 6) {
			part := randomPart(r, t)
			c.raw = append(c.raw, mustCut(part)...)
			t = part[len(part)-1].Time + r.Between(1, []int64{minute, hour, day}[r.N(3)])
		}
		out = append(out, c)
	}
	return out
}

func randomPart(r *shape.Rand, t int64) canon.List {
	steps := []int64{second, 10 * second, 15 * second, 30 * second, minute, window, 7 * minute, 20 * minute}
	step := steps[r.N(int64(len(steps)))]
	spread := r.N(step/2 + 1)
	unit := []float64{1, 0.25, 1.0 / 3}[r.N(3)]
	odd := []float64{math.NaN(), shape.Stale().Value, math.Inf(1), math.Inf(-1), 0, -7.5}
	var out canon.List
	v := r.Between(0, 1000)
	for range r.Between(1, 200) {
		one := canon.Sample{Time: t, Value: float64(v) * unit}
		if r.Chance(15) {
			one.Value = odd[r.N(int64(len(odd)))]
		}
		out = append(out, one)
		t += step - spread/2 + r.N(spread+1)
		switch {
		case r.Chance(20):
			v = 0
		case r.Chance(400):
			v += r.Between(1, 30)
		}
	}
	return out
}
