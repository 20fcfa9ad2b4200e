// Package canon holds one sample of any kind and its two written forms: a line
// of text (block dumps) and a JSON value (golden vectors).
//
// Floats are never printed as decimals. Both forms write the 64 bits of the
// IEEE 754 value as 16 hexadecimal digits, because payloads of NaN matter: one
// of them is the stale marker.
package canon

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Sample is one point of a series. At most one of Hist and FloatHist is set;
// with neither, Value holds a float.
type Sample struct {
	Time      int64 // milliseconds since the epoch
	Start     int64 // start timestamp in milliseconds, 0 when unknown
	Value     float64
	Hist      *histogram.Histogram
	FloatHist *histogram.FloatHistogram
}

// The methods below make Sample usable wherever the TSDB wants its own sample
// interface. ST exists in later versions of that interface only.

func (s Sample) T() int64                      { return s.Time }
func (s Sample) ST() int64                     { return s.Start }
func (s Sample) F() float64                    { return s.Value }
func (s Sample) H() *histogram.Histogram       { return s.Hist }
func (s Sample) FH() *histogram.FloatHistogram { return s.FloatHist }

// Type tells which of the three kinds the sample is.
func (s Sample) Type() chunkenc.ValueType {
	switch {
	case s.Hist != nil:
		return chunkenc.ValHistogram
	case s.FloatHist != nil:
		return chunkenc.ValFloatHistogram
	default:
		return chunkenc.ValFloat
	}
}

// Copy returns a sample that shares no memory with s.
func (s Sample) Copy() chunks.Sample { return s.Clone() }

// Clone is Copy with the concrete type. Encoders are allowed to widen the
// bucket layout of a histogram they are given, so callers clone before they
// hand one over and want to keep it.
func (s Sample) Clone() Sample {
	if s.Hist != nil {
		s.Hist = s.Hist.Copy()
	}
	if s.FloatHist != nil {
		s.FloatHist = s.FloatHist.Copy()
	}
	return s
}

// List is a run of samples in the form the TSDB's list iterators want.
type List []Sample

func (l List) Get(i int) chunks.Sample { return l[i] }
func (l List) Len() int                { return len(l) }

// Clone copies every sample of the list.
func (l List) Clone() List {
	out := make(List, len(l))
	for i, s := range l {
		out[i] = s.Clone()
	}
	return out
}

// Each calls fn for every sample of the iterator, in its order. The sample
// owns its memory.
func Each(it chunkenc.Iterator, fn func(Sample) error) error {
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		var s Sample
		switch kind {
		case chunkenc.ValHistogram:
			s.Time, s.Hist = it.AtHistogram(nil)
		case chunkenc.ValFloatHistogram:
			s.Time, s.FloatHist = it.AtFloatHistogram(nil)
		default:
			s.Time, s.Value = it.At()
		}
		if withStart, ok := it.(interface{ AtST() int64 }); ok {
			s.Start = withStart.AtST()
		}
		if err := fn(s); err != nil {
			return err
		}
	}
	return it.Err()
}

// Collect reads the whole iterator.
func Collect(it chunkenc.Iterator) (List, error) {
	var out List
	err := Each(it, func(s Sample) error {
		out = append(out, s)
		return nil
	})
	return out, err
}
