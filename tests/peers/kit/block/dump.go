package block

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"lithify.test/peers/kit/canon"
)

// firstStartEncoding is the first chunk encoding that can carry start
// timestamps (XOR2); those after it can as well.
const firstStartEncoding = chunkenc.Encoding(4)

// Column is a named part of a chunk that holds a chunk for each of several
// aggregates.
type Column struct {
	Name  string
	Chunk chunkenc.Chunk
}

// Reader says how to read chunks that are not of the TSDB's own encodings. Its
// zero value knows those alone.
type Reader struct {
	Pool chunkenc.Pool // makes chunks; nil for the TSDB's own
	// Columns takes a chunk apart, and returns nil for one without columns.
	Columns func(chunkenc.Chunk) ([]Column, error)
}

// Dump writes a block that has chunks of the TSDB's own encodings only.
func Dump(dir string, out io.Writer) error { return Reader{}.Dump(dir, out) }

// Dump writes the block as text: series in index order, per series its labels,
// then its chunks, each with its samples or its columns with theirs.
//
//	series {"__name__"="up", "job"="node"}
//	chunk <min ms> <max ms> <encoding number> <samples>
//	column <name> <encoding number> <samples>
//	<sample line of package canon>
//
// Labels and values stand in Go's %q form. Sample lines end with the start
// timestamp when the encoding can carry one.
func (r Reader) Dump(dir string, out io.Writer) error {
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), dir, r.Pool, nil)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer b.Close()
	index, err := b.Index()
	if err != nil {
		return err
	}
	defer index.Close()
	data, err := b.Chunks()
	if err != nil {
		return err
	}
	defer data.Close()

	w := bufio.NewWriter(out)
	postings := tsdb.AllSortedPostings(context.Background(), index)
	var builder labels.ScratchBuilder
	var metas []chunks.Meta
	for postings.Next() {
		if err := index.Series(postings.At(), &builder, &metas); err != nil {
			return fmt.Errorf("series %d: %w", postings.At(), err)
		}
		fmt.Fprintf(w, "series %s\n", Labels(builder.Labels()))
		for _, m := range metas {
			if err := r.dumpChunk(w, data, m); err != nil {
				return fmt.Errorf("%s: chunk %d: %w", builder.Labels(), m.Ref, err)
			}
		}
	}
	if err := postings.Err(); err != nil {
		return err
	}
	return w.Flush()
}

// DumpFile writes the dump of the block at dir to expected.txt beside it.
func DumpFile(dir string) error {
	f, err := os.Create(filepath.Join(filepath.Dir(dir), "expected.txt"))
	if err != nil {
		return err
	}
	if err := Dump(dir, f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Labels writes a label set with names and values in Go's %q form.
func Labels(ls labels.Labels) string {
	out := []byte{'{'}
	ls.Range(func(l labels.Label) {
		if len(out) > 1 {
			out = append(out, ", "...)
		}
		out = fmt.Appendf(out, "%q=%q", l.Name, l.Value)
	})
	return string(append(out, '}'))
}

type chunkReader interface {
	ChunkOrIterable(chunks.Meta) (chunkenc.Chunk, chunkenc.Iterable, error)
}

func (r Reader) dumpChunk(w io.Writer, data chunkReader, m chunks.Meta) error {
	c, iterable, err := data.ChunkOrIterable(m)
	if err != nil {
		return err
	}
	if iterable != nil {
		return fmt.Errorf("block gave an iterable instead of a chunk")
	}
	fmt.Fprintf(w, "chunk %d %d %d %d\n", m.MinTime, m.MaxTime, c.Encoding(), c.NumSamples())
	var columns []Column
	if r.Columns != nil {
		if columns, err = r.Columns(c); err != nil {
			return err
		}
	}
	if columns == nil {
		return dumpSamples(w, c)
	}
	for _, column := range columns {
		fmt.Fprintf(w, "column %s %d %d\n", column.Name, column.Chunk.Encoding(), column.Chunk.NumSamples())
		if err := dumpSamples(w, column.Chunk); err != nil {
			return fmt.Errorf("column %s: %w", column.Name, err)
		}
	}
	return nil
}

func dumpSamples(w io.Writer, c chunkenc.Chunk) error {
	withStart := c.Encoding() >= firstStartEncoding
	return canon.Each(c.Iterator(nil), func(s canon.Sample) error {
		_, err := fmt.Fprintln(w, s.Line(withStart))
		return err
	})
}
