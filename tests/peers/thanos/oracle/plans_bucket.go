package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"time"

	"github.com/go-kit/log"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"
	"github.com/thanos-io/thanos/pkg/block"
	"github.com/thanos-io/thanos/pkg/block/metadata"
	"github.com/thanos-io/thanos/pkg/compact"
	"github.com/thanos-io/thanos/pkg/model"
	"github.com/thanos-io/thanos/pkg/strutil"
)

// The delays are upstream's defaults. Every time in a case is either long past
// or in the year 2100, so the day a case is solved on does not matter.
const (
	planConsistencyDelay = 30 * time.Minute
	planDeleteDelay      = 48 * time.Hour
	planMaxIndex         = 64 << 30
)

var (
	planPast   = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	planUpload = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	planFuture = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// planBucket is a bucket in memory with the parts of "thanos compact" that
// look at it.
type planBucket struct {
	objstore.InstrumentedBucket
	metas     map[ulid.ULID]*metadata.Meta
	syncer    *compact.Syncer
	grouper   compact.Grouper
	planner   compact.Planner
	noCompact *compact.GatherNoCompactionMarkFilter
	watched   []*watchedFilter
}

// watchedFilter notes which blocks a filter removed the last time.
type watchedFilter struct {
	block.MetadataFilter
	state   string
	removed []int
}

func (w *watchedFilter) Filter(ctx context.Context, metas map[ulid.ULID]*metadata.Meta, synced, modified block.GaugeVec) error {
	var before []ulid.ULID
	for id := range metas {
		before = append(before, id)
	}
	if err := w.MetadataFilter.Filter(ctx, metas, synced, modified); err != nil {
		return err
	}
	w.removed = nil
	for _, id := range before {
		if metas[id] == nil {
			w.removed = append(w.removed, planNumber(id))
		}
	}
	slices.Sort(w.removed)
	return nil
}

// newPlanBucket fills a bucket and sets up filters, grouping and planner as
// the compactor does for the settings of the case.
func newPlanBucket(c *planCase) (*planBucket, error) {
	b := &planBucket{
		InstrumentedBucket: objstore.WithNoopInstr(objstore.NewInMemBucket()),
		metas:              map[ulid.ULID]*metadata.Meta{},
	}
	for i := range c.Blocks {
		if err := b.put(c, &c.Blocks[i]); err != nil {
			return nil, err
		}
	}
	if err := b.sync(c); err != nil {
		return nil, err
	}
	b.plan(c)
	return b, nil
}

func unused() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "unused"})
}

// sync sets up the fetcher and the filters in their order.
func (b *planBucket) sync(c *planCase) error {
	relabel, err := block.ParseRelabelConfig([]byte(c.Relabel), block.SelectorSupportedRelabelActions)
	if err != nil {
		return err
	}
	logger := log.NewNopLogger()
	marks := block.NewIgnoreDeletionMarkFilter(logger, b, planDeleteDelay/2, 2)
	duplicates := block.NewDeduplicateFilter(2)
	b.noCompact = compact.NewGatherNoCompactionMarkFilter(logger, b, 2)
	low, high := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	if c.MinTime != nil {
		low = time.UnixMilli(*c.MinTime * planMinute)
	}
	if c.MaxTime != nil {
		high = time.UnixMilli(*c.MaxTime * planMinute)
	}
	b.watched = []*watchedFilter{
		{block.NewTimePartitionMetaFilter(model.TimeOrDurationValue{Time: &low}, model.TimeOrDurationValue{Time: &high}), "time-excluded", nil},
		{block.NewLabelShardedMetaFilter(relabel, c.ReplicaLabels...), "label-excluded", nil},
		{block.NewConsistencyDelayMetaFilterWithoutMetrics(logger, planConsistencyDelay), "too-fresh", nil},
		{marks, "marked-for-deletion", nil},
		{block.NewReplicaLabelRemover(logger, strutil.ParseFlagLabels(c.ReplicaLabels)), "", nil},
		{duplicates, "duplicate", nil},
		{b.noCompact, "", nil},
	}
	var filters []block.MetadataFilter
	for _, w := range b.watched {
		filters = append(filters, w)
	}
	fetcher, err := block.NewMetaFetcher(logger, 2, b, block.NewRecursiveLister(logger, b), "", nil, filters)
	if err != nil {
		return err
	}
	b.syncer, err = compact.NewMetaSyncer(logger, nil, b, fetcher, duplicates, marks, unused(), unused(), 0)
	return err
}

// plan sets up grouping and the stack of planners.
func (b *planBucket) plan(c *planCase) {
	logger := log.NewNopLogger()
	b.grouper = compact.NewDefaultGrouper(logger, b, false, c.Vertical, nil, unused(), unused(), unused(), metadata.NoneFunc, 1, 1)
	ranges := []int64{60 * planMinute}
	for _, minutes := range planLengths[1 : c.MaxLevel+1] {
		ranges = append(ranges, minutes*planMinute)
	}
	sized := compact.WithLargeTotalIndexSizeFilter(compact.NewPlanner(logger, ranges, b.noCompact), b, cmp.Or(c.MaxIndex, planMaxIndex), unused())
	b.planner = sized
	if c.Vertical {
		b.planner = compact.WithVerticalCompactionDownsampleFilter(sized, b, unused())
	}
}

// put uploads a block of the case with its marks.
func (b *planBucket) put(c *planCase, p *planBlock) error {
	id := planID(p.ID)
	meta := &metadata.Meta{}
	meta.ULID, meta.Version = id, metadata.TSDBVersion1
	meta.MinTime, meta.MaxTime = p.Min*planMinute, p.Max*planMinute
	meta.Compaction.Level = max(p.Level, 1)
	meta.Compaction.Failed = p.Failed
	for _, s := range p.Sources {
		meta.Compaction.Sources = append(meta.Compaction.Sources, planID(s))
	}
	if len(p.Sources) == 0 {
		meta.Compaction.Sources = []ulid.ULID{id}
	}
	meta.Thanos = metadata.Thanos{
		Version:    metadata.ThanosVersion1,
		Labels:     c.Streams[p.Stream],
		Downsample: metadata.ThanosDownsample{Resolution: p.Resolution},
		Source:     metadata.SidecarSource,
		Files:      planFiles(p.Index),
	}
	switch {
	case p.By != "":
		meta.Thanos.Source = metadata.SourceType(p.By)
	case p.Level > 1:
		meta.Thanos.Source = metadata.CompactorSource
	}
	switch {
	case p.Fresh:
		meta.Thanos.UploadTime = planFuture
	case p.ID%2 == 0: // the others have the age of their ULID
		meta.Thanos.UploadTime = planUpload
	}
	switch p.Marked {
	case "young":
		if err := b.mark(id, planFuture); err != nil {
			return err
		}
	case "old":
		if err := b.mark(id, planPast); err != nil {
			return err
		}
	}
	if p.NoCompact {
		mark := metadata.NoCompactMark{ID: id, Version: metadata.NoCompactMarkVersion1, Reason: metadata.ManualNoCompactReason, NoCompactTime: planUpload.Unix()}
		if err := b.write(id, metadata.NoCompactMarkFilename, mark); err != nil {
			return err
		}
	}
	return b.upload(meta)
}

func planFiles(index int64) []metadata.File {
	return []metadata.File{{RelPath: block.IndexFilename, SizeBytes: cmp.Or(index, planIndexSize)}}
}

// upload writes meta.json. Nothing else of a block is looked at.
func (b *planBucket) upload(meta *metadata.Meta) error {
	b.metas[meta.ULID] = meta
	return b.write(meta.ULID, block.MetaFilename, meta)
}

func (b *planBucket) mark(id ulid.ULID, when time.Time) error {
	return b.write(id, metadata.DeletionMarkFilename, metadata.DeletionMark{ID: id, Version: metadata.DeletionMarkVersion1, DeletionTime: when.Unix()})
}

func (b *planBucket) write(id ulid.ULID, name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Upload(context.Background(), path.Join(id.String(), name), bytes.NewReader(raw))
}
