// Package block turns blocks fresh from the TSDB into blocks as they lie in a
// Thanos bucket, and writes a block down as text.
//
//	<ULID>/meta.json       the TSDB's own keys plus the "thanos" section
//	<ULID>/index
//	<ULID>/chunks/000001
//
// What changes between two runs of the TSDB on the same samples is the random
// ULID alone. Adopt gives the block a ULID that is a function of its content's
// place (stream, time), so that a second run yields the same bytes.
package block

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// File is one entry of thanos.files.
type File struct {
	RelPath   string `json:"rel_path"`
	SizeBytes int64  `json:"size_bytes,omitempty"`
}

// Thanos is the section that sidecars and receivers add to meta.json. Only
// what they write themselves is here; the order of the fields is the order of
// the keys in the file.
type Thanos struct {
	Version    int               `json:"version"`
	Labels     map[string]string `json:"labels"`
	Downsample struct {
		Resolution int64 `json:"resolution"`
	} `json:"downsample"`
	Source       string    `json:"source"`
	SegmentFiles []string  `json:"segment_files"`
	Files        []File    `json:"files"`
	IndexStats   struct{}  `json:"index_stats"`
	UploadTime   time.Time `json:"upload_time"`
}

// Meta is meta.json as it lies in the bucket.
type Meta struct {
	tsdb.BlockMeta
	Thanos Thanos `json:"thanos"`
}

// Origin says where a block comes from, as Thanos would record it.
type Origin struct {
	Labels map[string]string // external labels, never empty
	Source string            // "sidecar" or "receive"
}

// ReadMeta reads meta.json of a block folder.
func ReadMeta(dir string) (Meta, error) {
	var m Meta
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%s: %w", filepath.Join(dir, "meta.json"), err)
	}
	return m, nil
}

// Adopt moves the TSDB block at dir to a folder of the bucket named after a
// ULID derived from origin and the block's range, writes the Thanos section
// and drops the empty tombstones file, which shippers do not upload.
func Adopt(dir, bucket string, origin Origin) (string, error) {
	meta, err := ReadMeta(dir)
	if err != nil {
		return "", err
	}
	id, shipped := identity(origin, meta.MinTime, meta.MaxTime)
	old := meta.ULID
	meta.ULID = id
	for i, s := range meta.Compaction.Sources {
		if s == old {
			meta.Compaction.Sources[i] = id
		}
	}
	if err := os.Remove(filepath.Join(dir, "tombstones")); err != nil && !os.IsNotExist(err) {
		return "", err
	}
	meta.Thanos = Thanos{Version: 1, Labels: origin.Labels, Source: origin.Source, UploadTime: shipped}
	if err := listFiles(dir, &meta.Thanos); err != nil {
		return "", err
	}
	if err := writeMeta(dir, meta); err != nil {
		return "", err
	}
	target := filepath.Join(bucket, id.String())
	if err := os.RemoveAll(target); err != nil {
		return "", err
	}
	if err := os.MkdirAll(bucket, 0o755); err != nil {
		return "", err
	}
	return target, os.Rename(dir, target)
}

// Rewritten refreshes the file sizes in meta.json after a file of an adopted
// block was replaced.
func Rewritten(dir string) error {
	meta, err := ReadMeta(dir)
	if err != nil {
		return err
	}
	if err := listFiles(dir, &meta.Thanos); err != nil {
		return err
	}
	return writeMeta(dir, meta)
}

// identity derives a ULID and an upload time: the block is cut a few minutes
// after its range ends and shipped within the next half minute.
func identity(origin Origin, mint, maxt int64) (ulid.ULID, time.Time) {
	h := fnv.New128a()
	keys := make([]string, 0, len(origin.Labels))
	for k := range origin.Labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(h, "%s=%s\n", k, origin.Labels[k])
	}
	_ = binary.Write(h, binary.BigEndian, [2]int64{mint, maxt})
	sum := h.Sum(nil)
	seed := binary.BigEndian.Uint64(sum[8:])
	cut := maxt + 3*60_000 + int64(seed%(4*60_000))
	id := ulid.MustNew(uint64(cut), bytes.NewReader(sum[:10]))
	return id, time.UnixMilli(cut + 1_000 + int64(seed>>32%29_000)).UTC()
}

// listFiles fills in segment_files and files; meta.json is listed without a
// size, since it cannot know its own.
func listFiles(dir string, t *Thanos) error {
	t.SegmentFiles, t.Files = nil, nil
	segments, err := os.ReadDir(filepath.Join(dir, "chunks"))
	if err != nil {
		return err
	}
	for _, s := range segments {
		info, err := s.Info()
		if err != nil {
			return err
		}
		t.SegmentFiles = append(t.SegmentFiles, s.Name())
		t.Files = append(t.Files, File{RelPath: "chunks/" + s.Name(), SizeBytes: info.Size()})
	}
	info, err := os.Stat(filepath.Join(dir, "index"))
	if err != nil {
		return err
	}
	t.Files = append(t.Files, File{RelPath: "index", SizeBytes: info.Size()}, File{RelPath: "meta.json"})
	return nil
}

func writeMeta(dir string, meta Meta) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "\t")
	if err := enc.Encode(meta); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "meta.json"), out.Bytes(), 0o644)
}
