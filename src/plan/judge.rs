//! Decides what becomes of each block that takes part, see [`super::retention`].
//!
//! The lowest resolution is settled first, since what is retired stands in for
//! nothing: a raw block goes only if the block of 5 minutes that covers it stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ulid::Ulid;

use super::filter::{LiveBlock, State, strip};
use super::group::GroupKey;
use super::growth::{
    self, DOWNSAMPLED_FROM_MS, Family, RESOLUTIONS_MS, Range, Rules, is_kept_out, level_of, long,
};
use super::model::{Held, HeldReason};
use super::retention::{Proof, Retired, RetiredBecause, Waits, expires_ms, span, time};
use super::settings::{PARTIAL_AGE_MS, Settings};
use super::view::{BlockView, BucketView};
use crate::block::meta::Labels;

/// What becomes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its retention has not passed.
    Keep,
    /// It goes.
    Retire(RetiredBecause),
    /// It would go, but waits.
    Hold(Waits),
}

/// Whether a block will be downsampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    Never(Proof),
    Waits(Waits),
}

/// A block, or one that it may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'s> {
    pub block: Ulid,
    pub range: Range,
    pub sources: &'s [Ulid],
    pub no_downsample: bool,
    pub kept_out: bool,
}

impl<'s> Subject<'s> {
    pub fn of(block: &'s LiveBlock) -> Self {
        Self {
            block: block.id(),
            range: (block.min_time(), block.max_time()),
            sources: block.sources(),
            no_downsample: block.view.no_downsample.is_some(),
            kept_out: is_kept_out(block),
        }
    }

    /// What it is downsampled to, if it has this range by then.
    fn downsampled(self, range: Range) -> Self {
        Self {
            range,
            no_downsample: false,
            kept_out: false,
            ..self
        }
    }
}

/// Decides about all blocks that take part.
pub(super) struct Judge<'a> {
    settings: &'a Settings,
    now_ms: i64,
    pub families: Vec<Family<'a>>,
    /// Sources that blocks of each level hold, retired ones included.
    pub held_by: [HashSet<Ulid>; 3],
    /// Sources that blocks of each level hold which stay.
    covered: [HashSet<Ulid>; 3],
    fates: HashMap<Ulid, Fate>,
}

impl<'a> Judge<'a> {
    pub fn new(
        blocks: &'a [LiveBlock],
        (view, excluded): (&BucketView, &[(Ulid, State)]),
        settings: &'a Settings,
        now_ms: i64,
    ) -> Self {
        let too_fresh = excluded.iter().filter(|(_, s)| *s == State::TooFresh);
        let too_fresh: HashSet<Ulid> = too_fresh.map(|(id, _)| *id).collect();
        let fresh = view.blocks.iter().filter(|b| too_fresh.contains(&b.id()));
        let fresh: Vec<(Labels, usize, Range)> =
            fresh.filter_map(|b| fresh_block(b, settings)).collect();
        let mut held_by: [HashSet<Ulid>; 3] = Default::default();
        for block in blocks.iter().filter(|b| stands_in(b)) {
            if let Some(level) = level_of(block.resolution()) {
                held_by[level].extend(block.sources());
            }
        }
        Self {
            settings,
            now_ms,
            families: growth::families(blocks, &fresh, settings),
            held_by,
            covered: Default::default(),
            fates: HashMap::new(),
        }
    }

    /// Lowest resolution first: what goes stands in for nothing.
    pub fn decide(&mut self) {
        for level in [2, 1, 0] {
            // What is covered goes whatever becomes of the others, and these
            // cannot grow by it.
            self.settle(level, |fate| {
                use RetiredBecause::{Covered, LastResolution};
                matches!(fate, Fate::Retire(Covered | LastResolution))
            });
            self.settle(level, |_| true);
            for family in &self.families {
                let stay = family.blocks[level].iter();
                let stay = stay.filter(|b| stands_in(b) && !family.is_gone(b.id()));
                self.covered[level].extend(stay.flat_map(|b| b.sources()));
            }
        }
    }

    fn settle(&mut self, level: usize, which: impl Fn(&Fate) -> bool) {
        for at in 0..self.families.len() {
            let family = &self.families[at];
            let mut settled = Vec::new();
            for block in &family.blocks[level] {
                if family.is_gone(block.id()) {
                    continue;
                }
                let fate = self.fate(family, level, Subject::of(block));
                if which(&fate) {
                    settled.push((block.id(), fate));
                }
            }
            let goes = |(id, fate): &(Ulid, Fate)| matches!(fate, Fate::Retire(_)).then_some(*id);
            let leave: Vec<Ulid> = settled.iter().filter_map(goes).collect();
            self.fates.extend(settled);
            self.families[at].leave(leave);
        }
    }

    pub fn fate(&self, family: &Family<'_>, level: usize, subject: Subject<'_>) -> Fate {
        let expires = expires_ms(subject.range.1, family.policy.retention_ms[level]);
        if expires.is_none_or(|ms| self.now_ms <= ms) {
            return Fate::Keep;
        }
        let Some(covered) = self.covered.get(level + 1) else {
            return Fate::Retire(RetiredBecause::LastResolution);
        };
        if subject.sources.iter().all(|s| covered.contains(s)) {
            return Fate::Retire(RetiredBecause::Covered);
        }
        match self.outlook(family, level, subject) {
            Outlook::Never(proof) => Fate::Retire(RetiredBecause::NeverDownsampled(proof)),
            Outlook::Waits(_) if self.settings.force_retention => {
                Fate::Retire(RetiredBecause::Forced)
            }
            Outlook::Waits(waits) => Fate::Hold(waits),
        }
    }

    /// Whether a block of `level` 0 or 1 will be downsampled.
    pub fn outlook(&self, family: &Family<'_>, level: usize, subject: Subject<'_>) -> Outlook {
        if !family.policy.downsampling {
            return if self.settings.loss_acknowledged {
                Outlook::Never(Proof::DownsamplingOff)
            } else {
                Outlook::Waits(Waits::Acknowledgement)
            };
        }
        if subject.no_downsample {
            return Outlook::Never(Proof::NoDownsampleMark);
        }
        let Some(&needed) = DOWNSAMPLED_FROM_MS.get(level) else {
            return Outlook::Never(Proof::FinalRange);
        };
        let becomes = |later| {
            if subject.kept_out {
                return subject.range;
            }
            let block = (level, subject.block, subject.range);
            family.becomes(block, later, &self.rules())
        };
        let range = becomes(false);
        if long(range) >= needed {
            let result = subject.downsampled(range);
            return match self.fate(family, level + 1, result) {
                Fate::Retire(_) => Outlook::Never(Proof::ResultExpired),
                _ if range == subject.range => Outlook::Waits(Waits::Downsampling),
                _ => Outlook::Waits(Waits::Compaction),
            };
        }
        if subject.kept_out {
            return Outlook::Never(Proof::KeptOut);
        }
        let Some(window) = growth::window(subject.range, self.settings) else {
            return Outlook::Never(Proof::FinalRange);
        };
        self.too_short(family, level, window, || long(becomes(true)) >= needed)
    }

    /// Whether something may still come that makes a block longer; `later` says
    /// whether newer blocks of the stream alone would do.
    fn too_short(
        &self,
        family: &Family<'_>,
        level: usize,
        window: Range,
        later: impl Fn() -> bool,
    ) -> Outlook {
        let closes = self.closes_ms(window);
        if self.now_ms <= closes {
            return Outlook::Waits(Waits::Window(closes));
        }
        if family.has_fresh(level, window) {
            return Outlook::Waits(Waits::FreshBlock);
        }
        if !later() {
            return Outlook::Never(Proof::WindowClosed);
        }
        if family.goes_on(level, window.1) {
            return Outlook::Waits(Waits::NewerBlock);
        }
        let ends = closes.saturating_add(long(window));
        if self.now_ms <= ends {
            return Outlook::Waits(Waits::Window(ends));
        }
        Outlook::Never(Proof::StreamEnded)
    }

    /// Until when blocks of a window may come, ms since the epoch: an upload
    /// that takes longer counts as given up.
    pub fn closes_ms(&self, window: Range) -> i64 {
        let late = self.settings.consistency_delay_ms.max(0);
        window.1.saturating_add(late).saturating_add(PARTIAL_AGE_MS)
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            settings: self.settings,
            downsampled: &self.held_by[1],
        }
    }

    fn each(&self) -> impl Iterator<Item = (&Family<'a>, usize, &'a LiveBlock)> {
        self.families.iter().flat_map(|family| {
            let levels = family.blocks.iter().enumerate();
            levels.flat_map(move |(level, blocks)| {
                blocks.iter().map(move |block| (family, level, *block))
            })
        })
    }

    /// Blocks that leave.
    pub fn gone(&self) -> impl Iterator<Item = Ulid> {
        let all = self.each();
        let gone = all.filter(|(family, _, block)| family.is_gone(block.id()));
        gone.map(|(_, _, block)| block.id())
    }

    /// A block that carries a mark needs none.
    pub fn retired(&self) -> Vec<Retired> {
        let mut retired = Vec::new();
        for (family, level, block) in self.each() {
            let retention_ms = family.policy.retention_ms[level];
            let expired_ms = expires_ms(block.max_time(), retention_ms);
            let (Some(Fate::Retire(why)), Some(expired_ms), None) = (
                self.fates.get(&block.id()),
                expired_ms,
                &block.view.deletion,
            ) else {
                continue;
            };
            retired.push(Retired {
                block: block.id(),
                resolution: RESOLUTIONS_MS[level],
                expired_ms,
                retention_ms,
                why: *why,
            });
        }
        retired.sort_unstable_by_key(|r| r.block);
        retired
    }

    pub fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for (family, level, block) in self.each() {
            let retention_ms = family.policy.retention_ms[level];
            let (Some(Fate::Hold(waits)), None) =
                (self.fates.get(&block.id()), &block.view.deletion)
            else {
                continue;
            };
            let since = expires_ms(block.max_time(), retention_ms).unwrap_or(self.now_ms);
            held.push(Held {
                group: GroupKey::of(RESOLUTIONS_MS[level], family.labels),
                labels: Arc::clone(&block.labels),
                why: HeldReason::AwaitsDownsampling {
                    expired_ms: since,
                    waits: *waits,
                },
                what: format!(
                    "past its retention of {} since {}; waits for {}",
                    span(retention_ms),
                    time(since),
                    waits.what(level)
                ),
                cure: waits.cure().to_owned(),
                blocks: vec![block.id()],
                range: (block.min_time(), block.max_time()),
            });
        }
        held
    }

    /// Blocks that stay and whose lower resolution would go at once.
    pub fn pointless(&self) -> Vec<Ulid> {
        let mut pointless = Vec::new();
        for (family, level, block) in self.each().filter(|(_, level, _)| *level < 2) {
            let subject = Subject::of(block);
            let result = subject.downsampled(subject.range);
            let stays = !family.is_gone(block.id());
            if stays && matches!(self.fate(family, level + 1, result), Fate::Retire(_)) {
                pointless.push(block.id());
            }
        }
        pointless.sort_unstable();
        pointless
    }
}

/// Whether a block stands in for its sources: it is neither damaged nor about
/// to be deleted.
fn stands_in(block: &LiveBlock) -> bool {
    !block.view.is_suspect() && block.view.deletion.is_none()
}

fn fresh_block(block: &BlockView, settings: &Settings) -> Option<(Labels, usize, Range)> {
    let meta = &block.meta;
    let level = level_of(meta.thanos.downsample.resolution)?;
    let labels = strip(&meta.thanos.labels, &settings.replica_labels);
    Some((labels, level, (meta.tsdb.min_time, meta.tsdb.max_time)))
}
