package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"lithify.test/peers/kit/canon"
)

const penaltyBlocksHelp = `Compares a bucket that was compacted with deduplication by penalty with what a query
with deduplication gave for the bucket it was made of.

Raw blocks of --source are grouped by external labels without the replica labels and
cut into runs of blocks that overlap (touching is not overlapping). For each series
of a run, the blocks of a replica one after the other are one replica; replicas are
in the order of their external labels. What the querier's deduplication makes of
them, run after run, has to be what the blocks of --left hold. Blocks with a deletion
mark are skipped on all sides.

With --other, a bucket that "thanos compact" made, a line tells how many samples
(time and value) are in one of it and the querier's result only, as a share of all
that are in either. That never fails.

The last line counts what was compared; before it stand at most --max differences,
in which "right" is what the query gave.
Exit 0: equal, 1: different, 2: a block could not be read.`

type penaltyBlocksOptions struct {
	compareOptions
	source, other stringList
}

func penaltyBlocks(args []string) error {
	var o penaltyBlocksOptions
	fs := newFlags("penalty-blocks", penaltyBlocksHelp)
	fs.Var(&o.drop, "replica-label", "replica label (repeatable)")
	fs.Var(&o.left, "left", "folder of the compacted blocks (repeatable)")
	fs.Var(&o.source, "source", "folder of the blocks as they were uploaded (repeatable)")
	fs.Var(&o.other, "other", "folder of the blocks that thanos compact made (repeatable)")
	fs.IntVar(&o.most, "max", 10, "differences to print")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if len(o.drop) == 0 {
		return fmt.Errorf("--replica-label is required")
	}
	var sides [3]side
	for i, dirs := range []stringList{o.left, o.source, o.other} {
		if i == 2 && len(dirs) == 0 {
			continue
		}
		opened, err := openSide(dirs, o.compareOptions)
		if err != nil {
			return err
		}
		defer closeSide(opened)
		sides[i] = rawOnly(opened)
	}
	p := &penaltyReport{report: report{most: o.most}}
	for _, key := range unionKeys(sides[0], sides[1]) {
		if err := p.group(key, sides[0][key], sides[1][key], sides[2][key], o); err != nil {
			return fmt.Errorf("group %s: %w", key, err)
		}
	}
	if len(o.other) > 0 {
		fmt.Printf("thanos compact differs in %d of %d samples (%.3f %%)\n", p.apart, p.either, 100*float64(p.apart)/float64(max(p.either, 1)))
	}
	fmt.Printf("compared %d groups, %d series, %d samples: %d differences\n", p.groups, p.series, p.samples, p.differences)
	if p.differences > 0 {
		return errDifferent
	}
	return nil
}

// rawOnly is a side without the groups of downsampled blocks.
func rawOnly(s side) side {
	out := side{}
	for key, blocks := range s {
		if strings.HasSuffix(key, "@0") {
			out[key] = blocks
		}
	}
	return out
}

// penaltyReport also counts the samples in which the other bucket is apart.
type penaltyReport struct {
	report
	apart, either int
}

// replicaBlock is a source block with its place: which run, which replica.
type replicaBlock struct {
	openedBlock
	run, replica int
}

// places sorts source blocks by run, replica and time.
func places(blocks []openedBlock) []replicaBlock {
	var replicas []labels.Labels
	for _, b := range blocks {
		replicas = append(replicas, labels.FromMap(b.labels))
	}
	slices.SortFunc(replicas, labels.Compare)
	replicas = slices.CompactFunc(replicas, labels.Equal)

	var out []replicaBlock
	for _, b := range blocks {
		place, _ := slices.BinarySearchFunc(replicas, labels.FromMap(b.labels), labels.Compare)
		out = append(out, replicaBlock{openedBlock: b, replica: place})
	}
	slices.SortFunc(out, func(a, b replicaBlock) int {
		return cmp.Or(cmp.Compare(a.Meta().MinTime, b.Meta().MinTime), a.id.Compare(b.id))
	})
	run, end := -1, int64(0)
	for i := range out {
		if run < 0 || out[i].Meta().MinTime >= end {
			run, end = run+1, out[i].Meta().MaxTime
		}
		out[i].run = run
		end = max(end, out[i].Meta().MaxTime)
	}
	slices.SortStableFunc(out, func(a, b replicaBlock) int {
		return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.replica, b.replica))
	})
	return out
}

// group compares one stream, series by series.
func (p *penaltyReport) group(key string, left, source, other []openedBlock, o penaltyBlocksOptions) error {
	p.groups++
	if len(left) == 0 || len(source) == 0 {
		p.differ("%s: %d blocks on the left, %d at the source", key, len(left), len(source))
	}
	placed := places(source)
	sources := make([]openedBlock, len(placed))
	for i, b := range placed {
		sources[i] = b.openedBlock
	}
	var cursors [3][]*cursor
	var all []*cursor
	for i, blocks := range [][]openedBlock{left, sources, other} {
		for _, b := range blocks {
			c, err := newCursor(b)
			if err != nil {
				return fmt.Errorf("block %s: %w", b.id, err)
			}
			defer c.close()
			cursors[i] = append(cursors[i], c)
			all = append(all, c)
		}
	}
	for {
		ls, ok := smallest(all)
		if !ok {
			return nil
		}
		if err := p.one(key, ls, cursors, placed, o); err != nil {
			return fmt.Errorf("series %s: %w", ls, err)
		}
	}
}

// one compares one series of a stream.
func (p *penaltyReport) one(key string, ls labels.Labels, cursors [3][]*cursor, placed []replicaBlock, o penaltyBlocksOptions) error {
	left, err := pull(cursors[0], ls, o.compareOptions)
	if err != nil {
		return err
	}
	queried, err := queriedRuns(cursors[1], ls, placed)
	if err != nil {
		return err
	}
	other, err := pull(cursors[2], ls, o.compareOptions)
	if err != nil {
		return err
	}
	var want []point
	for _, s := range queried {
		want = append(want, reduce(s, o.compareOptions))
	}
	p.series++
	comparePoints(key+" "+ls.String(), left[""], want, o.compareOptions, &p.report)
	if len(o.other) > 0 {
		p.distance(other[""], want)
	}
	return nil
}

// queriedRuns reads one series from the source blocks and deduplicates it run
// by run. The cursors are in the order of the places.
func queriedRuns(cursors []*cursor, ls labels.Labels, placed []replicaBlock) (canon.List, error) {
	var out canon.List
	for from := 0; from < len(placed); {
		to := from
		var replicas []canon.List
		for ; to < len(placed) && placed[to].run == placed[from].run; to++ {
			if to == from || placed[to].replica != placed[to-1].replica {
				replicas = append(replicas, nil)
			}
			c := cursors[to]
			if c.done || labels.Compare(c.labels, ls) != 0 {
				continue
			}
			samples, err := c.samples()
			if err != nil {
				return nil, err
			}
			last := len(replicas) - 1
			replicas[last] = append(replicas[last], samples...)
			if err := c.next(); err != nil {
				return nil, err
			}
		}
		from = to
		samples, err := asQueried(present(replicas))
		if err != nil {
			return nil, err
		}
		out = append(out, samples...)
	}
	return out, nil
}

// present drops replicas without samples, which a query does not see either,
// and puts the others in order of time. Of equal times, which a replica has
// only if blocks of its own overlap, the block that starts first wins.
func present(replicas []canon.List) []canon.List {
	var out []canon.List
	for _, list := range replicas {
		if len(list) == 0 {
			continue
		}
		slices.SortStableFunc(list, func(a, b canon.Sample) int { return cmp.Compare(a.Time, b.Time) })
		out = append(out, slices.CompactFunc(list, func(a, b canon.Sample) bool { return a.Time == b.Time }))
	}
	return out
}

// samples reads the raw samples of the current series.
func (c *cursor) samples() (canon.List, error) {
	var out canon.List
	for _, m := range c.chunks {
		chunk, _, err := c.data.ChunkOrIterable(m)
		if err != nil {
			return nil, err
		}
		part, err := canon.Collect(chunk.Iterator(nil))
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

// distance counts the samples that are in one of the lists only. The other
// bucket may hold a time twice; copies count once.
func (p *penaltyReport) distance(other, want []point) {
	missing := map[point]bool{}
	for _, w := range want {
		missing[w] = true
	}
	p.either += len(want)
	for _, s := range slices.Compact(other) {
		if missing[s] {
			delete(missing, s)
			continue
		}
		p.apart++
		p.either++
	}
	p.apart += len(missing)
}
