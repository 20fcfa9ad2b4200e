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
	"lithify.test/peers/kit/head"
	"lithify.test/peers/kit/shape"
)

const benchHelp = `Writes the input of the benchmarks: --replicas Prometheus servers that scrape the
same cluster at offset times, each with --blocks blocks of --range, in Thanos'
bucket layout. Series carry about 12 labels; half are counters, four in ten are
gauges, the rest never changes. Some scrapes are off by a few milliseconds.

samples = series x replicas x blocks x range/interval; the defaults give 9.6
million, and --series 19800 gives the 95 million of the design document.
Blocks are written in parallel, one per core.`

type benchPlan struct {
	series, blocks, replicas int
	interval, width          int64 // ms
	seed                     string
	out                      string
}

func benchBlocks(args []string) error {
	var p benchPlan
	fs := newFlags("bench-blocks", benchHelp)
	fs.StringVar(&p.out, "out", "", "bucket folder; must be absent or empty")
	fs.IntVar(&p.series, "series", 2000, "series per block")
	fs.IntVar(&p.blocks, "blocks", 5, "blocks per replica")
	fs.IntVar(&p.replicas, "replicas", 2, "replicas")
	interval := fs.Duration("interval", 15*time.Second, "scrape interval")
	width := fs.Duration("range", 2*time.Hour, "length of a block")
	fs.StringVar(&p.seed, "seed", "bench", "any text; another seed gives other numbers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	p.interval, p.width = interval.Milliseconds(), width.Milliseconds()
	if p.series < 1 || p.blocks < 1 || p.replicas < 1 || p.interval < 1 || p.width < p.interval {
		return fmt.Errorf("series, blocks, replicas and interval must be positive and range at least one interval")
	}
	if err := emptyDir(p.out); err != nil {
		return err
	}
	return p.writeAll()
}

// writeAll hands the blocks out to as many workers as there are cores.
func (p benchPlan) writeAll() error {
	type job struct{ replica, block int }
	jobs := make(chan job)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range jobs {
				start := time.Now()
				err := p.writeBlock(j.replica, j.block)
				mu.Lock()
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("replica %d block %d: %w", j.replica, j.block, err))
				} else {
					fmt.Fprintf(os.Stderr, "replica %d block %d: %.1f s\n", j.replica, j.block, time.Since(start).Seconds())
				}
				mu.Unlock()
			}
		})
	}
	for b := range p.blocks {
		for r := range p.replicas {
			jobs <- job{r, b}
		}
	}
	close(jobs)
	wg.Wait()
	return failed
}

// benchTargets is how many endpoints the series are spread over; each is
// scraped at its own time within the interval.
const benchTargets = 40

type benchSeries struct {
	labels labels.Labels
	proc   shape.Proc
	ref    storage.SeriesRef
}

func (p benchPlan) writeBlock(replica, blockNo int) error {
	h, err := head.Open(func(o *tsdb.HeadOptions) { o.ChunkRange = p.width })
	if err != nil {
		return err
	}
	defer h.Close()
	start := (quickstartBase/p.width + int64(blockNo)) * p.width
	var targets [benchTargets][]benchSeries
	for i := range p.series {
		targets[i%benchTargets] = append(targets[i%benchTargets], p.newSeries(i, blockNo))
	}
	jitter := shape.NewRand(fmt.Sprintf("%s/jitter/%d/%d", p.seed, replica, blockNo))
	shift := p.interval * int64(replica) * 45 / 100
	for round := start; round < start+p.width; round += p.interval {
		for i, target := range targets {
			t := round + (int64(i)*p.interval/benchTargets+shift)%p.interval
			if jitter.Chance(20) {
				t = min(t+jitter.Between(1, 30), start+p.width-1)
			}
			if err := scrapeBench(h, target, t); err != nil {
				return err
			}
		}
	}
	scratch, err := os.MkdirTemp(p.out, "tsdb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	dir, err := h.Cut(scratch)
	if err != nil {
		return err
	}
	_, err = block.Adopt(dir, p.out, block.Origin{Source: "sidecar", Labels: map[string]string{
		"cluster":            "cluster-01",
		"region":             "central",
		"prometheus":         "monitoring/kube-prometheus-stack-prometheus",
		"prometheus_replica": fmt.Sprintf("prometheus-kube-prometheus-stack-prometheus-%d", replica),
	}})
	return err
}

func scrapeBench(h *head.Head, target []benchSeries, t int64) error {
	for i := range target {
		one := &target[i]
		one.proc.Step()
		s := one.proc.Measure()
		s.Time = t
		ref, err := h.Append(one.ref, one.labels, s)
		if err != nil {
			return err
		}
		one.ref = ref
	}
	return h.Commit()
}

// newSeries makes the i-th series of a block. Blocks are written apart from
// each other, so a counter begins each block at a level that the block before
// cannot have passed.
func (p benchPlan) newSeries(i, blockNo int) benchSeries {
	r := shape.NewRand(fmt.Sprintf("%s/%d/%d", p.seed, blockNo, i))
	pod := i / 25
	one := benchSeries{labels: labels.FromStrings(
		"__name__", fmt.Sprintf("container_metric_%02d_total", i%25),
		"container", []string{"app", "proxy", "init"}[pod%3],
		"endpoint", "https-metrics",
		"id", fmt.Sprintf("/kubepods/burstable/pod%08x-%04x", uint32(pod)*2654435761, pod%65536),
		"image", fmt.Sprintf("registry.local/team-%02d/service-%03d:v1.%d", pod%17, pod%211, pod%7),
		"instance", fmt.Sprintf("10.10.%d.%d:10250", pod/30%250, pod%30),
		"job", "kubelet",
		"metrics_path", "/metrics/cadvisor",
		"name", fmt.Sprintf("k8s_%06x", uint32(pod)*40503&0xffffff),
		"namespace", fmt.Sprintf("namespace-%02d", pod%40),
		"node", fmt.Sprintf("node-%03d", pod/30),
		"pod", fmt.Sprintf("service-%03d-%08x", pod%211, uint32(pod)*2246822519),
	)}
	switch {
	case i%10 == 9:
		one.proc = shape.Const(i % 7)
	case i%2 == 0:
		most := []int64{3, 40, 900, 100000}[i/2%4]
		one.proc = &shape.Counter{Rand: r, Busy: 700, Most: most, Start: int64(blockNo) * most * (p.width / p.interval)}
	default:
		unit := []float64{1, 4096, 0.25, 0.001}[i/2%4]
		one.proc = &shape.Gauge{Rand: r, Lo: 10, Hi: 50000, Stride: 200, Busy: 600, Unit: unit}
	}
	return one
}
