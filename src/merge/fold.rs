//! Which replica's samples are taken: the rule of `penalty`, on times alone.
//!
//! Two streams are followed at once, the left one preferred. After a sample at
//! `t`, `d` ms after the one before:
//!
//! ```text
//!  followed    --x-------x                next sample: any later one
//!                  <- d -> t
//!  the other              |<--- 2 d --->| next sample: only behind this
//! ```
//!
//! The earlier one of the two next samples is taken, at the same time the left
//! one. So the other stream comes in only if the followed one pauses for more
//! than about two steps, and is itself followed from then on. Before there is
//! a `d`, [`FIRST_PENALTY`] stands for `2 d`. More than two streams are a fold:
//!
//! ```text
//!  ((0, 1), 2), 3      fold 1 = (0, 1)   fold 2 = (fold 1, 2)   ...
//! ```
//!
//! Every fold makes the same choices whether or not the one above takes them.
//! While one stream is followed through all folds, one comparison per sample
//! settles it ([`Folds::follow`]): the others need not even be opened, since
//! their bounds say that they cannot come in.

use super::overlap::PieceError;
use super::stream::Streams;

/// What the unfollowed stream waits for after the very first sample, ms.
const FIRST_PENALTY: i64 = 5000;
/// The earliest time that a sample is taken at, ms. The one before stands for
/// "no sample yet".
pub(super) const FIRST: i64 = i64::MIN + 1;

/// Two streams of which the left one is a fold itself, or stream 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fold {
    /// Time of the sample it stands on, ms.
    last: i64,
    /// That sample is of the left stream.
    left: bool,
    /// Earlier samples of the left stream are not wanted, ms; the right one is
    /// a [`Streams`] stream and knows its own floor.
    floor: i64,
    /// Nothing comes after `last`.
    ended: bool,
}

const NEW: Fold = Fold {
    last: i64::MIN,
    left: true,
    floor: FIRST,
    ended: false,
};

/// The folds over the streams of one run.
pub(super) struct Folds<'f, 'a, 's, 'o> {
    /// Fold `i` is that of streams `0..=i`; the first one is not used.
    folds: &'f mut [Fold],
    streams: Streams<'a, 's, 'o>,
}

/// Takes what the rule wants of two streams or more. `folds` is memory that is
/// used again.
pub(super) fn fold(streams: Streams<'_, '_, '_>, folds: &mut Vec<Fold>) -> Result<(), PieceError> {
    folds.clear();
    folds.resize(streams.len(), NEW);
    let mut all = Folds { folds, streams };
    let top = all.folds.len() - 1;
    while all.step(top)? {
        all.follow()?;
    }
    all.streams.finish()
}

/// Where the floors are after a sample at `t` that follows one at `last`: of
/// the stream it is from, and of the other.
fn floors(last: i64, t: i64) -> (i64, i64) {
    let penalty = if last < FIRST {
        FIRST_PENALTY
    } else {
        t.saturating_sub(last).saturating_mul(2)
    };
    let next = t.saturating_add(1);
    (next, next.saturating_add(penalty))
}

impl Folds<'_, '_, '_, '_> {
    /// Moves a fold to its next sample; false at its end.
    fn step(&mut self, node: usize) -> Result<bool, PieceError> {
        let fold = self.folds[node];
        // There is no time after the last one.
        let chosen = if fold.ended || fold.last == i64::MAX {
            None
        } else if fold.left {
            self.choose_from_left(node)?
        } else {
            self.choose_from_right(node)?
        };
        let Some((t, left)) = chosen else {
            self.folds[node].ended = true;
            return Ok(false);
        };
        let (same, other) = floors(fold.last, t);
        let (left_floor, right_floor) = if left { (same, other) } else { (other, same) };
        self.streams.raise(node, right_floor);
        self.folds[node] = Fold {
            last: t,
            left,
            floor: fold.floor.max(left_floor),
            ended: false,
        };
        Ok(true)
    }

    /// The next sample of a fold, its time (ms) and whether it is of the left
    /// stream, which is looked at first.
    fn choose_from_left(&mut self, node: usize) -> Result<Option<(i64, bool)>, PieceError> {
        let Some(left) = self.seek(node - 1, self.folds[node].floor)? else {
            return Ok(self.streams.head(node)?.map(|t| (t, false)));
        };
        if self.streams.bound(node).is_none_or(|right| left <= right) {
            return Ok(Some((left, true)));
        }
        let right = self.streams.head(node)?.filter(|right| *right < left);
        Ok(Some(right.map_or((left, true), |t| (t, false))))
    }

    /// The same with the right stream first.
    fn choose_from_right(&mut self, node: usize) -> Result<Option<(i64, bool)>, PieceError> {
        let floor = self.folds[node].floor;
        let Some(right) = self.streams.head(node)? else {
            return Ok(self.seek(node - 1, floor)?.map(|t| (t, true)));
        };
        if self.bound(node - 1, floor).is_none_or(|left| right < left) {
            return Ok(Some((right, false)));
        }
        let left = self.seek(node - 1, floor)?.filter(|left| *left <= right);
        Ok(Some(left.map_or((right, false), |t| (t, true))))
    }

    /// Time (ms) of the first sample of a fold that is not before `floor`. What
    /// lies before it is gone.
    fn seek(&mut self, node: usize, floor: i64) -> Result<Option<i64>, PieceError> {
        if node == 0 {
            self.streams.raise(0, floor);
            return self.streams.head(0);
        }
        while !self.folds[node].ended && self.folds[node].last < floor {
            self.step(node)?;
        }
        let fold = self.folds[node];
        Ok((!fold.ended).then_some(fold.last))
    }

    /// A time (ms) that this sample is not before; `None` if there is none.
    fn bound(&mut self, node: usize, floor: i64) -> Option<i64> {
        if node == 0 {
            self.streams.raise(0, floor);
            return self.streams.bound(0);
        }
        let fold = self.folds[node];
        if fold.ended || fold.last >= floor {
            return (!fold.ended).then_some(fold.last);
        }
        // Not those of all streams below: a fold there may stand on a sample
        // that is still to be had, and its stream's floor lies behind it.
        let sides = [self.bound(node - 1, fold.floor), self.streams.bound(node)];
        sides
            .into_iter()
            .flatten()
            .min()
            .map(|bound| bound.max(floor))
    }

    /// The stream that the sample of the last fold is from.
    fn followed(&self) -> usize {
        let is_right = |node: &usize| !self.folds[*node].left;
        (1..self.folds.len()).rev().find(is_right).unwrap_or(0)
    }

    /// Takes the sample that the last fold stands on and those behind it, in
    /// the same piece, that every fold is sure to take next.
    fn follow(&mut self) -> Result<(), PieceError> {
        let stream = self.followed();
        // Fold `stream` has it on its right side, and loses it to an equal time;
        // those above have it on their left side and prefer it.
        let above = stream.max(1)..self.folds.len();
        let (mut not_after, mut before) = (i64::MAX, i64::MAX);
        for node in above.clone() {
            if node == stream {
                let bound = self.bound(node - 1, self.folds[node].floor);
                before = bound.unwrap_or(i64::MAX);
            } else {
                let bound = self.streams.bound(node);
                not_after = not_after.min(bound.unwrap_or(i64::MAX));
            }
        }
        // They all stand on the sample, so they all move as one.
        let mut last = self.folds[above.start].last;
        // The other floor after each sample, which is the same in all folds.
        let mut reached = i64::MIN;
        let mut count = 0;
        for &t in self.streams.following(stream) {
            if t > not_after.max(reached) || t >= before.max(reached) {
                break;
            }
            reached = reached.max(floors(last, t).1);
            last = t;
            count += 1;
        }
        self.streams.take(stream, count)?;
        if count == 0 {
            return Ok(());
        }
        self.streams.raise(stream, last.saturating_add(1));
        for node in above {
            let is_right = node == stream;
            if !is_right {
                self.streams.raise(node, reached);
            }
            let fold = &mut self.folds[node];
            let floor = if is_right {
                reached
            } else {
                last.saturating_add(1)
            };
            fold.floor = fold.floor.max(floor);
            fold.last = last;
        }
        Ok(())
    }
}
