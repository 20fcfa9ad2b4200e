package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"

	"lithify.test/peers/kit/canon"
)

// reduce turns a sample into what compare looks at.
func reduce(s canon.Sample, o compareOptions) point {
	switch {
	case s.Hist != nil:
		return point{t: s.Time, text: histText(s, o, s.Hist.CounterResetHint)}
	case s.FloatHist != nil:
		return point{t: s.Time, text: histText(s, o, s.FloatHist.CounterResetHint)}
	default:
		return point{t: s.Time, bits: math.Float64bits(s.Value)}
	}
}

func (p point) String() string {
	if p.text != "" {
		return p.text
	}
	return fmt.Sprintf("%v (%016x)", math.Float64frombits(p.bits), p.bits)
}

// histText writes a histogram so that equal texts mean equal contents under
// the options: as stored, or with its buckets by index, empty ones left out.
func histText(s canon.Sample, o compareOptions, hint histogram.CounterResetHint) string {
	var b strings.Builder
	switch {
	case o.layout:
		line := s.Line(false)
		line = line[strings.IndexByte(line, ' ')+1:]
		b.WriteString(line[:strings.LastIndex(line, " hint=")])
	case s.Hist != nil:
		intText(&b, s.Hist)
	default:
		floatText(&b, s.FloatHist)
	}
	if o.hints {
		b.WriteString(" hint=" + canon.HintName(hint))
	}
	return b.String()
}

func intText(b *strings.Builder, h *histogram.Histogram) {
	fmt.Fprintf(b, "h schema=%d zt=%s zc=%d c=%d sum=%s cv=%v", h.Schema, canon.Bits(h.ZeroThreshold), h.ZeroCount, h.Count, canon.Bits(h.Sum), h.CustomValues)
	write := func(name string, spans []histogram.Span, deltas []int64) {
		var count int64
		eachBucket(spans, func(i int, at int64) {
			if i < len(deltas) {
				count += deltas[i]
			}
			if count != 0 {
				fmt.Fprintf(b, " %s%d:%d", name, at, count)
			}
		})
	}
	write("+", h.PositiveSpans, h.PositiveBuckets)
	write("-", h.NegativeSpans, h.NegativeBuckets)
}

func floatText(b *strings.Builder, h *histogram.FloatHistogram) {
	fmt.Fprintf(b, "fh schema=%d zt=%s zc=%s c=%s sum=%s cv=%v", h.Schema, canon.Bits(h.ZeroThreshold), canon.Bits(h.ZeroCount), canon.Bits(h.Count), canon.Bits(h.Sum), h.CustomValues)
	write := func(name string, spans []histogram.Span, counts []float64) {
		eachBucket(spans, func(i int, at int64) {
			if i < len(counts) && counts[i] != 0 {
				fmt.Fprintf(b, " %s%d:%s", name, at, canon.Bits(counts[i]))
			}
		})
	}
	write("+", h.PositiveSpans, h.PositiveBuckets)
	write("-", h.NegativeSpans, h.NegativeBuckets)
}

// eachBucket calls fn with the place of a bucket in the list and its index.
func eachBucket(spans []histogram.Span, fn func(i int, at int64)) {
	i, at := 0, int64(0)
	for _, s := range spans {
		at += int64(s.Offset)
		for range s.Length {
			fn(i, at)
			i++
			at++
		}
	}
}
