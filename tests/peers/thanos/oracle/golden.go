package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"lithify.test/peers/kit/canon"
)

const chunksHelp = `Writes golden vectors of the chunk encoders, one JSON object per line:

  {"name", "samples": [sample...], "chunks": [{"encoding","min","max","bytes"}...]}

The samples of one series, in order, go through the encoder that compaction
uses to re-encode merged samples; it starts a chunk every 120 samples, where the
sample type changes, and where a histogram cannot be appended. A float sample is
[t, "bits"], a histogram [t, {"h": {...}}] or [t, {"fh": {...}}]. All floats
are 16 hexadecimal digits; buckets of integer histograms are deltas.`

type chunkGolden struct {
	Name    string        `json:"name"`
	Samples canon.List    `json:"samples"`
	Chunks  []canon.Chunk `json:"chunks"`
}

func goldenChunks(args []string) error {
	fs := newFlags("chunks", chunksHelp)
	out := fs.String("out", "", "file to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var lines []any
	for _, c := range append(floatCases(), append(histogramCases(false), append(histogramCases(true), mixedCases()...)...)...) {
		encoded, err := canon.Chunks(encode(c.samples))
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		lines = append(lines, chunkGolden{c.name, c.samples, encoded})
	}
	return writeLines(*out, lines)
}

const mergeHelp = `Writes golden vectors of the vertical merge of one series, one JSON object per line:

  {"name", "inputs": [[chunk...]...], "output": [chunk...], "samples": [sample...]}

Each input is the chunk list of one block. The output is what the default merge
of vertical compaction makes of them: chunks that overlap nothing pass as they
are, overlapping ones are merged by timestamp and encoded anew. samples is what
the output chunks hold, decoded. The forms are those of "oracle chunks".`

type mergeGolden struct {
	Name    string          `json:"name"`
	Inputs  [][]canon.Chunk `json:"inputs"`
	Output  []canon.Chunk   `json:"output"`
	Samples canon.List      `json:"samples"`
}

func goldenMerge(args []string) error {
	fs := newFlags("chunkseries", mergeHelp)
	out := fs.String("out", "", "file to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var lines []any
	for _, c := range mergeCases() {
		g, err := merge(c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		lines = append(lines, g)
	}
	return writeLines(*out, lines)
}

// merge runs one case. The inputs are written down before the merge, which may
// touch the chunks it is given.
func merge(c mergeCase) (mergeGolden, error) {
	g := mergeGolden{Name: c.name}
	var series []storage.ChunkSeries
	for _, input := range c.inputs {
		var metas []chunks.Meta
		written := []canon.Chunk{}
		for _, part := range input {
			encoded, err := storage.ExpandChunks(encode(part))
			if err != nil {
				return g, err
			}
			for _, m := range encoded {
				metas = append(metas, m)
				written = append(written, canon.ChunkOf(m))
			}
		}
		g.Inputs = append(g.Inputs, written)
		series = append(series, &storage.ChunkSeriesEntry{ChunkIteratorFn: func(chunks.Iterator) chunks.Iterator {
			return storage.NewListChunkSeriesIterator(metas...)
		}})
	}
	merged, err := storage.ExpandChunks(storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge)(series...).Iterator(nil))
	if err != nil {
		return g, err
	}
	for _, m := range merged {
		g.Output = append(g.Output, canon.ChunkOf(m))
		samples, err := canon.Collect(m.Chunk.Iterator(nil))
		if err != nil {
			return g, err
		}
		g.Samples = append(g.Samples, samples...)
	}
	return g, nil
}

// encode feeds samples to the encoder of the compaction path. It gets copies:
// it may widen the layout of a histogram in place.
func encode(samples canon.List) chunks.Iterator {
	own := samples.Clone()
	return storage.NewSeriesToChunkEncoder(&storage.SeriesEntry{
		Lset: labels.EmptyLabels(),
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			return storage.NewListSeriesIteratorWithCopy(own)
		},
	}).Iterator(nil)
}

func writeLines(path string, lines []any) error {
	if err := required("out", path); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, line := range lines {
		if err := enc.Encode(line); err != nil {
			f.Close()
			return err
		}
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
