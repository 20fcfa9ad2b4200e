package main

import (
	"fmt"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// mergeCase is one series in several blocks: per block its chunks, per chunk
// its samples (a part that the encoder must split gives several chunks).
type mergeCase struct {
	name   string
	inputs [][]canon.List
}

// cut splits a series into chunks of n samples.
func cut(list canon.List, n int) []canon.List {
	var out []canon.List
	for len(list) > n {
		out, list = append(out, list[:n]), list[n:]
	}
	return append(out, list)
}

// flat is a float series of one value.
func flat(from, n, step int64, value float64) canon.List {
	return runFrom(from, shape.Const(value), int(n), step)
}

func mergeCases() []mergeCase {
	cases := append(floatMerges(), histogramMerges()...)
	for seed := range 12 {
		cases = append(cases, randomMerge(seed))
	}
	return cases
}

func floatMerges() []mergeCase {
	one := run(newCounter("merge", 700, 40), 260, 15_000)
	other := runFrom(quickstartBase+6_700, newCounter("merge", 700, 40), 260, 15_000)
	noise := run(newNoise("merge noise"), 60, 15_000)
	a, b, c := flat(0, 6, 10, 1), flat(0, 6, 10, 2), flat(0, 6, 10, 3)
	return []mergeCase{
		{"one-input", [][]canon.List{cut(one[:90], 40)}},
		{"disjoint-in-turns", [][]canon.List{{one[:30], one[60:90]}, {one[30:60], one[90:110]}}},
		{"disjoint-oversized-chunk-untouched", [][]canon.List{cut(one[:130], 120), {one[130:140]}}},
		{"identical-two", [][]canon.List{cut(one[:100], 40), cut(one[:100], 40)}},
		{"identical-three", [][]canon.List{{noise}, {noise}, {noise}}},
		{"identical-then-different", [][]canon.List{{a}, {a}, {b}}},
		{"identical-apart", [][]canon.List{{a}, {b}, {a}}},
		{"identical-but-not-aligned", [][]canon.List{{one[:40], one[40:80]}, {one[:40]}, {one[40:80]}}},
		{"same-samples-other-cuts", [][]canon.List{cut(one, 120), cut(one, 100)}},
		{"same-samples-one-missing-some", [][]canon.List{cut(one[:200], 120), cut(append(one[:50:50], one[90:200]...), 120)}},
		{"offset-replicas", [][]canon.List{cut(one, 120), cut(other, 120)}},
		{"offset-replicas-later-start", [][]canon.List{cut(one[:150], 120), cut(other[100:240], 120)}},
		{"touching-equal-value", [][]canon.List{{a}, {flat(50, 6, 10, 1)}}},
		{"touching-other-value", [][]canon.List{{a}, {flat(50, 6, 10, 2)}}},
		{"touching-chain", [][]canon.List{{a, flat(100, 6, 10, 4)}, {flat(50, 6, 10, 2)}}},
		{"next-millisecond", [][]canon.List{{a}, {flat(51, 6, 10, 2)}}},
		{"contained", [][]canon.List{{flat(0, 30, 10, 1)}, {flat(101, 5, 10, 2)}}},
		{"contained-same-times", [][]canon.List{{flat(0, 30, 10, 1)}, {flat(100, 5, 10, 2)}}},
		{"one-over-many", [][]canon.List{{flat(0, 60, 10, 1)}, cut(flat(3, 60, 10, 2), 9)}},
		{"conflict-two", [][]canon.List{{a}, {b}}},
		{"conflict-two-turned", [][]canon.List{{b}, {a}}},
		{"conflict-three", [][]canon.List{{a}, {b}, {c}}},
		{"conflict-three-starts-differ", [][]canon.List{{flat(10, 6, 10, 1)}, {flat(0, 6, 10, 2)}, {flat(20, 6, 10, 3)}}},
		{"same-start-other-end", [][]canon.List{{flat(0, 9, 10, 1)}, {flat(0, 6, 10, 2)}}},
		{"single-samples", [][]canon.List{{flat(0, 1, 1, 1), flat(10, 1, 1, 1)}, {flat(0, 1, 1, 2), flat(5, 1, 1, 2), flat(10, 1, 1, 2)}}},
		{"overlap-within-one-input", [][]canon.List{{flat(0, 6, 10, 1), flat(45, 6, 10, 2)}, {flat(200, 3, 10, 3)}}},
		{"remainder-overlaps-again", [][]canon.List{{one[:120], one[120:240]}, {other[:120], other[120:240]}, {flat(one[115].Time, 20, 15_000, 5)}}},
		{"gap-then-overlap", [][]canon.List{{one[:20], one[100:120]}, {one[40:60], other[105:125]}}},
		{"an-empty-input", [][]canon.List{{a}, {}, {flat(100, 3, 10, 2)}}},
		{"negative-times", [][]canon.List{{flat(-100, 12, 10, 1)}, {flat(-55, 12, 10, 2)}}},
	}
}

// shifted moves a series in time.
func shifted(list canon.List, by int64) canon.List {
	out := list.Clone()
	for i := range out {
		out[i].Time += by
	}
	return out
}

func histogramMerges() []mergeCase {
	var out []mergeCase
	for _, floats := range []bool{false, true} {
		prefix := map[bool]string{false: "hist-", true: "floathist-"}[floats]
		plain := run(newHist("m plain", floats, shape.Int, 2, -6, 2, false), 40, 15_000)
		grown := run(newHist("m grown", floats, shape.Int, 2, -2, 6, true), 40, 15_000)
		gauge := run(newHist("m gauge", floats, shape.IntGauge, 0, 0, 3, false), 24, 15_000)
		custom := run(newHist("m custom", floats, shape.Custom, 0, 3, 2, false), 24, 15_000)
		stale := plain[:20].Clone()
		stale[9].Hist, stale[9].FloatHist = nil, nil
		stale[9].Value = shape.Stale().Value
		out = append(out,
			mergeCase{prefix + "identical", [][]canon.List{cut(plain, 20), cut(plain, 20)}},
			mergeCase{prefix + "other-cuts", [][]canon.List{cut(plain, 20), cut(plain, 15)}},
			mergeCase{prefix + "offset", [][]canon.List{cut(plain[:24], 12), cut(shifted(plain[:24], 6_700), 12)}},
			mergeCase{prefix + "offset-other-layout", [][]canon.List{{plain[:16]}, {shifted(grown[:16], 6_700)}}},
			mergeCase{prefix + "conflict", [][]canon.List{{plain[:16]}, {grown[:16]}}},
			mergeCase{prefix + "gauge-offset", [][]canon.List{{gauge[:16]}, {shifted(gauge[8:], 4_000)}}},
			mergeCase{prefix + "custom-offset", [][]canon.List{{custom[:16]}, {shifted(custom[8:], 4_000)}}},
			mergeCase{prefix + "stale-inside", [][]canon.List{{stale}, {shifted(plain[:20], 3_000)}}},
		)
	}
	h := run(newHist("m mixed", false, shape.Int, 1, 0, 2, false), 16, 15_000)
	fh := run(newHist("m mixed", true, shape.Int, 1, 0, 2, false), 16, 15_000)
	f := run(newCounter("m mixed", 800, 9), 16, 15_000)
	return append(out,
		mergeCase{"mixed-float-and-hist-offset", [][]canon.List{{f}, {shifted(h, 5_000)}}},
		mergeCase{"mixed-float-and-hist-same-times", [][]canon.List{{f}, {h}}},
		mergeCase{"mixed-hist-and-float-same-times", [][]canon.List{{h}, {f}}},
		mergeCase{"mixed-hist-and-floathist-offset", [][]canon.List{{h}, {shifted(fh, 5_000)}}},
		mergeCase{"mixed-hist-and-floathist-same-times", [][]canon.List{{h}, {fh}}},
		mergeCase{"mixed-three-kinds", [][]canon.List{{f}, {shifted(h, 2_000)}, {shifted(fh, 1_000)}}},
		mergeCase{"mixed-switch-midway", [][]canon.List{{f[:8], h[8:]}, {shifted(f[:6], 1_000), shifted(h[6:], 1_000)}}},
	)
}

// randomMerge makes a few blocks with chunks of random sizes, gaps and offsets
// over a short stretch, so that most timestamps are held more than once.
func randomMerge(seed int) mergeCase {
	r := shape.NewRand(fmt.Sprintf("random merge %d", seed))
	c := mergeCase{name: fmt.Sprintf("random-%d", seed)}
	for k := range r.Between(2, 5) {
		var parts []canon.List
		t := r.Between(0, 200)
		for range r.Between(1, 5) {
			part := flat(t, r.Between(1, 14), 10*r.Between(1, 2), float64(k))
			for i := range part {
				part[i].Value = float64(k) + float64(r.N(4))/4
			}
			parts = append(parts, part)
			t = part[len(part)-1].Time + r.Between(1, 60)
		}
		c.inputs = append(c.inputs, parts)
	}
	return c
}
