package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"lithify.test/peers/kit/canon"
	"lithify.test/peers/kit/head"
	"lithify.test/peers/kit/shape"
)

const (
	scrapeInterval = 30 * second
	tick           = 10 * second // step of everything that is measured
)

// series is one measured thing with the stretches in which it exists.
type series struct {
	labels labels.Labels
	proc   shape.Proc
	lives  []span  // nil: always there
	resets []int64 // ms after the base at which its process restarts
	ref    storage.SeriesRef
	ticked int64
	shown  bool // the last scrape had it, so its end needs a stale marker
}

// target is one scraped endpoint; its series are read at one timestamp.
type target struct {
	name   string
	offset int64 // of its scrapes within the interval, ms
	up     *series
	series []*series
}

// scraper walks through the scrapes of all targets of a stream in time order.
type scraper struct {
	stream  stream
	targets []*target
	rand    *shape.Rand
	round   int64
	pos     int
	t       int64 // of the current scrape, ms after the base
}

func newScraper(s stream) *scraper {
	targets := s.world()
	for _, t := range targets {
		t.offset = (t.offset + s.offset) % scrapeInterval
	}
	slices.SortStableFunc(targets, func(a, b *target) int { return int(a.offset - b.offset) })
	return &scraper{stream: s, targets: targets, rand: shape.NewRand(s.seed), pos: -1}
}

// restart forgets the references into a head that is gone.
func (s *scraper) restart() {
	for _, t := range s.targets {
		for _, one := range append(slices.Clone(t.series), t.up) {
			if one != nil {
				one.ref = 0
			}
		}
	}
}

// next moves to the next scrape and reports false once that lies at end or later.
func (s *scraper) next(end int64) bool {
	pos, round := s.pos+1, s.round
	if pos == len(s.targets) {
		pos, round = 0, round+1
	}
	t := round*scrapeInterval + s.targets[pos].offset
	if t >= end {
		return false
	}
	s.pos, s.round, s.t = pos, round, t
	return true
}

// scrape reads the current target into the head. Most scrapes hit their
// millisecond, as Prometheus aligns them; some are late or early by a little,
// some are left out, and some fail, which marks the target's series stale.
func (s *scraper) scrape(h *head.Head) error {
	jittered, jitter := s.rand.Chance(20), s.rand.Between(-45, 45)
	missed, failed := s.rand.Chance(6), s.rand.Chance(2)
	for _, a := range s.stream.away {
		missed = missed || (s.t >= a.from && s.t < a.to)
	}
	if missed {
		return nil
	}
	t := s.t
	if jittered {
		t = max(0, t+jitter)
	}
	target := s.targets[s.pos]
	for _, one := range target.series {
		if err := one.scrape(h, t, failed); err != nil {
			return fmt.Errorf("%s: %w", at(t), err)
		}
	}
	if target.up != nil {
		var up canon.Sample
		if !failed {
			up.Value = 1
		}
		if err := target.up.append(h, t, up); err != nil {
			return err
		}
	}
	return h.Commit()
}

// scrape appends what the series shows at t: a sample, a stale marker right
// after it has gone, or nothing.
func (one *series) scrape(h *head.Head, t int64, failed bool) error {
	one.advance(t)
	there := !failed && one.exists(t)
	if !there && !one.shown {
		return nil
	}
	sample := shape.Stale()
	if there {
		sample = one.proc.Measure()
	}
	one.shown = there
	return one.append(h, t, sample)
}

func (one *series) append(h *head.Head, t int64, sample canon.Sample) error {
	sample.Time = quickstartBase + t
	ref, err := h.Append(one.ref, one.labels, sample)
	one.ref = ref
	return err
}

// advance steps the measured thing up to t. Its numbers depend on the time
// alone, not on who looks or how often, so replicas see one truth.
func (one *series) advance(t int64) {
	for ; one.ticked <= t/tick; one.ticked++ {
		if r, ok := one.proc.(shape.Resetter); ok && slices.Contains(one.resets, one.ticked*tick) {
			r.Reset()
		}
		one.proc.Step()
	}
}

func (one *series) exists(t int64) bool {
	for _, l := range one.lives {
		if t >= l.from && t < l.to {
			return true
		}
	}
	return one.lives == nil
}

// identity is the seed text of a series: its cluster and its own labels.
func identity(cluster string, own []string) string { return cluster + "|" + strings.Join(own, "|") }
