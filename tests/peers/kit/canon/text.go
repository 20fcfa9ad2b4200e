package canon

import (
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
)

// Line writes the sample as one line without a line end.
//
//	float      <t> <bits>
//	histogram  <t> h schema= zt= zc= c= sum= ps= pb= ns= nb= cv= hint=
//	float hist <t> fh (the same fields)
//
// zt, sum and cv are bits. zc, c, pb and nb are decimal in an integer histogram
// and bits in a float histogram; pb and nb of an integer histogram are the
// deltas as stored. ps and ns list spans as offset:length. Every field is
// there, an empty list is "[]". With withStart, " st=<ms>" follows.
func (s Sample) Line(withStart bool) string {
	var b strings.Builder
	b.WriteString(strconv.FormatInt(s.Time, 10))
	b.WriteByte(' ')
	switch {
	case s.Hist != nil:
		writeHist(&b, s.Hist)
	case s.FloatHist != nil:
		writeFloatHist(&b, s.FloatHist)
	default:
		b.WriteString(Bits(s.Value))
	}
	if withStart {
		b.WriteString(" st=")
		b.WriteString(strconv.FormatInt(s.Start, 10))
	}
	return b.String()
}

// Bits writes the 64 bits of a float as 16 hexadecimal digits.
func Bits(f float64) string {
	const digits = "0123456789abcdef"
	var out [16]byte
	u := math.Float64bits(f)
	for i := 15; i >= 0; i-- {
		out[i] = digits[u&15]
		u >>= 4
	}
	return string(out[:])
}

// HintName names a counter reset hint.
func HintName(h histogram.CounterResetHint) string {
	switch h {
	case histogram.UnknownCounterReset:
		return "unknown"
	case histogram.CounterReset:
		return "reset"
	case histogram.NotCounterReset:
		return "not-reset"
	case histogram.GaugeType:
		return "gauge"
	default:
		return "hint-" + strconv.Itoa(int(h))
	}
}

func writeHist(b *strings.Builder, h *histogram.Histogram) {
	b.WriteString("h schema=" + strconv.Itoa(int(h.Schema)))
	b.WriteString(" zt=" + Bits(h.ZeroThreshold))
	b.WriteString(" zc=" + strconv.FormatUint(h.ZeroCount, 10))
	b.WriteString(" c=" + strconv.FormatUint(h.Count, 10))
	b.WriteString(" sum=" + Bits(h.Sum))
	writeList(b, " ps=", h.PositiveSpans, spanText)
	writeList(b, " pb=", h.PositiveBuckets, intText)
	writeList(b, " ns=", h.NegativeSpans, spanText)
	writeList(b, " nb=", h.NegativeBuckets, intText)
	writeList(b, " cv=", h.CustomValues, Bits)
	b.WriteString(" hint=" + HintName(h.CounterResetHint))
}

func writeFloatHist(b *strings.Builder, h *histogram.FloatHistogram) {
	b.WriteString("fh schema=" + strconv.Itoa(int(h.Schema)))
	b.WriteString(" zt=" + Bits(h.ZeroThreshold))
	b.WriteString(" zc=" + Bits(h.ZeroCount))
	b.WriteString(" c=" + Bits(h.Count))
	b.WriteString(" sum=" + Bits(h.Sum))
	writeList(b, " ps=", h.PositiveSpans, spanText)
	writeList(b, " pb=", h.PositiveBuckets, Bits)
	writeList(b, " ns=", h.NegativeSpans, spanText)
	writeList(b, " nb=", h.NegativeBuckets, Bits)
	writeList(b, " cv=", h.CustomValues, Bits)
	b.WriteString(" hint=" + HintName(h.CounterResetHint))
}

func spanText(s histogram.Span) string {
	return strconv.Itoa(int(s.Offset)) + ":" + strconv.FormatUint(uint64(s.Length), 10)
}

func intText(i int64) string { return strconv.FormatInt(i, 10) }

func writeList[T any](b *strings.Builder, name string, items []T, text func(T) string) {
	b.WriteString(name)
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text(item))
	}
	b.WriteByte(']')
}
