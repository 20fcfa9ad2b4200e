//! What a block will have become once nothing is left to merge it with: the
//! question behind "will it ever be long enough to be downsampled".
//!
//! ```text
//!  14d window  |----2d----|--8h--|2h|2h|      |----2d----|     now, of one stream
//!              |----------------one block----------------|     what the planner
//!                                                              leaves of it
//! ```
//!
//! - A block grows only inside of its window of the largest range: the smaller
//!   ones lie in it. One that reaches over the border of it grows no more.
//! - Whatever can be mended is taken as mended: damage, a failed compaction, an
//!   overlap that is not allowed. Only marks and Parquet files keep a block out.
//! - Blocks of 5 minutes meet those that raw blocks of the same window are
//!   still to become.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use ulid::Ulid;

use super::filter::LiveBlock;
use super::leveled::{self, Span};
use super::model::Reason;
use super::policy::StreamPolicy;
use super::settings::Settings;
use crate::block::meta::Labels;
use crate::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};

/// Windows of samples in ms, by level: raw, 5 minutes, 1 hour.
pub const RESOLUTIONS_MS: [i64; 3] = [0, FIVE_MINUTES_MS, ONE_HOUR_MS];

/// How long a raw block, and one of 5 minutes, has to be for it to be
/// downsampled, ms: 40 hours and 10 days, as upstream.
pub const DOWNSAMPLED_FROM_MS: [i64; 2] = [40 * 3_600_000, 10 * 86_400_000];

/// A range of time, ms, end exclusive.
pub(super) type Range = (i64, i64);

/// Length of a range, ms. A `meta.json` may state all of time.
pub(super) fn long(range: Range) -> i64 {
    range.1.saturating_sub(range.0)
}

/// The level of a resolution; `None` for one that nobody makes.
pub(super) fn level_of(resolution_ms: i64) -> Option<usize> {
    RESOLUTIONS_MS.iter().position(|&ms| ms == resolution_ms)
}

/// The blocks with equal labels, of all resolutions.
pub(super) struct Family<'a> {
    pub labels: &'a Labels,
    pub policy: StreamPolicy,
    /// Those that take part, by level, min time and name.
    pub blocks: [Vec<&'a LiveBlock>; 3],
    /// Levels and ranges of blocks that are too fresh to take part.
    pub fresh: Vec<(usize, Range)>,
    /// Raw blocks by name.
    raw: HashMap<Ulid, &'a LiveBlock>,
    /// Blocks that leave: nothing grows by them.
    gone: HashSet<Ulid>,
    known: RefCell<HashMap<Question, Rc<Vec<Piece>>>>,
}

/// Level and start of a window, and whether blocks after it are assumed.
type Question = (usize, i64, bool);

/// A block of now or later.
#[derive(Debug, Clone)]
struct Piece {
    range: Range,
    /// No compaction takes it.
    kept_out: bool,
    /// Raw blocks are still to be downsampled into it.
    to_come: bool,
    /// The blocks of now in it.
    leaves: Vec<Ulid>,
}

/// What growth depends on besides the blocks.
pub(super) struct Rules<'a> {
    pub settings: &'a Settings,
    /// Sources of raw blocks that blocks of 5 minutes hold.
    pub downsampled: &'a HashSet<Ulid>,
}

/// Sorts blocks by labels; `fresh` with the labels that they would have.
pub(super) fn families<'a>(
    blocks: &'a [LiveBlock],
    fresh: &[(Labels, usize, Range)],
    settings: &Settings,
) -> Vec<Family<'a>> {
    let mut families: BTreeMap<&Labels, Family<'a>> = BTreeMap::new();
    for block in blocks {
        let labels = block.labels.as_ref();
        let family = families.entry(labels).or_insert_with(|| Family {
            labels,
            policy: settings.policy(labels),
            blocks: Default::default(),
            fresh: Vec::new(),
            raw: HashMap::new(),
            gone: HashSet::new(),
            known: RefCell::default(),
        });
        if let Some(level) = level_of(block.resolution()) {
            family.blocks[level].push(block);
            if level == 0 {
                family.raw.insert(block.id(), block);
            }
        }
    }
    for (labels, level, range) in fresh {
        if let Some(family) = families.get_mut(labels) {
            family.fresh.push((*level, *range));
        }
    }
    let mut families: Vec<Family<'a>> = families.into_values().collect();
    for blocks in families.iter_mut().flat_map(|f| &mut f.blocks) {
        blocks.sort_by_key(|b| (b.min_time(), b.id()));
    }
    families
}

/// Whether no compaction ever takes a block.
pub(super) fn is_kept_out(block: &LiveBlock) -> bool {
    block.view.no_compact.is_some() || block.view.is_parquet_migrated()
}

/// The window of the largest range that a block grows in; `None` for one that
/// is as long, or reaches over its border.
pub(super) fn window(range: Range, settings: &Settings) -> Option<Range> {
    let largest = *settings.ranges_ms.last()?;
    let start = range.0.div_euclid(largest).saturating_mul(largest);
    let end = start.saturating_add(largest);
    (range.1 <= end && long(range) < largest).then_some((start, end))
}

impl Family<'_> {
    /// Lets blocks leave.
    pub fn leave(&mut self, blocks: impl IntoIterator<Item = Ulid>) {
        let before = self.gone.len();
        self.gone.extend(blocks);
        if self.gone.len() != before {
            self.known.borrow_mut().clear();
        }
    }

    pub fn is_gone(&self, block: Ulid) -> bool {
        self.gone.contains(&block)
    }

    /// What a block will have become at `level`, from what there is now; with
    /// `later` as if newer blocks of the stream came after its window.
    ///
    /// `block` is one of this level, or a raw one that is to be downsampled to
    /// it; `range` is its own, or that of what it is downsampled from.
    pub fn becomes(
        &self,
        (level, block, range): (usize, Ulid, Range),
        later: bool,
        rules: &Rules<'_>,
    ) -> Range {
        let Some(window) = window(range, rules.settings) else {
            return range;
        };
        let pieces = self.settled(level, window, later, rules);
        let found = |pieces: &[Piece]| {
            let piece = pieces.iter().find(|p| p.leaves.contains(&block));
            piece.map(|p| p.range)
        };
        if let Some(range) = found(&pieces) {
            return range;
        }
        // A raw block whose 5 minutes nobody waits for any more: what if?
        let mut pieces = self.pieces(level, window, later, rules);
        pieces.push(Piece {
            range,
            kept_out: false,
            to_come: true,
            leaves: vec![block],
        });
        let pieces = settle(pieces, level, rules.settings);
        found(&pieces).unwrap_or(range)
    }

    /// Whether any block that may grow into `level` begins at `after` (ms) or
    /// later.
    pub fn goes_on(&self, level: usize, after: i64) -> bool {
        let blocks = self.blocks.iter().take(level + 1).flatten();
        let fresh = self.fresh.iter().filter(|(l, _)| *l <= level);
        let mut starts = blocks.map(|b| b.min_time()).chain(fresh.map(|(_, r)| r.0));
        starts.any(|start| start >= after)
    }

    /// Whether a block that may grow into `level` and is too fresh lies in a
    /// window.
    pub fn has_fresh(&self, level: usize, window: Range) -> bool {
        let mut fresh = self.fresh.iter().filter(|(l, _)| *l <= level);
        fresh.any(|(_, r)| r.0 < window.1 && r.1 > window.0)
    }

    fn settled(
        &self,
        level: usize,
        window: Range,
        later: bool,
        rules: &Rules<'_>,
    ) -> Rc<Vec<Piece>> {
        let question = (level, window.0, later);
        if let Some(known) = self.known.borrow().get(&question) {
            return Rc::clone(known);
        }
        let pieces = self.pieces(level, window, later, rules);
        let pieces = Rc::new(settle(pieces, level, rules.settings));
        let mut known = self.known.borrow_mut();
        known.insert(question, Rc::clone(&pieces));
        pieces
    }

    /// The blocks of a window as they are, those that raw ones will become, and
    /// as many newer ones as the planner looks at.
    fn pieces(&self, level: usize, window: Range, later: bool, rules: &Rules<'_>) -> Vec<Piece> {
        let here = |range: Range| range.0 < window.1 && range.1 > window.0;
        let blocks = self.blocks[level].iter().filter(|b| !self.is_gone(b.id()));
        let (mut pieces, mut newer) = (Vec::new(), Vec::new());
        for block in blocks {
            let piece = Piece {
                range: (block.min_time(), block.max_time()),
                kept_out: is_kept_out(block),
                to_come: false,
                leaves: vec![block.id()],
            };
            if here(piece.range) {
                pieces.push(piece);
            } else if piece.range.0 >= window.1 {
                newer.push(piece);
            }
        }
        // The newest block is never taken, the one before it says how far the
        // stream has come.
        pieces.extend(newer.split_off(newer.len().saturating_sub(2)));
        if later {
            pieces.extend([1, 2].map(|i| Piece::after(window, i)));
        }
        if level == 1 && self.policy.downsampling {
            let raw = self.settled(0, window, later, rules);
            let coming = raw.iter().filter(|p| here(p.range) && self.comes(p, rules));
            pieces.extend(coming.map(|p| Piece {
                kept_out: false,
                to_come: true,
                ..p.clone()
            }));
        }
        pieces
    }

    /// Whether a raw block of later will be downsampled.
    fn comes(&self, piece: &Piece, rules: &Rules<'_>) -> bool {
        let mut leaves = piece.leaves.iter().filter_map(|id| self.raw.get(id));
        let missing = |b: &&LiveBlock| {
            let mut sources = b.sources().iter();
            sources.any(|s| !rules.downsampled.contains(s))
        };
        // A compaction takes the mark away.
        let alone = piece.leaves.len() == 1;
        long(piece.range) >= DOWNSAMPLED_FROM_MS[0]
            && leaves.any(|b| missing(b) && !(alone && b.view.no_downsample.is_some()))
    }
}

impl Piece {
    /// A block that is not there yet, some windows later.
    fn after(window: Range, windows: i64) -> Self {
        let start = window
            .1
            .saturating_add(long(window).saturating_mul(windows));
        Self {
            range: (start, start.saturating_add(1)),
            kept_out: false,
            to_come: false,
            leaves: Vec::new(),
        }
    }
}

/// Merges what the planner would merge, until nothing is due.
fn settle(mut pieces: Vec<Piece>, level: usize, settings: &Settings) -> Vec<Piece> {
    loop {
        pieces.sort_by_key(|p| (p.range, p.leaves.first().copied()));
        let spans: Vec<Span> = pieces.iter().map(Piece::span).collect();
        let Some((picked, reason)) = leveled::next(&spans, &settings.ranges_ms) else {
            return pieces;
        };
        let taken = || picked.iter().map(|&i| &pieces[i]);
        // Downsampled blocks that overlap get marks; those that are still to
        // come replace what they overlap.
        let apart = level > 0 && settings.vertical && !taken().any(|p| p.to_come);
        if reason == Reason::Overlap && apart {
            for i in picked {
                pieces[i].kept_out = true;
            }
            continue;
        }
        let start = taken().map(|p| p.range.0).min().unwrap_or(0);
        let end = taken().map(|p| p.range.1).max().unwrap_or(0);
        let merged = Piece {
            range: (start, end),
            kept_out: false,
            to_come: taken().any(|p| p.to_come),
            leaves: taken().flat_map(|p| p.leaves.iter().copied()).collect(),
        };
        let mut i = 0;
        pieces.retain(|_| {
            i += 1;
            !picked.contains(&(i - 1))
        });
        pieces.push(merged);
    }
}

impl Piece {
    fn span(&self) -> Span {
        Span {
            min_time: self.range.0,
            max_time: self.range.1,
            no_compact: self.kept_out,
            ..Span::default()
        }
    }
}
