// Package head drives the TSDB's in-memory head the way a server does: append
// scrape by scrape, write a block once the head spans one and a half block
// ranges, then drop what was written. Chunks are therefore cut where a server
// cuts them, and block ranges start where a server's do.
//
// There is no write-ahead log and no clock.
package head

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"lithify.test/peers/kit/canon"
)

// Range is the usual length of a head block in milliseconds: two hours. An
// option of Open may change it.
const Range = int64(2 * 60 * 60 * 1000)

// Head is one TSDB head with the compactor that writes its blocks.
type Head struct {
	head    *tsdb.Head
	writer  *tsdb.LeveledCompactor
	width   int64 // of a block range, ms
	scratch string
	app     storage.AppenderV2
}

// Open makes an empty head. tune, when not nil, changes its options.
func Open(tune func(*tsdb.HeadOptions)) (*Head, error) {
	scratch, err := os.MkdirTemp("", "lithify-oracle-")
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	opts := tsdb.DefaultHeadOptions()
	opts.ChunkRange = Range
	opts.ChunkDirRoot = scratch
	if tune != nil {
		tune(opts)
	}
	h, err := tsdb.NewHead(nil, quiet, nil, nil, opts, tsdb.NewHeadStats())
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	if err := h.Init(math.MinInt64); err != nil {
		return nil, errors.Join(err, h.Close(), os.RemoveAll(scratch))
	}
	w, err := tsdb.NewLeveledCompactor(context.Background(), nil, quiet, []int64{opts.ChunkRange}, chunkenc.NewPool(), nil)
	if err != nil {
		return nil, errors.Join(err, h.Close(), os.RemoveAll(scratch))
	}
	return &Head{head: h, writer: w, width: opts.ChunkRange, scratch: scratch}, nil
}

// Close releases memory and the scratch folder.
func (h *Head) Close() error {
	return errors.Join(h.head.Close(), os.RemoveAll(h.scratch))
}

// Append adds a sample; it becomes visible with Commit. ref is what an earlier
// call returned for the same series, or 0.
func (h *Head) Append(ref storage.SeriesRef, ls labels.Labels, s canon.Sample) (storage.SeriesRef, error) {
	if h.app == nil {
		h.app = h.head.AppenderV2(context.Background())
	}
	ref, err := h.app.Append(ref, ls, s.Start, s.Time, s.Value, s.Hist, s.FloatHist, storage.AOptions{})
	if err != nil {
		return ref, fmt.Errorf("append %s at %d: %w", ls, s.Time, err)
	}
	return ref, nil
}

// Commit makes the appended samples part of the head.
func (h *Head) Commit() error {
	if h.app == nil {
		return nil
	}
	err := h.app.Commit()
	h.app = nil
	return err
}

// Ripe reports whether a server would write a block now.
func (h *Head) Ripe() bool {
	return h.head.MaxTime()-h.head.MinTime() > h.width/2*3
}

// Empty reports whether nothing is left to write.
func (h *Head) Empty() bool {
	return h.head.NumSeries() == 0 || h.head.MinTime() > h.head.MaxTime()
}

// Cut writes the oldest block range to a folder under dest and drops it from
// the head. The folder is "" when the range holds no sample.
func (h *Head) Cut(dest string) (string, error) {
	mint := h.head.MinTime()
	maxt := (mint/h.width + 1) * h.width
	part := tsdb.NewRangeHeadWithIsolationDisabled(h.head, mint, maxt-1)
	ids, err := h.writer.Write(dest, part, part.MinTime(), part.BlockMaxTime(), nil)
	if err != nil {
		return "", fmt.Errorf("write block [%d, %d): %w", mint, maxt, err)
	}
	if err := h.head.Truncate(maxt); err != nil {
		return "", fmt.Errorf("truncate head to %d: %w", maxt, err)
	}
	if len(ids) == 0 {
		return "", nil
	}
	return filepath.Join(dest, ids[0].String()), nil
}
