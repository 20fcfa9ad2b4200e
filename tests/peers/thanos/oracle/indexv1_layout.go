package main

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"

	"lithify.test/peers/kit/block"
)

// Version 1 differs from version 2 in what a number refers to:
//
//	              version 1                        version 2
//	a symbol      offset of its length byte(s)     its place in the sorted list
//	a series      offset of its entry              offset / 16, entries aligned
//
// The sections are the same:
//
//	magic, version | symbols | series | label indices | postings
//	| label index table | postings table | table of contents
//
// A section is its length (4 bytes), the content, and the CRC-32C of the
// content; a series entry has a varint length instead.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// v1 builds the file in memory.
type v1 struct {
	file    []byte
	symbols map[string]uint32 // offsets
}

// entry is one series as the version 2 index has it.
type entry struct {
	labels labels.Labels
	chunks []chunks.Meta
	offset uint32 // in the version 1 file
}

type tableRow struct {
	keys   []string
	offset int
}

func downgradeIndex(dir string) error {
	path := filepath.Join(dir, "index")
	entries, symbols, err := readIndex(path)
	if err != nil {
		return err
	}
	w := &v1{symbols: map[string]uint32{}}
	w.file = binary.BigEndian.AppendUint32(w.file, index.MagicIndex)
	w.file = append(w.file, index.FormatV1)
	var toc [6]int
	toc[0] = w.writeSymbols(symbols)
	toc[1] = len(w.file)
	for i := range entries {
		entries[i].offset = w.writeSeries(entries[i])
	}
	toc[2] = len(w.file)
	labelRows := w.writeLabelIndices(entries)
	toc[4] = len(w.file)
	postingRows := w.writePostings(entries)
	toc[3] = w.writeTable(labelRows)
	toc[5] = w.writeTable(postingRows)
	w.writeContents(toc)
	if err := os.WriteFile(path, w.file, 0o644); err != nil {
		return err
	}
	return block.Rewritten(dir)
}

func readIndex(path string) ([]entry, []string, error) {
	r, err := index.NewFileReader(path, index.DecodePostingsRaw)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var entries []entry
	all := tsdb.AllSortedPostings(context.Background(), r)
	for all.Next() {
		ls, metas, err := readSeries(r, all.At())
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, entry{labels: ls, chunks: metas})
	}
	if err := all.Err(); err != nil {
		return nil, nil, err
	}
	var symbols []string
	it := r.Symbols()
	for it.Next() {
		symbols = append(symbols, string([]byte(it.At())))
	}
	return entries, symbols, it.Err()
}

// readSeries copies a series out of the index, whose mapping may go away.
func readSeries(r *index.Reader, ref storage.SeriesRef) (labels.Labels, []chunks.Meta, error) {
	var b labels.ScratchBuilder
	var metas []chunks.Meta
	if err := r.Series(ref, &b, &metas); err != nil {
		return labels.EmptyLabels(), nil, err
	}
	return b.Labels().Copy(), metas, nil
}

// section appends a section whose content fill writes, and returns its offset.
func (w *v1) section(fill func()) int {
	start := len(w.file)
	w.file = append(w.file, 0, 0, 0, 0)
	fill()
	content := w.file[start+4:]
	binary.BigEndian.PutUint32(w.file[start:], uint32(len(content)))
	w.file = binary.BigEndian.AppendUint32(w.file, crc32.Checksum(content, castagnoli))
	return start
}

func (w *v1) u32(x uint32)     { w.file = binary.BigEndian.AppendUint32(w.file, x) }
func (w *v1) uvarint(x uint64) { w.file = binary.AppendUvarint(w.file, x) }
func (w *v1) text(s string) {
	w.uvarint(uint64(len(s)))
	w.file = append(w.file, s...)
}

func (w *v1) writeSymbols(symbols []string) int {
	return w.section(func() {
		w.u32(uint32(len(symbols)))
		for _, s := range symbols {
			w.symbols[s] = uint32(len(w.file))
			w.text(s)
		}
	})
}

func (w *v1) writeSeries(e entry) uint32 {
	offset := len(w.file)
	var body v1
	body.uvarint(uint64(e.labels.Len()))
	e.labels.Range(func(l labels.Label) {
		body.uvarint(uint64(w.symbols[l.Name]))
		body.uvarint(uint64(w.symbols[l.Value]))
	})
	body.uvarint(uint64(len(e.chunks)))
	var end, ref int64
	for i, c := range e.chunks {
		if i == 0 {
			body.file = binary.AppendVarint(body.file, c.MinTime)
		} else {
			body.uvarint(uint64(c.MinTime - end))
		}
		body.uvarint(uint64(c.MaxTime - c.MinTime))
		if i == 0 {
			body.uvarint(uint64(c.Ref))
		} else {
			body.file = binary.AppendVarint(body.file, int64(c.Ref)-ref)
		}
		end, ref = c.MaxTime, int64(c.Ref)
	}
	w.uvarint(uint64(len(body.file)))
	w.file = append(w.file, body.file...)
	w.u32(crc32.Checksum(body.file, castagnoli))
	return uint32(offset)
}

// pairMap collects per label name its values, and per value its series.
func pairMap(entries []entry) map[string]map[string][]uint32 {
	out := map[string]map[string][]uint32{}
	put := func(name, value string, offset uint32) {
		if out[name] == nil {
			out[name] = map[string][]uint32{}
		}
		out[name][value] = append(out[name][value], offset)
	}
	for _, e := range entries {
		put("", "", e.offset) // the empty pair stands for all series
		e.labels.Range(func(l labels.Label) { put(l.Name, l.Value, e.offset) })
	}
	return out
}

func (w *v1) writeLabelIndices(entries []entry) []tableRow {
	var rows []tableRow
	all := pairMap(entries)
	for _, name := range sorted(all) {
		if name == "" {
			continue
		}
		offset := w.section(func() {
			w.u32(1)
			w.u32(uint32(len(all[name])))
			for _, value := range sorted(all[name]) {
				w.u32(w.symbols[value])
			}
		})
		rows = append(rows, tableRow{[]string{name}, offset})
	}
	return rows
}

func (w *v1) writePostings(entries []entry) []tableRow {
	var rows []tableRow
	all := pairMap(entries)
	for _, name := range sorted(all) {
		for _, value := range sorted(all[name]) {
			offset := w.section(func() {
				w.u32(uint32(len(all[name][value])))
				for _, series := range all[name][value] {
					w.u32(series)
				}
			})
			rows = append(rows, tableRow{[]string{name, value}, offset})
		}
	}
	return rows
}

func (w *v1) writeTable(rows []tableRow) int {
	return w.section(func() {
		w.u32(uint32(len(rows)))
		for _, row := range rows {
			w.uvarint(uint64(len(row.keys)))
			for _, k := range row.keys {
				w.text(k)
			}
			w.uvarint(uint64(row.offset))
		}
	})
}

// writeContents ends the file: symbols, series, label indices, label index
// table, postings, postings table, CRC.
func (w *v1) writeContents(offsets [6]int) {
	start := len(w.file)
	for _, o := range offsets {
		w.file = binary.BigEndian.AppendUint64(w.file, uint64(o))
	}
	w.u32(crc32.Checksum(w.file[start:], castagnoli))
	if len(w.file) > math.MaxUint32 {
		panic("version 1 offsets are 32 bits wide")
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
