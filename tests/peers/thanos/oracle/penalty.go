package main

import (
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/thanos-io/thanos/pkg/dedup"

	"lithify.test/peers/kit/canon"
)

const penaltyHelp = `Writes golden vectors of deduplication by penalty, one JSON object per line:

  {"name", "inputs": [[chunk...]...], "querier": [sample...], "compact": [sample...]}

Each input is the chunk list of one replica. querier is what a query with
deduplication gives for a series of these replicas in this order, compact what
"thanos compact" writes for them under its penalty function: the two run the same
rule, but compaction starts it anew at each set of overlapping chunks, and loses
chunks that are of another encoding than the first one. The forms are those of
"oracle chunks".`

type penaltyGolden struct {
	Name    string          `json:"name"`
	Inputs  [][]canon.Chunk `json:"inputs"`
	Querier canon.List      `json:"querier"`
	Compact canon.List      `json:"compact"`
}

func goldenPenalty(args []string) error {
	fs := newFlags("penalty", penaltyHelp)
	out := fs.String("out", "", "file to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var lines []any
	for _, c := range penaltyCases() {
		g, err := penalty(c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		lines = append(lines, g)
	}
	return writeLines(*out, lines)
}

// penalty runs one case both ways. The querier's way gets the samples as the
// chunks give them back, since decoding decides on the hints of histograms.
func penalty(c penaltyCase) (penaltyGolden, error) {
	g := penaltyGolden{Name: c.name, Querier: canon.List{}, Compact: canon.List{}}
	var series []storage.ChunkSeries
	var replicas []canon.List
	for _, samples := range c.replicas {
		metas, err := storage.ExpandChunks(encode(samples))
		if err != nil {
			return g, err
		}
		written := []canon.Chunk{}
		for _, m := range metas {
			written = append(written, canon.ChunkOf(m))
		}
		g.Inputs = append(g.Inputs, written)
		decoded, err := decode(metas)
		if err != nil {
			return g, err
		}
		replicas = append(replicas, decoded)
		series = append(series, &storage.ChunkSeriesEntry{ChunkIteratorFn: func(chunks.Iterator) chunks.Iterator {
			return storage.NewListChunkSeriesIterator(metas...)
		}})
	}
	queried, err := asQueried(replicas)
	if err != nil {
		return g, err
	}
	g.Querier = append(g.Querier, queried...)
	merged, err := storage.ExpandChunks(dedup.NewChunkSeriesMerger()(series...).Iterator(nil))
	if err != nil {
		return g, err
	}
	compacted, err := decode(merged)
	g.Compact = append(g.Compact, compacted...)
	return g, err
}

// decode reads chunks one after the other.
func decode(metas []chunks.Meta) (canon.List, error) {
	var out canon.List
	for _, m := range metas {
		samples, err := canon.Collect(m.Chunk.Iterator(nil))
		if err != nil {
			return nil, err
		}
		out = append(out, samples...)
	}
	return out, nil
}

// asQueried deduplicates the replicas of one series as a query for its plain
// samples does.
func asQueried(replicas []canon.List) (canon.List, error) {
	set := &replicaSet{replicas: replicas}
	deduplicated := dedup.NewSeriesSet(set, "", dedup.AlgorithmPenalty)
	if !deduplicated.Next() {
		return nil, deduplicated.Err()
	}
	samples, err := canon.Collect(deduplicated.At().Iterator(nil))
	if err != nil {
		return nil, err
	}
	if deduplicated.Next() {
		return nil, fmt.Errorf("replicas were taken for several series")
	}
	return samples, deduplicated.Err()
}

// replicaSet hands out replicas as series with equal labels.
type replicaSet struct {
	replicas []canon.List
	at       int
}

func (s *replicaSet) Next() bool {
	s.at++
	return s.at <= len(s.replicas)
}

func (s *replicaSet) At() storage.Series {
	own := s.replicas[s.at-1]
	return &storage.SeriesEntry{
		Lset: labels.FromStrings("__name__", "series"),
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			return storage.NewListSeriesIteratorWithCopy(own)
		},
	}
}

func (*replicaSet) Err() error                        { return nil }
func (*replicaSet) Warnings() annotations.Annotations { return nil }
