package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/thanos-io/thanos/pkg/block/metadata"
	"github.com/thanos-io/thanos/pkg/compact"
)

// planRun takes a case to its end.
type planRun struct {
	*planBucket
	c      *planCase
	made   int
	halted map[string]bool // keys of groups that are listed already
}

// solvePlan fills in what becomes of a case.
func solvePlan(c *planCase) error {
	bucket, err := newPlanBucket(c)
	if err != nil {
		return err
	}
	r := &planRun{planBucket: bucket, c: c, halted: map[string]bool{}}
	// Every step takes at least two blocks and gives one.
	for round := range len(c.Blocks) + 1 {
		planned, err := r.round(round == 0)
		if err != nil {
			return err
		}
		if planned == 0 {
			return r.finish()
		}
		c.Steps += planned
	}
	return fmt.Errorf("no end after %d steps", c.Steps)
}

// round is one pass of the compactor: sync, mark duplicates, then one plan for
// each group of more than one block. It returns how many were carried out.
func (r *planRun) round(first bool) (int, error) {
	ctx := context.Background()
	if err := r.syncer.SyncMetas(ctx); err != nil {
		return 0, err
	}
	if first {
		r.states()
	}
	if err := r.syncer.GarbageCollect(ctx, nil); err != nil {
		return 0, err
	}
	groups, err := r.grouper.Groups(r.syncer.Metas())
	if err != nil {
		return 0, err
	}
	var plans [][]int
	for _, group := range groups {
		plan, err := r.step(ctx, group)
		if err != nil {
			return 0, fmt.Errorf("group %s %s: %w", group.Key(), group.Labels(), err)
		}
		if len(plan) > 0 {
			plans = append(plans, plan)
		}
	}
	if first {
		slices.SortFunc(plans, slices.Compare)
		r.c.First = plans
	}
	return len(plans), nil
}

func (r *planRun) states() {
	r.c.States = map[string][]int{}
	for _, w := range r.watched {
		if w.state != "" && len(w.removed) > 0 {
			r.c.States[w.state] = w.removed
		}
	}
}

// step plans a group and carries the plan out.
func (r *planRun) step(ctx context.Context, group *compact.Group) ([]int, error) {
	metas := r.members(group)
	if len(metas) < 2 {
		return nil, nil
	}
	if !r.c.Vertical && r.overlap(metas) {
		if !r.halted[group.Key()] {
			r.halted[group.Key()] = true
			r.c.Halted = append(r.c.Halted, planGroup{group.Labels().Map(), group.Resolution()})
		}
		return nil, nil
	}
	plan, err := r.planner.Plan(ctx, metas, nil, nil)
	if err != nil || len(plan) == 0 {
		return nil, err
	}
	if !r.c.Vertical {
		// Upstream would halt here too, which a case cannot tell.
		if err := (compact.DefaultCompactionLifecycleCallback{}).PreCompactionCallback(ctx, nil, group, plan); err != nil {
			return nil, err
		}
	}
	var numbers []int
	for _, m := range plan {
		numbers = append(numbers, planNumber(m.ULID))
	}
	return numbers, r.merge(plan)
}

// members lists the blocks of a group by min time, then ULID. Upstream leaves
// the order of blocks that start together to chance.
func (r *planRun) members(group *compact.Group) []*metadata.Meta {
	all := r.syncer.Metas()
	var out []*metadata.Meta
	for _, id := range group.IDs() {
		out = append(out, all[id])
	}
	slices.SortFunc(out, func(a, b *metadata.Meta) int {
		return cmp.Or(cmp.Compare(a.MinTime, b.MinTime), a.ULID.Compare(b.ULID))
	})
	return out
}

// overlap tells whether blocks without a no-compact mark overlap.
func (r *planRun) overlap(metas []*metadata.Meta) bool {
	marked := r.noCompact.NoCompactMarkedBlocks()
	var unmarked []tsdb.BlockMeta
	for _, m := range metas {
		if marked[m.ULID] == nil {
			unmarked = append(unmarked, m.BlockMeta)
		}
	}
	return len(tsdb.OverlappingBlocks(unmarked)) > 0
}

// merge uploads the block a plan would give and marks what it was made of.
func (r *planRun) merge(plan []*metadata.Meta) error {
	var parts []*tsdb.BlockMeta
	index := r.c.Shared
	for _, m := range plan {
		parts = append(parts, &m.BlockMeta)
		index += m.Thanos.Files[0].SizeBytes - r.c.Shared
	}
	id := planID(planMade + r.made)
	r.made++
	made := &metadata.Meta{BlockMeta: *tsdb.CompactBlockMetas(id, parts...)}
	made.Version = metadata.TSDBVersion1
	made.Thanos = metadata.Thanos{
		Version:    metadata.ThanosVersion1,
		Labels:     plan[0].Thanos.Labels,
		Downsample: plan[0].Thanos.Downsample,
		Source:     metadata.CompactorSource,
		Files:      planFiles(index),
	}
	if err := r.upload(made); err != nil {
		return err
	}
	for _, m := range plan {
		marked, err := r.has(m.ULID, metadata.DeletionMarkFilename)
		if err != nil {
			return err
		}
		if marked {
			continue
		}
		if err := r.mark(m.ULID, planFuture); err != nil {
			return err
		}
	}
	return nil
}

func (b *planBucket) has(id ulid.ULID, name string) (bool, error) {
	return b.Exists(context.Background(), path.Join(id.String(), name))
}

// finish writes down what is left and which marks were set.
func (r *planRun) finish() error {
	r.c.NoCompact = map[string][]int{}
	given := map[ulid.ULID]bool{}
	for _, b := range r.c.Blocks {
		given[planID(b.ID)] = b.NoCompact
	}
	for id, m := range r.metas {
		if err := r.excluded(id, given); err != nil {
			return err
		}
		marked, err := r.has(id, metadata.DeletionMarkFilename)
		if err != nil {
			return err
		}
		switch number := planNumber(id); {
		case marked:
		case number < planMade:
			r.c.Left = append(r.c.Left, number)
		default:
			r.c.Made = append(r.c.Made, madeOf(m))
		}
	}
	for _, ids := range r.c.NoCompact {
		slices.Sort(ids)
	}
	slices.Sort(r.c.Left)
	slices.SortFunc(r.c.Made, func(a, b planMadeBlock) int {
		return cmp.Or(a.planGroup.compare(b.planGroup), cmp.Compare(a.Min, b.Min), cmp.Compare(a.Max, b.Max),
			cmp.Compare(a.Level, b.Level), slices.Compare(a.Sources, b.Sources))
	})
	slices.SortFunc(r.c.Halted, planGroup.compare)
	return nil
}

// excluded notes a no-compact mark that the run set.
func (r *planRun) excluded(id ulid.ULID, given map[ulid.ULID]bool) error {
	marked, err := r.has(id, metadata.NoCompactMarkFilename)
	if err != nil || !marked || given[id] {
		return err
	}
	if planNumber(id) >= planMade {
		r.c.MadeMarked++
		return nil
	}
	raw, err := r.Get(context.Background(), path.Join(id.String(), metadata.NoCompactMarkFilename))
	if err != nil {
		return err
	}
	defer raw.Close()
	var mark metadata.NoCompactMark
	if err := json.NewDecoder(raw).Decode(&mark); err != nil {
		return err
	}
	reason := string(mark.Reason)
	r.c.NoCompact[reason] = append(r.c.NoCompact[reason], planNumber(id))
	return nil
}

func madeOf(m *metadata.Meta) planMadeBlock {
	b := planMadeBlock{
		planGroup: planGroup{m.Thanos.Labels, m.Thanos.Downsample.Resolution},
		Min:       m.MinTime / planMinute,
		Max:       m.MaxTime / planMinute,
		Level:     m.Compaction.Level,
	}
	for _, s := range m.Compaction.Sources {
		b.Sources = append(b.Sources, planNumber(s))
	}
	return b
}

// compare orders groups by resolution, then by their labels as text.
func (g planGroup) compare(o planGroup) int {
	return cmp.Or(cmp.Compare(g.Resolution, o.Resolution), cmp.Compare(fmt.Sprint(g.Labels), fmt.Sprint(o.Labels)))
}
