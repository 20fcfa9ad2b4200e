package main

import (
	"math"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/thanos-io/thanos/pkg/compact/downsample"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/shape"
)

// downMixed change between floats and histograms within one series.
func downMixed() []downCase {
	floats := func(off int64, n int) canon.List {
		return runFrom(downBase+off, newCounter("down mixed", 500, 9), n, minute)
	}
	hists := func(off int64, n int, float bool) canon.List {
		return runFrom(downBase+off, newHist("down mixed", float, shape.Int, 1, 0, 2, false), n, minute)
	}
	c := func(name string, parts ...canon.List) downCase {
		var all canon.List
		for _, p := range parts {
			all = append(all, p...)
		}
		return rawCase("mixed", name, all)
	}
	mark := func(off int64) canon.List {
		return canon.List{{Time: downBase + off, Value: shape.Stale().Value}}
	}
	return []downCase{
		c("float-hist", floats(0, 40), hists(40*minute, 40, false)),
		c("hist-float", hists(0, 40, false), floats(40*minute, 40)),
		c("float-hist-float", floats(0, 30), hists(30*minute, 30, false), floats(60*minute, 30)),
		c("hist-float-hist", hists(0, 30, true), floats(30*minute, 30), hists(60*minute, 30, true)),
		c("hist-floathist", hists(0, 30, false), hists(30*minute, 30, true)),
		c("floathist-hist-float", hists(0, 30, true), hists(30*minute, 30, false), floats(60*minute, 30)),
		c("change-inside-a-window", floats(0, 33), hists(33*minute, 30, false), floats(63*minute, 34)),
		c("change-at-an-hour", floats(0, 60), hists(60*minute, 60, false), floats(120*minute, 60)),
		c("every-sample", floats(0, 1), hists(minute, 1, false), floats(2*minute, 1), hists(3*minute, 1, true), floats(4*minute, 1), hists(5*minute, 1, false), floats(6*minute, 1)),
		c("stale-float-among-histograms", hists(0, 20, false), mark(20*minute), hists(21*minute, 20, false)),
		c("stale-float-after-histograms", hists(0, 20, false), mark(20*minute)),
		c("stale-float-before-histograms", mark(0), hists(minute, 20, false)),
		c("nan-floats-among-histograms", hists(0, 20, false), valued(floats(20*minute, 3), math.NaN(), 0, 1, 2), hists(23*minute, 20, false)),
		c("long", floats(0, 800), hists(800*minute, 750, false)),
		c("days-apart", floats(0, 20), hists(2*day, 20, false), floats(6*day, 20), hists(11*day, 20, true)),
	}
}

func quirk(name, note string, c downCase) downCase {
	c.name, c.group, c.note = "quirk-"+name, "quirk", note
	return c
}

func downQuirks() ([]downCase, error) {
	made, err := madeQuirks()
	return append(timeQuirks(), made...), err
}

// timeQuirks have times that no scrape gives.
func timeQuirks() []downCase {
	below := "times before the epoch"
	series := func(start int64, n int, step int64) canon.List {
		return runFrom(start, newCounter("down quirk", 500, 9), n, step)
	}
	raw := func(list canon.List) downCase { return downCase{raw: mustCut(list)} }
	direct := func(list canon.List) downCase { return downCase{direct: list, resolution: window} }
	chunk := func(lists ...canon.List) downCase {
		var c downCase
		for _, l := range lists {
			c.raw = append(c.raw, oneChunk(l))
		}
		return c
	}
	b := float64(downBase)
	lying := oneChunk(points(b, 1, b+60_000, 2, b+900_000, 3))
	lying.MaxTime = downBase + 120_000
	return []downCase{
		quirk("negative-times", below, raw(series(-20*hour, 60, 10*minute))),
		quirk("across-the-epoch", below, raw(series(-30*minute, 90, minute))),
		quirk("across-the-epoch-two-chunks", below, raw(series(-130*minute, 200, minute))),
		quirk("last-millisecond-before-the-epoch", below, raw(points(-1, 5, 0, 6, 1, 7))),
		quirk("negative-times-as-samples", below, direct(series(-20*hour, 60, 10*minute))),
		quirk("across-the-epoch-as-samples", below, direct(series(-30*minute, 90, minute))),
		quirk("minus-one-as-samples", below, direct(points(-1, 5, 0, 6, 1, 7))),
		quirk("negative-small-windows", below, downCase{direct: points(-250, 1, -210, 2, -100, 1, -1, 4, 0, 5, 60, 1, 199, 3), resolution: 100}),
		quirk("histograms-across-the-epoch", below, raw(runFrom(-30*minute, newHist("down quirk", false, shape.Int, 1, 0, 2, false), 60, minute))),
		quirk("end-of-time", "windows end beyond the largest time", raw(series(math.MaxInt64-10*minute, 10, minute))),
		quirk("same-time-in-a-chunk", "equal times in a chunk count each", chunk(points(b, 1, b, 3, b+60_000, 4, b+60_000, 2, b+60_000, 9, b+400_000, 10))),
		quirk("same-time-at-the-end", "equal times in a chunk count each", chunk(points(b, 1, b+60_000, 3, b+60_000, 2))),
		quirk("back-in-time", "samples that go back in time are left out", chunk(points(b, 1, b+120_000, 3, b+60_000, 100, b+119_999, 2, b+120_000, 4, b+400_000, 10))),
		quirk("back-in-time-windows", "samples that go back in time are left out", chunk(points(b+600_000, 1, b+10, 3, b+20, 5, b+700_000, 2))),
		quirk("back-in-time-stale", "a stale marker ahead of its time leaves out nothing", chunk(points(b, 1, b+120_000, shape.Stale().Value, b+60_000, 4, b+180_000, 5))),
		quirk("chunk-ends-later-than-stated", "a chunk's samples lie beyond its range in the index", downCase{raw: []chunks.Meta{lying, oneChunk(points(b+300_000, 4, b+360_000, 5))}}),
		quirk("chunks-overlap", "chunks of a series overlap", chunk(points(b, 1, b+60_000, 2), points(b+60_000, 3, b+120_000, 4))),
		quirk("chunks-not-in-order", "chunks of a series overlap", chunk(points(b+600_000, 1, b+660_000, 2), points(b, 3, b+60_000, 4))),
		quirk("empty-chunk", "a raw chunk has no sample", downCase{raw: []chunks.Meta{
			oneChunk(points(b, 1, b+60_000, 2)), {Chunk: chunkenc.NewXORChunk(), MinTime: downBase + 2*minute, MaxTime: downBase + 3*minute}, oneChunk(points(b+600_000, 3)),
		}}),
		quirk("only-an-empty-chunk", "a raw chunk has no sample", downCase{raw: []chunks.Meta{{Chunk: chunkenc.NewXORChunk(), MinTime: downBase, MaxTime: downBase + minute}}}),
	}
}

// madeQuirks start from blocks of aggregates that no downsampling made, and
// from the series whose second step never ends.
func madeQuirks() ([]downCase, error) {
	counter := mustCut(runFrom(downBase, newCounter("down aggregates", 400, 9), 1_500, minute))
	five, err := thanosDownsample(counter, 0, window)
	if err != nil {
		return nil, err
	}
	hists, err := thanosDownsample(mustCut(runFrom(downBase, newHist("down aggregates", false, shape.Int, 1, 0, 2, false), 60, minute)), 0, window)
	if err != nil {
		return nil, err
	}
	missing, err := missingColumns(five[:1], hists)
	if err != nil {
		return nil, err
	}
	b := five[0].MaxTime
	stray := func(list canon.List) []chunks.Meta {
		return []chunks.Meta{five[0], oneChunk(list)}
	}
	empty := chunks.Meta{Chunk: chunkenc.NewXORChunk(), MinTime: b + 1, MaxTime: b + 2}
	overlapping := []chunks.Meta{five[0], five[1]}
	overlapping[1].MinTime = b
	return append(missing,
		quirk("stray-empty-chunk", "a block of aggregates has an empty XOR chunk: skipped", downCase{five: []chunks.Meta{five[0], empty, five[1]}}),
		quirk("stray-empty-chunk-only", "a block of aggregates has an empty XOR chunk: skipped", downCase{five: []chunks.Meta{empty}}),
		quirk("stray-raw-chunk", "a block of aggregates has an XOR chunk: downsampled to 5 minutes first", downCase{five: stray(runFrom(b+minute, newCounter("down stray", 500, 9), 100, minute))}),
		quirk("stray-raw-and-empty-chunk", "a block of aggregates has XOR chunks", downCase{five: append(stray(runFrom(b+minute, newCounter("down stray 2", 500, 9), 30, minute)), five[2:]...)}),
		quirk("stray-stale-chunk", "a block of aggregates has an XOR chunk of stale markers", downCase{five: stray(points(float64(b+minute), shape.Stale().Value, float64(b+2*minute), shape.Stale().Value))}),
		quirk("stray-histogram-chunk", "a block of aggregates has a histogram chunk", downCase{five: append([]chunks.Meta{five[0]}, mustCut(runFrom(b+minute, newHist("down stray", false, shape.Int, 1, 0, 2, false), 40, minute))...)}),
		quirk("aggregates-overlap", "chunks of a series overlap", downCase{five: overlapping}),
		quirk("more-chunks-wanted-than-there-are", "one chunk of 1,800 windows: upstream wants two of it", downCase{five: []chunks.Meta{longAggregate(1_800, false)}, apart: true}),
		quirk("more-histogram-chunks-wanted-than-there-are", "one chunk of 1,800 windows: upstream wants two of it", downCase{five: []chunks.Meta{longAggregate(1_800, true)}, apart: true}),
		quirk("uneven-density", "dense at first, then one sample per window: two chunks, of which upstream wants three", downCase{raw: unevenSeries(), apart: true}),
	), nil
}

// missingColumns leaves out each column in turn.
func missingColumns(floats, hists []chunks.Meta) ([]downCase, error) {
	var out []downCase
	for kind := downsample.AggrCount; kind <= downsample.AggrCounter; kind++ {
		one, err := withoutColumn(floats[0], kind)
		if err != nil {
			return nil, err
		}
		out = append(out, quirk("no-"+kind.String(), "a column is missing", downCase{five: []chunks.Meta{one}}))
	}
	for _, kind := range []downsample.AggrType{downsample.AggrCount, downsample.AggrSum, downsample.AggrCounter} {
		one, err := withoutColumn(hists[0], kind)
		if err != nil {
			return nil, err
		}
		out = append(out, quirk("histogram-no-"+kind.String(), "a column is missing", downCase{five: []chunks.Meta{one}}))
	}
	none := chunks.Meta{MinTime: floats[0].MinTime, MaxTime: floats[0].MaxTime, Chunk: downsample.EncodeAggrChunk([5]chunkenc.Chunk{})}
	return append(out, quirk("no-column-at-all", "a column is missing", downCase{five: []chunks.Meta{none}})), nil
}

func withoutColumn(m chunks.Meta, gone downsample.AggrType) (chunks.Meta, error) {
	var columns [5]chunkenc.Chunk
	for kind := range columns {
		column, err := m.Chunk.(*downsample.AggrChunk).Get(downsample.AggrType(kind))
		if err == downsample.ErrAggrNotExist || downsample.AggrType(kind) == gone {
			continue
		}
		if err != nil {
			return m, err
		}
		columns[kind] = column
	}
	m.Chunk = downsample.EncodeAggrChunk(columns)
	return m, nil
}

// longAggregate is a single chunk of n windows of one sample each.
func longAggregate(n int64, hist bool) chunks.Meta {
	var columns [5]chunkenc.Chunk
	var apps [5]chunkenc.Appender
	for kind := range columns {
		columns[kind] = chunkenc.NewXORChunk()
		if hist && kind != int(downsample.AggrCount) {
			columns[kind] = chunkenc.NewFloatHistogramChunk()
		}
		apps[kind], _ = columns[kind].Appender() // a new chunk always has one
	}
	for i := range n {
		t := downBase + (i+1)*window - 1
		for kind, app := range apps {
			if columns[kind].Encoding() == chunkenc.EncXOR {
				app.Append(t, 1)
				continue
			}
			if _, _, _, err := app.AppendFloatHistogram(nil, t, hand(0, 1).ToFloat(nil), true); err != nil {
				panic(err)
			}
		}
	}
	if hist {
		columns[downsample.AggrMin], columns[downsample.AggrMax] = nil, nil
	}
	return chunks.Meta{MinTime: downBase + window - 1, MaxTime: downBase + n*window - 1, Chunk: downsample.EncodeAggrChunk(columns)}
}

// unevenSeries has 90,000 samples within five minutes, then one per window for
// 12 days. Its chunks are as long as a chunk can be, to keep the line short.
func unevenSeries() []chunks.Meta {
	return []chunks.Meta{
		oneChunk(runFrom(downBase, shape.Const(1), 45_000, 3)),
		oneChunk(runFrom(downBase+45_000*3, shape.Const(1), 45_000, 3)),
		oneChunk(runFrom(downBase+window, shape.Const(1), 3_456, window)),
	}
}
