package main

import (
	"fmt"
	"strings"
)

// planTally counts what the cases cover, so that a change of the generator
// that loses something is seen.
type planTally struct {
	cases, blocks, steps, largest int
	with                          map[string]int // cases with a feature
}

func (t *planTally) add(c *planCase) {
	if t.with == nil {
		t.with = map[string]int{}
	}
	t.cases++
	t.blocks += len(c.Blocks)
	t.largest = max(t.largest, len(c.Blocks))
	t.steps += c.Steps
	seen := map[string]bool{
		"vertical":        c.Vertical,
		"replica labels":  len(c.ReplicaLabels) > 0,
		"2 replica lab.":  len(c.ReplicaLabels) > 1,
		"lower max level": c.MaxLevel < 4,
		"min time":        c.MinTime != nil,
		"max time":        c.MaxTime != nil,
		"relabel":         c.Relabel != "",
		"no step":         c.Steps == 0,
		"halted":          len(c.Halted) > 0,
		"made marked":     c.MadeMarked > 0,
	}
	for state := range c.States {
		seen[state] = true
	}
	for reason := range c.NoCompact {
		seen[reason] = true
	}
	for _, b := range c.Blocks {
		c.describe(b, seen)
	}
	seen["both sides of 0"] = seen["negative time"] && seen["positive time"]
	for feature, yes := range seen {
		if yes {
			t.with[feature]++
		}
	}
}

// describe notes the features of one block.
func (c *planCase) describe(b planBlock, seen map[string]bool) {
	seen["5m blocks"] = seen["5m blocks"] || b.Resolution == 300_000
	seen["1h blocks"] = seen["1h blocks"] || b.Resolution == 3_600_000
	seen["level > 1"] = seen["level > 1"] || b.Level > 1
	seen["negative time"] = seen["negative time"] || b.Min < 0
	seen["positive time"] = seen["positive time"] || b.Max > 0
	seen["young"] = seen["young"] || b.Marked == "young"
	seen["old"] = seen["old"] || b.Marked == "old"
	seen["fresh"] = seen["fresh"] || b.Fresh
	seen["fresh exempt"] = seen["fresh exempt"] || b.Fresh && planExempt(b)
	seen["no-compact"] = seen["no-compact"] || b.NoCompact
	seen["failed"] = seen["failed"] || b.Failed
	seen["odd length"] = seen["odd length"] || (b.Max-b.Min)%120 != 0
	seen["crossing"] = seen["crossing"] || b.Max-b.Min < 480 && floorTo(b.Min, 480) != floorTo(b.Max-1, 480)
	seen["only replica labels"] = seen["only replica labels"] || c.Streams[b.Stream]["cluster"] == ""
	for _, s := range b.Sources {
		seen["source present"] = seen["source present"] || s < planGhosts && s != b.ID
		seen["source gone"] = seen["source gone"] || s >= planGhosts
	}
}

func (t *planTally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cases, %d blocks (at most %d), %d steps; share of cases with", t.cases, t.blocks, t.largest, t.steps)
	for i, name := range sorted(t.with) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %.1f %%", name, 100*float64(t.with[name])/float64(t.cases))
	}
	return b.String()
}

// planExempt tells which uploaders need no consistency delay.
func planExempt(b planBlock) bool {
	return b.By == "" && b.Level > 1 || b.By == "compactor" || b.By == "compactor.repair" || b.By == "bucket.repair"
}
