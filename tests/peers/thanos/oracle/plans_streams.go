package main

import (
	"maps"
	"slices"
)

// Lengths in minutes by level; level 1 is a block as Prometheus cuts it.
var planLengths = [5]int64{0, 120, 480, 2880, 20160}

// slot is a time range that the replicas of a cluster have a block for.
type slot struct {
	min, max int64
	level    int
}

// floorTo is the last multiple of width at or before t.
func floorTo(t, width int64) int64 {
	past := t % width
	if past < 0 {
		past += width
	}
	return t - past
}

// streams draws the clusters: what their replicas uploaded and what was
// compacted before.
func (d *planDraw) streams() {
	clusters := pick(d.Rand, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4)
	base := 20160 * pick[int64](d.Rand, 0, 0, 1, 1, 2, 3, 3, 7, -1, -2)
	for i := range clusters {
		replicas := pick(d.Rand, 1, 1, 1, 2, 2, 2, 3)
		from := base + 120*d.N(168)
		if d.Chance(60) {
			from = -120 * d.N(12) // across zero
		}
		slots := d.timeline(from, max(5, d.most/clusters/replicas))
		labels := d.clusterLabels(i, replicas)
		for _, s := range slots {
			d.fill(s, labels)
		}
		if d.Chance(130) {
			d.downsampled(slots[0].min, labels)
		}
	}
}

// clusterLabels names the replicas; where there is one only, it may be none.
func (d *planDraw) clusterLabels(i, replicas int) []map[string]string {
	cluster := map[string]string{"cluster": string(rune('a' + i))}
	if i == 0 && d.Chance(70) {
		cluster = nil // then nothing is left but replica labels
	}
	var out []map[string]string
	rulers := d.Chance(200)
	for k := range replicas {
		labels := maps.Clone(cluster)
		if labels == nil {
			labels = map[string]string{}
		}
		name := "replica"
		if rulers && k > 0 {
			name = "rule_replica"
		}
		if replicas > 1 || len(labels) == 0 || d.Chance(600) {
			labels[name] = string(rune('0' + k))
		}
		if rulers && d.Chance(300) {
			labels["replica"], labels["rule_replica"] = string(rune('0'+k)), "r"
		}
		out = append(out, labels)
	}
	return out
}

// timeline draws the slots of a cluster from its oldest on: a few compacted
// ranges perhaps, then two-hour blocks, with gaps.
func (d *planDraw) timeline(at int64, n int) []slot {
	var out []slot
	if d.Chance(280) {
		for level := 4; level > 1; level-- {
			count := pick(d.Rand, 0, 0, 1, 2, 3)
			if level == 4 {
				count = pick(d.Rand, 0, 0, 0, 1)
			}
			width := planLengths[level]
			if count > 0 {
				at = floorTo(at+width-1, width)
			}
			for range count {
				out = append(out, slot{at, at + width, level})
				at += width * pick[int64](d.Rand, 1, 1, 1, 1, 2)
			}
		}
	}
	out = out[:min(len(out), n-2)]
	for len(out) < n {
		out = append(out, slot{at, at + 120, 1})
		at += 120
		switch {
		case d.Chance(70):
			at += 120 * d.Between(1, 6)
		case d.Chance(12):
			at += 120 * d.Between(6, 200)
		}
	}
	return out
}

// fill makes the blocks of one slot: one per replica, one that is deduplicated
// already, or none where a replica was away.
func (d *planDraw) fill(s slot, replicas []map[string]string) {
	if s.level > 1 && len(d.c.ReplicaLabels) > 0 && d.Chance(500) {
		d.compacted(d.stream(d.stripped(replicas[0])), s, 0)
		return
	}
	for _, labels := range replicas {
		if d.Chance(70) {
			continue
		}
		if s.level > 1 {
			d.compacted(d.stream(labels), s, 0)
			continue
		}
		b := d.leaf(d.stream(labels), s)
		if d.Chance(30) { // the server was started in the middle
			b.Min += d.Between(1, 119)
		}
		d.blocks = append(d.blocks, b)
	}
}

// stripped is a label set as compaction leaves it.
func (d *planDraw) stripped(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	maps.DeleteFunc(out, func(name, _ string) bool { return slices.Contains(d.c.ReplicaLabels, name) })
	if len(out) == 0 {
		out = map[string]string{"replica": "deduped"}
	}
	return out
}

// leaf makes a block of level 1 without adding it.
func (d *planDraw) leaf(stream int, s slot) *drawnBlock {
	b := &drawnBlock{planBlock: planBlock{Min: s.min, Max: s.max, Stream: stream}, born: s.max + d.N(240)}
	b.leaves = []*drawnBlock{b}
	if d.Chance(60) {
		b.By = pick(d.Rand, "receive", "ruler", "bucket.upload")
	}
	return b
}

// compacted adds a block of a higher level. What it was made of is gone,
// mostly, but may lie there still, with or without a deletion mark.
func (d *planDraw) compacted(stream int, s slot, resolution int64) *drawnBlock {
	b := &drawnBlock{planBlock: planBlock{Min: s.min, Max: s.max, Stream: stream, Level: s.level, Resolution: resolution}, born: s.max + d.Between(300, 900)}
	parts := d.Between(2, 4)
	width := (s.max - s.min) / parts
	fate := "gone"
	if resolution == 0 && s.level < 4 {
		fate = pick(d.Rand, "gone", "gone", "gone", "gone", "gone", "", "young", "mixed")
	}
	for k := range parts {
		leaf := d.leaf(stream, slot{s.min + k*width, s.min + (k+1)*width, 1})
		b.leaves = append(b.leaves, leaf)
		state := fate
		if fate == "mixed" {
			state = pick(d.Rand, "gone", "", "young", "old")
		}
		if state != "gone" {
			leaf.Marked = state
			d.blocks = append(d.blocks, leaf)
		}
	}
	d.blocks = append(d.blocks, b)
	return b
}

// downsampled adds 5m and perhaps 1h blocks of a cluster, aligned to their
// usual ranges: per replica, as without deduplication, or of one stream.
func (d *planDraw) downsampled(from int64, replicas []map[string]string) {
	streams := replicas
	if len(d.c.ReplicaLabels) > 0 && d.Chance(350) {
		streams = []map[string]string{d.stripped(replicas[0])}
	}
	for _, labels := range streams {
		for _, kind := range []struct{ resolution, most int64 }{{300_000, 5}, {3_600_000, 3}} {
			if kind.resolution == 3_600_000 && d.Chance(600) {
				continue
			}
			at := floorTo(from, 2880) + 2880*d.N(3)
			for range d.Between(2, kind.most) {
				length := pick[int64](d.Rand, 2880, 2880, 2880, 2880, 480)
				d.compacted(d.stream(labels), slot{at, at + length, 3}, kind.resolution)
				at += 2880 * pick[int64](d.Rand, 1, 1, 1, 1, 1, 2, 5)
			}
		}
	}
}

// odd adds what does not fit: late and backfilled blocks, blocks across the
// end of a window, copies with equal sources.
func (d *planDraw) odd() {
	if !d.Chance(450) {
		return
	}
	for range d.Between(1, 3) {
		like := d.blocks[d.N(int64(len(d.blocks)))]
		late := slot{like.Min, like.Max, 1}
		switch d.N(5) {
		case 0: // a second upload of the same time
		case 1, 2: // backfilled, anywhere near, or in a time without blocks
			late.min += pick[int64](d.Rand, 1, 15, 60) * d.Between(-12, 12)
			late.min += pick[int64](d.Rand, 0, -1440, -5760, 1440, 12000)
			late.max = late.min + pick[int64](d.Rand, 180, 30, 45, 300, 1000, 120)
		case 3: // across the end of a window
			end := floorTo(like.Min, 480) + 480
			late.min, late.max = end-d.Between(1, 119), end+d.Between(1, 119)
		case 4:
			twin := *like
			twin.Marked, twin.NoCompact = pick(d.Rand, "", "", like.Marked), false
			twin.born += d.Between(-500, 5000)
			d.blocks = append(d.blocks, &twin)
			continue
		}
		b := d.leaf(like.Stream, late)
		b.born += d.Between(0, 20_000)
		b.Resolution = like.Resolution
		d.blocks = append(d.blocks, b)
	}
}
