package canon

import (
	"encoding/hex"
	"encoding/json"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Golden vectors are JSON, one value per line. A sample is
//
//	[t, "<bits>"]        a float
//	[t, {"h": {...}}]    an integer histogram
//	[t, {"fh": {...}}]   a float histogram
//
// with every field of the histogram written out as in Line. A chunk is
// {"encoding", "min", "max", "bytes"}; bytes is the chunk's data in hex, as it
// stands in a segment file after the encoding byte, its sample count included.

// MarshalJSON writes the sample in the form above.
func (s Sample) MarshalJSON() ([]byte, error) {
	var value any
	switch {
	case s.Hist != nil:
		value = map[string]any{"h": intHistogram(s.Hist)}
	case s.FloatHist != nil:
		value = map[string]any{"fh": floatHistogram(s.FloatHist)}
	default:
		value = Bits(s.Value)
	}
	return json.Marshal([2]any{s.Time, value})
}

// Chunk is the JSON form of one chunk with its time range in milliseconds,
// both ends inclusive.
type Chunk struct {
	Encoding uint8  `json:"encoding"`
	Min      int64  `json:"min"`
	Max      int64  `json:"max"`
	Bytes    string `json:"bytes"`
}

// Chunks copies the chunks of the iterator into their JSON form.
func Chunks(it chunks.Iterator) ([]Chunk, error) {
	var out []Chunk
	for it.Next() {
		out = append(out, ChunkOf(it.At()))
	}
	return out, it.Err()
}

// ChunkOf copies one chunk into its JSON form.
func ChunkOf(m chunks.Meta) Chunk {
	return Chunk{
		Encoding: uint8(m.Chunk.Encoding()),
		Min:      m.MinTime,
		Max:      m.MaxTime,
		Bytes:    hex.EncodeToString(m.Chunk.Bytes()),
	}
}

type histogramJSON struct {
	Schema        int32      `json:"schema"`
	ZeroThreshold string     `json:"zero_threshold"`
	ZeroCount     any        `json:"zero_count"`
	Count         any        `json:"count"`
	Sum           string     `json:"sum"`
	PositiveSpans [][2]int64 `json:"positive_spans"`
	Positive      any        `json:"positive"`
	NegativeSpans [][2]int64 `json:"negative_spans"`
	Negative      any        `json:"negative"`
	CustomValues  []string   `json:"custom_values"`
	Hint          string     `json:"hint"`
}

func intHistogram(h *histogram.Histogram) histogramJSON {
	return histogramJSON{
		Schema:        h.Schema,
		ZeroThreshold: Bits(h.ZeroThreshold),
		ZeroCount:     h.ZeroCount,
		Count:         h.Count,
		Sum:           Bits(h.Sum),
		PositiveSpans: spans(h.PositiveSpans),
		Positive:      notNil(h.PositiveBuckets),
		NegativeSpans: spans(h.NegativeSpans),
		Negative:      notNil(h.NegativeBuckets),
		CustomValues:  bitsOf(h.CustomValues),
		Hint:          HintName(h.CounterResetHint),
	}
}

func floatHistogram(h *histogram.FloatHistogram) histogramJSON {
	return histogramJSON{
		Schema:        h.Schema,
		ZeroThreshold: Bits(h.ZeroThreshold),
		ZeroCount:     Bits(h.ZeroCount),
		Count:         Bits(h.Count),
		Sum:           Bits(h.Sum),
		PositiveSpans: spans(h.PositiveSpans),
		Positive:      bitsOf(h.PositiveBuckets),
		NegativeSpans: spans(h.NegativeSpans),
		Negative:      bitsOf(h.NegativeBuckets),
		CustomValues:  bitsOf(h.CustomValues),
		Hint:          HintName(h.CounterResetHint),
	}
}

func spans(in []histogram.Span) [][2]int64 {
	out := make([][2]int64, len(in))
	for i, s := range in {
		out[i] = [2]int64{int64(s.Offset), int64(s.Length)}
	}
	return out
}

func bitsOf(in []float64) []string {
	out := make([]string, len(in))
	for i, f := range in {
		out[i] = Bits(f)
	}
	return out
}

// notNil keeps an empty list from becoming JSON null.
func notNil(in []int64) []int64 {
	if in == nil {
		return []int64{}
	}
	return in
}
