package main

import (
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"lithify.test/peers/kit/shape"
)

// profile says how much of a cluster a stream carries.
type profile struct {
	pods       int  // pod slots; each slot sees several pods over time
	apiserver  bool // classic buckets and request counters
	ksm        bool // object state, with texts that are not ASCII
	rules      bool // recorded series, float histograms among them
	histograms bool // all kinds of native histograms, not just the plain one
	measured   bool // values with a full mantissa, which barely compress
}

var (
	centralProfile = profile{pods: 3, apiserver: true, ksm: true, rules: true, histograms: true, measured: true}
	edgeProfile    = profile{pods: 3, apiserver: true, ksm: true}
	agentProfile   = profile{pods: 1}
)

// worldLength is how far pods and restarts are planned ahead, ms.
const worldLength = 72 * hour

// builder collects the targets of one cluster.
type builder struct {
	cluster string
	extra   []string // labels that the writer adds to every series
	targets []*target
}

// newWorld builds a cluster. Two calls with the same cluster and profile give
// equal worlds; extra labels change no number.
func newWorld(cluster string, p profile, extra []string) []*target {
	b := &builder{cluster: cluster, extra: extra}
	b.node(p)
	b.kubelet(p)
	if p.ksm {
		b.stateMetrics(p)
	}
	if p.apiserver {
		b.apiserver(p)
	}
	if p.rules {
		b.rules()
	}
	return b.targets
}

// target begins a scraped endpoint; the series added next belong to it.
func (b *builder) target(job, instance string) {
	r := shape.NewRand(identity(b.cluster, []string{job, instance}))
	t := &target{name: job, offset: r.N(scrapeInterval)}
	if job != "" {
		t.up = &series{labels: b.labels([]string{"__name__", "up", "job", job, "instance", instance})}
	}
	b.targets = append(b.targets, t)
}

// add puts a series on the current target. own alternates names and values and
// starts with the metric's name; proc gets a generator seeded by them.
func (b *builder) add(proc func(*shape.Rand) shape.Proc, own ...string) *series {
	t := b.targets[len(b.targets)-1]
	own = append([]string{"__name__"}, own...)
	seed := identity(b.cluster, own)
	if t.up != nil {
		own = append(own, "job", t.up.labels.Get("job"), "instance", t.up.labels.Get("instance"))
	}
	one := &series{labels: b.labels(own), proc: proc(shape.NewRand(seed))}
	t.series = append(t.series, one)
	return one
}

func (b *builder) labels(own []string) labels.Labels {
	return labels.FromStrings(append(slices.Clone(own), b.extra...)...)
}

func (b *builder) node(p profile) {
	b.target("node-exporter", "10.10.1.11:9100")
	for _, cpu := range []string{"0", "1"} {
		b.add(counter(300, 40, 4), "node_cpu_seconds_total", "cpu", cpu, "mode", "idle")
		b.add(counter(40, 24, 4), "node_cpu_seconds_total", "cpu", cpu, "mode", "user")
	}
	b.add(gauge(20000, 90000, 400, 200, 65536), "node_memory_MemAvailable_bytes")
	b.add(gauge(1<<20, 1<<21, 40, 40, 4096), "node_filesystem_avail_bytes",
		"device", "/dev/vda1", "fstype", "ext4", "mountpoint", "/")
	b.add(gauge(1<<18, 1<<19, 60, 60, 65536), "node_filesystem_avail_bytes",
		"device", "/dev/longhorn/pvc-7", "fstype", "xfs", "mountpoint", "/var/lib/longhorn")
	b.add(counter(300, 9000, 0), "node_network_receive_bytes_total", "device", "cilium_host").resets = []int64{33 * hour}
	b.add(constant(1756640001), "node_boot_time_seconds")
	b.add(constant(1), "node_uname_info", "release", "6.8.0-71-generic", "nodename", b.cluster+"-node-1")
	if p.measured {
		// Decimal fractions and durations fill the whole mantissa: 7 to 8 bytes a sample.
		b.add(gauge(5, 900, 40, 400, 0.01), "node_load1")
		b.add(noise(0.05), "scrape_duration_seconds")
		b.add(counter(990, 900, 100), "node_cpu_seconds_total", "cpu", "2", "mode", "idle")
	}
}

func (b *builder) kubelet(p profile) {
	b.target("kubelet", "10.10.1.11:10250")
	for slot := range p.pods {
		for _, pod := range b.pods(slot) {
			own := []string{"namespace", pod.namespace, "pod", pod.name, "container", "app", "id", pod.cgroup}
			cpu := b.add(counter(90, 300, 8), append([]string{"container_cpu_usage_seconds_total"}, own...)...)
			mem := b.add(gauge(300, 9000, 20, 60, 65536), append([]string{"container_memory_working_set_bytes"}, own...)...)
			cpu.lives, mem.lives = pod.lives, pod.lives
			cpu.resets = pod.restarts
		}
	}
	b.add(gauge(20, 60, 1, 20, 1), "kubelet_running_pods")
	duration := b.add(hist(shape.Hist{Kind: shape.Int, Schema: 3, Center: -20, Width: 4, Busy: 35}),
		"kubelet_http_requests_duration_seconds", "path", "/metrics/cadvisor")
	duration.resets = []int64{9*hour + 20*minute, 38 * hour, 55*hour + 50*minute}
	if p.histograms {
		b.add(hist(shape.Hist{Kind: shape.IntGauge, Schema: 1, Center: 4, Width: 3, Busy: 20, Signed: true}),
			"kubelet_volume_usage_drift_bytes")
	}
}

func (b *builder) stateMetrics(p profile) {
	b.target("kube-state-metrics", "10.10.2.7:8080")
	for slot := range p.pods {
		for _, pod := range b.pods(slot) {
			b.add(constant(1), "kube_pod_status_phase",
				"namespace", pod.namespace, "pod", pod.name, "phase", "Running").lives = pod.lives
		}
	}
	b.add(gauge(2, 9, 1, 8, 1), "kube_deployment_status_replicas", "namespace", "결제", "deployment", "checkout/api")
	b.add(constant(1), "kube_deployment_labels", "deployment", "checkout/api", "label_team", "플랫폼/관측", "label_서비스", "결제 승인")
	b.add(gauge(0, 1, 1, 15, 1), "kube_node_status_condition", "condition", "MemoryPressure", "status", "true")
}

func (b *builder) apiserver(p profile) {
	b.target("apiserver", "10.10.0.5:6443")
	for _, c := range [][3]string{{"GET", "200", "pods"}, {"LIST", "200", "nodes"}, {"POST", "409", "leases"}} {
		b.add(counter(60, 8, 0), "apiserver_request_total", "verb", c[0], "code", c[1], "resource", c[2]).resets = []int64{17 * hour}
	}
	for i, le := range []string{"0.1", "1.0", "+Inf"} {
		b.add(counter(40+20*int64(i), 6, 0), "apiserver_request_duration_seconds_bucket", "verb", "GET", "le", le)
	}
	b.add(gauge(0, 80, 12, 100, 1), "apiserver_current_inflight_requests", "request_kind", "readOnly")
	b.add(gauge(300, 2500, 60, 80, 1), "go_goroutines")
	if p.histograms {
		b.add(hist(shape.Hist{Kind: shape.Custom, Center: 3, Width: 2, Busy: 30}),
			"apiserver_response_sizes", "verb", "LIST", "path", "/api/v1/pods").resets = []int64{17 * hour}
	}
}

// rules are recorded series: they have no target and hence no up.
func (b *builder) rules() {
	b.target("", "rules")
	b.add(ratio(), "job:slo_errors_per_request:ratio_rate5m", "job", "checkout/api")
	b.add(gauge(0, 1024, 15, 100, 1.0/1024), "cluster:node_cpu:ratio_rate5m")
	b.add(hist(shape.Hist{Kind: shape.FloatGauge, Schema: 0, Center: 2, Width: 2, Busy: 20}),
		"cluster:apiserver_request_duration_seconds:rate5m")
	b.add(hist(shape.Hist{Kind: shape.Float, Schema: 2, Center: -6, Width: 3, Busy: 10}),
		"cluster:kubelet_http_requests_duration_seconds:sum").resets = []int64{38 * hour}
	alert := b.add(constant(1), "ALERTS", "alertname", "ThanosCompactHalted", "alertstate", "firing", "severity", "critical")
	for from := 3 * hour; from < worldLength; from += 7*hour + 13*minute {
		alert.lives = append(alert.lives, span{from, from + 40*minute})
	}
}

// pod is one pod of a slot: a deployment replaces it every few hours.
type pod struct {
	namespace, name, cgroup string
	lives                   []span
	restarts                []int64
}

// pods plans the pods of a slot. Every target asks for the same plan.
func (b *builder) pods(slot int) []pod {
	namespaces := []string{"결제", "monitoring", "kube-system"}
	apps := []string{"checkout-api", "thanos-query", "coredns"}
	r := shape.NewRand(fmt.Sprintf("%s/pods/%d", b.cluster, slot))
	var out []pod
	for from := int64(0); from < worldLength; {
		to := from + r.Between(6*hour, 26*hour)/tick*tick
		id := r.Uint64()
		p := pod{
			namespace: namespaces[slot%3],
			name:      fmt.Sprintf("%s-%08x-%05x", apps[slot%3], uint32(id>>32), id&0xfffff),
			cgroup:    fmt.Sprintf("/kubepods/burstable/pod%012x", id&0xffffffffffff),
			lives:     []span{{from, to}},
		}
		for crash := from + r.Between(2*hour, 9*hour)/tick*tick; crash < to; crash += r.Between(3*hour, 12*hour) / tick * tick {
			p.restarts = append(p.restarts, crash)
		}
		out = append(out, p)
		from = to + r.Between(0, 3)*tick
	}
	return out
}

func counter(busy, most int64, divisor float64) func(*shape.Rand) shape.Proc {
	return func(r *shape.Rand) shape.Proc {
		return &shape.Counter{Rand: r, Busy: busy, Most: most, Divisor: divisor}
	}
}

func gauge(lo, hi, stride, busy int64, unit float64) func(*shape.Rand) shape.Proc {
	return func(r *shape.Rand) shape.Proc {
		return &shape.Gauge{Rand: r, Lo: lo, Hi: hi, Stride: stride, Busy: busy, Unit: unit}
	}
}

func hist(h shape.Hist) func(*shape.Rand) shape.Proc {
	return func(r *shape.Rand) shape.Proc {
		h.Rand = r
		return &h
	}
}

func constant(v float64) func(*shape.Rand) shape.Proc {
	return func(*shape.Rand) shape.Proc { return shape.Const(v) }
}

func noise(scale float64) func(*shape.Rand) shape.Proc {
	return func(r *shape.Rand) shape.Proc { return &shape.Noise{Rand: r, Scale: scale} }
}

func ratio() func(*shape.Rand) shape.Proc {
	return func(r *shape.Rand) shape.Proc { return &shape.Ratio{Rand: r} }
}
