package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"lithify.test/peers/kit/shape"
)

// drawnBlock is a block while its case is drawn: it has no number yet, and
// knows its sources by themselves. Sources that are gone get numbers, too.
type drawnBlock struct {
	planBlock
	leaves []*drawnBlock // itself for a block of level 1
	born   int64         // ULIDs ascend with it
}

// planDraw draws one case.
type planDraw struct {
	*shape.Rand
	c      *planCase
	blocks []*drawnBlock
	tight  bool // index sizes matter
	most   int  // two-hour blocks to have, about
}

// newPlanCase draws case n; it depends on nothing but n.
func newPlanCase(n int) *planCase {
	d := &planDraw{Rand: shape.NewRand(fmt.Sprintf("plans/%d", n)), c: &planCase{Case: n}}
	d.settings()
	d.most = d.size()
	d.streams()
	d.blocks = d.blocks[:min(len(d.blocks), 117)] // three odd ones may follow
	d.odd()
	d.flags()
	d.sizes()
	d.bounds()
	d.number()
	return d.c
}

// pick returns one of the items.
func pick[T any](r *shape.Rand, items ...T) T { return items[r.N(int64(len(items)))] }

func (d *planDraw) settings() {
	c := d.c
	switch kind := d.N(100); {
	case kind < 38:
		c.Vertical, c.ReplicaLabels = true, []string{"replica"}
	case kind < 52: // the order given is not the sorted one
		c.Vertical, c.ReplicaLabels = true, []string{"rule_replica", "replica"}
	case kind < 66:
		c.Vertical = true
	}
	c.MaxLevel = pick(d.Rand, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 0)
	if d.tight = d.Chance(380); d.tight {
		c.MaxIndex, c.Shared = 1000, d.N(20)
	}
	if d.Chance(160) {
		c.Relabel = d.selector()
	}
}

func (d *planDraw) selector() string {
	const rule = "- action: %s\n  source_labels: [cluster]\n  regex: '%s'\n"
	const shard = "- action: hashmod\n  source_labels: [%s]\n  target_label: shard\n  modulus: %d\n" +
		"- action: keep\n  source_labels: [shard]\n  regex: %d\n"
	switch d.N(4) {
	case 0:
		return fmt.Sprintf(rule, "keep", pick(d.Rand, "a", "b", "a|c"))
	case 1:
		return fmt.Sprintf(rule, "drop", pick(d.Rand, "a", "b", "[bc]"))
	default:
		shards := d.Between(2, 3)
		return fmt.Sprintf(shard, pick(d.Rand, "cluster", "cluster", "cluster, replica"), shards, d.N(shards))
	}
}

// size draws how many blocks the case may have: mostly few, now and then many.
func (d *planDraw) size() int {
	switch kind := d.N(100); {
	case kind < 84:
		return int(d.Between(5, 13))
	case kind < 97:
		return int(d.Between(13, 26))
	case kind < 99:
		return int(d.Between(26, 60))
	default:
		return int(d.Between(80, 120))
	}
}

// flags sprinkles marks and the like.
func (d *planDraw) flags() {
	for _, flag := range []struct {
		cases, blocks int64 // per mille
		set           func(*drawnBlock)
	}{
		{140, 90, func(b *drawnBlock) { b.NoCompact = true }},
		{110, 90, func(b *drawnBlock) { b.Marked = "young" }},
		{110, 90, func(b *drawnBlock) { b.Marked = "old" }},
		{130, 70, func(b *drawnBlock) { b.Fresh = true }},
		{70, 200, func(b *drawnBlock) {
			b.Fresh, b.By = true, pick(d.Rand, "compactor", "bucket.repair", "compactor.repair", "bucket.upload", "bucket.rewrite")
		}},
		{80, 50, func(b *drawnBlock) { b.Failed = true }},
	} {
		if !d.Chance(flag.cases) {
			continue
		}
		flag.set(d.blocks[d.N(int64(len(d.blocks)))])
		for _, b := range d.blocks {
			if d.Chance(flag.blocks) {
				flag.set(b)
			}
		}
	}
	d.unmark()
}

// unmark takes deletion marks back from blocks that hold all sources of a
// block without one. Replica labels do not count here, so a few more go than
// need to.
func (d *planDraw) unmark() {
	for again := true; again; {
		again = false
		for _, b := range d.blocks {
			if b.Marked != "" && slices.ContainsFunc(d.blocks, func(o *drawnBlock) bool {
				return o.Marked == "" && o.Resolution == b.Resolution && d.cluster(o) == d.cluster(b) && holdsAll(b.leaves, o.leaves)
			}) {
				b.Marked, again = "", true
			}
		}
	}
}

func (d *planDraw) cluster(b *drawnBlock) string { return d.c.Streams[b.Stream]["cluster"] }

func holdsAll(list, part []*drawnBlock) bool {
	return !slices.ContainsFunc(part, func(p *drawnBlock) bool { return !slices.Contains(list, p) })
}

// sizes draws the index sizes where they matter.
func (d *planDraw) sizes() {
	if !d.tight {
		return
	}
	for _, b := range d.blocks {
		switch kind := d.N(100); {
		case kind < 76:
			b.Index = d.c.Shared + d.Between(5, 180)
		case kind < 95:
			b.Index = d.c.Shared + d.Between(180, 450)
		default:
			b.Index = d.Between(450, 900)
		}
	}
}

// bounds draws time limits from the times of the blocks, so that being equal
// to one comes up.
func (d *planDraw) bounds() {
	at := func() *int64 {
		b := d.blocks[d.N(int64(len(d.blocks)))]
		t := pick(d.Rand, b.Min, b.Max) + pick[int64](d.Rand, 0, 0, 1, -1)
		return &t
	}
	if d.Chance(90) {
		d.c.MinTime = at()
	}
	if d.Chance(90) {
		d.c.MaxTime = at()
	}
}

// number gives the blocks their ULIDs and writes them and their streams down.
func (d *planDraw) number() {
	if d.Chance(150) {
		for _, b := range d.blocks {
			b.born = d.N(1 << 40)
		}
	}
	slices.SortStableFunc(d.blocks, func(a, b *drawnBlock) int { return cmp.Compare(a.born, b.born) })
	for i, b := range d.blocks {
		b.ID = i + 1
	}
	ghosts := planGhosts
	for _, b := range d.blocks {
		for _, leaf := range b.leaves {
			if leaf.ID == 0 {
				leaf.ID = ghosts
				ghosts++
			}
		}
	}
	for _, b := range d.blocks {
		b.Sources = nil
		for _, leaf := range b.leaves {
			b.Sources = append(b.Sources, leaf.ID)
		}
		slices.Sort(b.Sources)
		if len(b.Sources) == 1 && b.Sources[0] == b.ID {
			b.Sources = nil
		}
		d.c.Blocks = append(d.c.Blocks, b.planBlock)
	}
}

// stream returns the place of a label set in the case, added if new.
func (d *planDraw) stream(labels map[string]string) int {
	for i, s := range d.c.Streams {
		if maps.Equal(s, labels) {
			return i
		}
	}
	d.c.Streams = append(d.c.Streams, labels)
	return len(d.c.Streams) - 1
}
