package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-kit/log"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/thanos-io/thanos/pkg/block/metadata"
	"github.com/thanos-io/thanos/pkg/compact/downsample"
)

// thanosError is a failure of Thanos itself, which a golden vector records;
// every other error is one of ours.
type thanosError struct{ text string }

func (e thanosError) Error() string { return e.text }

// failure is the text of a failure of Thanos, "" for other errors.
func failure(err error) string {
	var own thanosError
	if errors.As(err, &own) {
		return own.text
	}
	return ""
}

// thanosDownsample puts the chunks into a block of one series, runs the real
// downsampling over it and returns the chunks of the block that came out; none
// when the series was dropped.
func thanosDownsample(list []chunks.Meta, from, to int64) ([]chunks.Meta, error) {
	scratch, err := os.MkdirTemp("", "lithify-oracle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	source := filepath.Join(scratch, "source")
	meta, err := writeBlock(source, list, from)
	if err != nil {
		return nil, fmt.Errorf("write a block: %w", err)
	}
	id, err := guardedDownsample(source, scratch, meta, list, to)
	if err != nil {
		return nil, err
	}
	return readBlock(filepath.Join(scratch, id.String()))
}

// guardedDownsample turns a panic of Thanos into an error.
func guardedDownsample(source, scratch string, meta *metadata.Meta, list []chunks.Meta, to int64) (id ulid.ULID, err error) {
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), source, downsample.NewPool(), nil)
	if err != nil {
		return id, err
	}
	defer b.Close()
	// Registered after the one above: the block may only be closed once the
	// unwinding is over.
	defer func() {
		if r := recover(); r != nil {
			err = thanosError{fmt.Sprintf("panic: %v", r)}
		}
	}()
	id, err = downsample.Downsample(context.Background(), log.NewNopLogger(), meta, statedBlock{b, list}, scratch, to)
	if err != nil {
		err = thanosError{err.Error()}
	}
	return id, err
}

// statedBlock is a block whose index says of its one series' chunks what list
// says: the index writer of today refuses chunks that overlap, older ones did not.
type statedBlock struct {
	tsdb.BlockReader
	list []chunks.Meta
}

type statedIndex struct {
	tsdb.IndexReader
	list []chunks.Meta
}

func (b statedBlock) Index() (tsdb.IndexReader, error) {
	ir, err := b.BlockReader.Index()
	return statedIndex{ir, b.list}, err
}

func (i statedIndex) Series(ref storage.SeriesRef, builder *labels.ScratchBuilder, into *[]chunks.Meta) error {
	err := i.IndexReader.Series(ref, builder, into)
	for n := range *into {
		(*into)[n].MinTime, (*into)[n].MaxTime = i.list[n].MinTime, i.list[n].MaxTime
	}
	return err
}

// writeBlock writes a block of one series with just these chunks. Where they
// are not in order its index has made-up times, for statedBlock to put right.
func writeBlock(dir string, list []chunks.Meta, resolution int64) (*metadata.Meta, error) {
	own := slices.Clone(list)
	meta := &metadata.Meta{
		BlockMeta: tsdb.BlockMeta{ULID: ulid.ULID{1}, MinTime: math.MaxInt64, MaxTime: math.MinInt64, Version: metadata.TSDBVersion1},
		Thanos: metadata.Thanos{
			Labels: map[string]string{"fixture": "downsample"}, Source: metadata.TestSource,
			Downsample: metadata.ThanosDownsample{Resolution: resolution},
		},
	}
	for i, m := range list {
		meta.MinTime, meta.MaxTime = min(meta.MinTime, m.MinTime), max(meta.MaxTime, m.MaxTime)
		if i > 0 && m.MinTime <= list[i-1].MaxTime {
			for n := range own {
				own[n].MinTime, own[n].MaxTime = int64(2*n), int64(2*n+1)
			}
		}
	}
	if err := writeSeries(dir, []chunkedSeries{{labels.FromStrings("__name__", "series"), own}}); err != nil {
		return nil, err
	}
	return meta, meta.WriteToDir(log.NewNopLogger(), dir)
}

// chunkedSeries is a series of a block with its chunks as they shall lie there.
type chunkedSeries struct {
	labels labels.Labels
	chunks []chunks.Meta
}

// writeSeries writes segments and index of a block; series are in label order.
func writeSeries(dir string, all []chunkedSeries) error {
	data, err := chunks.NewWriter(filepath.Join(dir, "chunks"))
	if err != nil {
		return err
	}
	symbols := map[string]bool{}
	for i := range all {
		all[i].chunks = slices.Clone(all[i].chunks) // the writer fills in where each one lies
		if err := data.WriteChunks(all[i].chunks...); err != nil {
			return errors.Join(err, data.Close())
		}
		all[i].labels.Range(func(l labels.Label) { symbols[l.Name], symbols[l.Value] = true, true })
	}
	if err := data.Close(); err != nil {
		return err
	}
	w, err := index.NewWriter(context.Background(), filepath.Join(dir, "index"))
	if err != nil {
		return err
	}
	for _, symbol := range sorted(symbols) {
		if err := w.AddSymbol(symbol); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	for i, s := range all {
		if err := w.AddSeries(storage.SeriesRef(i), s.labels, s.chunks...); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}

// readBlock reads the chunks of a block of at most one series.
func readBlock(dir string) ([]chunks.Meta, error) {
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), dir, downsample.NewPool(), nil)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	c, err := newCursor(openedBlock{Block: b})
	if err != nil {
		return nil, err
	}
	defer c.close()
	var out []chunks.Meta
	for ; !c.done && err == nil; err = c.next() {
		for _, m := range c.chunks {
			chunk, _, err := c.data.ChunkOrIterable(m)
			if err != nil {
				return nil, err
			}
			// A copy: what the reader gives goes away with the block.
			copied, err := copyChunk(chunk)
			if err != nil {
				return nil, err
			}
			out = append(out, chunks.Meta{MinTime: m.MinTime, MaxTime: m.MaxTime, Chunk: copied})
		}
	}
	return out, err
}

func copyChunk(c chunkenc.Chunk) (chunkenc.Chunk, error) {
	data := append([]byte(nil), c.Bytes()...)
	if c.Encoding() == downsample.ChunkEncAggr {
		own := downsample.AggrChunk(data)
		return &own, nil
	}
	return chunkenc.FromData(c.Encoding(), data)
}
