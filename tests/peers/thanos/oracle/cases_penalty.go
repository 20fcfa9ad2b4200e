package main

import (
	"fmt"
	"math"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// penaltyCase is one series as its replicas saw it.
type penaltyCase struct {
	name     string
	replicas []canon.List
}

// scraped is a replica whose values tell which replica and which scrape they
// are from: replica*10000 + number.
func scraped(replica int, from int64, n int, step int64) canon.List {
	out := make(canon.List, n)
	for i := range out {
		out[i] = canon.Sample{Time: from + int64(i)*step, Value: float64(replica*10_000 + i)}
	}
	return out
}

// without leaves out n samples from the one at i on.
func without(list canon.List, i, n int) canon.List {
	return append(list[:i:i], list[i+n:]...)
}

// jittered moves every sample a little, without changing the order.
func jittered(seed string, list canon.List, most int64) canon.List {
	r := shape.NewRand("penalty/" + seed)
	out := list.Clone()
	for i := range out {
		out[i].Time += r.Between(-most, most)
	}
	return out
}

// valued sets single values of a series.
func valued(list canon.List, value float64, at ...int) canon.List {
	out := list.Clone()
	for _, i := range at {
		out[i].Value = value
	}
	return out
}

const penaltyBase = 1_000_000

func penaltyCases() []penaltyCase {
	var cases []penaltyCase
	for _, group := range [][]penaltyCase{steadyReplicas(), gapReplicas(), manyReplicas(), oddIntervals(), oddValues(), histogramReplicas()} {
		cases = append(cases, group...)
	}
	for seed := range 34 {
		cases = append(cases, randomReplicas(seed))
	}
	return cases
}

// pair is two replicas of n scrapes every 15 s, the second one off by offset.
func pair(n int, offset int64) []canon.List {
	return []canon.List{scraped(0, penaltyBase, n, 15_000), scraped(1, penaltyBase+offset, n, 15_000)}
}

func steadyReplicas() []penaltyCase {
	one := scraped(0, penaltyBase, 130, 15_000)
	late := pair(60, 6_750)
	return []penaltyCase{
		{"one-replica", []canon.List{one[:20]}},
		{"identical", []canon.List{one, one}},
		{"identical-three", []canon.List{one[:30], one[:30], one[:30]}},
		{"equal-times", pair(130, 0)},
		{"offset-45-percent", pair(130, 6_750)},
		{"offset-45-percent-turned", []canon.List{late[1], late[0]}},
		{"offset-tiny", pair(40, 1)},
		{"offset-under-initial-penalty", pair(40, 4_999)},
		{"offset-is-initial-penalty", pair(40, 5_000)},
		{"offset-over-initial-penalty", pair(40, 5_001)},
		{"offset-nearly-an-interval", pair(40, 14_999)},
		{"offset-negative", pair(40, -6_750)},
		{"jitter", []canon.List{jittered("a", pair(130, 6_750)[0], 400), jittered("b", pair(130, 6_750)[1], 400)}},
		{"jitter-large", []canon.List{jittered("c", pair(60, 6_750)[0], 6_000), jittered("d", pair(60, 6_750)[1], 6_000)}},
		{"long-pair", []canon.List{without(scraped(0, penaltyBase, 3000, 15_000), 1500, 20), without(scraped(1, penaltyBase+6_750, 3000, 15_000), 700, 1)}},
	}
}

func gapReplicas() []penaltyCase {
	var out []penaltyCase
	for _, missing := range []int{1, 2, 3, 10} {
		p := pair(60, 6_750)
		out = append(out,
			penaltyCase{fmt.Sprintf("first-misses-%d", missing), []canon.List{without(p[0], 25, missing), p[1]}},
			penaltyCase{fmt.Sprintf("second-misses-%d", missing), []canon.List{p[0], without(p[1], 25, missing)}},
			penaltyCase{fmt.Sprintf("first-misses-%d-equal-times", missing), []canon.List{without(pair(60, 0)[0], 25, missing), pair(60, 0)[1]}},
		)
	}
	p := pair(60, 6_750)
	turns := []canon.List{p[0], p[1]}
	for i := range 4 {
		turns[i%2] = without(turns[i%2], 8+10*i, 6)
	}
	return append(out,
		penaltyCase{"first-ends-early", []canon.List{p[0][:30], p[1]}},
		penaltyCase{"second-ends-early", []canon.List{p[0], p[1][:30]}},
		penaltyCase{"first-begins-late", []canon.List{p[0][30:], p[1]}},
		penaltyCase{"second-begins-late", []canon.List{p[0], p[1][30:]}},
		penaltyCase{"first-ends-one-before", []canon.List{p[0][:59], p[1]}},
		penaltyCase{"first-ends-three-before", []canon.List{p[0][:57], p[1]}},
		penaltyCase{"one-after-the-other", []canon.List{p[0][:30], p[1][30:]}},
		penaltyCase{"one-long-after-the-other", []canon.List{p[0][:20], p[1][45:]}},
		penaltyCase{"gaps-in-turns", turns},
		penaltyCase{"every-second-missing-in-turns", []canon.List{everySecond(p[0], 0), everySecond(p[1], 1)}},
		penaltyCase{"long-gap-over-all", []canon.List{without(p[0], 20, 20), without(p[1], 20, 20)}},
		penaltyCase{"gap-after-first-sample", []canon.List{without(p[0], 1, 10), p[1]}},
		penaltyCase{"gap-at-chunk-end", []canon.List{without(pair(250, 6_750)[0], 110, 20), pair(250, 6_750)[1]}},
		penaltyCase{"an-empty-replica", []canon.List{{}, p[1][:20]}},
		penaltyCase{"single-sample-each", []canon.List{p[0][:1], p[1][:1]}},
		penaltyCase{"single-sample-far-apart", []canon.List{p[0][:1], p[1][40:41]}},
		penaltyCase{"single-sample-same-time", []canon.List{p[0][:1], pair(1, 0)[1]}},
		penaltyCase{"single-sample-inside", []canon.List{p[0], p[1][20:21]}},
	)
}

func everySecond(list canon.List, first int) canon.List {
	var out canon.List
	for i := first; i < len(list); i += 2 {
		out = append(out, list[i])
	}
	return out
}

func manyReplicas() []penaltyCase {
	var r []canon.List
	for k := range 4 {
		r = append(r, scraped(k, penaltyBase+int64(k)*3_300, 60, 15_000))
	}
	return []penaltyCase{
		{"three", r[:3]},
		{"three-turned", []canon.List{r[2], r[1], r[0]}},
		{"four", r},
		{"three-first-away", []canon.List{without(r[0], 20, 10), r[1], r[2]}},
		{"three-two-away", []canon.List{without(r[0], 20, 12), without(r[1], 24, 12), r[2]}},
		{"four-away-in-turns", []canon.List{without(r[0], 10, 12), without(r[1], 20, 12), without(r[2], 30, 12), r[3]}},
		{"four-ending-in-turns", []canon.List{r[0][:15], r[1][:30], r[2][:45], r[3]}},
		{"three-equal-times", []canon.List{r[0], scraped(1, penaltyBase, 60, 15_000), scraped(2, penaltyBase, 60, 15_000)}},
	}
}

func oddIntervals() []penaltyCase {
	faster := append(scraped(0, penaltyBase, 20, 60_000), scraped(2, penaltyBase+20*60_000, 40, 15_000)...)
	fasterToo := append(scraped(1, penaltyBase+27_000, 20, 60_000), scraped(3, penaltyBase+27_000+20*60_000, 40, 15_000)...)
	slower := append(scraped(0, penaltyBase, 40, 15_000), scraped(2, penaltyBase+40*15_000, 20, 60_000)...)
	slowerToo := append(scraped(1, penaltyBase+6_000, 40, 15_000), scraped(3, penaltyBase+6_000+40*15_000, 20, 60_000)...)
	return []penaltyCase{
		{"interval-gets-shorter", []canon.List{faster, fasterToo}},
		{"interval-gets-longer", []canon.List{slower, slowerToo}},
		{"different-intervals", []canon.List{scraped(0, penaltyBase, 20, 60_000), scraped(1, penaltyBase+7_000, 80, 15_000)}},
		{"different-intervals-turned", []canon.List{scraped(0, penaltyBase, 80, 15_000), scraped(1, penaltyBase+7_000, 20, 60_000)}},
		{"every-second", []canon.List{without(scraped(0, penaltyBase, 60, 1_000), 20, 8), scraped(1, penaltyBase+450, 60, 1_000)}},
		{"sub-second", []canon.List{without(scraped(0, penaltyBase, 80, 100), 30, 9), scraped(1, penaltyBase+45, 80, 100)}},
		{"every-millisecond", []canon.List{scraped(0, penaltyBase, 30, 1), scraped(1, penaltyBase, 40, 1)}},
		{"hourly", []canon.List{without(scraped(0, penaltyBase, 40, 3_600_000), 20, 4), scraped(1, penaltyBase+1_600_000, 40, 3_600_000)}},
		{"negative-times", []canon.List{without(scraped(0, -9_000_000, 60, 15_000), 20, 5), scraped(1, -9_000_000+6_750, 60, 15_000)}},
		{"across-zero-time", []canon.List{without(scraped(0, -300_000, 40, 15_000), 18, 6), scraped(1, -300_000+6_750, 40, 15_000)}},
		{"at-zero-time", []canon.List{scraped(0, 0, 20, 15_000), scraped(1, -15_000, 20, 15_000)}},
	}
}

func oddValues() []penaltyCase {
	p := pair(60, 6_750)
	stale, nan := shape.Stale().Value, math.Float64frombits(0x7ff8000000000001)
	counter := func(offset int64, reset int) canon.List {
		list := runFrom(penaltyBase+offset, newCounter("penalty", 900, 50), reset, 15_000)
		return append(list, runFrom(penaltyBase+offset+int64(reset)*15_000, newCounter("penalty reset", 900, 50), 60-reset, 15_000)...)
	}
	return []penaltyCase{
		{"stale-in-first", []canon.List{valued(p[0], stale, 20), p[1]}},
		{"stale-in-both", []canon.List{valued(p[0], stale, 20, 59), valued(p[1], stale, 20, 59)}},
		{"stale-then-gap", []canon.List{without(valued(p[0], stale, 20), 21, 8), p[1]}},
		{"stale-only", []canon.List{valued(p[0][:2], stale, 0, 1), p[1][:2]}},
		{"nan-and-infinities", []canon.List{valued(valued(p[0], nan, 3, 4, 30), math.Inf(1), 10), valued(p[1], math.Inf(-1), 5, 31)}},
		{"counter", []canon.List{counter(0, 30), counter(6_750, 30)}},
		{"counter-resets-apart", []canon.List{counter(0, 30), counter(6_750, 33)}},
		{"counter-reset-in-gap", []canon.List{without(counter(0, 30), 26, 8), counter(6_750, 30)}},
		{"signed-zeros", []canon.List{valued(p[0][:10], math.Copysign(0, -1), 1, 2), valued(p[1][:10], 0, 1, 2)}},
	}
}

func histogramReplicas() []penaltyCase {
	var out []penaltyCase
	for _, floats := range []bool{false, true} {
		prefix := map[bool]string{false: "hist-", true: "floathist-"}[floats]
		plain := runFrom(penaltyBase, newHist("penalty", floats, shape.Int, 1, -4, 2, false), 26, 15_000)
		gauge := runFrom(penaltyBase, newHist("penalty gauge", floats, shape.IntGauge, 0, 0, 2, false), 16, 15_000)
		stale := plain.Clone()
		stale[9].Hist, stale[9].FloatHist, stale[9].Value = nil, nil, shape.Stale().Value
		out = append(out,
			penaltyCase{prefix + "equal", []canon.List{plain, plain}},
			penaltyCase{prefix + "offset", []canon.List{plain, shifted(plain, 6_750)}},
			penaltyCase{prefix + "first-misses-5", []canon.List{without(plain, 8, 5), shifted(plain, 6_750)}},
			penaltyCase{prefix + "gauge", []canon.List{without(gauge, 5, 4), shifted(gauge, 4_000)}},
			penaltyCase{prefix + "stale-inside", []canon.List{stale, shifted(plain, 6_750)}},
		)
	}
	h := runFrom(penaltyBase, newHist("penalty mixed", false, shape.Int, 1, 0, 2, false), 14, 15_000)
	fh := runFrom(penaltyBase, newHist("penalty mixed", true, shape.Int, 1, 0, 2, false), 14, 15_000)
	f := scraped(0, penaltyBase, 14, 15_000)
	return append(out,
		penaltyCase{"mixed-float-and-hist", []canon.List{f, shifted(h, 6_000)}},
		penaltyCase{"mixed-hist-and-float", []canon.List{h, shifted(f, 6_000)}},
		penaltyCase{"mixed-float-with-gap-and-hist", []canon.List{without(f, 4, 6), shifted(h, 6_000)}},
		penaltyCase{"mixed-hist-with-gap-and-float", []canon.List{without(h, 4, 6), shifted(f, 6_000)}},
		penaltyCase{"mixed-hist-and-floathist", []canon.List{without(h, 4, 6), shifted(fh, 6_000)}},
		penaltyCase{"mixed-both-switch", []canon.List{append(f[:7:7], h[7:]...), shifted(append(f[:6:6], h[6:]...), 6_000)}},
		penaltyCase{"mixed-three-kinds", []canon.List{without(f, 3, 5), shifted(without(h, 6, 5), 3_000), shifted(fh, 6_000)}},
	)
}

// randomReplicas draws scrapes with misses and outages of all lengths.
func randomReplicas(seed int) penaltyCase {
	r := shape.NewRand(fmt.Sprintf("random penalty %d", seed))
	c := penaltyCase{name: fmt.Sprintf("random-%d", seed)}
	step := []int64{100, 1_000, 5_000, 15_000, 15_000, 30_000, 60_000}[r.N(7)]
	n, miss, outage := r.Between(20, 150), r.N(120), r.N(30)
	for k := range r.Between(2, 4) {
		offset, jitter := r.N(step), r.N(step/20)
		var list canon.List
		away := int64(0)
		for i := range n {
			if r.Chance(outage) {
				away = r.Between(2, 14)
			}
			away--
			t := penaltyBase + offset + i*step + r.Between(-jitter, jitter)
			if away < 0 && !r.Chance(miss) {
				list = append(list, canon.Sample{Time: t, Value: float64(k*10_000 + i)})
			}
		}
		c.replicas = append(c.replicas, list)
	}
	return c
}
