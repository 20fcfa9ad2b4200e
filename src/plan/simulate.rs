//! One stream to its fixpoint: what upstream would do step by step, and which
//! of those steps can be done at once.
//!
//! ```text
//!  blocks   |2h|2h|2h|2h|2h|2h|2h|2h|2h|        newest block: left alone
//!  step 1   |----8h-----|2h|2h|2h|2h|2h|
//!  step 2   |----8h-----|----8h-----|2h|
//!  ...      until nothing is due; then each block that was made and is still
//!           there is one job, straight from the blocks it was made from
//! ```
//!
//! A chain is cut where the next step depends on what is not known yet: the
//! real size of a merged index close to the limit, or where the job would take
//! too long. The jobs so far are done, and the rest is planned from what they
//! made.

use std::sync::Arc;

use ulid::Ulid;

use super::cost::{self, Cost};
use super::filter::LiveBlock;
use super::group::Group;
use super::leveled::{self, Span};
use super::model::{
    Cut, CutReason, Held, Job, JobKind, NoCompact, NoCompactReason, Place, Reason, Tile,
};
use super::settings::Settings;
use crate::merge::{Dedup, Products};

/// What becomes of one stream.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub jobs: Vec<Job>,
    pub marks: Vec<NoCompact>,
    pub held: Vec<Held>,
    pub cut: Option<Cut>,
    pub before: Vec<Tile>,
    pub after: Vec<Tile>,
}

/// A block of the simulation.
#[derive(Debug, Clone)]
struct Node {
    span: Span,
    /// Bytes of its index; of a made block the sum of what went in, which is
    /// the worst case.
    index_bytes: u64,
    level: u32,
    /// Ascending.
    sources: Vec<Ulid>,
    /// Blocks of the group that went in, as indexes, ascending; for a block of
    /// the group itself.
    leaves: Vec<usize>,
    /// `None` for a block of the group.
    made: Option<Made>,
}

/// How a block of the simulation was made.
#[derive(Debug, Clone)]
struct Made {
    reason: Reason,
    steps: u32,
}

/// The first compaction of a block of the group.
#[derive(Debug, Clone, Copy)]
struct FirstStep {
    number: u32,
    keep: (i64, i64),
    /// Whether its sources overlap; side by side each is a run of its own.
    overlap: bool,
}

struct Simulation<'a> {
    group: &'a Group,
    settings: &'a Settings,
    /// By min time, then name; made blocks are younger than all others.
    nodes: Vec<Node>,
    first: Vec<Option<FirstStep>>,
    /// Retired blocks behind all of these: nothing is made of them, but the
    /// windows before them are past.
    gone: Vec<Span>,
    steps: u32,
    out: Outcome,
}

/// What a stream is planned with besides its blocks.
#[derive(Debug, Default)]
pub(super) struct Around<'a> {
    /// Ranges in which blocks are about to be made by others, ms, ends
    /// exclusive: their windows wait.
    pub coming: Vec<(i64, i64)>,
    /// Blocks of the stream that are retired, by min time.
    pub retired: Vec<&'a LiveBlock>,
}

/// Plans one stream.
pub(super) fn run(group: &Group, around: &Around<'_>, settings: &Settings) -> Outcome {
    let newest = group.blocks.last().map_or(i64::MAX, LiveBlock::min_time);
    let gone = around.retired.iter().filter(|b| b.min_time() > newest);
    let gone = gone.map(|b| Span {
        no_compact: true,
        failed: false,
        ..Span::of(b)
    });
    let nodes = group.blocks.iter().enumerate().map(Node::of).collect();
    let mut simulation = Simulation {
        group,
        settings,
        nodes,
        first: vec![None; group.blocks.len()],
        gone: gone.collect(),
        steps: 0,
        out: Outcome::default(),
    };
    if !settings.vertical {
        simulation.hold_overlaps();
    }
    simulation.wait_for(&around.coming);
    while let Some((picked, reason)) = simulation.next() {
        simulation.merge(&picked, reason);
        if !settings.one_pass {
            break;
        }
    }
    simulation.finish()
}

impl Node {
    fn of((i, block): (usize, &LiveBlock)) -> Self {
        let mut sources = block.sources().to_vec();
        sources.sort_unstable();
        Self {
            span: Span::of(block),
            index_bytes: block.view.index_bytes(),
            level: block.view.meta.tsdb.compaction.level,
            sources,
            leaves: vec![i],
            made: None,
        }
    }
}

impl Simulation<'_> {
    /// Blocks that overlap and may not be merged wait, and with them the
    /// windows they lie in; the rest of the stream goes on.
    fn hold_overlaps(&mut self) {
        loop {
            let spans: Vec<Span> = self.nodes.iter().map(|n| n.span).collect();
            let run = leveled::overlapping(&spans);
            if run.is_empty() {
                return;
            }
            let blocks = run.iter().map(|&i| &self.group.blocks[i]);
            self.out.held.push(Held::overlap(self.group, blocks));
            self.hold(run);
        }
    }

    /// Blocks wait that share a window of the longest range with these ranges.
    fn wait_for(&mut self, coming: &[(i64, i64)]) {
        let longest = self.settings.ranges_ms.last().copied().unwrap_or(1).max(1);
        let window = |t: i64| t.div_euclid(longest);
        let last = |(from, to): (i64, i64)| window(to.saturating_sub(1).max(from));
        let shared = |node: &Node| {
            let range = (node.span.min_time, node.span.max_time);
            let meets = |&c: &(i64, i64)| window(c.0) <= last(range) && window(range.0) <= last(c);
            coming.iter().any(meets)
        };
        let all = self.nodes.iter().enumerate();
        let waiting = all.filter(|(_, node)| shared(node)).map(|(i, _)| i);
        self.hold(waiting.collect());
    }

    /// These blocks wait, and with them the windows they lie in.
    fn hold(&mut self, nodes: Vec<usize>) {
        for i in nodes {
            self.nodes[i].span.no_compact = true;
            self.nodes[i].span.failed = true;
        }
    }

    /// The next compaction, after the filters that keep blocks out.
    fn next(&mut self) -> Option<(Vec<usize>, Reason)> {
        if self.group.blocks.len() < 2 {
            return None;
        }
        loop {
            let mut spans: Vec<Span> = self.nodes.iter().map(|n| n.span).collect();
            spans.extend(&self.gone);
            let (picked, reason) = leveled::next(&spans, &self.settings.ranges_ms)?;
            if let Some(largest) = self.too_large(&picked) {
                if self.has_made(&picked) {
                    return self.cut(&picked, CutReason::IndexSize);
                }
                self.keep_out(largest, NoCompactReason::IndexSizeExceeding);
                continue;
            }
            if reason == Reason::Overlap && self.group.resolution != 0 {
                for &i in &picked {
                    self.keep_out(i, NoCompactReason::DownsampleVerticalCompaction);
                }
                continue;
            }
            let cost = self.cost(&picked);
            let fits = cost.scratch_bytes.0 <= self.settings.machine.scratch_bytes;
            if self.has_made(&picked) {
                if cost.seconds > self.settings.max_job_seconds {
                    return self.cut(&picked, CutReason::JobTime);
                }
                if !fits {
                    return self.cut(&picked, CutReason::Scratch);
                }
            } else if !fits {
                let blocks = picked
                    .iter()
                    .map(|&i| &self.group.blocks[self.nodes[i].leaves[0]]);
                let held = Held::scratch(self.group, blocks, cost.scratch_bytes.0, self.settings);
                self.out.held.push(held);
                self.hold(picked);
                continue;
            }
            return Some((picked, reason));
        }
    }

    fn has_made(&self, picked: &[usize]) -> bool {
        picked.iter().any(|&i| self.nodes[i].made.is_some())
    }

    /// The largest index up to where the sum reaches the limit, if it does.
    fn too_large(&self, picked: &[usize]) -> Option<usize> {
        let limit = self.settings.index_limit();
        let mut sum = 0_u64;
        let mut largest: Option<usize> = None;
        for &i in picked {
            let bytes = self.nodes[i].index_bytes;
            if largest.is_none_or(|l| bytes > self.nodes[l].index_bytes) {
                largest = Some(i);
            }
            sum = sum.saturating_add(bytes);
            if sum >= limit {
                return largest;
            }
        }
        None
    }

    fn keep_out(&mut self, node: usize, reason: NoCompactReason) {
        self.nodes[node].span.no_compact = true;
        let block = self.group.blocks[self.nodes[node].leaves[0]].id();
        let details = match reason {
            NoCompactReason::IndexSizeExceeding => format!(
                "with this block the index of the result could exceed {} bytes",
                self.settings.max_index_bytes
            ),
            NoCompactReason::DownsampleVerticalCompaction => {
                "overlapping downsampled blocks cannot be merged".to_owned()
            }
        };
        self.out.marks.push(NoCompact {
            block,
            reason,
            details,
        });
    }

    fn cut(&mut self, picked: &[usize], why: CutReason) -> Option<(Vec<usize>, Reason)> {
        let range = self.hull(picked);
        self.out.cut = Some(Cut {
            group: self.group.key,
            range,
            why,
        });
        None
    }

    fn hull(&self, picked: &[usize]) -> (i64, i64) {
        let spans = || picked.iter().map(|&i| self.nodes[i].span);
        let start = spans().map(|s| s.min_time).min().unwrap_or(0);
        (start, spans().map(|s| s.max_time).max().unwrap_or(0))
    }

    fn leaves(&self, picked: &[usize]) -> Vec<usize> {
        let leaves = picked.iter().flat_map(|&i| self.nodes[i].leaves.iter());
        let mut leaves: Vec<usize> = leaves.copied().collect();
        leaves.sort_unstable();
        leaves
    }

    /// How the samples of this stream become one.
    fn dedup(&self) -> Dedup {
        self.settings.policy(&self.group.labels).dedup
    }

    fn predict(&self, sources: &[LiveBlock], places: &[Place]) -> Cost {
        let how = (Products::merged(self.group.resolution), self.dedup());
        cost::predict(sources, places, how, &self.settings.machine)
    }

    /// Predicted cost of a job straight from the leaves.
    fn cost(&self, picked: &[usize]) -> Cost {
        let leaves = self.leaves(picked);
        let (sources, places) = self.sources_of(&leaves);
        self.predict(&sources, &places)
    }

    /// Replaces the picked blocks by the one made of them, and drops what it
    /// stands in for besides.
    fn merge(&mut self, picked: &[usize], reason: Reason) {
        let leaves = self.leaves(picked);
        let keep = self.hull(picked);
        for &leaf in &leaves {
            self.first[leaf].get_or_insert(FirstStep {
                number: self.steps,
                keep,
                overlap: reason == Reason::Overlap,
            });
        }
        self.steps += 1;
        let parts = || picked.iter().map(|&i| &self.nodes[i]);
        let mut sources: Vec<Ulid> = parts().flat_map(|n| n.sources.iter().copied()).collect();
        sources.sort_unstable();
        sources.dedup();
        let made = Node {
            span: Span {
                min_time: keep.0,
                max_time: keep.1,
                ..Span::default()
            },
            index_bytes: parts().fold(0, |sum, n| sum.saturating_add(n.index_bytes)),
            level: parts()
                .map(|n| n.level)
                .max()
                .unwrap_or(0)
                .saturating_add(1),
            leaves,
            made: Some(Made {
                reason,
                steps: 1 + parts()
                    .filter_map(|n| n.made.as_ref())
                    .map(|m| m.steps)
                    .sum::<u32>(),
            }),
            sources,
        };
        let mut i = 0;
        self.nodes.retain(|node| {
            let merged = picked.contains(&i);
            i += 1;
            // A damaged block is covered by nothing: what it holds is unknown.
            let suspect = self.group.is_suspect(node.leaves[0]);
            !merged && (suspect || !covers(&made.sources, &node.sources))
        });
        let at = self
            .nodes
            .partition_point(|n| n.span.min_time <= made.span.min_time);
        self.nodes.insert(at, made);
    }

    /// Blocks of a job, by min time and name, and where each comes in.
    fn sources_of(&self, leaves: &[usize]) -> (Vec<LiveBlock>, Vec<Place>) {
        let mut numbers: Vec<Option<u32>> = Vec::new();
        let mut places = Vec::with_capacity(leaves.len());
        for &leaf in leaves {
            let block = &self.group.blocks[leaf];
            // Not merged yet: it comes in with the step that is looked at.
            let step = self.first[leaf].unwrap_or(FirstStep {
                number: self.steps,
                keep: (block.min_time(), block.max_time()),
                overlap: true,
            });
            let number = step.overlap.then_some(step.number);
            let run = numbers.iter().position(|n| n.is_some() && *n == number);
            let run = run.unwrap_or_else(|| {
                numbers.push(number);
                numbers.len() - 1
            });
            places.push(Place {
                keep: step.keep,
                run: run as u32,
            });
        }
        let sources = leaves.iter().map(|&l| self.group.blocks[l].clone());
        (sources.collect(), places)
    }

    fn job(&self, node: &Node, made: &Made) -> Job {
        let (sources, places) = self.sources_of(&node.leaves);
        let all: Vec<&LiveBlock> = sources.iter().collect();
        let kind = if cost::overlap(&all) {
            JobKind::Vertical
        } else {
            JobKind::Horizontal
        };
        Job {
            group: self.group.key,
            labels: self.group.labels.clone(),
            resolution: self.group.resolution,
            products: Products::merged(self.group.resolution),
            dedup: self.dedup(),
            cost: self.predict(&sources, &places),
            sources,
            places,
            steps: made.steps,
            level: node.level,
            kind,
            reason: made.reason,
        }
    }

    fn finish(mut self) -> Outcome {
        let mut taken_by = vec![None; self.group.blocks.len()];
        for node in &self.nodes {
            let Some(made) = &node.made else {
                let block = &self.group.blocks[node.leaves[0]];
                let mut tile = Tile::of(block);
                tile.no_compact |= node.span.no_compact && !node.span.failed;
                self.out.after.push(tile);
                continue;
            };
            let number = self.out.jobs.len();
            for &leaf in &node.leaves {
                taken_by[leaf] = Some(number);
            }
            let job = self.job(node, made);
            self.out.after.push(Tile {
                block: None,
                job: Some(number),
                resolution: self.group.resolution,
                range: (node.span.min_time, node.span.max_time),
                level: node.level,
                bytes: job.cost.bytes,
                index_bytes: 0,
                samples: job.cost.samples,
                no_compact: false,
                damaged: false,
            });
            self.out.jobs.push(job);
        }
        for (block, job) in self.group.blocks.iter().zip(taken_by) {
            self.out.before.push(Tile {
                job,
                ..Tile::of(block)
            });
        }
        self.out.held.extend(others_held(self.group));
        self.out
    }
}

/// Whether every one of `wanted` is in `sources`; both ascending.
fn covers(sources: &[Ulid], wanted: &[Ulid]) -> bool {
    wanted.len() <= sources.len() && wanted.iter().all(|w| sources.binary_search(w).is_ok())
}

impl Tile {
    pub(super) fn of(block: &LiveBlock) -> Self {
        let bytes = block.view.data_bytes();
        Self {
            block: Some(block.id()),
            job: None,
            resolution: block.resolution(),
            range: (block.min_time(), block.max_time()),
            level: block.view.meta.tsdb.compaction.level,
            bytes: (bytes, bytes),
            index_bytes: block.view.index_bytes(),
            samples: (block.samples(), block.samples()),
            no_compact: block.view.no_compact.is_some(),
            damaged: block.view.is_suspect(),
        }
    }
}

/// Blocks that are kept out for a reason of their own.
fn others_held(group: &Group) -> impl Iterator<Item = Held> {
    let labels = Arc::new(group.labels.clone());
    group
        .blocks
        .iter()
        .filter_map(move |block| Held::alone(group, &labels, block))
}
