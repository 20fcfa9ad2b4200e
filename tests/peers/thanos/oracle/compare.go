package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/thanos-io/thanos/pkg/compact/downsample"

	"lithify.test/peers/kit/block"
)

const compareHelp = `Reads all blocks of both sides, groups them by external labels and resolution and
compares the samples of every series bit by bit.

A DIR is a block or a folder of blocks; blocks with a deletion mark are skipped
unless --deleted is given. Where several blocks of a side hold one timestamp, all
their values must agree; with --left-union or --right-union any of them may match.
Histograms are compared by schema, zero bucket, count, sum, custom bounds and the
buckets that are not empty; with --hints also by counter reset hint, with --layout
by spans as stored. In downsampled blocks each aggregate is a series of its own; of
a counter's samples of one time the second and third are series of their own too.

With --blocks, blocks are compared instead of samples: each block has to have one
partner with the same external labels, resolution, range and sources. Compared are the
counts in meta.json, the size of the index, series, chunks with their times, columns
and every sample in the order it is stored. Bytes of chunks may differ; the last line
says how many do not. --left-union and --right-union mean nothing then.

The last line counts what was compared; before it stand at most --max differences.
Exit 0: equal, 1: different, 2: a block could not be read.`

// stringList is a flag that may be given several times.
type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, ",") }
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }

type compareOptions struct {
	left, right, drop     stringList
	leftUnion, rightUnion bool
	hints, layout         bool
	deleted, downsampled  bool
	blocks, anyIndexSize  bool
	most                  int
}

func compare(args []string) error {
	var o compareOptions
	fs := newFlags("compare", compareHelp)
	fs.Var(&o.left, "left", "block or folder of blocks (repeatable)")
	fs.Var(&o.right, "right", "block or folder of blocks (repeatable)")
	fs.Var(&o.drop, "drop-label", "external label to ignore, such as a replica label (repeatable)")
	fs.BoolVar(&o.leftUnion, "left-union", false, "one of several left values of a timestamp has to match")
	fs.BoolVar(&o.rightUnion, "right-union", false, "one of several right values of a timestamp has to match")
	fs.BoolVar(&o.hints, "hints", false, "compare counter reset hints too")
	fs.BoolVar(&o.layout, "layout", false, "compare the bucket layout as stored")
	fs.BoolVar(&o.deleted, "deleted", false, "read blocks with a deletion mark as well")
	fs.BoolVar(&o.downsampled, "downsampled", false, "leave out raw blocks")
	fs.BoolVar(&o.blocks, "blocks", false, "compare blocks one to one, chunk by chunk")
	fs.BoolVar(&o.anyIndexSize, "any-index-size", false, "with --blocks: indexes may differ in size")
	fs.IntVar(&o.most, "max", 10, "differences to print")
	if err := fs.Parse(args); err != nil {
		return err
	}
	left, err := openSide(o.left, o)
	if err != nil {
		return err
	}
	defer closeSide(left)
	right, err := openSide(o.right, o)
	if err != nil {
		return err
	}
	defer closeSide(right)

	if o.blocks {
		return compareBlocks(left, right, o)
	}
	report := &report{most: o.most}
	for _, key := range unionKeys(left, right) {
		if err := compareGroup(key, left[key], right[key], o, report); err != nil {
			return fmt.Errorf("group %s: %w", key, err)
		}
	}
	fmt.Printf("compared %d groups, %d series, %d samples: %d differences\n", report.groups, report.series, report.samples, report.differences)
	if report.differences > 0 {
		return errDifferent
	}
	return nil
}

// report counts, and prints the first differences.
type report struct {
	groups, series, samples, differences, most int
}

func (r *report) differ(format string, args ...any) {
	r.differences++
	if r.differences <= r.most {
		fmt.Printf(format+"\n", args...)
	}
}

// openedBlock is one block of a side.
type openedBlock struct {
	*tsdb.Block
	id     ulid.ULID
	labels map[string]string // external, as in its meta
	place  string            // see placeOf
}

type side map[string][]openedBlock

// openSide opens every block below the given folders, grouped.
func openSide(dirs []string, o compareOptions) (side, error) {
	out := side{}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("every side needs a folder of blocks")
	}
	for _, dir := range dirs {
		folders, err := blockFolders(dir, o.deleted)
		if err != nil {
			return nil, err
		}
		for _, folder := range folders {
			meta, err := block.ReadMeta(folder)
			if err != nil {
				return nil, err
			}
			if o.downsampled && meta.Thanos.Downsample.Resolution == 0 {
				continue
			}
			b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), folder, downsample.NewPool(), nil)
			if err != nil {
				return nil, fmt.Errorf("open %s: %w", folder, err)
			}
			key := groupKey(meta, o.drop)
			out[key] = append(out[key], openedBlock{b, meta.ULID, meta.Thanos.Labels, placeOf(meta, o.drop)})
		}
	}
	return out, nil
}

func closeSide(s side) {
	for _, blocks := range s {
		for _, b := range blocks {
			b.Close()
		}
	}
}

func blockFolders(dir string, deleted bool) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, "meta.json")); err == nil {
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		folder := filepath.Join(dir, e.Name())
		if _, err := ulid.ParseStrict(e.Name()); err != nil || !e.IsDir() {
			continue
		}
		if _, err := os.Stat(filepath.Join(folder, "meta.json")); err != nil {
			continue // an upload that never ended is no block
		}
		if _, err := os.Stat(filepath.Join(folder, "deletion-mark.json")); err == nil && !deleted {
			continue
		}
		out = append(out, folder)
	}
	return out, nil
}

// groupKey writes the external labels that count and the resolution.
func groupKey(meta block.Meta, drop []string) string {
	var parts []string
	for name, value := range meta.Thanos.Labels {
		if !slices.Contains(drop, name) {
			parts = append(parts, fmt.Sprintf("%s=%q", name, value))
		}
	}
	slices.Sort(parts)
	return fmt.Sprintf("{%s}@%d", strings.Join(parts, ", "), meta.Thanos.Downsample.Resolution)
}

func unionKeys(left, right side) []string {
	seen := map[string]bool{}
	for key := range left {
		seen[key] = true
	}
	for key := range right {
		seen[key] = true
	}
	return sorted(seen)
}
