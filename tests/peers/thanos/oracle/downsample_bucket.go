package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/go-kit/log"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/thanos-io/thanos/pkg/block/metadata"
	"github.com/thanos-io/thanos/pkg/compact/downsample"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/shape"
)

const downsampleBlocksHelp = `Downsamples every block of --source with Thanos' own code, however short it is: raw
blocks to 5 minutes and the results to 1 hour, blocks of 5 minutes to 1 hour. The new
blocks go to --out, which may be --source; "thanos compact" would have done the same
to blocks of 40 hours (raw) and 10 days (5 minutes).

Blocks with a deletion mark are skipped, and so is a step whose result is there
already, by labels, range and sources. ULIDs are new at every run.`

func downsampleBlocks(args []string) error {
	fs := newFlags("downsample-blocks", downsampleBlocksHelp)
	source := fs.String("source", "", "folder of blocks")
	out := fs.String("out", "", "folder for the new blocks")
	once := fs.Bool("five-only", false, "leave out the step to 1 hour")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := required("source", *source); err != nil {
		return err
	}
	if err := required("out", *out); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	sources, err := openSide([]string{*source}, compareOptions{})
	if err != nil {
		return err
	}
	defer closeSide(sources)
	there := byPlace(sources)
	for _, place := range sorted(there) {
		for _, b := range there[place] {
			if err := downsampleOne(b.Dir(), *out, there, *once); err != nil {
				return fmt.Errorf("block %s: %w", b.id, err)
			}
		}
	}
	return nil
}

// downsampleOne takes one block as far as it goes.
func downsampleOne(dir, out string, there side, once bool) error {
	meta, err := metadata.ReadFromDir(dir)
	if err != nil {
		return err
	}
	to := downsample.ResLevel1
	if meta.Thanos.Downsample.Resolution >= to {
		to = downsample.ResLevel2
	}
	if meta.Thanos.Downsample.Resolution >= to || once && to == downsample.ResLevel2 {
		return nil
	}
	result := block.Meta{BlockMeta: meta.BlockMeta}
	result.Thanos.Labels, result.Thanos.Downsample.Resolution = meta.Thanos.Labels, to
	if len(there[placeOf(result, nil)]) > 0 {
		return nil
	}
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), dir, downsample.NewPool(), nil)
	if err != nil {
		return err
	}
	defer b.Close()
	id, err := downsample.Downsample(context.Background(), log.NewNopLogger(), meta, b, out, to)
	if err != nil {
		return err
	}
	fmt.Println(id)
	return downsampleOne(filepath.Join(out, id.String()), out, there, once)
}

const aggregatesHelp = `Writes a bucket of three blocks of 14 days, each a group of its own by the external
label "fixture":

  stray   5 minutes. Beside a plain series there are series with a chunk that is none
          of aggregates: an empty XOR chunk first, in the middle and alone; XOR chunks
          with samples; one of stale markers; a histogram chunk.
  long    5 minutes. A series of one chunk of 1,800 windows, for which Thanos wants two
          chunks: its step to 1 hour never ends.
  uneven  raw. 90,000 samples within 5 minutes, then one per 5 minutes: the same, once
          it was downsampled to 5 minutes.

The same bytes come out at every run.`

func aggregates(args []string) error {
	fs := newFlags("aggregates", aggregatesHelp)
	out := fs.String("out", "", "folder for the blocks; must be absent or empty")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := emptyDir(*out); err != nil {
		return err
	}
	stray, err := straySeries()
	if err != nil {
		return err
	}
	one := func(list ...chunks.Meta) []chunkedSeries {
		return []chunkedSeries{{labels.FromStrings("__name__", "series"), list}}
	}
	for i, b := range []struct {
		name       string
		resolution int64
		series     []chunkedSeries
	}{
		{"stray", window, stray},
		{"long", window, one(longAggregate(1_800, false))},
		{"uneven", 0, one(unevenSeries()...)},
	} {
		if err := writeFortnight(*out, byte(i+1), b.name, b.resolution, b.series); err != nil {
			return fmt.Errorf("block %s: %w", b.name, err)
		}
	}
	return nil
}

// straySeries are one series scraped every hour, with a strange chunk each.
func straySeries() ([]chunkedSeries, error) {
	all := runFrom(downBase, newCounter("stray", 700, 9), 14*24, hour)
	five, err := thanosDownsample(mustCut(all), 0, window)
	if err != nil {
		return nil, err
	}
	before, err := thanosDownsample(mustCut(all[:200]), 0, window)
	if err != nil {
		return nil, err
	}
	end := before[len(before)-1].MaxTime
	later := end + 90*minute
	empty := func(t int64) chunks.Meta {
		return chunks.Meta{Chunk: chunkenc.NewXORChunk(), MinTime: t, MaxTime: t}
	}
	stale := shape.Stale().Value
	join := func(parts ...[]chunks.Meta) []chunks.Meta {
		var out []chunks.Meta
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	hist := newHist("stray", false, shape.Int, 1, 0, 2, false)
	named := map[string][]chunks.Meta{
		"a_plain":         five,
		"b_empty_first":   join([]chunks.Meta{empty(downBase - 1)}, five),
		"c_empty_last":    join(before, []chunks.Meta{empty(later)}),
		"d_empty_alone":   {empty(downBase)},
		"e_samples_last":  join(before, mustCut(runFrom(later, newCounter("stray samples", 700, 9), 130, minute))),
		"f_samples_alone": mustCut(runFrom(downBase, newCounter("stray alone", 700, 9), 300, minute)),
		"g_stale":         join(before, []chunks.Meta{oneChunk(points(float64(later), stale, float64(later+minute), stale))}),
		"h_histograms":    join(before, mustCut(runFrom(later, hist, 40, minute))),
		"i_after_empty":   five,
	}
	var out []chunkedSeries
	for _, name := range sorted(named) {
		out = append(out, chunkedSeries{labels.FromStrings("__name__", name), named[name]})
	}
	return out, nil
}

// writeFortnight writes a block of 14 days from the base on, as a compactor
// would have made it of one block.
func writeFortnight(bucket string, n byte, name string, resolution int64, all []chunkedSeries) error {
	id := ulid.ULID{9: n}
	if err := id.SetTime(uint64(downBase + 15*day)); err != nil {
		return err
	}
	dir := filepath.Join(bucket, id.String())
	if err := writeSeries(dir, all); err != nil {
		return err
	}
	meta := metadata.Meta{
		BlockMeta: tsdb.BlockMeta{ULID: id, MinTime: downBase - hour, MaxTime: downBase + 14*day, Version: metadata.TSDBVersion1},
		Thanos: metadata.Thanos{
			Version: metadata.ThanosVersion1, Labels: map[string]string{"fixture": name}, Source: metadata.CompactorSource,
			Downsample: metadata.ThanosDownsample{Resolution: resolution}, SegmentFiles: []string{"000001"},
		},
	}
	meta.Compaction = tsdb.BlockMetaCompaction{Level: 4, Sources: []ulid.ULID{id}}
	meta.Stats.NumSeries = uint64(len(all))
	for _, s := range all {
		meta.Stats.NumChunks += uint64(len(s.chunks))
		for _, c := range s.chunks {
			meta.Stats.NumSamples += uint64(c.Chunk.NumSamples())
		}
	}
	return meta.WriteToDir(log.NewNopLogger(), dir)
}
