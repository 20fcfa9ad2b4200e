package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"

	"github.com/oklog/ulid/v2"
)

const plansHelp = `Writes golden vectors of planning: seeded buckets without data, and what the filters,
the grouping and the planner of "thanos compact" do with them until nothing is left
to do. One JSON object per line:

  {"case", "vertical", "replica_labels", "max_level", "max_index", "shared",
   "min_time", "max_time", "relabel", "streams", "blocks",
   "states", "steps", "first", "no_compact", "made_marked", "halted", "left", "made"}

Block n has the ULID of time 1704067200000 + n*1000 ms and entropy n (big endian);
numbers from 100000 on are sources that lie in no bucket. Times are minutes. Fields
of default value are left out. fixtures/README.md describes every field.

Each step merges the plan of a group by the book: hull of the times, level + 1,
union of the sources, the labels of the group, source "compactor"; the index has
"shared" bytes plus what the direct inputs have above that. Then the sources get a
deletion mark.

Never generated, because Lithify differs there on purpose: blocks without sources,
tombstones, markers of unknown versions, and a block with a deletion mark that holds
all sources of one without (Lithify never lets a marked block stand in for an
unmarked one). Without vertical compaction a group that overlaps is not planned but
listed as halted; blocks with a no-compact mark do not count for that, as in Lithify
and unlike in Thanos.`

// planCase is one line: settings, blocks and what became of them.
type planCase struct {
	Case          int                 `json:"case"`
	Vertical      bool                `json:"vertical"`
	ReplicaLabels []string            `json:"replica_labels,omitempty"`
	MaxLevel      int                 `json:"max_level"`
	MaxIndex      int64               `json:"max_index,omitempty"` // 0: so much that it does not matter
	Shared        int64               `json:"shared,omitempty"`
	MinTime       *int64              `json:"min_time,omitempty"`
	MaxTime       *int64              `json:"max_time,omitempty"`
	Relabel       string              `json:"relabel,omitempty"`
	Streams       []map[string]string `json:"streams"`
	Blocks        []planBlock         `json:"blocks"`
	planResult
}

// planBlock is a block as the bucket has it at the start.
type planBlock struct {
	ID         int    `json:"id"` // 1, 2, 3, ...
	Min        int64  `json:"min"`
	Max        int64  `json:"max"` // left out if min + 120
	Stream     int    `json:"stream,omitempty"`
	Resolution int64  `json:"res,omitempty"`
	Level      int    `json:"level,omitempty"` // 0: 1
	Sources    []int  `json:"sources,omitempty"`
	Index      int64  `json:"index,omitempty"` // 0: planIndexSize
	By         string `json:"by,omitempty"`    // "": sidecar, compactor above level 1
	Fresh      bool   `json:"fresh,omitempty"`
	Marked     string `json:"marked,omitempty"`
	NoCompact  bool   `json:"no_compact,omitempty"`
	Failed     bool   `json:"failed,omitempty"`
}

// planResult is what Thanos made of a case.
type planResult struct {
	States     map[string][]int `json:"states,omitempty"`
	Steps      int              `json:"steps"`
	First      [][]int          `json:"first,omitempty"`
	NoCompact  map[string][]int `json:"no_compact,omitempty"`
	MadeMarked int              `json:"made_marked,omitempty"`
	Halted     []planGroup      `json:"halted,omitempty"`
	Left       []int            `json:"left,omitempty"`
	Made       []planMadeBlock  `json:"made,omitempty"`
}

type planGroup struct {
	Labels     map[string]string `json:"labels"`
	Resolution int64             `json:"res,omitempty"`
}

// planMadeBlock is a block that was made and is left without a deletion mark.
type planMadeBlock struct {
	planGroup
	Min     int64 `json:"min"`
	Max     int64 `json:"max"`
	Level   int   `json:"level"`
	Sources []int `json:"sources"`
}

const (
	planMinute    = 60_000
	planIndexSize = 10      // of blocks that say nothing
	planGhosts    = 100_000 // first number of a source that is no block
	planMade      = 1_000_000
	planEpoch     = 1_704_067_200_000
)

// planID and planNumber translate between numbers and ULIDs. Blocks that are
// made get numbers from planMade on, so that they sort after all given ones.
func planID(n int) ulid.ULID {
	var id ulid.ULID
	_ = id.SetTime(uint64(planEpoch + n*1000)) // fails beyond 48 bits only
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func planNumber(id ulid.ULID) int { return int(binary.BigEndian.Uint64(id[8:])) }

// MarshalJSON leaves out the end of a two-hour block.
func (b planBlock) MarshalJSON() ([]byte, error) {
	type plain planBlock
	out := struct {
		plain
		Max *int64 `json:"max,omitempty"`
	}{plain: plain(b)}
	if b.Max != b.Min+planLengths[1] {
		out.Max = &b.Max
	}
	return json.Marshal(out)
}

func plans(args []string) error {
	fs := newFlags("plans", plansHelp)
	out := fs.String("out", "", "file to write")
	cases := fs.Int("cases", 2000, "number of cases")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var lines []any
	tally := planTally{}
	for n := range *cases {
		c := newPlanCase(n)
		if err := solvePlan(c); err != nil {
			return fmt.Errorf("case %d: %w", n, err)
		}
		tally.add(c)
		lines = append(lines, c)
	}
	fmt.Fprintln(os.Stderr, tally.String())
	return writeLines(*out, lines)
}
