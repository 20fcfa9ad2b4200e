package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/thanos-io/thanos/pkg/compact/downsample"

	"lithify.test/peers/kit/block"
)

const dumpHelp = `Prints the block in the folder given as the only argument: one line per
series, chunk and sample, in the order of the index.

  series {"__name__"="up", ...}
  chunk <min ms> <max ms> <encoding number> <number of samples>
  <t ms> <value bits, 16 hex digits>
  <t ms> h|fh schema= zt= zc= c= sum= ps= pb= ns= nb= cv= hint=

In a chunk of aggregates (encoding 255) each column that is there comes with a line
of its own before its samples, in the order count, sum, min, max, counter:

  column count <encoding number> <number of samples>

All fields of a histogram are as stored; see package kit/canon for the form.`

func dump(args []string) error {
	fs := newFlags("dump BLOCK", dumpHelp)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return fmt.Errorf("one block folder is wanted, got %d arguments", fs.NArg())
	}
	return block.Reader{Pool: downsample.NewPool(), Columns: columns}.Dump(fs.Arg(0), os.Stdout)
}

// columns takes a chunk of aggregates apart; nil for any other chunk.
func columns(c chunkenc.Chunk) ([]block.Column, error) {
	aggregates, ok := c.(*downsample.AggrChunk)
	if !ok {
		return nil, nil
	}
	out := []block.Column{}
	for kind := downsample.AggrCount; kind <= downsample.AggrCounter; kind++ {
		// The reader takes an absent counter for a chunk that is cut off.
		if kind == downsample.AggrCounter && absentLast(c.Bytes()) {
			break
		}
		part, err := aggregates.Get(kind)
		if errors.Is(err, downsample.ErrAggrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", kind, err)
		}
		out = append(out, block.Column{Name: kind.String(), Chunk: part})
	}
	return out, nil
}

// absentLast walks over four columns and reports whether nothing but the zero
// of an absent fifth one is left.
func absentLast(b []byte) bool {
	for range downsample.AggrCounter {
		length, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		if b = b[n:]; length == 0 {
			continue
		}
		if length >= uint64(len(b)) {
			return false
		}
		b = b[length+1:]
	}
	return len(b) == 1 && b[0] == 0
}
