package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/head"
)

const quickstartHelp = `Writes the quick-start bucket: 62 hours of two-hour blocks from 2026-09-01
00:00 UTC on, seven streams, scraped every 30 s.

  cluster-01, replicas 0 and 1   an HA pair: the same cluster scraped at offset
                                 times, each misses scrapes, each was away once
  cluster-02, -03, -04           edge clusters, one replica each
  thanos-receiver-0 and -1       one receiver stream replicated twice: equal
                                 samples, but receiver 1 lost 25 minutes and cut
                                 its chunks at 100 samples for half a day

The samples go through a TSDB head scrape by scrape, so chunks, index and
meta.json are what a server writes. The same bytes come out at every run.`

// quickstartBase is 2026-09-01T00:00:00Z in milliseconds.
const quickstartBase = int64(1788220800000)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
)

// span is a half-open stretch of time in milliseconds after the base.
type span struct{ from, to int64 }

// epoch is one life of the process that holds the head.
type epoch struct {
	from            int64 // ms after the base
	samplesPerChunk int
}

// stream is one sequence of blocks: who scraped what, and when it was away.
type stream struct {
	origin block.Origin
	seed   string // of scrape jitter and misses; equal seeds scrape alike
	world  func() []*target
	offset int64  // of all scrapes, ms
	away   []span // nothing arrives
	epochs []epoch
}

func quickstart(args []string) error {
	fs := newFlags("quickstart", quickstartHelp)
	out := fs.String("out", "", "bucket folder; must be absent or empty")
	hours := fs.Int64("hours", 62, "length in hours")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := emptyDir(*out); err != nil {
		return err
	}
	for _, s := range quickstartStreams() {
		if err := s.write(*out, *hours*hour); err != nil {
			return fmt.Errorf("stream %v: %w", s.origin.Labels, err)
		}
	}
	return nil
}

func quickstartStreams() []stream {
	streams := []stream{
		sidecar("cluster-01", "central", 0, 0, span{27*hour + 11*minute, 27*hour + 31*minute}),
		sidecar("cluster-01", "central", 1, 13700, span{44*hour + 50*minute, 45*hour + 10*minute}),
		sidecar("cluster-02", "edge", 0, 4100),
		sidecar("cluster-03", "edge", 0, 21300),
		sidecar("cluster-04", "edge", 0, 9900, span{51*hour + 5*minute, 51*hour + 40*minute}),
	}
	down := span{24 * hour, 24*hour + 25*minute}
	return append(streams,
		receiver(0, nil, []epoch{{0, tsdb.DefaultSamplesPerChunk}}),
		receiver(1, []span{down}, []epoch{
			{0, tsdb.DefaultSamplesPerChunk},
			{24 * hour, 100},
			{36 * hour, tsdb.DefaultSamplesPerChunk},
		}),
	)
}

// sidecar is a Prometheus with a Thanos sidecar, labelled as the platform does.
func sidecar(cluster, region string, replica int, offset int64, away ...span) stream {
	name := fmt.Sprintf("prometheus-kube-prometheus-stack-prometheus-%d", replica)
	p := edgeProfile
	if region == "central" {
		p = centralProfile
	}
	return stream{
		origin: block.Origin{Source: "sidecar", Labels: map[string]string{
			"cluster":            cluster,
			"region":             region,
			"prometheus":         "monitoring/kube-prometheus-stack-prometheus",
			"prometheus_replica": name,
		}},
		seed:   cluster + "/" + name,
		world:  func() []*target { return newWorld(cluster, p, nil) },
		offset: offset,
		away:   away,
		epochs: []epoch{{0, tsdb.DefaultSamplesPerChunk}},
	}
}

// receiver is one replica of the receivers that the edge agents write to. The
// agents' own labels are on the series; their replica label was never expanded.
func receiver(replica int, away []span, epochs []epoch) stream {
	return stream{
		origin: block.Origin{Source: "receive", Labels: map[string]string{
			"receive":         "true",
			"receive_replica": fmt.Sprintf("thanos-receiver-%d", replica),
			"tenant_id":       "default-tenant",
		}},
		seed: "receiver",
		world: func() []*target {
			var all []*target
			for _, cluster := range []string{"cluster-02", "cluster-03", "cluster-04"} {
				all = append(all, newWorld(cluster, agentProfile, []string{
					"cluster", cluster, "region", "edge", "prometheus_replica", "$(POD_NAME)",
				})...)
			}
			return all
		},
		offset: 2300,
		away:   away,
		epochs: epochs,
	}
}

// write runs the stream's scrapes from the base on and cuts blocks as a server
// would, the last ones without waiting.
func (s stream) write(bucket string, length int64) error {
	scratch, err := os.MkdirTemp(bucket, "tsdb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	scrapes := newScraper(s)
	for i, e := range s.epochs {
		end := length
		if i+1 < len(s.epochs) {
			end = min(length, s.epochs[i+1].from)
		}
		if e.from >= end {
			break
		}
		if err := s.live(e, end, scrapes, scratch, bucket); err != nil {
			return err
		}
	}
	return nil
}

// live is one epoch: a fresh head, fed until end and then flushed.
func (s stream) live(e epoch, end int64, scrapes *scraper, scratch, bucket string) error {
	h, err := head.Open(func(o *tsdb.HeadOptions) { o.SamplesPerChunk = e.samplesPerChunk })
	if err != nil {
		return err
	}
	defer h.Close()
	scrapes.restart()
	for scrapes.next(end) {
		if err := scrapes.scrape(h); err != nil {
			return err
		}
		for h.Ripe() {
			if err := s.cut(h, scratch, bucket); err != nil {
				return err
			}
		}
	}
	for !h.Empty() {
		if err := s.cut(h, scratch, bucket); err != nil {
			return err
		}
	}
	return nil
}

func (s stream) cut(h *head.Head, scratch, bucket string) error {
	dir, err := h.Cut(scratch)
	if err != nil || dir == "" {
		return err
	}
	_, err = block.Adopt(dir, bucket, s.origin)
	return err
}

// emptyDir makes the folder and refuses one that holds something: what a
// generator leaves must be what it wrote.
func emptyDir(dir string) error {
	if err := required("out", dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty (it holds %s)", dir, filepath.Join(dir, entries[0].Name()))
	}
	return nil
}

// at turns milliseconds after the base into a wall-clock time for messages.
func at(ms int64) string {
	return time.UnixMilli(quickstartBase + ms).UTC().Format(time.RFC3339)
}
