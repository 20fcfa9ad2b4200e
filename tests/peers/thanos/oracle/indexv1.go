package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/fixture"
)

const indexV1Help = `Writes <out>/<ULID>/, a block whose index has format version 1, and its dump
expected.txt beside it.

No Prometheus of today writes that version. So the block is written as usual and
its index is then laid out anew as version 1. The result is opened with the
reader of Prometheus and must dump to the same text as before, and every label
pair must lead to the same series; otherwise this command fails.`

func indexV1(args []string) error {
	fs := newFlags("index-v1", indexV1Help)
	out := fs.String("out", "", "folder for the block; must be absent or empty")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := emptyDir(*out); err != nil {
		return err
	}
	series := append(fixture.Floats(), fixture.Histograms(false)[:2]...)
	dir, err := fixture.Block(*out, series, nil, map[string]string{"fixture": "index-v1"})
	if err != nil {
		return err
	}
	var before, after bytes.Buffer
	if err := block.Dump(dir, &before); err != nil {
		return err
	}
	pairsBefore, err := pairs(dir, index.FormatV2)
	if err != nil {
		return err
	}
	if err := downgradeIndex(dir); err != nil {
		return fmt.Errorf("lay out version 1: %w", err)
	}
	if err := block.Dump(dir, &after); err != nil {
		return fmt.Errorf("read version 1 back: %w", err)
	}
	pairsAfter, err := pairs(dir, index.FormatV1)
	if err != nil {
		return fmt.Errorf("read version 1 back: %w", err)
	}
	if !bytes.Equal(before.Bytes(), after.Bytes()) || pairsBefore != pairsAfter {
		return fmt.Errorf("the version 1 index of %s reads differently from its original", dir)
	}
	return os.WriteFile(filepath.Join(*out, "expected.txt"), after.Bytes(), 0o644)
}

// pairs lists which series each label pair leads to, by the series' labels.
func pairs(dir string, version int) (string, error) {
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), dir, nil, nil)
	if err != nil {
		return "", err
	}
	defer b.Close()
	r, err := index.NewFileReader(filepath.Join(dir, "index"), index.DecodePostingsRaw)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if r.Version() != version {
		return "", fmt.Errorf("%s has index version %d, want %d", dir, r.Version(), version)
	}
	var out bytes.Buffer
	ctx := context.Background()
	names, err := r.LabelNames(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		values, err := r.SortedLabelValues(ctx, name, nil)
		if err != nil {
			return "", err
		}
		for _, value := range values {
			if err := listPair(ctx, r, &out, name, value); err != nil {
				return "", err
			}
		}
	}
	return out.String(), nil
}

func listPair(ctx context.Context, r *index.Reader, out *bytes.Buffer, name, value string) error {
	p, err := r.Postings(ctx, name, value)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%q=%q\n", name, value)
	for p.Next() {
		ls, _, err := readSeries(r, p.At())
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s\n", ls)
	}
	return p.Err()
}
