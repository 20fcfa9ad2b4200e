package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"lithify.test/peers/kit/block"
	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/head"
	"lithify.test/peers/kit/shape"
)

const platformHelp = `Writes the raw blocks that the platform's four clusters upload in --days days:
--replicas Prometheus servers per cluster scrape the same pods every --interval,
at offset times. --series of each cluster exist at a time; 25 belong to one pod.
Half are counters, four in ten gauges, the rest never changes. Pods live for one
to twelve days, then leave stale markers and are replaced under a new name; some
restart in place, and their counters begin at zero.

Blocks are --range long. Times end at --end, rounded down to a whole block; all
else is a function of the seed. Streams are written in parallel, one per core.`

type platformPlan struct {
	series, days, replicas, clusters int
	interval, width, start, end      int64 // ms
	seed, out                        string
}

func platformBucket(args []string) error {
	p := platformPlan{}
	fs := newFlags("platform-bucket", platformHelp)
	fs.StringVar(&p.out, "out", "", "bucket folder; must be absent or empty")
	fs.IntVar(&p.series, "series", 100, "series of a cluster at a time; rounded up to whole pods")
	fs.IntVar(&p.days, "days", 90, "days")
	fs.IntVar(&p.replicas, "replicas", 2, "replicas of each cluster")
	fs.IntVar(&p.clusters, "clusters", 4, "clusters")
	interval := fs.Duration("interval", 30*time.Second, "scrape interval")
	width := fs.Duration("range", 48*time.Hour, "length of a block")
	end := fs.String("end", "", "end of the last block, RFC 3339; now, if empty")
	fs.StringVar(&p.seed, "seed", "platform", "any text; another seed gives other numbers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p.interval, p.width = interval.Milliseconds(), width.Milliseconds()
	if min(p.series, p.days, p.replicas, p.clusters) < 1 || p.interval < 1 || p.width < p.interval {
		return fmt.Errorf("all numbers must be positive and range at least one interval")
	}
	last := time.Now()
	if *end != "" {
		var err error
		if last, err = time.Parse(time.RFC3339, *end); err != nil {
			return err
		}
	}
	p.end = last.UnixMilli() / p.width * p.width
	p.start = (p.end - int64(p.days)*24*time.Hour.Milliseconds()) / p.width * p.width
	if err := emptyDir(p.out); err != nil {
		return err
	}
	return p.writeAll()
}

// writeAll hands the streams out to as many workers as there are cores.
func (p platformPlan) writeAll() error {
	type stream struct{ cluster, replica int }
	streams := make(chan stream)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range streams {
				begun := time.Now()
				samples, err := p.writeStream(s.cluster, s.replica)
				mu.Lock()
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("cluster %d replica %d: %w", s.cluster, s.replica, err))
				}
				fmt.Fprintf(os.Stderr, "cluster-%02d replica %d: %d samples, %.1f s\n", s.cluster, s.replica, samples, time.Since(begun).Seconds())
				mu.Unlock()
			}
		})
	}
	for c := range p.clusters {
		for r := range p.replicas {
			streams <- stream{c + 1, r}
		}
	}
	close(streams)
	wg.Wait()
	return failed
}

// writeStream scrapes one cluster from the first day to the last.
func (p platformPlan) writeStream(cluster, replica int) (int, error) {
	h, err := head.Open(func(o *tsdb.HeadOptions) { o.ChunkRange = p.width })
	if err != nil {
		return 0, err
	}
	defer h.Close()
	scratch, err := os.MkdirTemp(p.out, "tsdb-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	pods := make([]*platformPod, (p.series+platformPodSeries-1)/platformPodSeries)
	for slot := range pods {
		pods[slot] = newPlatformPod(p, cluster, slot, 0, p.start)
	}
	jitter := shape.NewRand(fmt.Sprintf("%s/jitter/%d/%d", p.seed, cluster, replica))
	shift := p.interval * int64(replica) * 45 / 100
	samples := 0
	for round := p.start; round < p.end; round += p.interval {
		for slot, one := range pods {
			t := round + (int64(slot)*p.interval/int64(len(pods))+shift)%p.interval
			if jitter.Chance(20) {
				t = min(t+jitter.Between(1, 30), p.end-1)
			}
			gone := round >= one.until
			if err := one.scrape(h, t, gone); err != nil {
				return samples, err
			}
			samples += len(one.series)
			if gone {
				pods[slot] = newPlatformPod(p, cluster, slot, one.generation+1, round)
			}
		}
		if h.Ripe() {
			if err := p.cut(h, scratch, cluster, replica); err != nil {
				return samples, err
			}
		}
	}
	for !h.Empty() {
		if err := p.cut(h, scratch, cluster, replica); err != nil {
			return samples, err
		}
	}
	return samples, nil
}

func (p platformPlan) cut(h *head.Head, scratch string, cluster, replica int) error {
	dir, err := h.Cut(scratch)
	if err != nil || dir == "" {
		return err
	}
	region := "edge"
	if cluster == 1 {
		region = "central"
	}
	_, err = block.Adopt(dir, p.out, block.Origin{Source: "sidecar", Labels: map[string]string{
		"cluster":            fmt.Sprintf("cluster-%02d", cluster),
		"region":             region,
		"prometheus":         "monitoring/kube-prometheus-stack-prometheus",
		"prometheus_replica": fmt.Sprintf("prometheus-kube-prometheus-stack-prometheus-%d", replica),
	}})
	return err
}

// platformPodSeries is how many series a pod has.
const platformPodSeries = 25

// platformPod is one target with all it exposes. Both replicas see the same pods, since
// nothing here depends on the replica.
type platformPod struct {
	generation int
	until      int64 // ms
	rand       *shape.Rand
	series     []platformMetric
}

type platformMetric struct {
	labels labels.Labels
	proc   shape.Proc
	ref    storage.SeriesRef
}

func newPlatformPod(p platformPlan, cluster, slot, generation int, from int64) *platformPod {
	seed := fmt.Sprintf("%s/%d/%d/%d", p.seed, cluster, slot, generation)
	r := shape.NewRand(seed)
	hour := time.Hour.Milliseconds()
	one := &platformPod{generation: generation, until: from + r.Between(24, 12*24)*hour, rand: r}
	name := fmt.Sprintf("service-%03d-%08x", slot, uint32(r.Uint64()))
	for i := range platformPodSeries {
		metric := platformMetric{labels: labels.FromStrings(
			"__name__", fmt.Sprintf("container_metric_%02d", i),
			"container", []string{"app", "proxy", "init"}[slot%3],
			"endpoint", "https-metrics",
			"id", fmt.Sprintf("/kubepods/burstable/pod%s", name),
			"image", fmt.Sprintf("registry.local/team-%02d/service-%03d:v1.%d", slot%17, slot, generation),
			"instance", fmt.Sprintf("10.%d.%d.%d:10250", cluster, slot/30%250, slot%30),
			"job", "kubelet",
			"metrics_path", "/metrics/cadvisor",
			"namespace", fmt.Sprintf("namespace-%02d", slot%40),
			"node", fmt.Sprintf("node-%03d", slot/30),
			"pod", name,
		)}
		own := shape.NewRand(fmt.Sprintf("%s/%d", seed, i))
		switch {
		case i%10 == 9:
			metric.proc = shape.Const(i % 7)
		case i%2 == 0:
			most := []int64{3, 40, 900, 100000}[i/2%4]
			metric.proc = &shape.Counter{Rand: own, Busy: 700, Most: most}
		default:
			unit := []float64{1, 4096, 0.25, 0.001}[i/2%4]
			metric.proc = &shape.Gauge{Rand: own, Lo: 10, Hi: 50000, Stride: 200, Busy: 600, Unit: unit}
		}
		one.series = append(one.series, metric)
	}
	return one
}

// scrape appends a sample of each series, or a stale marker once the pod has
// gone. About once in ten days at 30 s the pod restarts in place before it.
func (o *platformPod) scrape(h *head.Head, t int64, gone bool) error {
	restarted := o.rand.N(28800) == 0
	for i := range o.series {
		one := &o.series[i]
		if reset, ok := one.proc.(shape.Resetter); ok && restarted {
			reset.Reset()
		}
		one.proc.Step()
		var s canon.Sample
		if gone {
			s = shape.Stale()
		} else {
			s = one.proc.Measure()
		}
		s.Time = t
		ref, err := h.Append(one.ref, one.labels, s)
		if err != nil {
			return err
		}
		one.ref = ref
	}
	return h.Commit()
}
