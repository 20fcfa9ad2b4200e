package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/thanos-io/thanos/pkg/compact/downsample"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/canon"
)

// blocksReport also counts what only a comparison of whole blocks sees.
type blocksReport struct {
	report
	blocks, chunks, same, columns int
}

// compareBlocks pairs the blocks of both sides and compares each pair.
func compareBlocks(left, right side, o compareOptions) error {
	r := &blocksReport{report: report{most: o.most}}
	l, rr := byPlace(left), byPlace(right)
	for _, place := range unionKeys(l, rr) {
		if len(l[place]) != 1 || len(rr[place]) != 1 {
			r.differ("%s: %d blocks on the left, %d on the right", place, len(l[place]), len(rr[place]))
			continue
		}
		one, other := l[place][0], rr[place][0]
		if err := r.pair(one, other, o); err != nil {
			return fmt.Errorf("left %s, right %s: %w", one.Dir(), other.Dir(), err)
		}
	}
	fmt.Printf("compared %d pairs of blocks, %d series, %d chunks (%d alike byte for byte), %d columns, %d samples: %d differences\n",
		r.blocks, r.series, r.chunks, r.same, r.columns, r.samples, r.differences)
	if r.differences > 0 {
		return errDifferent
	}
	return nil
}

// byPlace keys blocks by what makes two blocks the same result.
func byPlace(s side) side {
	out := side{}
	for _, blocks := range s {
		for _, b := range blocks {
			out[b.place] = append(out[b.place], b)
		}
	}
	return out
}

// placeOf writes the group, the range and the sources of a block.
func placeOf(meta block.Meta, drop []string) string {
	sources := slices.Clone(meta.Compaction.Sources)
	slices.SortFunc(sources, ulid.ULID.Compare)
	return fmt.Sprintf("%s [%d, %d) of %v", groupKey(meta, drop), meta.MinTime, meta.MaxTime, sources)
}

// pair compares two blocks: counts in meta.json, size of the index, series.
func (r *blocksReport) pair(left, right openedBlock, o compareOptions) error {
	r.blocks++
	place, _, _ := strings.Cut(left.place, " of ") // sources may be many
	place += " " + left.id.String()
	ls, rs := left.Meta().Stats, right.Meta().Stats
	for _, stat := range []struct {
		name        string
		left, right uint64
	}{
		{"numSeries", ls.NumSeries, rs.NumSeries}, {"numChunks", ls.NumChunks, rs.NumChunks}, {"numSamples", ls.NumSamples, rs.NumSamples},
	} {
		if stat.left != stat.right {
			r.differ("%s: %s of meta.json is %d on the left, %d on the right", place, stat.name, stat.left, stat.right)
		}
	}
	if err := r.indexSizes(place, left, right, o); err != nil {
		return err
	}
	l, err := newCursor(left)
	if err != nil {
		return err
	}
	defer l.close()
	rr, err := newCursor(right)
	if err != nil {
		return err
	}
	defer rr.close()
	for !l.done || !rr.done {
		if err := r.nextSeries(place, l, rr, o); err != nil {
			return err
		}
	}
	return nil
}

func (r *blocksReport) indexSizes(place string, left, right openedBlock, o compareOptions) error {
	if o.anyIndexSize {
		return nil
	}
	var sizes [2]int64
	for i, b := range []openedBlock{left, right} {
		info, err := os.Stat(filepath.Join(b.Dir(), "index"))
		if err != nil {
			return err
		}
		sizes[i] = info.Size()
	}
	if sizes[0] != sizes[1] {
		r.differ("%s: index has %d bytes on the left, %d on the right", place, sizes[0], sizes[1])
	}
	return nil
}

// nextSeries compares the series that comes next, on one side or both, and
// moves past it.
func (r *blocksReport) nextSeries(place string, left, right *cursor, o compareOptions) error {
	ls, _ := smallest([]*cursor{left, right})
	at := func(c *cursor) bool { return !c.done && labels.Compare(c.labels, ls) == 0 }
	name := place + " " + ls.String()
	r.series++
	var walked []*cursor
	switch {
	case !at(left):
		r.differ("%s: series only on the right", name)
		walked = []*cursor{right}
	case !at(right):
		r.differ("%s: series only on the left", name)
		walked = []*cursor{left}
	default:
		if err := r.chunkLists(name, left, right, o); err != nil {
			return err
		}
		walked = []*cursor{left, right}
	}
	for _, c := range walked {
		if err := c.next(); err != nil {
			return err
		}
	}
	return nil
}

func (r *blocksReport) chunkLists(name string, left, right *cursor, o compareOptions) error {
	if len(left.chunks) != len(right.chunks) {
		r.differ("%s: %d chunks on the left, %d on the right", name, len(left.chunks), len(right.chunks))
	}
	for i := range min(len(left.chunks), len(right.chunks)) {
		l, rr := left.chunks[i], right.chunks[i]
		r.chunks++
		if l.MinTime != rr.MinTime || l.MaxTime != rr.MaxTime {
			r.differ("%s chunk %d: left is [%d, %d], right [%d, %d]", name, i, l.MinTime, l.MaxTime, rr.MinTime, rr.MaxTime)
		}
		lc, err := readChunk(left, l)
		if err != nil {
			return fmt.Errorf("left %s chunk %d: %w", name, i, err)
		}
		rc, err := readChunk(right, rr)
		if err != nil {
			return fmt.Errorf("right %s chunk %d: %w", name, i, err)
		}
		full := fmt.Sprintf("%s chunk %d [%d, %d]", name, i, l.MinTime, l.MaxTime)
		if slices.Equal(lc.Bytes(), rc.Bytes()) && lc.Encoding() == rc.Encoding() {
			r.same++
		}
		if err := r.columnsOf(full, lc, rc, o); err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
	}
	return nil
}

func readChunk(c *cursor, m chunks.Meta) (chunkenc.Chunk, error) {
	chunk, _, err := c.data.ChunkOrIterable(m)
	return chunk, err
}

// columnsOf compares two chunks column by column; a plain chunk is one column.
func (r *blocksReport) columnsOf(name string, left, right chunkenc.Chunk, o compareOptions) error {
	var parts [2][]block.Column
	var names [2][]string
	for i, c := range []chunkenc.Chunk{left, right} {
		found, err := columns(c)
		if err != nil {
			return err
		}
		if c.Encoding() != downsample.ChunkEncAggr {
			found = []block.Column{{Name: "samples", Chunk: c}}
		}
		parts[i] = found
		for _, p := range found {
			names[i] = append(names[i], fmt.Sprintf("%s (encoding %d)", p.Name, p.Chunk.Encoding()))
		}
	}
	if !slices.Equal(names[0], names[1]) {
		r.differ("%s: left has %v, right %v", name, names[0], names[1])
		return nil
	}
	for i, l := range parts[0] {
		r.columns++
		if err := r.sampleBySample(name+" "+l.Name, l.Chunk, parts[1][i].Chunk, o); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return nil
}

// sampleBySample compares in the order of the chunk, equal times included. It
// stops at the first difference of the column: what follows hardly tells more.
func (r *blocksReport) sampleBySample(name string, left, right chunkenc.Chunk, o compareOptions) error {
	var lists [2][]point
	for i, c := range []chunkenc.Chunk{left, right} {
		err := canon.Each(c.Iterator(nil), func(s canon.Sample) error {
			lists[i] = append(lists[i], reduce(s, o))
			return nil
		})
		if err != nil {
			return err
		}
	}
	l, rr := lists[0], lists[1]
	r.samples += max(len(l), len(rr))
	for i := range min(len(l), len(rr)) {
		if l[i] != rr[i] {
			r.differ("%s sample %d: left %s at %d, right %s at %d", name, i, l[i], l[i].t, rr[i], rr[i].t)
			return nil
		}
	}
	if len(l) != len(rr) {
		r.differ("%s: %d samples on the left, %d on the right", name, len(l), len(rr))
	}
	return nil
}
