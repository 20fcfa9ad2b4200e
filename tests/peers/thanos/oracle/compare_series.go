package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/canon"
)

// cursor walks the series of one block in label order. Blocks written before
// the order was enforced are read all the same: postings are sorted first.
type cursor struct {
	index    tsdb.IndexReader
	data     tsdb.ChunkReader
	postings index.Postings
	builder  labels.ScratchBuilder
	labels   labels.Labels
	chunks   []chunks.Meta
	done     bool
}

func newCursor(b openedBlock) (*cursor, error) {
	ir, err := b.Index()
	if err != nil {
		return nil, err
	}
	cr, err := b.Chunks()
	if err != nil {
		return nil, errors.Join(err, ir.Close())
	}
	c := &cursor{index: ir, data: cr, postings: tsdb.AllSortedPostings(context.Background(), ir)}
	return c, c.next()
}

func (c *cursor) close() { _ = errors.Join(c.index.Close(), c.data.Close()) }

func (c *cursor) next() error {
	if !c.postings.Next() {
		c.done = true
		return c.postings.Err()
	}
	if err := c.index.Series(c.postings.At(), &c.builder, &c.chunks); err != nil {
		return err
	}
	c.labels = c.builder.Labels()
	return nil
}

// point is one sample reduced to what is compared: float bits, or the text of
// a histogram.
type point struct {
	t    int64
	bits uint64
	text string
}

// collect appends the points of the current series, by aggregate; raw chunks
// stand under "".
func (c *cursor) collect(into map[string][]point, o compareOptions) error {
	for _, m := range c.chunks {
		chunk, _, err := c.data.ChunkOrIterable(m)
		if err != nil {
			return err
		}
		parts, err := columns(chunk)
		if err != nil {
			return err
		}
		if parts == nil {
			if err := gather(into, "", chunk, o); err != nil {
				return err
			}
		}
		for _, part := range parts {
			if err := gatherColumn(into, part, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// gatherColumn appends a column's points. A counter has its last time twice, or
// thrice: the second sample of a time goes under "counter#2", and so on.
func gatherColumn(into map[string][]point, column block.Column, o compareOptions) error {
	nth, last := 0, int64(math.MinInt64)
	return canon.Each(column.Chunk.Iterator(nil), func(s canon.Sample) error {
		if nth++; s.Time != last {
			nth, last = 1, s.Time
		}
		name := column.Name
		if nth > 1 {
			name = fmt.Sprintf("%s#%d", name, nth)
		}
		into[name] = append(into[name], reduce(s, o))
		return nil
	})
}

func gather(into map[string][]point, name string, chunk chunkenc.Chunk, o compareOptions) error {
	return canon.Each(chunk.Iterator(nil), func(s canon.Sample) error {
		into[name] = append(into[name], reduce(s, o))
		return nil
	})
}

// pull moves all cursors that stand at ls past it and returns its points.
func pull(cursors []*cursor, ls labels.Labels, o compareOptions) (map[string][]point, error) {
	out := map[string][]point{}
	for _, c := range cursors {
		if c.done || labels.Compare(c.labels, ls) != 0 {
			continue
		}
		if err := c.collect(out, o); err != nil {
			return nil, err
		}
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	for name, points := range out {
		byTime := func(a, b point) int { return cmp.Compare(a.t, b.t) }
		if !slices.IsSortedFunc(points, byTime) {
			slices.SortStableFunc(out[name], byTime)
		}
	}
	return out, nil
}

func smallest(cursors []*cursor) (labels.Labels, bool) {
	var least labels.Labels
	found := false
	for _, c := range cursors {
		if !c.done && (!found || labels.Compare(c.labels, least) < 0) {
			least, found = c.labels, true
		}
	}
	return least.Copy(), found
}

func compareGroup(key string, left, right []openedBlock, o compareOptions, r *report) error {
	r.groups++
	if len(left) == 0 || len(right) == 0 {
		r.differ("%s: %d blocks on the left, %d on the right", key, len(left), len(right))
		return nil
	}
	var all [2][]*cursor
	for i, blocks := range [][]openedBlock{left, right} {
		for _, b := range blocks {
			c, err := newCursor(b)
			if err != nil {
				return fmt.Errorf("block %s: %w", b.id, err)
			}
			defer c.close()
			all[i] = append(all[i], c)
		}
	}
	for {
		ls, ok := smallest(append(slices.Clone(all[0]), all[1]...))
		if !ok {
			return nil
		}
		l, err := pull(all[0], ls, o)
		if err != nil {
			return fmt.Errorf("left %s: %w", ls, err)
		}
		rr, err := pull(all[1], ls, o)
		if err != nil {
			return fmt.Errorf("right %s: %w", ls, err)
		}
		compareSeries(key+" "+ls.String(), l, rr, o, r)
	}
}

func compareSeries(name string, left, right map[string][]point, o compareOptions, r *report) {
	names := map[string]bool{}
	for n := range left {
		names[n] = true
	}
	for n := range right {
		names[n] = true
	}
	r.series++
	for _, n := range sorted(names) {
		full := name
		if n != "" {
			full += " " + n
		}
		comparePoints(full, left[n], right[n], o, r)
	}
}

// comparePoints walks both sides timestamp by timestamp; a side may hold
// several points at one.
func comparePoints(name string, left, right []point, o compareOptions, r *report) {
	for len(left) > 0 || len(right) > 0 {
		var t int64
		switch {
		case len(left) == 0:
			t = right[0].t
		case len(right) == 0:
			t = left[0].t
		default:
			t = min(left[0].t, right[0].t)
		}
		l, r2 := take(&left, t), take(&right, t)
		r.samples++
		switch {
		case len(l) == 0:
			r.differ("%s at %d: only right has %s", name, t, r2[0])
		case len(r2) == 0:
			r.differ("%s at %d: only left has %s", name, t, l[0])
		case !o.leftUnion && !agree(l):
			r.differ("%s at %d: blocks on the left disagree: %v", name, t, l)
		case !o.rightUnion && !agree(r2):
			r.differ("%s at %d: blocks on the right disagree: %v", name, t, r2)
		case !slices.ContainsFunc(l, func(p point) bool { return slices.Contains(r2, p) }):
			r.differ("%s at %d: left %s, right %s", name, t, l[0], r2[0])
		}
	}
}

func take(points *[]point, t int64) []point {
	n := 0
	for n < len(*points) && (*points)[n].t == t {
		n++
	}
	out := (*points)[:n]
	*points = (*points)[n:]
	return out
}

func agree(points []point) bool {
	for _, p := range points[1:] {
		if p != points[0] {
			return false
		}
	}
	return true
}
