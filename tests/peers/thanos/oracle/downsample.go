package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/thanos-io/thanos/pkg/compact/downsample"

	"lithify.test/peers/kit/canon"
)

const downsampleHelp = `Writes golden vectors of downsampling, one series and one JSON object per line:

  {"name", "group", "note", "resolution", "samples", "raw", "five", "hour", "error5", "error1h"}

raw are the chunks of a raw block of this one series; five is what the real
downsampling to 5 minutes made of that block, hour what it made to 1 hour of the
block with five. min and max are the times in the index, hex the chunk's data;
chunks of five and hour are of encoding 255 unless "enc" says otherwise.
error5 and error1h say how Thanos failed: its error, "panic: ..." or "endless loop".

group is float, histogram, mixed, or quirk where Lithify may decide otherwise
(note says why). Fields without a value are left out, but for five and hour:

  "resolution"  milliseconds, where five has another one than 300000;
                hour then has twelve times that
  "samples"     five was made of them without a block, raw is absent
  neither raw nor samples: five was given by hand`

// downCase is one line's input: exactly one of raw, direct and five is set.
type downCase struct {
	name, group, note string
	raw               []chunks.Meta
	direct            canon.List    // goes to Thanos as samples, not as a block
	five              []chunks.Meta // downsampled already
	resolution        int64         // of the first step, ms; 0 means 5 minutes
	apart             bool          // Thanos may never come back: in a process of its own
}

type downGolden struct {
	Name       string      `json:"name"`
	Group      string      `json:"group"`
	Note       string      `json:"note,omitempty"`
	Resolution int64       `json:"resolution,omitempty"`
	Samples    canon.List  `json:"samples,omitempty"`
	Raw        []rawChunk  `json:"raw,omitempty"`
	Five       []aggrChunk `json:"five"`
	Hour       []aggrChunk `json:"hour"`
	Error5     string      `json:"error5,omitempty"`
	Error1h    string      `json:"error1h,omitempty"`
}

type rawChunk struct {
	Min int64  `json:"min"`
	Max int64  `json:"max"`
	Enc uint8  `json:"enc"`
	Hex string `json:"hex"`
}

type aggrChunk struct {
	Min     int64  `json:"min"`
	Max     int64  `json:"max"`
	Enc     uint8  `json:"enc,omitempty"` // absent for aggregates
	Samples int    `json:"samples"`
	Hex     string `json:"hex"`
}

func goldenDownsample(args []string) error {
	fs := newFlags("downsample", downsampleHelp)
	out := fs.String("out", "", "file to write")
	only := fs.String("only", "", "print the line of one case instead")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cases, err := downsampleCases()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	var lines []any
	for _, c := range cases {
		if seen[c.name] {
			return fmt.Errorf("two cases are named %s", c.name)
		}
		seen[c.name] = true
		switch {
		case *only == c.name:
			return printGuarded(c)
		case *only != "":
			continue
		}
		run := downsampled
		if c.apart {
			run = downsampledApart
		}
		g, err := run(c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		lines = append(lines, g)
	}
	if *only != "" {
		return fmt.Errorf("no case is named %s", *only)
	}
	return writeLines(*out, lines)
}

// downsampleCases lists all cases; what needs chunks of Thanos' own making may fail.
func downsampleCases() ([]downCase, error) {
	cases := append(downFloats(), downSmall()...)
	cases = append(cases, downRandom()...)
	cases = append(cases, downHistograms()...)
	cases = append(cases, downMixed()...)
	quirks, err := downQuirks()
	return append(cases, quirks...), err
}

// downsampled runs both steps of one case.
func downsampled(c downCase) (downGolden, error) {
	g := downGolden{
		Name: c.name, Group: c.group, Note: c.note, Resolution: c.resolution, Samples: c.direct,
		Raw: rawChunks(c.raw), Five: []aggrChunk{}, Hour: []aggrChunk{},
	}
	first := c.resolution
	if first == 0 {
		first = downsample.ResLevel1
	}
	five, err := firstStep(c, first)
	if err != nil {
		if g.Error5 = failure(err); g.Error5 == "" {
			return g, err
		}
		return asQuirk(g, "Thanos fails"), nil
	}
	g.Five = aggrChunks(five)
	if len(five) == 0 {
		return g, nil // the series is gone; there is nothing for the second step
	}
	hour, err := thanosDownsample(five, first, 12*first)
	if err != nil {
		if g.Error1h = failure(err); g.Error1h == "" {
			return g, err
		}
		return asQuirk(g, "Thanos fails"), nil
	}
	g.Hour = aggrChunks(hour)
	switch {
	case losesWindows(five) || losesWindows(hour):
		g = asQuirk(g, "Thanos loses windows of histograms")
	case finerLater(c.raw):
		g = asQuirk(g, "Thanos takes a finer schema for a reset and counts twice")
	}
	return g, nil
}

func firstStep(c downCase, resolution int64) ([]chunks.Meta, error) {
	switch {
	case c.five != nil:
		return c.five, nil
	case c.direct != nil:
		var list []chunks.Sample
		for _, s := range c.direct {
			list = append(list, s)
		}
		return downsample.DownsampleRaw(downsample.SamplesFromTSDBSamples(list), resolution), nil
	default:
		return thanosDownsample(c.raw, 0, resolution)
	}
}

// asQuirk moves a case whose result nobody should copy into that group.
func asQuirk(g downGolden, note string) downGolden {
	g.Group = "quirk"
	if g.Note == "" {
		g.Note = note
	}
	return g
}

// losesWindows reports whether a column of histograms has fewer samples than
// the chunk has windows.
func losesWindows(list []chunks.Meta) bool {
	for _, m := range list {
		chunk, ok := m.Chunk.(*downsample.AggrChunk)
		if !ok {
			continue
		}
		for kind := downsample.AggrSum; kind <= downsample.AggrCounter; kind++ {
			column, err := chunk.Get(kind)
			if err == nil && column.Encoding() != chunkenc.EncXOR && column.NumSamples() != chunk.NumSamples() {
				return true
			}
		}
	}
	return false
}

// finerLater reports whether a chunk after the first one has a finer schema
// than some other: its first histogram is then taken for a reset.
func finerLater(list []chunks.Meta) bool {
	least, later := int32(math.MaxInt32), int32(math.MinInt32)
	for i, m := range list {
		it := m.Chunk.Iterator(nil)
		if kind := it.Next(); kind != chunkenc.ValHistogram && kind != chunkenc.ValFloatHistogram {
			continue
		}
		_, h := it.AtFloatHistogram(nil)
		if value.IsStaleNaN(h.Sum) {
			continue
		}
		least = min(least, h.Schema)
		if i > 0 {
			later = max(later, h.Schema)
		}
	}
	return later > least
}

func rawChunks(list []chunks.Meta) []rawChunk {
	var out []rawChunk
	for _, m := range list {
		out = append(out, rawChunk{m.MinTime, m.MaxTime, uint8(m.Chunk.Encoding()), hex.EncodeToString(m.Chunk.Bytes())})
	}
	return out
}

func aggrChunks(list []chunks.Meta) []aggrChunk {
	out := []aggrChunk{}
	for _, m := range list {
		enc := uint8(m.Chunk.Encoding())
		if m.Chunk.Encoding() == downsample.ChunkEncAggr {
			enc = 0
		}
		out = append(out, aggrChunk{m.MinTime, m.MaxTime, enc, m.Chunk.NumSamples(), hex.EncodeToString(m.Chunk.Bytes())})
	}
	return out
}

// What an endless loop may use before it is one. It allocates in every round,
// so memory ends it long before time does; no case that ends comes near.
const (
	mostMemory = 256 << 20
	mostTime   = 5 * time.Minute
	exitLoop   = 3
)

// printGuarded prints one line, and leaves the process with exitLoop when
// Thanos does not come back.
func printGuarded(c downCase) error {
	go func() {
		begun := time.Now()
		var mem runtime.MemStats
		for range time.Tick(50 * time.Millisecond) {
			runtime.ReadMemStats(&mem)
			if mem.HeapAlloc > mostMemory || time.Since(begun) > mostTime {
				os.Exit(exitLoop)
			}
		}
	}()
	g, err := downsampled(c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(g)
}

// downsampledApart runs a case in a process of its own. When that does not come
// back, the second step is to blame: the first has no loop that depends on data.
func downsampledApart(c downCase) (downGolden, error) {
	var g downGolden
	program, err := os.Executable()
	if err != nil {
		return g, err
	}
	// The process may end without tidying up; what it leaves lies in here.
	scratch, err := os.MkdirTemp("", "lithify-oracle-")
	if err != nil {
		return g, err
	}
	defer os.RemoveAll(scratch)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, "downsample", "--only", c.name)
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	switch {
	case err == nil:
		return g, json.Unmarshal(stdout.Bytes(), &g)
	case cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitLoop:
		return g, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	five, err := firstStep(c, downsample.ResLevel1)
	if err != nil {
		return g, err
	}
	return downGolden{
		Name: c.name, Group: "quirk", Note: c.note, Raw: rawChunks(c.raw),
		Five: aggrChunks(five), Hour: []aggrChunk{}, Error1h: "endless loop",
	}, nil
}
